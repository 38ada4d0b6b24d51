/* Views of weights: a weight node says which strided part of the stored tensor it is, so a view, slice or transpose
 * of one is a weight again, and costs nothing but another order of packing. */
#include <string.h>
#include "passes/views.h"

static bool weight_strides(const Node *w, int64_t *strides)
{
    const Attr *given = node_attr(w, ATTR_strides);
    int64_t step = 1;
    if (attr_name(w, ATTR_gain) || node_attr(w, ATTR_factor) || attr_name(w, ATTR_rounded)) /* a view does not carry them */
        return false;
    for (int i = w->type->rank - 1; i >= 0; i--) {
        if (!extent_is_const(w->type->axis[i].size))
            return false;
        strides[i] = given ? given->ints.items[i] : step;
        step *= w->type->axis[i].size.base;
    }
    return true;
}

static int64_t weight_start(const Node *w)
{
    const Attr *start = node_attr(w, ATTR_start);
    return start ? start->extent.base : 0;
}

static Node *weight_with(PassContext *px, Node *where, const Node *w, const Type *type, const int64_t *strides,
                         int64_t start, const Node *from)
{
    int64_t stored[MAX_RANK], step = 1;
    bool packed = start == 0;
    for (int i = 0; i < w->type->rank; i++)
        stored[i] = w->type->axis[i].size.base;
    for (int i = type->rank - 1; i >= 0; i--) {
        packed &= strides[i] == step;
        step *= type->axis[i].size.base;
    }
    Node *fresh = node_before(px->cx, where, OP_weight, type, 0, NULL);
    inherit(fresh, w);
    inherit(fresh, from);
    attr_set_name(px->cx, fresh, ATTR_key, attr_name(w, ATTR_key));
    if (node_attr(w, ATTR_stack))
        attr_set_int(px->cx, fresh, ATTR_stack, attr_int(w, ATTR_stack, 1));
    if (attr_name(w, ATTR_storage))
        attr_set_name(px->cx, fresh, ATTR_storage, attr_name(w, ATTR_storage));
    const Attr *had = node_attr(w, ATTR_stored);
    attr_set_ints(px->cx, fresh, ATTR_stored, had ? had->ints.items : stored, had ? had->ints.count : w->type->rank);
    if (!packed)
        attr_set_ints(px->cx, fresh, ATTR_strides, strides, type->rank);
    if (start)
        attr_set_extent(px->cx, fresh, ATTR_start, extent_const(start));
    return fresh;
}

/* The axes out .. out + n_out in place of in .. in + n_in: merged if they lie packed, then split. */
static bool regroup(const Type *from, const int64_t *strides, const Type *to, const Part *g, int64_t *out)
{
    for (int i = g->in; i + 1 < g->in + g->n_in; i++)
        if (strides[i] != strides[i + 1] * from->axis[i + 1].size.base)
            return false;
    int64_t step = strides[g->in + g->n_in - 1];
    for (int i = g->out + g->n_out - 1; i >= g->out; i--) {
        out[i] = step;
        step *= to->axis[i].size.base;
    }
    return true;
}

Node *weight_viewed(PassContext *px, Node *where, const Node *w, const Node *view, const Change *c)
{
    int64_t strides[MAX_RANK], out[MAX_RANK] = {0};
    if (is_kept(w) || !weight_strides(w, strides))
        return NULL;
    for (int k = 0; k < c->n; k++)
        if (!regroup(c->from, strides, c->to, &c->part[k], out))
            return NULL;
    return weight_with(px, where, w, c->to, out, weight_start(w), view);
}

Node *weight_sliced(PassContext *px, Node *where, const Node *w, const Node *view, const Type *to, const char *axis)
{
    int64_t strides[MAX_RANK], out[MAX_RANK] = {0};
    const Attr *start = node_attr(view, ATTR_start);
    if (is_kept(w) || !weight_strides(w, strides) || (start && !extent_is_const(start->extent)))
        return NULL;
    int at = type_find(w->type, axis), drop = w->type->rank - to->rank;
    for (int i = 0; i < w->type->rank; i++) {
        if (drop && i == at)
            continue;
        out[drop && i > at ? i - 1 : i] = strides[i];
    }
    return weight_with(px, where, w, to, out, weight_start(w) + (start ? start->extent.base : 0) * strides[at], view);
}

Node *weight_transposed(PassContext *px, Node *n)
{
    const Node *w = n->inputs[0];
    int64_t strides[MAX_RANK], out[MAX_RANK];
    if (is_kept(w) || !weight_strides(w, strides))
        return NULL;
    for (int i = 0; i < n->type->rank; i++)
        out[i] = strides[type_find(w->type, n->type->axis[i].name)];
    return weight_with(px, n, w, n->type, out, weight_start(w), n);
}

/* ---- who else reads it ------------------------------------------------------------------------------------------- */

static bool same_ints(const Node *a, const Node *b, AttrId id)
{
    const Attr *p = node_attr(a, id), *q = node_attr(b, id);
    if (!p || !q)
        return p == q;
    return p->ints.count == q->ints.count &&
           !memcmp(p->ints.items, q->ints.items, (size_t)p->ints.count * sizeof *p->ints.items);
}

/* The same elements in the same order, whatever the axes are called: one packed copy. */
static bool same_weight(const Node *a, const Node *b)
{
    const Attr *p = node_attr(a, ATTR_start), *q = node_attr(b, ATTR_start);
    if (b->op != OP_weight || strcmp(attr_name(a, ATTR_key), attr_name(b, ATTR_key)) != 0 ||
        a->type->rank != b->type->rank || !same_ints(a, b, ATTR_stored) || !same_ints(a, b, ATTR_strides) ||
        (p ? p->extent.base : 0) != (q ? q->extent.base : 0))
        return false;
    for (int i = 0; i < a->type->rank; i++)
        if (!extent_equal(a->type->axis[i].size, b->type->axis[i].size))
            return false;
    return true;
}

static bool is_among(const Node *n, const Product *products, int count)
{
    for (int i = 0; i < count; i++)
        if (products[i].dot == n)
            return true;
    return false;
}

static const Node *besides(const Node *weight, const Graph *in, const Product *products, int n)
{
    for (int i = 0; i < in->n_results; i++)
        if (same_weight(weight, in->results[i].value))
            return in->results[i].value;
    for (const Node *m = in->first; m; m = m->next) {
        for (int i = 0; i < m->n_inputs; i++)
            if (same_weight(weight, m->inputs[i]) && !is_among(m, products, n))
                return m;
        bool region = m->body && m->body->level != LEVEL_BODY;
        const Node *inner = region ? besides(weight, m->body, products, n) : NULL;
        if (inner)
            return inner;
    }
    return NULL;
}

const Node *reader_besides(const Node *weight, const Product *products, int n)
{
    return besides(weight, graph_model(weight->graph), products, n);
}
