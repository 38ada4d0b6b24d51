/* A linear_attend whose mask no sum over keys can keep, as ordinary operators: every query's features times every key's, masked, then the
 * values. The work grows with the square of the length; the result is the kernel's.
 *
 * Exponents of positive and hyperbolic features: of a query below its largest; of a key below its own, which counts against the
 * largest that the row sees. What e^.. is taken of is then at most 0, and the largest weight of a row is not small. */
#include <math.h>
#include <string.h>
#include "passes/linear.h"

typedef struct Expand {
    PassContext *px;
    Node *n; /* what is replaced; new nodes stand before it */
    const char *over, *keys;
    Node *mask, *projection;
} Expand;

static const double lowest = -3.4028234663852886e38;

static Node *number(Expand *e, double x)
{
    return make_const(e->px, e->n, x, DT_F32);
}

static Node *two(Expand *e, Op op, Node *a, Node *b)
{
    return make_two(e->px, e->n, op, a, b);
}

static Node *with_number(Expand *e, Op op, Node *a, double x)
{
    return two(e, op, a, number(e, x));
}

static Node *one(Expand *e, Op op, Node *a)
{
    return make_before(e->px, e->n, op, NULL, 1, &a, e->n);
}

static Node *chosen(Expand *e, Node *condition, Node *a, double otherwise)
{
    Node *inputs[] = {condition, a, number(e, otherwise)};
    return make_before(e->px, e->n, OP_where, NULL, 3, inputs, e->n);
}

static Node *reduced(Expand *e, Op op, Node *a, const char *axis)
{
    return make_over(e->px, e->n, op, NULL, 1, &a, &axis, 1, e->n);
}

static Node *product(Expand *e, Node *a, Node *b, const char *axis)
{
    Node *inputs[] = {a, b};
    return make_over(e->px, e->n, OP_dot, NULL, 2, inputs, &axis, 1, e->n);
}

static Node *squares(Expand *e, Node *x)
{
    return reduced(e, OP_sum, two(e, OP_mul, x, x), e->over);
}

static const char *feature_axis(const Expand *e)
{
    const Type *t = e->projection ? e->projection->type : NULL;
    return t ? t->axis[t->rank - 2].name : e->over;
}

/* ---- features ---------------------------------------------------------------------------------------------------- */

/* A query's or key's features that are no exponentials. */
static Node *plain_features(Expand *e, Node *x)
{
    const Node *n = e->n;
    if (node_features(n, "none"))
        return x;
    if (node_features(n, "relu")) {
        double ratio = attr_float(n, ATTR_ratio, 1);
        Node *u = e->projection ? product(e, x, e->projection, e->over) : x;
        u = with_number(e, OP_maximum, ratio == 1 ? u : with_number(e, OP_mul, u, ratio), 0);
        return with_number(e, OP_add, u, attr_float(n, ATTR_eps, 0));
    }
    Node *below = with_number(e, OP_sub, one(e, OP_exp, with_number(e, OP_minimum, x, 0)), 1);
    Node *inputs[] = {two(e, OP_lt, number(e, 0), x), x, below};
    return with_number(e, OP_add, make_before(e->px, e->n, OP_where, NULL, 3, inputs, e->n), 1);
}

/* One after the other along the axis of features. */
static Node *both(Expand *e, Node *a, Node *b)
{
    const char *axis = feature_axis(e);
    Node *inputs[] = {a, b};
    Type t = *a->type;
    extent_scale(t.axis[type_find(&t, axis)].size, 2, &t.axis[type_find(&t, axis)].size);
    Node *r = node_before(e->px->cx, e->n, OP_concat, type_new(e->px->cx, t.dtype, t.rank, t.axis), 2, inputs);
    inherit(r, e->n);
    attr_set_name(e->px->cx, r, ATTR_axis, axis);
    return r;
}

/* w x, and -w x of hyperbolic features. */
static Node *projected(Expand *e, Node *x)
{
    Node *u = product(e, x, e->projection, e->over);
    return node_features(e->n, "hyperbolic") ? both(e, u, one(e, OP_neg, u)) : u;
}

