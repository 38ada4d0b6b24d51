/* A kernel's body as one infix line, with no parentheses that precedence does not ask for: gelu(acc + query.bias) * 2.
 * What attend does to its scores as masks and a score: mask j <= i & keep, score 20 * tanh(s / 20), i = past..past+S.
 *
 * Accumulators are called acc (acc0, acc1 if there are several) and the score s; other parameters have the names of
 * the kernel's inputs. A value used twice is written once, behind the line: t * sigmoid(t) where t = acc0 / 2. */
#include <math.h>
#include <string.h>
#include "ir/ir.h"

enum Binding { BIND_LOOSEST, BIND_OR, BIND_AND, BIND_COMPARE, BIND_SUM, BIND_PRODUCT, BIND_UNARY, BIND_CALL };
enum { MAX_NESTING = 64 }; /* deeper values are written by name: no line is readable beyond that anyway */

typedef struct Known {
    const Node *n;
    int uses;
} Known;

typedef struct Writer {
    const Graph *body;
    Text *out;
    Known *known; /* the nodes that the result reads */
    size_t count, capacity;
    const Node *i, *j; /* attend: positions of queries and keys that are written as i and j, or NULL */
} Writer;

static Known *find(Writer *w, const Node *n)
{
    for (size_t i = w->count; i-- > 0;)
        if (w->known[i].n == n)
            return &w->known[i];
    return NULL;
}

static bool stands_here(const Writer *w, const Node *n)
{
    return n->graph == w->body && op_info[n->op].class != CLASS_LEAF;
}

/* Counts the uses of every value the result needs: users stand behind what they use, so one walk from the back is
 * enough. */
static void count_uses(Writer *w, const Node *result)
{
    w->known = arena_room(w->out->arena, w->known, w->count, &w->capacity, sizeof *w->known);
    w->known[w->count++] = (Known){result, 1};
    for (const Node *n = w->body->last; n; n = n->prev) {
        if (!find(w, n))
            continue;
        for (int i = 0; i < n->n_inputs; i++) {
            Known *k = find(w, n->inputs[i]);
            if (k) {
                k->uses++;
                continue;
            }
            w->known = arena_room(w->out->arena, w->known, w->count, &w->capacity, sizeof *w->known);
            w->known[w->count++] = (Known){n->inputs[i], 1};
        }
    }
}

static const char *infix_of(Op op, enum Binding *binding)
{
    switch (op) {
    case OP_or: *binding = BIND_OR; return "|";
    case OP_and: *binding = BIND_AND; return "&";
    case OP_lt: *binding = BIND_COMPARE; return "<";
    case OP_le: *binding = BIND_COMPARE; return "<=";
    case OP_eq: *binding = BIND_COMPARE; return "==";
    case OP_ne: *binding = BIND_COMPARE; return "!=";
    case OP_add: *binding = BIND_SUM; return "+";
    case OP_sub: *binding = BIND_SUM; return "-";
    case OP_mul: *binding = BIND_PRODUCT; return "*";
    case OP_div: *binding = BIND_PRODUCT; return "/";
    default: *binding = BIND_CALL; return NULL;
    }
}

static void put_name(const Node *n, Text *out)
{
    text_add(out, "%s", n->name ? n->name : op_info[n->op].name);
}

static void put_param(const Writer *w, const Node *n)
{
    const Node *owner = w->body->owner;
    int at = 0;
    while (at < w->body->n_params && w->body->params[at] != n)
        at++;
    if (!owner || at == w->body->n_params) {
        put_name(n, w->out);
        return;
    }
    int accumulators = owner->op == OP_gemm ? (int)attr_int(owner, ATTR_weights, 1) : owner->op == OP_attend ? 1 : 0;
    int input = owner->op == OP_gemm               ? at + 1
                : owner->op == OP_attend           ? at + 2
                : owner->op == OP_append && at > 0 ? at + 1
                                                   : at;
    bool is_second = attr_bool(owner, ATTR_second, false) && at == w->body->n_params - 1;
    if (at >= accumulators && !is_second && input < owner->n_inputs)
        put_name(owner->inputs[input], w->out);
    else if (at < accumulators && owner->op == OP_attend)
        text_char(w->out, 's');
    else if (owner->op == OP_attend && is_second)
        text_add(w->out, "s2");
    else if (at < accumulators && accumulators == 1)
        text_add(w->out, "acc");
    else if (at < accumulators)
        text_add(w->out, "acc%d", at);
    else
        put_name(n, w->out);
}

