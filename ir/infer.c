/* Shape rules: the type that each op gives, or a reason that names the axes.
 *
 * One function a class of ops; infer_type dispatches. Here: leaves, elementwise operators, reductions and products;
 * views and moves are in infer_move.c, repeats and kernels in infer_kernel.c. A reason is a sentence in the arena
 * without a full stop. */
#include <string.h>
#include "ir/infer_inside.h"

#include <math.h>
#include <stdarg.h>
#include "support/checked.h"

const Type *rule_refuse(Rule *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    r->reason = arena_vprint(r->cx->arena, format, args);
    va_end(args);
    return NULL;
}

/* The same for rules that answer yes or no. */
bool rule_refused(Rule *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    r->reason = arena_vprint(r->cx->arena, format, args);
    va_end(args);
    return false;
}

const char *rule_size(Rule *r, Extent e)
{
    Text t = text_new(r->cx->arena);
    extent_print(e, &t);
    return t.data;
}

const char *rule_type(Rule *r, const Type *type)
{
    Text t = text_new(r->cx->arena);
    type_print(type, &t);
    return t.data;
}

const Type *rule_in(const Rule *r, int i)
{
    return r->n->inputs[i]->type;
}

const char *rule_word(const Rule *r, int i)
{
    const char *name = r->n->inputs[i]->name;
    return name ? name : op_info[r->n->inputs[i]->op].name;
}

const char *rule_op(const Rule *r)
{
    return op_info[r->n->op].name;
}

/* ---- elementwise: axes align by name ----------------------------------------------------------------------------- */

/* Adds the axes of input i to `all`; false if an axis of the same name has another size, or there are too many. */
static bool align(Rule *r, Type *all, int i, int first)
{
    const Type *t = rule_in(r, i);
    for (int a = 0; a < t->rank; a++) {
        int at = type_find(all, t->axis[a].name);
        if (at < 0) {
            if (all->rank == MAX_RANK)
                return rule_refused(r, "more than %d axes come together", MAX_RANK);
            all->axis[all->rank++] = t->axis[a];
        } else if (!extent_equal(all->axis[at].size, t->axis[a].size)) {
            rule_refuse(r, "the axis `%s` is %s in `%s` but %s in `%s`", t->axis[a].name,
                        rule_size(r, all->axis[at].size), rule_word(r, first), rule_size(r, t->axis[a].size),
                        rule_word(r, i));
            return false;
        }
    }
    return true;
}

static bool needs_float(Op op)
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
    case OP_sigmoid:
    case OP_silu:
    case OP_gelu:
    case OP_gelu_tanh:
    case OP_round_bf16: return true;
    default: return false;
    }
}

static bool is_logical(Op op)
{
    return op == OP_and || op == OP_or || op == OP_not;
}

static bool dtypes_agree(Rule *r, int first)
{
    DType want = rule_in(r, first)->dtype;
    for (int i = first + 1; i < r->n->n_inputs; i++)
        if (rule_in(r, i)->dtype != want)
            return rule_refused(r, "`%s` is %s but `%s` is %s", rule_word(r, first), dtype_name(want), rule_word(r, i),
                                dtype_name(rule_in(r, i)->dtype));
    if (needs_float(r->n->op) && !dtype_is_float(want))
        return rule_refused(r, "%s needs floats, `%s` is %s", rule_op(r), rule_word(r, first), dtype_name(want));
    if (r->n->op == OP_mod && dtype_is_float(want))
        return rule_refused(r, "mod needs integers, `%s` is %s", rule_word(r, first), dtype_name(want));
    if (is_logical(r->n->op) != (want == DT_BOOL) && r->n->op != OP_eq && r->n->op != OP_ne && r->n->op != OP_where)
        return rule_refused(r, "%s cannot take %s", rule_op(r), dtype_name(want));
    return true;
}

