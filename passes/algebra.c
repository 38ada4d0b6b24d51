/* One spelling of arithmetic: constants on the right, no signs to push around.
 *
 * Exact in real arithmetic; a division becomes a product only where the reciprocal is exact (a power of two). */
#include <math.h>
#include "passes/inside.h"

static Node *three(PassContext *px, Node *n, Node *condition, Node *a, Node *b)
{
    Node *inputs[] = {condition, a, b};
    return make_before(px, n, OP_where, NULL, 3, inputs, n);
}

static Node *with_const(PassContext *px, Node *n, Op op, Node *a, double c)
{
    return make_two(px, n, op, a, make_const(px, n, c, a->type->dtype));
}

static bool is_value(const Node *n, double value)
{
    double c;
    return is_const(n, &c) && c == value;
}

/* c + x -> x + c */
static Node *const_right(PassContext *px, Node *n)
{
    double c;
    if (!(op_info[n->op].flags & OPF_COMMUTES) || !is_const(n->inputs[0], &c) || is_const(n->inputs[1], &c))
        return NULL;
    return make_two(px, n, n->op, n->inputs[1], n->inputs[0]);
}

/* b + x -> x + b where x has all the axes of b and more: the larger operand leads, and with it the order of axes. */
static Node *wider_left(PassContext *px, Node *n)
{
    Node *a = n->inputs[0], *b = n->inputs[1];
    if (!(op_info[n->op].flags & OPF_COMMUTES) || a->type->rank == 0 || a->type->rank >= b->type->rank ||
        !axes_within(a->type, b->type))
        return NULL;
    Node *turned = make_two(px, n, n->op, b, a);
    return turned ? make_transposed(px, n, turned, n->type) : NULL;
}

/* a * c + b * c -> (a + b) * c */
static Node *common_factor(PassContext *px, Node *n)
{
    Node *a = n->inputs[0], *b = n->inputs[1];
    double c, d;
    if (a->op != OP_mul || b->op != OP_mul || is_kept(a) || is_kept(b) || !is_const(a->inputs[1], &c) ||
        !is_const(b->inputs[1], &d) || c != d || only_reader(a) != n)
        return NULL;
    Node *sum = make_two(px, n, OP_add, a->inputs[0], b->inputs[0]);
    return sum ? with_const(px, n, OP_mul, sum, c) : NULL;
}

/* dot(x, w * c) -> dot(x, w) * c: a weight is not computed anew in every call. */
static Node *scaled_weight(PassContext *px, Node *n)
{
    const Attr *over = node_attr(n, ATTR_over);
    double c;
    for (int i = 0; i < 2; i++) {
        Node *w = n->inputs[i], *inputs[] = {n->inputs[0], n->inputs[1]};
        bool scaled = (w->op == OP_mul || w->op == OP_div) && w->inputs[0]->op == OP_weight && !is_kept(w) &&
                      is_const(w->inputs[1], &c);
        if (!scaled)
            continue;
        inputs[i] = w->inputs[0];
        Node *dot = make_over(px, n, OP_dot, n->type, 2, inputs, over->names.items, over->names.count, n);
        return dot ? with_const(px, n, w->op, dot, c) : NULL;
    }
    return NULL;
}

static Node *simplify_add(PassContext *px, Node *n)
{
    Node *a = n->inputs[0], *b = n->inputs[1];
    if (is_value(b, 0))
        return a;
    Node *r = dtype_is_float(n->type->dtype) ? common_factor(px, n) : NULL;
    if (r)
        return r;
    if (b->op == OP_neg && !is_kept(b))
        return make_two(px, n, OP_sub, a, b->inputs[0]);
    if (a->op == OP_neg && !is_kept(a))
        return make_two(px, n, OP_sub, b, a->inputs[0]);
    return NULL;
}

static Node *simplify_sub(PassContext *px, Node *n)
{
    Node *a = n->inputs[0], *b = n->inputs[1];
    if (is_value(b, 0))
        return a;
    if (b->op == OP_neg && !is_kept(b))
        return make_two(px, n, OP_add, a, b->inputs[0]);
    return NULL;
}

static Node *simplify_mul(PassContext *px, Node *n)
{
    Node *a = n->inputs[0], *b = n->inputs[1];
    double outer, inner;
    if (is_value(b, 1))
        return a;
    if (is_value(b, -1))
        return make_before(px, n, OP_neg, NULL, 1, &a, n);
    /* (x * c) * d -> x * (c * d) */
    if (a->op == OP_mul && !is_kept(a) && is_const(b, &outer) && is_const(a->inputs[1], &inner))
        return with_const(px, n, OP_mul, a->inputs[0], inner * outer);
    return NULL;
}

static bool is_power_of_two(double c)
{
    int exponent;
    return isfinite(c) && fabs(frexp(c, &exponent)) == 0.5 && exponent > -100 && exponent < 100;
}

static Node *simplify_div(PassContext *px, Node *n)
{
    double c;
    if (!dtype_is_float(n->type->dtype) || !is_const(n->inputs[1], &c))
        return NULL;
    if (c == 1)
        return n->inputs[0];
    return is_power_of_two(c) ? with_const(px, n, OP_mul, n->inputs[0], 1 / c) : NULL;
}

static Node *simplify_pow(PassContext *px, Node *n)
{
    Node *x = n->inputs[0];
    double c;
    if (!is_const(n->inputs[1], &c) || is_const(x, &c))
        return NULL;
    if (c == 1)
        return x;
    if (c == 2)
        return make_two(px, n, OP_mul, x, x);
    if (c == 3)
        return make_two(px, n, OP_mul, make_two(px, n, OP_mul, x, x), x);
    if (c == 0.5)
        return make_before(px, n, OP_sqrt, NULL, 1, &x, n);
    return c == -0.5 ? make_before(px, n, OP_rsqrt, NULL, 1, &x, n) : NULL;
}

static Node *simplify_where(PassContext *px, Node *n)
{
    Node *m = n->inputs[0];
    if (n->inputs[1] == n->inputs[2])
        return n->inputs[1];
    if (m->op == OP_not && !is_kept(m) && !is_masked(n->inputs[2])) /* the masked value stands second: masks.c */
        return three(px, n, m->inputs[0], n->inputs[2], n->inputs[1]);
    return NULL;
}

static Node *simplify_pair(Node *n, Op same)
{
    Node *inner = n->inputs[0];
    return inner->op == same && !is_kept(inner) ? inner->inputs[0] : NULL;
}

Node *simplify_algebra(PassContext *px, Node *n)
{
    if (n->op == OP_dot)
        return scaled_weight(px, n);
    if (op_info[n->op].class != CLASS_MAP)
        return NULL;
    Node *r = n->n_inputs == 2 ? const_right(px, n) : NULL;
    if (!r && n->n_inputs == 2)
        r = wider_left(px, n);
    if (r)
        return r;
    switch (n->op) {
    case OP_add: return simplify_add(px, n);
    case OP_sub: return simplify_sub(px, n);
    case OP_mul: return simplify_mul(px, n);
    case OP_div: return simplify_div(px, n);
    case OP_pow: return simplify_pow(px, n);
    case OP_where: return simplify_where(px, n);
    case OP_neg: return simplify_pair(n, OP_neg);
    case OP_not: return simplify_pair(n, OP_not);
    case OP_cast: return n->inputs[0]->type->dtype == n->type->dtype ? n->inputs[0] : NULL;
    default: return NULL;
    }
}