static Extent start_of(const Node *iota)
{
    const Attr *start = node_attr(iota, ATTR_start);
    return start ? start->extent : extent_const(0);
}

static bool same_positions(const Node *a, const Node *b)
{
    return a && b && a->type->rank == 1 && b->type->rank == 1 && a->type->axis[0].name == b->type->axis[0].name &&
           extent_equal(start_of(a), start_of(b));
}

static void put_iota(const Writer *w, const Node *n)
{
    if (same_positions(n, w->i) || same_positions(n, w->j)) {
        text_char(w->out, same_positions(n, w->i) ? 'i' : 'j');
        return;
    }
    text_add(w->out, "iota(%s", n->type->axis[0].name);
    if (!extent_equal(start_of(n), extent_const(0))) {
        text_add(w->out, " from ");
        extent_print(start_of(n), w->out);
    }
    text_char(w->out, ')');
}

static void put_leaf(const Writer *w, const Node *n, enum Binding within)
{
    const Attr *size = node_attr(n, ATTR_size);
    if (n->op == OP_const && n->type && n->type->dtype == DT_BOOL)
        text_add(w->out, attr_float(n, ATTR_value, 0) != 0 ? "true" : "false");
    else if (n->op == OP_const)
        text_double(w->out, attr_float(n, ATTR_value, 0));
    else if (n->op == OP_extent && size) {
        bool sum = size->extent.n > 1 || (size->extent.n == 1 && size->extent.base != 0);
        if (sum && within > BIND_SUM)
            text_char(w->out, '(');
        extent_print(size->extent, w->out);
        if (sum && within > BIND_SUM)
            text_char(w->out, ')');
    } else if (n->op == OP_iota && n->type && n->type->rank)
        put_iota(w, n);
    else
        put_param(w, n);
}

static void put_value(Writer *w, const Node *n, enum Binding within, int depth);

static void put_call(Writer *w, const Node *n, int depth)
{
    text_add(w->out, "%s(", n->op == OP_cast ? dtype_name(n->type->dtype) : op_info[n->op].name);
    for (int i = 0; i < n->n_inputs; i++) {
        if (i)
            text_add(w->out, ", ");
        put_value(w, n->inputs[i], BIND_LOOSEST, depth);
    }
    const Attr *over = node_attr(n, ATTR_over);
    for (int i = 0; over && i < over->names.count; i++)
        text_add(w->out, "%s%s", i ? ", " : " over ", over->names.items[i]);
    text_char(w->out, ')');
}

/* The value itself, whether it has a name of its own or not. */
static void put_operation(Writer *w, const Node *n, enum Binding within, int depth)
{
    enum Binding binding;
    const char *infix = infix_of(n->op, &binding);
    if (n->op == OP_neg || n->op == OP_not)
        binding = BIND_UNARY;
    if (binding == BIND_CALL) {
        put_call(w, n, depth);
        return;
    }
    bool right_tighter = n->op == OP_sub || n->op == OP_div || binding == BIND_COMPARE;
    if (binding < within)
        text_char(w->out, '(');
    if (infix) {
        put_value(w, n->inputs[0], binding == BIND_COMPARE ? BIND_SUM : binding, depth);
        text_add(w->out, " %s ", infix);
        put_value(w, n->inputs[1], right_tighter ? binding + 1 : binding, depth);
    } else {
        text_char(w->out, n->op == OP_neg ? '-' : '!');
        put_value(w, n->inputs[0], BIND_CALL, depth);
    }
    if (binding < within)
        text_char(w->out, ')');
}

static void put_value(Writer *w, const Node *n, enum Binding within, int depth)
{
    const Known *k = find(w, n);
    if (!stands_here(w, n))
        put_leaf(w, n, within);
    else if (depth == MAX_NESTING || (k && k->uses > 1))
        put_name(n, w->out);
    else
        put_operation(w, n, within, depth + 1);
}

/* What the text so far calls by name although it is computed here: "where t = acc0 / 2". */
static void put_shared(Writer *w, const Node *written)
{
    bool first = true;
    for (const Node *n = w->body->first; n; n = n->next) {
        const Known *k = find(w, n);
        if (!k || k->uses < 2 || n == written || !stands_here(w, n))
            continue;
        text_add(w->out, first ? " where " : ", ");
        put_name(n, w->out);
        text_add(w->out, " = ");
        put_operation(w, n, BIND_LOOSEST, 0);
        first = false;
    }
}

