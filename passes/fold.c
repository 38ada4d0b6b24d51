/* fold: what is known at compile time is computed; what does not depend on the layer is computed once, before the
 * repeat.
 *
 * Scalars become `const`. A formula over constant positions becomes a `table` if it has an expensive function in it
 * (the frequencies of rotary positions) and at most MAX_TABLE numbers: cheap ones stay formulas, a mask is never built.
 * Positions that end or begin at a run-time size give no table: their cosines are computed once a call. Moving out of
 * a repeat takes everything pure whose inputs stand outside: rotary cosines and sines, masks, lookups. Angles of whole
 * positions are computed so that they do not lose digits (angles.c). */
#include <math.h>
#include <string.h>
#include "passes/inside.h"

enum { MAX_TABLE = 8192 };

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static bool is_integer(DType t)
{
    return !dtype_is_float(t);
}

static double cast_to(double a, DType t)
{
    if (t == DT_BOOL)
        return a != 0;
    return is_integer(t) ? trunc(a) : a;
}

/* One element; false for operators that are not folded. `t` is the operands' type. */
static bool compute(Op op, DType t, DType result, const double *v, double *out)
{
    double a = v[0], b = v[1];
    switch (op) {
    case OP_add: *out = a + b; return true;
    case OP_sub: *out = a - b; return true;
    case OP_mul: *out = a * b; return true;
    case OP_div: *out = is_integer(t) ? floor(a / b) : a / b; return !is_integer(t) || b != 0;
    case OP_mod: *out = a - floor(a / b) * b; return b != 0;
    case OP_pow: *out = pow(a, b); return true;
    case OP_maximum: *out = a > b ? a : b; return !isnan(a) && !isnan(b);
    case OP_minimum: *out = a < b ? a : b; return !isnan(a) && !isnan(b);
    case OP_neg: *out = -a; return true;
    case OP_abs: *out = fabs(a); return true;
    case OP_exp: *out = exp(a); return true;
    case OP_log: *out = log(a); return true;
    case OP_sqrt: *out = sqrt(a); return true;
    case OP_rsqrt: *out = 1 / sqrt(a); return true;
    case OP_tanh: *out = tanh(a); return true;
    case OP_erf: *out = erf(a); return true;
    case OP_sin: *out = sin(a); return true;
    case OP_cos: *out = cos(a); return true;
    case OP_sigmoid: *out = 1 / (1 + exp(-a)); return true;
    case OP_silu: *out = a / (1 + exp(-a)); return true;
    case OP_lt: *out = a < b; return true;
    case OP_le: *out = a <= b; return true;
    case OP_eq: *out = a == b; return true;
    case OP_ne: *out = a != b; return true;
    case OP_and: *out = a != 0 && b != 0; return true;
    case OP_or: *out = a != 0 || b != 0; return true;
    case OP_not: *out = a == 0; return true;
    case OP_where: *out = a != 0 ? b : v[2]; return true;
    case OP_cast: *out = cast_to(a, result); return true;
    default: return false;
    }
}

static Node *fold_scalar(PassContext *px, Node *n)
{
    double v[3] = {0}, out;
    if (n->op == OP_extent) {
        Extent size = node_attr(n, ATTR_size)->extent;
        if (!extent_is_const(size))
            return NULL;
        return make_const(px, n, (double)size.base, n->type->dtype);
    }
    if (!is_map(n) || n->type->rank != 0)
        return NULL;
    for (int i = 0; i < n->n_inputs; i++)
        if (!is_const(n->inputs[i], &v[i]))
            return NULL;
    return compute(n->op, n->inputs[0]->type->dtype, n->type->dtype, v, &out) ? make_const(px, n, out, n->type->dtype)
                                                                              : NULL;
}

/* Logic with one side known. */
static Node *fold_logic(Node *n)
{
    double c;
    for (int i = 0; i < 2 && (n->op == OP_and || n->op == OP_or); i++) {
        if (!is_const(n->inputs[1 - i], &c))
            continue;
        bool neutral = (c != 0) == (n->op == OP_and);
        return neutral ? n->inputs[i] : NULL;
    }
    if (n->op == OP_where && is_const(n->inputs[0], &c))
        return c != 0 ? n->inputs[1] : n->inputs[2];
    return NULL;
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static int64_t const_count(const Type *t)
{
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++) {
        if (!extent_is_const(t->axis[i].size) || t->axis[i].size.base > MAX_TABLE)
            return -1;
        count *= t->axis[i].size.base;
        if (count > MAX_TABLE)
            return -1;
    }
    return count;
}