static Node *below_largest(Expand *e, Node *u)
{
    return one(e, OP_exp, two(e, OP_sub, u, reduced(e, OP_max, u, feature_axis(e))));
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static Node *masked(Expand *e, Node *a, double otherwise)
{
    return e->mask ? chosen(e, e->mask, a, otherwise) : a;
}

static Node *plain_weights(Expand *e, Node *q, Node *k)
{
    return masked(e, product(e, plain_features(e, q), plain_features(e, k), feature_axis(e)), 0);
}

static Node *exponential_weights(Expand *e, Node *q, Node *k)
{
    Node *u = projected(e, q), *offset = role_of(e->n, "offset");
    Node *y = two(e, OP_sub, projected(e, k), with_number(e, OP_mul, squares(e, k), 0.5));
    if (offset)
        y = two(e, OP_add, y, offset);
    Node *own = reduced(e, OP_max, y, feature_axis(e)), *seen = masked(e, own, -INFINITY);
    Node *top = with_number(e, OP_maximum, reduced(e, OP_max, seen, e->keys), lowest);
    Node *a = product(e, below_largest(e, u), one(e, OP_exp, two(e, OP_sub, y, own)), feature_axis(e));
    return two(e, OP_mul, a, one(e, OP_exp, two(e, OP_sub, seen, top)));
}

/* The keys that some row sees: the mask without the axes of rows. */
static Node *seen_keys(Expand *e)
{
    const Type *t = e->mask->type, *k = e->n->inputs[1]->type;
    const char *rows[MAX_RANK];
    int n = 0;
    for (int i = 0; i < t->rank; i++)
        if (type_find(k, t->axis[i].name) < 0)
            rows[n++] = t->axis[i].name;
    if (n == 0)
        return e->mask;
    Node *seen = chosen(e, e->mask, number(e, 1), 0);
    return two(e, OP_lt, number(e, 0), make_over(e->px, e->n, OP_max, NULL, 1, &seen, rows, n, e->n));
}

/* phi(q) . phi(k) as published: each feature scaled and then made larger by eps. */
static Node *padded_weights(Expand *e, Node *q, Node *k, double eps)
{
    const char *axis = feature_axis(e);
    Node *u = projected(e, q), *y = projected(e, k);
    Node *top_u = reduced(e, OP_max, u, axis), *own = reduced(e, OP_max, y, axis);
    Node *top_y = reduced(e, OP_max, e->mask ? chosen(e, seen_keys(e), own, -INFINITY) : own, e->keys);
    top_y = with_number(e, OP_maximum, top_y, lowest);
    Node *fq = two(e, OP_sub, two(e, OP_sub, u, with_number(e, OP_mul, squares(e, q), 0.5)), top_u);
    Node *fk = two(e, OP_sub, two(e, OP_sub, y, with_number(e, OP_mul, squares(e, k), 0.5)), top_y);
    fq = with_number(e, OP_add, one(e, OP_exp, fq), eps);
    fk = with_number(e, OP_add, one(e, OP_exp, fk), eps);
    return masked(e, product(e, fq, fk, axis), 0);
}

/* e^(scale q.c) times the share of c that k has: nearer codes have more of it. */
static Node *code_weights(Expand *e)
{
    double tau = attr_float(e->n, ATTR_tau, 1);
    Node *c = e->projection, *t = product(e, e->n->inputs[0], c, e->over);
    Node *near = two(e, OP_sub, product(e, e->n->inputs[1], c, e->over), with_number(e, OP_mul, squares(e, c), 0.5));
    Node *share = reduced(e, OP_softmax, with_number(e, OP_mul, near, 1 / (tau * tau)), feature_axis(e));
    Node *fq = below_largest(e, with_number(e, OP_mul, t, attr_float(e->n, ATTR_scale, 1)));
    return masked(e, product(e, fq, share, feature_axis(e)), 0);
}

static Node *weights_of(Expand *e)
{
    double scale = attr_float(e->n, ATTR_scale, 1), eps = attr_float(e->n, ATTR_eps, 0);
    if (node_features(e->n, "codes"))
        return code_weights(e);
    Node *q = e->n->inputs[0], *k = e->n->inputs[1];
    if (scale != 1) {
        q = with_number(e, OP_mul, q, sqrt(scale));
        k = with_number(e, OP_mul, k, sqrt(scale));
    }
    if (node_features(e->n, "positive") && eps > 0)
        return padded_weights(e, q, k, eps);
    bool exponential = node_features(e->n, "positive") || node_features(e->n, "hyperbolic");
    return exponential ? exponential_weights(e, q, k) : plain_weights(e, q, k);
}

void linear_expand(PassContext *px, Node *n)
{
    Expand expand = {.px = px,
                     .n = n,
                     .over = node_attr(n, ATTR_over)->names.items[0],
                     .keys = attr_name(n, ATTR_keys),
                     .mask = role_of(n, "mask"),
                     .projection = role_of(n, "projection")},
           *e = &expand;
    Node *before = n->prev, *a = weights_of(e);
    Node *sum = reduced(e, OP_sum, a, e->keys), *zero = two(e, OP_eq, sum, number(e, 0));
    Node *inputs[] = {zero, number(e, 0), two(e, OP_div, product(e, a, n->inputs[2], e->keys), sum)};
    Node *out = make_before(px, n, OP_where, NULL, 3, inputs, n); /* a row that sees no key is zeros */
    out = make_transposed(px, n, out, n->type);
    if (is_kept(n)) { /* and the name is its alone */
        attr_set_bool(px->cx, out, ATTR_keep, true);
        for (Node *m = before ? before->next : n->graph->first; m != n; m = m->next)
            m->name = m == out ? n->name : NULL;
    }
    node_replace(n, out);
    node_remove(n);
}