static const Type *infer_rotate(Rule *r)
{
    const Type *x = rule_in(r, 0);
    if (x->rank == 0 || !extent_is_const(x->axis[x->rank - 1].size))
        return rule_refuse(r, "rotate needs a last axis of constant size");
    for (int i = 0; i < 3; i++)
        if (!dtype_is_float(rule_in(r, i)->dtype))
            return rule_refuse(r, "rotate needs floats, `%s` is %s", rule_word(r, i), dtype_name(rule_in(r, i)->dtype));
    Extent width = x->axis[x->rank - 1].size, pairs = extent_const(0);
    for (int i = 1; i < 3; i++) {
        const Type *t = rule_in(r, i);
        if (t->rank == 0 || !extent_is_const(t->axis[t->rank - 1].size))
            return rule_refuse(r, "`%s` needs a last axis of constant size, one for each pair", rule_word(r, i));
        if (i == 2 && !extent_equal(t->axis[t->rank - 1].size, pairs))
            return rule_refuse(r, "`%s` has %lld pairs, `%s` has %lld", rule_word(r, 1), (long long)pairs.base,
                               rule_word(r, 2), (long long)t->axis[t->rank - 1].size.base);
        pairs = t->axis[t->rank - 1].size;
        if (pairs.base > width.base / 2)
            return rule_refuse(r, "`%s` has %lld pairs, more than half of `%s` = %lld", rule_word(r, i),
                               (long long)pairs.base, x->axis[x->rank - 1].name, (long long)width.base);
        if (type_find(x, t->axis[t->rank - 1].name) >= 0)
            return rule_refuse(r, "the last axis of `%s` counts pairs, but `%s` has an axis `%s` too", rule_word(r, i),
                               rule_word(r, 0), t->axis[t->rank - 1].name);
        for (int a = 0; a + 1 < t->rank; a++) {
            int at = type_find(x, t->axis[a].name);
            if (at < 0 || at == x->rank - 1 || !extent_equal(x->axis[at].size, t->axis[a].size))
                return rule_refuse(r, "the axis `%s` of `%s` is not one of `%s`", t->axis[a].name, rule_word(r, i),
                                   rule_word(r, 0));
        }
    }
    return x;
}

static const Type *infer_map(Rule *r)
{
    const Node *n = r->n;
    int first = n->op == OP_where ? 1 : 0;
    Type all = {.dtype = rule_in(r, 0)->dtype};
    if (n->op == OP_rotate)
        return infer_rotate(r);
    if (n->op == OP_where && rule_in(r, 0)->dtype != DT_BOOL)
        return rule_refuse(r, "the condition `%s` is %s, not bool", rule_word(r, 0), dtype_name(rule_in(r, 0)->dtype));
    if (n->op != OP_cast && !dtypes_agree(r, first))
        return NULL;
    /* the condition of `where` comes last in the result's axes: the value keeps its order */
    for (int i = first; i < n->n_inputs; i++)
        if (!align(r, &all, i, first))
            return NULL;
    if (first && !align(r, &all, 0, 1))
        return NULL;
    all.dtype = op_info[n->op].flags & OPF_COMPARE ? DT_BOOL : rule_in(r, first)->dtype;
    if (n->op == OP_cast) {
        if (!r->declared)
            return rule_refuse(r, "cast needs a declared type");
        all.dtype = r->declared->dtype;
    }
    return type_new(r->cx, all.dtype, all.rank, all.axis);
}

/* ---- reductions and products ------------------------------------------------------------------------------------- */

const Attr *rule_over(Rule *r)
{
    const Attr *over = node_attr(r->n, ATTR_over);
    if (!over || over->names.count == 0)
        rule_refuse(r, "%s needs `over`", rule_op(r));
    for (int i = 0; over && i < over->names.count; i++)
        for (int k = 0; k < i; k++)
            if (over->names.items[i] == over->names.items[k])
                rule_refuse(r, "the axis `%s` stands twice in `over`", over->names.items[i]);
    return r->reason ? NULL : over;
}

bool rule_has_axes(Rule *r, const Attr *over, int i)
{
    for (int k = 0; k < over->names.count; k++)
        if (type_find(rule_in(r, i), over->names.items[k]) < 0)
            return rule_refused(r, "`%s` is %s: it has no axis `%s`", rule_word(r, i), rule_type(r, rule_in(r, i)),
                                over->names.items[k]);
    return true;
}

static const Type *infer_reduce(Rule *r)
{
    const Type *x = rule_in(r, 0);
    const Attr *over = rule_over(r);
    if (!over || !rule_has_axes(r, over, 0))
        return NULL;
    bool scan = r->n->op == OP_cumsum || r->n->op == OP_cummax;
    if (!dtype_is_float(x->dtype) && !(scan && x->dtype == DT_I32))
        return rule_refuse(r, "%s needs floats, `%s` is %s", rule_op(r), rule_word(r, 0), dtype_name(x->dtype));
    if (op_info[r->n->op].class == CLASS_ROW)
        return over->names.count == 1 ? x : rule_refuse(r, "%s goes over one axis", rule_op(r));
    Axis axes[MAX_RANK];
    int rank = 0;
    for (int a = 0; a < x->rank; a++)
        if (!attr_has_name(r->n, ATTR_over, x->axis[a].name))
            axes[rank++] = x->axis[a];
    return type_new(r->cx, x->dtype, rank, axes);
}

/* The axes of dot(a, b): a's that are not summed, then b's own. NULL and a reason if sizes differ. */
static bool is_over(const Attr *over, const char *axis)
{
    for (int k = 0; k < over->names.count; k++)
        if (over->names.items[k] == axis || !strcmp(over->names.items[k], axis))
            return true;
    return false;
}