static double *values_of(PassContext *px, const Node *n);

static double *map_values(PassContext *px, const Node *n, int64_t count)
{
    double *in[3] = {NULL}, *out = arena_array(px->cx->arena, (size_t)count + 1, sizeof *out);
    for (int i = 0; i < n->n_inputs; i++)
        if (!(in[i] = values_of(px, n->inputs[i])))
            return NULL;
    for (int64_t e = 0; e < count; e++) {
        double v[3] = {0};
        for (int i = 0; i < n->n_inputs; i++) {
            const Type *t = n->inputs[i]->type;
            int64_t at = 0, rest = e, position[MAX_RANK];
            for (int a = n->type->rank - 1; a >= 0; a--) {
                position[a] = rest % n->type->axis[a].size.base;
                rest /= n->type->axis[a].size.base;
            }
            for (int a = 0; a < t->rank; a++)
                at = at * t->axis[a].size.base + position[type_find(n->type, t->axis[a].name)];
            v[i] = in[i][at];
        }
        if (!compute(n->op, n->inputs[n->op == OP_where]->type->dtype, n->type->dtype, v, &out[e]))
            return NULL;
    }
    return out;
}

/* All elements of n, or NULL if they are not known. */
static double *values_of(PassContext *px, const Node *n)
{
    int64_t count = const_count(n->type);
    if (count < 0 || is_kept(n))
        return NULL;
    double *out = arena_array(px->cx->arena, (size_t)count + 1, sizeof *out);
    const Attr *start = node_attr(n, ATTR_start), *table = node_attr(n, ATTR_table);
    switch (n->op) {
    case OP_const: out[0] = attr_float(n, ATTR_value, 0); return out;
    case OP_table: memcpy(out, table->floats.items, (size_t)count * sizeof *out); return out;
    case OP_iota:
        if (start && !extent_is_const(start->extent))
            return NULL;
        for (int64_t i = 0; i < count; i++)
            out[i] = (double)((start ? start->extent.base : 0) + i);
        return out;
    default: return is_map(n) ? map_values(px, n, count) : NULL;
    }
}

static bool is_expensive(Op op)
{
    switch (op) {
    case OP_pow:
    case OP_exp:
    case OP_log:
    case OP_sqrt:
    case OP_rsqrt:
    case OP_tanh:
    case OP_erf:
    case OP_sin:
    case OP_cos:
    case OP_sigmoid: return true;
    default: return false;
    }
}

static bool reads_table(const Node *n)
{
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i]->op == OP_table)
            return true;
    return false;
}

static Node *make_table(PassContext *px, Node *n, const double *values, int count)
{
    Node *table = node_before(px->cx, n, OP_table, n->type, 0, NULL);
    attr_set_floats(px->cx, table, ATTR_table, values, count);
    return table;
}

static Node *fold_table(PassContext *px, Node *n)
{
    if (n->op == OP_view && n->inputs[0]->op == OP_table && n->type->dtype == DT_F32 && !is_kept(n->inputs[0])) {
        const Attr *same = node_attr(n->inputs[0], ATTR_table);
        return make_table(px, n, same->floats.items, same->floats.count);
    }
    if (!is_map(n) || n->type->rank == 0 || n->type->dtype != DT_F32 || !(is_expensive(n->op) || reads_table(n)))
        return NULL;
    double *values = values_of(px, n);
    if (!values)
        return NULL;
    return make_table(px, n, values, (int)const_count(n->type));
}

static bool fold_graph(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= fold_graph(px, n->body);
        if (!n->type || is_kept(n))
            continue;
        Node *r = fold_scalar(px, n);
        if (!r)
            r = fold_logic(n);
        if (!r)
            r = fold_table(px, n);
        if (!r)
            r = fold_angle(px, n);
        if (!r || !type_equal(r->type, n->type))
            continue;
        inherit(r, n);
        node_replace(n, r);
        node_remove(n);
        changed = true;
    }
    return changed;
}

/* ---- out of repeats ---------------------------------------------------------------------------------------------- */

static bool is_fixed_leaf(const Node *n)
{
    return (is_inline_leaf(n) || n->op == OP_weight || n->op == OP_table) && !depends_on_layer(n);
}

