/* Shape rules of views (the same elements under other axes) and of moves: concat, gather, append. */
#include "ir/infer_inside.h"

#include <string.h>
#include "support/checked.h"

/* ---- views and moves --------------------------------------------------------------------------------------------- */

/* A product of sizes as a number times at most one symbolic size whose factors have no common divisor: 2*H*S+4*H is 2
 * * H and S+2. */
typedef struct Product {
    int64_t number;
    Extent symbolic;
    int n_symbolic;
} Product;

static bool product_add(Product *p, Extent e)
{
    if (extent_is_const(e))
        return checked_imul(p->number, e.base, &p->number);
    int64_t common = extent_content(e, &p->symbolic);
    p->n_symbolic++;
    return checked_imul(p->number, common, &p->number);
}

static bool product_equal(const Product *a, const Product *b)
{
    return a->number == b->number && a->n_symbolic == b->n_symbolic &&
           (!a->n_symbolic || extent_equal(a->symbolic, b->symbolic));
}

/* Walks both types from the front and closes a group of neighbouring axes whenever the products agree: what is left
 * over must be nothing, and a group may hold one symbolic size on each side, so [B, S] never becomes [S, B]. */
static bool same_elements(const Type *a, const Type *b)
{
    int i = 0, j = 0;
    while (i < a->rank || j < b->rank) {
        Product p = {.number = 1}, q = {.number = 1};
        do {
            bool take_a = i < a->rank && (j == b->rank || p.n_symbolic < q.n_symbolic ||
                                          (p.n_symbolic == q.n_symbolic && p.number <= q.number));
            if (take_a ? !product_add(&p, a->axis[i++].size) : j == b->rank || !product_add(&q, b->axis[j++].size))
                return false;
            if (p.n_symbolic > 1 || q.n_symbolic > 1)
                return false;
        } while (!product_equal(&p, &q) && (i < a->rank || j < b->rank));
        if (!product_equal(&p, &q))
            return false;
    }
    return true;
}

static const Type *infer_slice(Rule *r, const Type *x, const Type *to)
{
    const char *name = attr_name(r->n, ATTR_axis);
    int axis = name ? type_find(x, name) : -1;
    if (axis < 0)
        return rule_refuse(r, "`%s` is %s: it has no axis `%s`", rule_word(r, 0), rule_type(r, x), name ? name : "");
    int drop = x->rank - to->rank; /* 1: one position is taken and the axis goes */
    if (drop != 0 && drop != 1)
        return rule_refuse(r, "slice keeps the number of axes or drops one");
    for (int i = 0; i < to->rank; i++) {
        int from = drop && i >= axis ? i + 1 : i;
        bool cut = !drop && i == axis;
        if (!cut && (to->axis[i].name != x->axis[from].name || !extent_equal(to->axis[i].size, x->axis[from].size)))
            return rule_refuse(r, "slice changes only `%s`, but %s becomes %s", name, rule_type(r, x),
                               rule_type(r, to));
    }
    const Attr *start = node_attr(r->n, ATTR_start);
    Extent first = start ? start->extent : extent_const(0), size = drop ? extent_const(1) : to->axis[axis].size, end;
    if (!extent_add(first, size, &end) || extent_low(first) < 0)
        return rule_refuse(r, "slice starts before the axis");
    if (extent_is_const(end) && extent_is_const(x->axis[axis].size) && end.base > x->axis[axis].size.base)
        return rule_refuse(r, "slice ends at %lld, `%s` has %lld", (long long)end.base, name,
                           (long long)x->axis[axis].size.base);
    return to;
}

static const Type *infer_expand(Rule *r, const Type *x, const Type *to)
{
    const char *name = attr_name(r->n, ATTR_axis);
    if (to->rank != x->rank + 1 || !name || type_find(to, name) < 0 || type_find(x, name) >= 0)
        return rule_refuse(r, "expand adds the one axis `%s`", name ? name : "");
    for (int i = 0; i < x->rank; i++) {
        int at = type_find(to, x->axis[i].name);
        if (at < 0 || !extent_equal(to->axis[at].size, x->axis[i].size))
            return rule_refuse(r, "expand keeps the axis `%s`", x->axis[i].name);
    }
    return to;
}