const Type *rule_product(Rule *r, int a, int b, const Attr *over)
{
    Type all = {.dtype = rule_in(r, a)->dtype};
    if (!rule_has_axes(r, over, a) || !rule_has_axes(r, over, b))
        return NULL;
    if (!dtype_is_float(rule_in(r, a)->dtype) || rule_in(r, a)->dtype != rule_in(r, b)->dtype)
        return rule_refuse(r, "`%s` is %s and `%s` is %s", rule_word(r, a), dtype_name(rule_in(r, a)->dtype),
                           rule_word(r, b), dtype_name(rule_in(r, b)->dtype));
    if (!align(r, &all, a, a) || !align(r, &all, b, a))
        return NULL;
    int rank = 0;
    for (int i = 0; i < all.rank; i++)
        if (!is_over(over, all.axis[i].name))
            all.axis[rank++] = all.axis[i];
    return type_new(r->cx, all.dtype, rank, all.axis);
}

const Type *rule_in_declared_order(Rule *r, const Type *own)
{
    if (!own || !r->declared)
        return own;
    if (own->dtype == r->declared->dtype && type_same_axes(own, r->declared))
        return r->declared;
    return rule_refuse(r, "declared as %s but it is %s", rule_type(r, r->declared), rule_type(r, own));
}

static const Type *infer_dot(Rule *r)
{
    const Attr *over = rule_over(r);
    return over ? rule_in_declared_order(r, rule_product(r, 0, 1, over)) : NULL;
}

/* ---- leaves and the dispatch ------------------------------------------------------------------------------------- */

static bool holds(const Type *t, int count)
{
    int64_t product = 1;
    for (int i = 0; i < t->rank; i++)
        if (!extent_is_const(t->axis[i].size) || !checked_imul(product, t->axis[i].size.base, &product))
            return false;
    return product == count;
}

static const Type *infer_leaf(Rule *r)
{
    const Type *t = r->declared;
    int rank = r->n->op == OP_iota ? 1 : 0;
    bool sized = r->n->op == OP_iota || r->n->op == OP_const || r->n->op == OP_extent || r->n->op == OP_index;
    if (!t)
        return rule_refuse(r, "%s needs a declared type", rule_op(r));
    if (sized && t->rank != rank)
        return rule_refuse(r, "%s has %d axes", rule_op(r), rank);
    if ((r->n->op == OP_iota || r->n->op == OP_index) && t->dtype != DT_I32)
        return rule_refuse(r, "%s is i32", rule_op(r));
    if (r->n->op == OP_extent && t->dtype != DT_F32)
        return rule_refuse(r, "%s is f32", rule_op(r));
    const Attr *table = node_attr(r->n, ATTR_table);
    if (r->n->op == OP_table && (!table || !holds(t, table->floats.count)))
        return rule_refuse(r, "%s does not hold %d numbers", rule_type(r, t), table ? table->floats.count : 0);
    if (r->n->op == OP_const && !node_attr(r->n, ATTR_value))
        return rule_refuse(r, "const needs `value`");
    if (r->n->op == OP_const && t->dtype != DT_F32 &&
        rint(attr_float(r->n, ATTR_value, 0)) != attr_float(r->n, ATTR_value, 0))
        return rule_refuse(r, "a const of %s is a whole number", dtype_name(t->dtype));
    return t;
}

const Type *infer_type(Context *cx, const Node *n, const Type *declared, const char **reason)
{
    Rule r = {cx, n, declared, NULL};
    const Type *type = NULL;
    *reason = NULL;
    for (int i = 0; i < n->n_inputs; i++)
        if (!n->inputs[i]->type && n->op != OP_get) {
            *reason = arena_print(cx->arena, "input %d has several results: read it through get", i);
            return NULL;
        }
    switch (op_info[n->op].class) {
    case CLASS_LEAF: type = infer_leaf(&r); break;
    case CLASS_MAP: type = infer_map(&r); break;
    case CLASS_REDUCE:
    case CLASS_ROW: type = infer_reduce(&r); break;
    case CLASS_CONTRACT: type = infer_dot(&r); break;
    case CLASS_VIEW: type = infer_view(&r); break;
    case CLASS_MOVE:
        type = n->op == OP_concat   ? infer_concat(&r)
               : n->op == OP_choose ? infer_choose(&r)
               : n->op == OP_gather ? infer_gather(&r)
               : n->op == OP_topk   ? infer_topk(&r)
                                    : infer_append(&r);
        break;
    case CLASS_REGION: type = infer_region(&r); break;
    case CLASS_KERNEL: type = infer_kernel(&r); break;
    }
    *reason = r.reason;
    return r.reason ? NULL : type;
}