static bool is_movable(const Node *n, const Graph *body)
{
    OpClass class = op_info[n->op].class;
    if (depends_on_layer(n) || is_kept(n) || class == CLASS_LEAF || class == CLASS_REGION || class == CLASS_KERNEL)
        return false;
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i]->graph == body && !is_fixed_leaf(n->inputs[i]))
            return false;
    return true;
}

static void move_out(Node *n, Node *repeat)
{
    for (int i = 0; i < n->n_inputs; i++)
        if (n->inputs[i]->graph == repeat->body)
            node_move_before(n->inputs[i], repeat);
    node_move_before(n, repeat);
}

static void remark_moved(PassContext *px, const Node *n, const Node *repeat)
{
    bool view = op_info[n->op].class == CLASS_VIEW;
    if (view || n->type->dtype != DT_F32 || !is_read_in(n, repeat->body))
        return;
    Remark *r =
        remark(px, REMARK_PASSED, REMARK_FOLDED, n, "does not depend on the layer: computed once instead of %lld times",
               (long long)attr_int(repeat, ATTR_count, 1));
    double bytes = type_bytes(px, graph_model(n->graph), n->type);
    r->bytes_before = bytes * (double)attr_int(repeat, ATTR_count, 1);
    r->bytes_after = bytes;
}

static bool move_invariants(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *repeat = g->first; repeat; repeat = repeat->next) {
        if (repeat->op != OP_repeat)
            continue;
        changed |= move_invariants(px, repeat->body);
        Node *before = repeat->prev;
        for (Node *n = repeat->body->first, *next; n; n = next) {
            next = n->next;
            if (!is_movable(n, repeat->body))
                continue;
            move_out(n, repeat);
            changed = true;
        }
        for (Node *n = before ? before->next : g->first; n != repeat; n = n->next)
            if (op_info[n->op].class != CLASS_LEAF)
                remark_moved(px, n, repeat);
    }
    return changed;
}

/* ---- what became of formulas over positions ---------------------------------------------------------------------- */

/* Elements if all sizes are constants, else -1. */
static double constant_elements(const Type *t)
{
    double count = 1;
    for (int i = 0; i < t->rank; i++) {
        if (!extent_is_const(t->axis[i].size))
            return -1;
        count *= (double)t->axis[i].size.base;
    }
    return count;
}

/* n is an expensive function of positions and numbers, and stayed one. */
static void remark_positions(PassContext *px, const Node *n)
{
    double count = constant_elements(n->type), bytes = type_bytes(px, graph_model(n->graph), n->type);
    Remark *r = NULL;
    if (count > MAX_TABLE)
        r = remark(px, REMARK_MISSED, REMARK_COST_WORSE, n,
                   "%.0f numbers, more than the %d of a table: computed in every call", count, MAX_TABLE);
    else if (count < 0)
        r = remark(px, REMARK_ANALYSIS, REMARK_NEEDS_CONST, n,
                   "its positions are known at run time only: computed once a call, no table");
    if (r)
        r->bytes_after = bytes;
}

/* Tables made (ids from `first` on), and formulas over positions that are none. */
static void remark_tables(PassContext *px, Graph *g, int first)
{
    bool *fixed = arena_array(px->cx->arena, (size_t)graph_model(g)->next_id + 1, sizeof *fixed);
    for (const Node *n = g->first; n; n = n->next) {
        if (n->body && n->body->level != LEVEL_BODY)
            remark_tables(px, n->body, first);
        if (n->op == OP_table && n->id >= first) {
            Remark *r = remark(px, REMARK_PASSED, REMARK_FOLDED, n, "a table of %d numbers, known at compile time",
                               node_attr(n, ATTR_table)->floats.count);
            r->bytes_after = type_bytes(px, graph_model(g), n->type);
        }
        fixed[n->id] = is_inline_leaf(n) || n->op == OP_table || (is_map(n) && n->n_inputs > 0);
        for (int i = 0; i < n->n_inputs; i++)
            fixed[n->id] &= n->inputs[i]->graph == g && fixed[n->inputs[i]->id];
        if (fixed[n->id] && is_map(n) && is_expensive(n->op) && n->type->rank > 0 && n->type->dtype == DT_F32)
            remark_positions(px, n);
    }
}

bool pass_fold(PassContext *px, Graph *model)
{
    int first = model->next_id;
    bool folded = fold_graph(px, model), moved = move_invariants(px, model);
    if (folded)
        remove_dead(model);
    remark_tables(px, model, first);
    return folded || moved;
}
