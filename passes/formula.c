/* Formulas that are operators: gelu, gelu_tanh, silu, sigmoid and rsqrt written out.
 *
 * Products and sums are flattened first, so the order of operands does not matter. Constants may be off by one part
 * in a million, as 0.7071 ones in float32 are. */
#include <math.h>
#include "passes/inside.h"

enum { MAX_FACTORS = 8 };

typedef struct Terms { /* scale * factor[0] * .. */
    const Node *atom;  /* not taken apart, even if it is a product itself */
    double scale;
    Node *factor[MAX_FACTORS];
    int n;
    bool too_long;
} Terms;

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * fabs(b);
}

static void add_factor(Terms *p, Node *n)
{
    if (p->n == MAX_FACTORS)
        p->too_long = true;
    else
        p->factor[p->n++] = n;
}

static void flatten(Terms *p, Node *n)
{
    double c;
    if (n == p->atom) {
        add_factor(p, n);
    } else if (is_const(n, &c)) {
        p->scale *= c;
    } else if (n->op == OP_mul && !is_kept(n)) {
        flatten(p, n->inputs[0]);
        flatten(p, n->inputs[1]);
    } else if (n->op == OP_div && is_const(n->inputs[1], &c) && !is_kept(n)) {
        flatten(p, n->inputs[0]);
        p->scale /= c;
    } else if (n->op == OP_neg && !is_kept(n)) {
        flatten(p, n->inputs[0]);
        p->scale = -p->scale;
    } else if (n->op == OP_pow && is_const(n->inputs[1], &c) && (c == 2 || c == 3) && !is_kept(n)) {
        for (int i = 0; i < (int)c; i++)
            add_factor(p, n->inputs[0]);
    } else {
        add_factor(p, n);
    }
}

static Terms product_of(Node *n, const Node *atom)
{
    Terms p = {.atom = atom, .scale = 1};
    flatten(&p, n);
    if (p.too_long)
        p.n = -1;
    return p;
}

/* x^count, up to the scale. */
static bool is_power(const Terms *p, const Node *x, int count)
{
    for (int i = 0; i < p->n; i++)
        if (p->factor[i] != x)
            return false;
    return p->n == count;
}

/* n = 1 + rest */
static Node *one_plus(Node *n)
{
    double c;
    if (n->op != OP_add)
        return NULL;
    for (int i = 0; i < 2; i++)
        if (is_const(n->inputs[i], &c) && near(c, 1))
            return n->inputs[1 - i];
    return NULL;
}

/* y = sqrt(2 / pi) * (x + 0.044715 x^3), or with x in front: sqrt(2 / pi) * x * (1 + 0.044715 x^2) */
static bool is_tanh_argument(Node *y, const Node *x)
{
    static const double outer = 0.79788456080286536, inner = 0.044715;
    Terms p = product_of(y, x);
    if (!near(p.scale, outer))
        return false;
    if (p.n == 1 && p.factor[0]->op == OP_add) {
        for (int i = 0; i < 2; i++) {
            Terms cube = product_of(p.factor[0]->inputs[1 - i], x);
            if (p.factor[0]->inputs[i] == x && is_power(&cube, x, 3) && near(cube.scale, inner))
                return true;
        }
        return false;
    }
    for (int i = 0; i < 2 && p.n == 2; i++) {
        Node *rest = one_plus(p.factor[1 - i]);
        if (p.factor[i] != x || !rest)
            continue;
        Terms square = product_of(rest, x);
        if (is_power(&square, x, 2) && near(square.scale, inner))
            return true;
    }
    return false;
}

static bool is_erf_argument(Node *y, const Node *x)
{
    Terms p = product_of(y, x);
    return is_power(&p, x, 1) && near(p.scale, M_SQRT1_2);
}

/* n = 0.5 * x * e, where x may be a product itself */
static bool is_half_of(Node *n, const Node *x, const Node *e)
{
    Terms p = product_of(n, x);
    return near(p.scale, 0.5) && p.n == 2 &&
           ((p.factor[0] == x && p.factor[1] == e) || (p.factor[1] == x && p.factor[0] == e));
}

