/* A codebook_attend whose mask its kernel cannot keep, as ordinary operators: every query times every key's nearest code. The work grows
 * with the square of the length; the result is the kernel's. */
#include <math.h>
#include <string.h>
#include "passes/linear.h"

typedef struct Expand {
    PassContext *px;
    Node *n; /* what is replaced; new nodes stand before it */
    const char *over, *keys, *queries;
    Node *q, *k, *codes;
    int64_t block; /* of recent keys; 0: there are none such */
} Expand;

static Node *number(Expand *e, double x)
{
    return make_const(e->px, e->n, x, DT_F32);
}

static Node *whole(Expand *e, int64_t x)
{
    return make_const(e->px, e->n, (double)x, DT_I32);
}

static Node *two(Expand *e, Op op, Node *a, Node *b)
{
    return make_two(e->px, e->n, op, a, b);
}

static Node *chosen(Expand *e, Node *condition, Node *a, Node *b)
{
    Node *inputs[] = {condition, a, b};
    return make_before(e->px, e->n, OP_where, NULL, 3, inputs, e->n);
}

static Node *reduced(Expand *e, Op op, Node *a, const char *axis)
{
    return make_over(e->px, e->n, op, NULL, 1, &a, &axis, 1, e->n);
}

static Node *of_two(Expand *e, Op op, Node *a, Node *b, const char *axis)
{
    Node *inputs[] = {a, b};
    return make_over(e->px, e->n, op, NULL, 2, inputs, &axis, 1, e->n);
}

/* ---- keys ---------------------------------------------------------------------------------------------------------- */

/* The position of the largest along the axis, of equal ones the first. */
static Node *position_of_largest(Expand *e, Node *x, const char *over)
{
    Context *cx = e->px->cx;
    const char *one = name_of(cx->names, "nearest");
    Type t = *x->type, rest = {.dtype = DT_I32};
    int axis = type_find(&t, over);
    t.dtype = DT_I32;
    t.axis[axis] = (Axis){one, extent_const(1)};
    for (int i = 0; i < t.rank; i++)
        if (i != axis)
            rest.axis[rest.rank++] = t.axis[i];
    Node *top = node_before(cx, e->n, OP_topk, type_new(cx, t.dtype, t.rank, t.axis), 1, &x);
    inherit(top, e->n);
    attr_set_names(cx, top, ATTR_over, &over, 1);
    attr_set_name(cx, top, ATTR_axis, one);
    Node *first = node_before(cx, e->n, OP_slice, type_new(cx, rest.dtype, rest.rank, rest.axis), 1, &top);
    inherit(first, e->n);
    attr_set_name(cx, first, ATTR_axis, one);
    attr_set_extent(cx, first, ATTR_start, extent_const(0));
    return first;
}

/* Each key's nearest code; what a key that is no number gets here does not matter. */
static Node *quantised(Expand *e)
{
    const char *code = e->codes->type->axis[e->codes->type->rank - 2].name;
    Node *squares = reduced(e, OP_sum, two(e, OP_mul, e->codes, e->codes), e->over);
    Node *near = two(e, OP_sub, two(e, OP_mul, of_two(e, OP_dot, e->k, e->codes, e->over), number(e, 2)), squares);
    return of_two(e, OP_gather, e->codes, position_of_largest(e, near, code), code);
}

/* ---- scores -------------------------------------------------------------------------------------------------------- */

static Node *positions(Expand *e, const char *axis, Extent size, Extent start)
{
    Context *cx = e->px->cx;
    Node *n = node_before(cx, e->n, OP_iota, type_new(cx, DT_I32, 1, &(Axis){axis, size}), 0, NULL);
    if (!extent_is_const(start) || start.base)
        attr_set_extent(cx, n, ATTR_start, start);
    return n;
}

static Node *masked(Expand *e, Node *score, Node *i, Node *j)
{
    Node *mask = role_of(e->n, "mask"), *keep = role_of(e->n, "keep"), *none = number(e, -INFINITY);
    if (mask)
        score = chosen(e, mask, score, none);
    if (keep)
        score = chosen(e, two(e, OP_ne, keep, whole(e, 0)), score, none);
    return attr_bool(e->n, ATTR_causal, false) ? chosen(e, two(e, OP_le, j, i), score, none) : score;
}

/* A key that is no number has no code: times 0 it makes its scores no numbers either. */
static Node *scores(Expand *e)
{
    const Type *q = e->q->type, *k = e->k->type;
    Axis rows = q->axis[type_find(q, e->queries)], keys = k->axis[type_find(k, e->keys)];
    Extent first;
    const char *recent = attr_name(e->n, ATTR_recent);
    Node *s = of_two(e, OP_dot, e->q, quantised(e), e->over), *bias = role_of(e->n, "bias");
    Node *scale = number(e, attr_float(e->n, ATTR_scale, 1));
    if (!extent_sub(keys.size, rows.size, &first))
        return NULL;
    Node *i = positions(e, rows.name, rows.size, first), *j = positions(e, keys.name, keys.size, extent_const(0));
    s = two(e, OP_add, two(e, OP_mul, s, scale), two(e, OP_mul, reduced(e, OP_sum, e->k, e->over), number(e, 0)));
    if (e->block) {
        Node *before = two(e, OP_sub, two(e, OP_div, i, whole(e, e->block)), whole(e, 1));
        Node *near = two(e, OP_le, before, two(e, OP_div, j, whole(e, e->block))), *close = s;
        if (recent && !strcmp(recent, "keys"))
            close = two(e, OP_mul, of_two(e, OP_dot, e->q, e->k, e->over), scale);
        if (bias) {
            const Axis *distance = &bias->type->axis[bias->type->rank - 1];
            Node *d = two(e, OP_minimum, two(e, OP_maximum, two(e, OP_sub, i, j), whole(e, 0)),
                          whole(e, distance->size.base - 1));
            close = two(e, OP_add, close, of_two(e, OP_gather, bias, d, distance->name));
        }
        s = chosen(e, near, close, s);
    }
    return masked(e, s, i, j);
}

bool codebook_expand(PassContext *px, Node *n)
{
    Expand expand = {.px = px,
                     .n = n,
                     .over = node_attr(n, ATTR_over)->names.items[0],
                     .keys = attr_name(n, ATTR_keys),
                     .queries = attr_name(n, ATTR_queries),
                     .q = n->inputs[0],
                     .k = n->inputs[1],
                     .codes = role_of(n, "codebook"),
                     .block = attend_recent(n)},
           *e = &expand;
    Node *s = attr_name(n, ATTR_cache) ? NULL : scores(e);
    if (!s)
        return false;
    Node *weights = reduced(e, OP_softmax, s, e->keys), *out = of_two(e, OP_dot, weights, n->inputs[2], e->keys);
    out = make_transposed(px, n, out, n->type);
    if (is_kept(n))
        attr_set_bool(px->cx, out, ATTR_keep, true);
    node_replace(n, out);
    node_remove(n);
    return true;
}