void expression_print(const Graph *body, int result, Text *out)
{
    Writer w = {.body = body, .out = out};
    const Node *value = body->results[result].value;
    count_uses(&w, value);
    if (stands_here(&w, value))
        put_operation(&w, value, BIND_LOOSEST, 0);
    else
        put_leaf(&w, value, BIND_LOOSEST);
    put_shared(&w, value);
}

/* ---- attend ------------------------------------------------------------------------------------------------------ */

/* The positions that i and j stand for: those of keys from 0, and the only ones along an axis known at run time. */
static void name_positions(Writer *w, const char *keys)
{
    for (const Node *n = w->body->first; n; n = n->next) {
        if (n->op != OP_iota || n->type->rank != 1)
            continue;
        const Axis *axis = &n->type->axis[0];
        if (axis->name == keys && extent_equal(start_of(n), extent_const(0)))
            w->j = n;
        else if (axis->name != keys && !extent_is_const(axis->size) && !w->i)
            w->i = n;
    }
}

static void put_positions(const Writer *w)
{
    const Node *const known[] = {w->i, w->j};
    for (int k = 0; k < 2; k++) {
        if (!known[k])
            continue;
        Extent start = start_of(known[k]), end;
        text_add(w->out, ", %c = ", "ij"[k]);
        extent_print(start, w->out);
        text_add(w->out, "..");
        if (extent_add(start, known[k]->type->axis[0].size, &end))
            extent_print(end, w->out);
    }
}

static bool is_masked(const Node *n)
{
    const Node *other = n->op == OP_where ? n->inputs[2] : NULL;
    return other && other->op == OP_const && attr_float(other, ATTR_value, 0) == -INFINITY;
}

static void print_attend(const Graph *body, Text *out)
{
    Writer w = {.body = body, .out = out};
    name_positions(&w, attr_name(body->owner, ATTR_keys));
    const Node *value = body->results[0].value;
    count_uses(&w, value);
    bool masked = false;
    for (; is_masked(value) && find(&w, value)->uses == 1; value = value->inputs[1], masked = true) {
        text_add(out, masked ? " & " : "mask ");
        put_value(&w, value->inputs[0], BIND_AND, 0);
    }
    if (value != body->params[0]) {
        text_add(out, masked ? ", score " : "score ");
        put_value(&w, value, BIND_LOOSEST, 0);
    } else if (!masked)
        text_add(out, "no mask");
    put_shared(&w, NULL);
    put_positions(&w);
}

/* ---- kernels that their attributes describe ---------------------------------------------------------------------- */

static void print_linear(const Node *n, Text *out)
{
    static const char *const shown[] = {"mask", "keep", "prefix", "document", "offset", NULL};
    const char *recent = attr_name(n, ATTR_recent);
    bool causal = attr_bool(n, ATTR_causal, false);
    if (n->op == OP_linear_attend) {
        text_add(out, "features %s", attr_name(n, ATTR_features));
        if (role_of(n, "projection"))
            text_add(out, " (%lld)", (long long)attend_features(n));
        if (attr_float(n, ATTR_eps, 0) > 0)
            text_add(out, " + %g", attr_float(n, ATTR_eps, 0));
    } else
        text_add(out, "%lld codes", (long long)attend_features(n));
    text_add(out, causal ? ", causal" : "");
    for (int i = 0; shown[i]; i++)
        if (role_of(n, shown[i]))
            text_add(out, ", %s", shown[i]);
    if (n->op == OP_codebook_attend && attend_recent(n)) {
        text_add(out, ", blocks of %lld", (long long)attend_recent(n));
        text_add(out, role_of(n, "bias") ? ", bias by distance" : "");
        text_add(out, recent && !strcmp(recent, "keys") ? ", recent keys exact" : "");
    }
    if (attr_name(n, ATTR_cache))
        text_add(out, ", state %s", attr_name(n, ATTR_cache));
}

void formula_print(const Node *kernel, Text *out)
{
    const Graph *body = kernel->body;
    if (op_info[kernel->op].flags & OPF_BARE) {
        print_linear(kernel, out);
        return;
    }
    if (kernel->op == OP_attend) {
        print_attend(body, out);
        return;
    }
    for (int i = 0; i < body->n_results; i++) {
        text_add(out, i ? ", " : "");
        expression_print(body, i, out);
    }
}