/* What may be x in the argument of erf or tanh: every factor on the way down, and the terms of a sum. */
static int candidates(Node *y, Node **out, int n)
{
    double c;
    if (n == MAX_FACTORS || is_const(y, &c))
        return n;
    out[n++] = y;
    bool inside = y->op == OP_mul || y->op == OP_div || y->op == OP_add || y->op == OP_neg;
    for (int i = 0; inside && i < y->n_inputs; i++)
        n = candidates(y->inputs[i], out, n);
    return n;
}

/* 0.5 * x * (1 + erf(x / sqrt 2)) -> gelu x;   0.5 * x * (1 + tanh(...)) -> gelu_tanh x */
static Op gelu_of(Node *n, Node **x)
{
    Terms p = product_of(n, NULL);
    for (int i = 0; i < p.n; i++) {
        Node *rest = one_plus(p.factor[i]), *found[MAX_FACTORS];
        if (!rest || (rest->op != OP_erf && rest->op != OP_tanh))
            continue;
        int count = candidates(rest->inputs[0], found, 0);
        for (int k = 0; k < count; k++) {
            bool fits = rest->op == OP_erf ? is_erf_argument(rest->inputs[0], found[k])
                                           : is_tanh_argument(rest->inputs[0], found[k]);
            *x = found[k];
            if (fits && is_half_of(n, *x, p.factor[i]))
                return rest->op == OP_erf ? OP_gelu : OP_gelu_tanh;
        }
    }
    return OP_COUNT;
}

/* n = 1 + exp(-x) */
static Node *logistic_argument(Node *n)
{
    Node *e = one_plus(n);
    double c;
    if (!e || e->op != OP_exp)
        return NULL;
    Node *y = e->inputs[0];
    if (y->op == OP_neg)
        return y->inputs[0];
    return y->op == OP_mul && is_const(y->inputs[1], &c) && c == -1 ? y->inputs[0] : NULL;
}

static Node *recognised(PassContext *px, Node *n, Op op, Node *x)
{
    Node *r = make_before(px, n, op, NULL, 1, &x, n);
    if (r)
        remark(px, REMARK_PASSED, REMARK_FUSED, n, "the formula is %s", op_info[op].name);
    return r;
}

/* y / (1 + exp(-x)) -> silu x, sigmoid x, or y * sigmoid x */
static Node *logistic(PassContext *px, Node *n)
{
    Node *x = logistic_argument(n->inputs[1]);
    double c;
    if (!x)
        return NULL;
    if (n->inputs[0] == x)
        return recognised(px, n, OP_silu, x);
    if (is_const(n->inputs[0], &c) && c == 1)
        return recognised(px, n, OP_sigmoid, x);
    Node *factors[] = {n->inputs[0], recognised(px, n, OP_sigmoid, x)};
    return factors[1] ? make_before(px, n, OP_mul, NULL, 2, factors, n) : NULL;
}

/* x * sigmoid x -> silu x */
static Node *silu_of(Node *n)
{
    for (int i = 0; i < 2; i++) {
        Node *s = n->inputs[1 - i];
        if (s->op == OP_sigmoid && s->inputs[0] == n->inputs[i] && !is_kept(s))
            return n->inputs[i];
    }
    return NULL;
}

static Node *divided(PassContext *px, Node *n)
{
    Node *r = logistic(px, n);
    double c;
    if (r)
        return r;
    Node *root = n->inputs[1];
    if (root->op == OP_sqrt && is_const(n->inputs[0], &c) && c == 1)
        return make_before(px, n, OP_rsqrt, NULL, 1, root->inputs, n);
    return NULL;
}

Node *simplify_formula(PassContext *px, Node *n)
{
    if ((n->op != OP_mul && n->op != OP_div) || n->type->dtype != DT_F32)
        return NULL;
    Node *x = NULL;
    Op op = gelu_of(n, &x);
    if (op != OP_COUNT)
        return recognised(px, n, op, x);
    if (n->op == OP_div)
        return divided(px, n);
    x = silu_of(n);
    return x ? recognised(px, n, OP_silu, x) : NULL;
}