const Type *infer_view(Rule *r)
{
    const Type *x = rule_in(r, 0), *to = r->declared;
    if (!to)
        return rule_refuse(r, "%s needs a declared type", rule_op(r));
    if (to->dtype != x->dtype)
        return rule_refuse(r, "%s keeps the element type %s", rule_op(r), dtype_name(x->dtype));
    for (int i = 0; i < to->rank; i++)
        if (type_find(to, to->axis[i].name) != i)
            return rule_refuse(r, "the axis `%s` stands twice", to->axis[i].name);
    if (r->n->op == OP_slice)
        return infer_slice(r, x, to);
    if (r->n->op == OP_expand)
        return infer_expand(r, x, to);
    if (r->n->op == OP_transpose)
        return type_same_axes(x, to)
                   ? to
                   : rule_refuse(r, "transpose keeps the axes of %s, %s has others", rule_type(r, x), rule_type(r, to));
    return same_elements(x, to) ? to
                                : rule_refuse(r, "the axes of %s do not merge and split into those of %s",
                                              rule_type(r, x), rule_type(r, to));
}

const Type *infer_choose(Rule *r)
{
    if (!node_attr(r->n, ATTR_size))
        return rule_refuse(r, "choose needs `size`, the rows");
    if (!type_equal(rule_in(r, 0), rule_in(r, 1)))
        return rule_refuse(r, "`%s` is %s, `%s` is %s", rule_word(r, 0), rule_type(r, rule_in(r, 0)), rule_word(r, 1),
                           rule_type(r, rule_in(r, 1)));
    return rule_in(r, 0);
}

const Type *infer_concat(Rule *r)
{
    const char *name = attr_name(r->n, ATTR_axis);
    const Type *to = r->declared;
    int axis = to && name ? type_find(to, name) : -1;
    Extent total = extent_const(0);
    if (axis < 0)
        return rule_refuse(r, "concat needs a declared type with the axis `%s`", name ? name : "");
    for (int k = 0; k < r->n->n_inputs; k++) {
        const Type *t = rule_in(r, k);
        if (t->rank != to->rank || t->dtype != to->dtype)
            return rule_refuse(r, "`%s` is %s, the result %s", rule_word(r, k), rule_type(r, t), rule_type(r, to));
        for (int i = 0; i < t->rank; i++)
            if (i != axis && (t->axis[i].name != to->axis[i].name || !extent_equal(t->axis[i].size, to->axis[i].size)))
                return rule_refuse(r, "`%s` has the axis `%s` where the result has `%s`", rule_word(r, k),
                                   t->axis[i].name, to->axis[i].name);
        if (!extent_add(total, t->axis[axis].size, &total))
            return rule_refuse(r, "the sizes along `%s` cannot be added", name);
    }
    if (!extent_equal(total, to->axis[axis].size))
        return rule_refuse(r, "the parts are %s along `%s`, the result %s", rule_size(r, total), name,
                           rule_size(r, to->axis[axis].size));
    return to;
}

const Type *infer_gather(Rule *r)
{
    const Type *table = rule_in(r, 0), *ids = rule_in(r, 1);
    const Attr *over = rule_over(r);
    if (!over || !rule_has_axes(r, over, 0))
        return NULL;
    if (over->names.count != 1)
        return rule_refuse(r, "gather looks up one axis");
    if (ids->dtype != DT_I32)
        return rule_refuse(r, "the indices `%s` are %s, not i32", rule_word(r, 1), dtype_name(ids->dtype));
    Type all = {.rank = ids->rank};
    memcpy(all.axis, ids->axis, sizeof all.axis);
    for (int i = 0; i < table->rank; i++) {
        if (table->axis[i].name == over->names.items[0])
            continue;
        int at = type_find(ids, table->axis[i].name);
        if (at >= 0 && !extent_equal(ids->axis[at].size, table->axis[i].size))
            return rule_refuse(r, "the axis `%s` is %s in `%s` but %s in `%s`", table->axis[i].name,
                               rule_size(r, table->axis[i].size), rule_word(r, 0), rule_size(r, ids->axis[at].size),
                               rule_word(r, 1));
        if (at >= 0)
            continue;
        if (all.rank == MAX_RANK)
            return rule_refuse(r, "more than %d axes come together", MAX_RANK);
        all.axis[all.rank++] = table->axis[i];
    }
    return type_new(r->cx, table->dtype, all.rank, all.axis);
}

const Type *infer_topk(Rule *r)
{
    const Type *x = rule_in(r, 0), *to = r->declared;
    const Attr *over = rule_over(r);
    const char *name = attr_name(r->n, ATTR_axis);
    Extent spare;
    if (!over || !rule_has_axes(r, over, 0))
        return NULL;
    if (x->dtype != DT_F32)
        return rule_refuse(r, "topk needs f32, `%s` is %s", rule_word(r, 0), dtype_name(x->dtype));
    int axis = type_find(x, over->names.items[0]);
    if (over->names.count != 1)
        return rule_refuse(r, "topk goes over one axis");
    if (!to || !name || to->rank != x->rank || to->axis[axis].name != name || to->dtype != DT_I32)
        return rule_refuse(r, "topk needs a declared type of i32 with the axis `%s` in the place of `%s`",
                           name ? name : "", over->names.items[0]);
    for (int i = 0; i < x->rank; i++)
        if (i != axis && (to->axis[i].name != x->axis[i].name || !extent_equal(to->axis[i].size, x->axis[i].size)))
            return rule_refuse(r, "topk changes only `%s`, but %s becomes %s", over->names.items[0], rule_type(r, x),
                               rule_type(r, to));
    if (type_find(to, name) != axis)
        return rule_refuse(r, "the axis `%s` stands twice", name);
    if (!extent_sub(x->axis[axis].size, to->axis[axis].size, &spare) || extent_low(spare) < 0)
        return rule_refuse(r, "the axis `%s` is %s: it need not have %s elements", over->names.items[0],
                           rule_size(r, x->axis[axis].size), rule_size(r, to->axis[axis].size));
    return to;
}

/* The parameters of an append's body are the value and the inputs after the layer number. */
static bool params_fit_append(Rule *r)
{
    const Graph *body = r->n->body;
    bool fit = body->n_params == r->n->n_inputs - 1;
    for (int p = 0; p < body->n_params && fit; p++)
        fit = type_equal(body->params[p]->type, rule_in(r, p ? p + 1 : 0));
    return fit || rule_refused(r, "the body's parameters are not the types of the inputs");
}

const Type *infer_append(Rule *r)
{
    const char *name = attr_name(r->n, ATTR_cache);
    const Graph *model = graph_model(r->n->graph);
    const Cache *cache = graph_cache(model, name);
    if (!cache || cache->growing < 0)
        return rule_refuse(r, cache ? "the cache `%s` is a state: nothing is appended to it" : "there is no cache `%s`",
                           name ? name : "");
    if (r->n->n_inputs < 2 || (!r->n->body && r->n->n_inputs != 2))
        return rule_refuse(r, "append takes a value and a layer number, not %d inputs", r->n->n_inputs);
    if (r->n->body && (r->n->body->n_results != 1 || !params_fit_append(r)))
        return r->reason ? NULL : rule_refuse(r, "append stores one value");
    const Type *value = r->n->body ? r->n->body->results[0].value->type : rule_in(r, 0), *kept = cache->type;
    if (rule_in(r, 1)->rank != 0 || rule_in(r, 1)->dtype != DT_I32)
        return rule_refuse(r, "the layer number `%s` is %s, not i32", rule_word(r, 1), rule_type(r, rule_in(r, 1)));
    if (value->rank != kept->rank || value->dtype != kept->dtype)
        return rule_refuse(r, "`%s` is %s, the cache holds %s", rule_word(r, 0), rule_type(r, value),
                           rule_type(r, kept));
    Type all = *kept;
    for (int i = 0; i < value->rank; i++) {
        if (i == cache->growing)
            continue;
        if (value->axis[i].name != kept->axis[i].name || !extent_equal(value->axis[i].size, kept->axis[i].size))
            return rule_refuse(r, "`%s` is %s, the cache holds %s", rule_word(r, 0), rule_type(r, value),
                               rule_type(r, kept));
    }
    const Symbol *past = NULL;
    for (int i = 0; i < model->n_symbols; i++)
        if (!strcmp(model->symbols[i]->name, "past"))
            past = model->symbols[i];
    Extent *end = &all.axis[cache->growing].size;
    if (!past || !extent_add(extent_symbol(past), value->axis[cache->growing].size, end))
        return rule_refuse(r, "append needs the symbol `past`");
    return type_new(r->cx, all.dtype, all.rank, all.axis);
}
