/* Steps of the generator: elementwise operators, numbers, formulas written out, products, norms, reductions, views. */
#ifndef ATTAR_TESTS_RANDOM_STEPS_H
#define ATTAR_TESTS_RANDOM_STEPS_H

#include "tests/driver/random_base.h"

/* ---- elementwise ------------------------------------------------------------------------------------------------- */

static inline void step_unary(Gen *g)
{
    static const Op ops[] = {OP_tanh, OP_sigmoid, OP_gelu, OP_silu, OP_erf, OP_neg, OP_neg, OP_abs, OP_gelu_tanh,
                             OP_sin, OP_cos};
    GenValue a = gen_pick(g);
    Op op = ops[gen_below(g, 11)];
    bool small = op == OP_tanh || op == OP_sigmoid || op == OP_erf || op == OP_sin || op == OP_cos;
    gen_push(g, gen_op1(g, op, a.node), small ? 1 : a.size);
}

static inline void step_binary(Gen *g)
{
    static const Op ops[] = {OP_add, OP_add, OP_sub, OP_sub, OP_mul, OP_maximum, OP_minimum};
    GenValue a = gen_pick(g), b = gen_pick_within(g, a.node->type, a);
    Op op = ops[gen_below(g, 7)];
    Node *n = gen_one_in(g, 3) ? gen_op2(g, op, b.node, a.node) : gen_op2(g, op, a.node, b.node);
    gen_push(g, n, op == OP_mul ? a.size * b.size : a.size + b.size);
    if (gen_one_in(g, 6)) /* the same value again, or the other way round */
        gen_push(g, gen_op2(g, op, n->inputs[0], n->inputs[1]), op == OP_mul ? a.size * b.size : a.size + b.size);
    if (gen_one_in(g, 6))
        gen_push(g, gen_op2(g, op, n->inputs[1], n->inputs[0]), op == OP_mul ? a.size * b.size : a.size + b.size);
}

/* x with a number on either side. */
static inline void step_scalar(Gen *g)
{
    GenValue a = gen_pick(g);
    static const double numbers[] = {0, 1, -1, 2, 0.5, 0.25, 3, 0.125, -0.75, 1.5};
    double c = numbers[gen_below(g, 10)];
    Node *k = gen_const(g, c), *n;
    switch (gen_below(g, 6)) {
    case 0: n = gen_either(g, OP_add, a.node, k); break;
    case 1: n = gen_op2(g, OP_sub, a.node, k); break;
    case 2: n = gen_op2(g, OP_sub, k, a.node); break;
    case 3: n = gen_op2(g, OP_div, a.node, c == 0 ? gen_const(g, 4) : k); break;
    default: n = gen_either(g, OP_mul, a.node, k); break;
    }
    gen_push(g, n, a.size * 8 + 3);
    if (gen_one_in(g, 2))
        gen_push(g, gen_either(g, OP_mul, n, gen_const(g, numbers[gen_below(g, 10)])), a.size * 24 + 9);
}

static inline void step_where(Gen *g)
{
    GenValue a = gen_pick(g);
    Node *condition = g->bools[gen_below(g, g->n_bools)];
    if (!gen_axes_within(condition->type, a.node->type))
        return;
    if (gen_one_in(g, 3))
        condition = gen_op1(g, OP_not, condition);
    GenValue b = gen_pick_within(g, a.node->type, a);
    Node *other = gen_one_in(g, 2) ? gen_const(g, -0.5) : b.node;
    gen_push(g, gen_one_in(g, 2) ? gen_where(g, condition, a.node, other) : gen_where(g, condition, other, a.node),
             a.size + b.size + 1);
}

/* ---- whole numbers and truth ------------------------------------------------------------------------------------- */

static inline void step_int(Gen *g)
{
    static const Op ops[] = {OP_add, OP_sub, OP_mul, OP_maximum, OP_minimum, OP_div, OP_mod};
    static const double divisors[] = {2, 3, -3, 5, 1, -2};
    GenValue a = g->ints[gen_below(g, g->n_ints)], b = g->ints[gen_below(g, g->n_ints)];
    Op op = ops[gen_below(g, 7)];
    bool divides = op == OP_div || op == OP_mod;
    Node *right = b.node;
    if (divides)
        right = gen_number(g, DT_I32, divisors[gen_below(g, 6)]);
    else if (gen_one_in(g, 2) || !gen_axes_within(b.node->type, a.node->type))
        right = gen_number(g, DT_I32, gen_below(g, 9) - 4);
    Node *n = !divides && gen_one_in(g, 3) ? gen_op2(g, op, right, a.node) : gen_op2(g, op, a.node, right);
    gen_push_int(g, n, divides ? a.size + 5 : op == OP_mul ? a.size * (b.size + 4) : a.size + b.size + 4);
    if (gen_one_in(g, 3))
        gen_push(g, gen_op2(g, OP_mul, gen_cast(g, n, DT_F32), gen_const(g, 1e-4)), 100);
}

static inline void step_bool(Gen *g)
{
    static const Op compare[] = {OP_lt, OP_le, OP_eq, OP_ne}, logic[] = {OP_and, OP_or};
    Node *n;
    if (gen_one_in(g, 2)) {
        GenValue a = g->ints[gen_below(g, g->n_ints)], b = g->ints[gen_below(g, g->n_ints)];
        Op op = compare[gen_below(g, 4)];
        Node *right = gen_number(g, DT_I32, gen_below(g, 5));
        if (gen_axes_within(b.node->type, a.node->type) && gen_one_in(g, 2))
            right = b.node;
        n = gen_one_in(g, 2) ? gen_op2(g, op, a.node, right) : gen_op2(g, op, right, a.node);
    } else {
        Node *a = g->bools[gen_below(g, g->n_bools)], *b = g->bools[gen_below(g, g->n_bools)];
        if (!gen_axes_within(b->type, a->type) || gen_one_in(g, 6))
            b = gen_number(g, DT_BOOL, gen_below(g, 2));
        n = gen_one_in(g, 4) ? gen_op1(g, OP_not, a) : gen_either(g, logic[gen_below(g, 2)], a, b);
    }
    gen_push_bool(g, n);
    if (gen_one_in(g, 4))
        gen_push(g, gen_cast(g, n, DT_F32), 1);
}

/* Numbers that are known at compile time: positions, powers, angles. */
static inline void step_known(Gen *g)
{
    Axis e = gen_one_in(g, 2) ? gen_axis(g, "E", 7) : gen_axis(g, "I", 24), s = gen_symbol_axis(g, "S", g->s);
    Node *i = gen_iota(g, gen_one_in(g, 4) ? s : e, extent_const(gen_below(g, 3)));
    Node *x = gen_op2(g, OP_mul, gen_cast(g, i, DT_F32), gen_const(g, -0.25));
    if (gen_one_in(g, 2))
        x = gen_op1(g, gen_one_in(g, 2) ? OP_exp : OP_cos, x);
    else if (gen_one_in(g, 2))
        x = gen_op2(g, OP_pow, gen_op2(g, OP_sub, gen_const(g, 4), gen_const(g, 1)), x);
    if (gen_one_in(g, 2)) {
        Node *j = gen_cast(g, gen_iota(g, gen_axis(g, "M", 16), extent_const(1)), DT_F32);
        x = gen_op2(g, OP_sub, x, gen_op1(g, OP_sin, gen_op2(g, OP_mul, j, x)));
    }
    gen_push(g, x, 20);
}

/* ---- formulas written out, some of them with a wrong constant ---------------------------------------------------- */

static inline Node *formula_gelu(Gen *g, Node *x, bool wrong)
{
    double half = wrong && gen_one_in(g, 2) ? 0.6 : 0.5, inner = wrong && half == 0.5 ? 0.75 : 0.70710678118654752;
    Node *y = gen_one_in(g, 2) ? gen_either(g, OP_mul, x, gen_const(g, inner))
        : gen_op2(g, OP_div, x, gen_const(g, 1 / inner));
    Node *e = gen_either(g, OP_add, gen_op1(g, OP_erf, y), gen_const(g, 1));
    if (gen_one_in(g, 2))
        return gen_either(g, OP_mul, gen_either(g, OP_mul, x, gen_const(g, half)), e);
    return gen_either(g, OP_mul, gen_either(g, OP_mul, x, e), gen_const(g, half));
}

static inline Node *formula_gelu_tanh(Gen *g, Node *x, bool wrong)
{
    double inner = wrong && gen_one_in(g, 2) ? 0.05 : 0.044715, outer = wrong && inner != 0.05 ? 0.8
        : 0.79788456080286536;
    Node *square = gen_op2(g, OP_mul, x, x), *cube = gen_one_in(g, 2) ? gen_op2(g, OP_pow, x, gen_const(g, 3))
        : gen_either(g, OP_mul, square, x);
    Node *y = gen_either(g, OP_add, x, gen_either(g, OP_mul, cube, gen_const(g, inner)));
    if (gen_one_in(g, 3))
        y = gen_op2(g, OP_mul, x, gen_either(g, OP_add, gen_const(g, 1),
                                             gen_op2(g, OP_mul, square, gen_const(g, inner))));
    Node *t = gen_op1(g, OP_tanh, gen_either(g, OP_mul, y, gen_const(g, outer)));
    return gen_either(g, OP_mul, gen_op2(g, OP_mul, x, gen_const(g, 0.5)), gen_either(g, OP_add, t, gen_const(g, 1)));
}

/* y / (1 + exp(-x)) with y = x, 1 or something else. */
static inline Node *formula_logistic(Gen *g, Node *x, bool wrong)
{
    Node *minus = gen_one_in(g, 2) ? gen_op1(g, OP_neg, x) : gen_op2(g, OP_mul, x, gen_const(g, wrong ? -0.5 : -1));
    Node *under = gen_either(g, OP_add, gen_op1(g, OP_exp, minus), gen_const(g, wrong && gen_one_in(g, 2) ? 1.5 : 1));
    Node *over = gen_one_in(g, 2) ? x : gen_const(g, wrong ? 2 : 1);
    return gen_op2(g, OP_div, over, under);
}

static inline Node *formula_softmax(Gen *g, Node *x, bool wrong)
{
    const Type *t = x->type;
    const char *axis = t->axis[gen_below(g, t->rank)].name, *other = t->axis[gen_below(g, t->rank)].name;
    Node *shifted = gen_one_in(g, 2) ? x : gen_op2(g, OP_sub, x, gen_reduce(g, OP_max, x, wrong ? other : axis));
    Node *e = gen_op1(g, OP_exp, shifted);
    gen_maybe_keep(g, e);
    Node *total = gen_reduce(g, OP_sum, wrong && gen_one_in(g, 2) ? gen_op1(g, OP_exp, gen_op1(g, OP_neg, x))
                             : e, axis);
    return gen_op2(g, OP_div, e, total);
}

static inline void step_formula(Gen *g)
{
    GenValue a = gen_pick(g);
    Node *x = a.size > 4 ? gen_op1(g, OP_tanh, a.node) : a.node, *y;
    bool wrong = gen_one_in(g, 3);
    switch (gen_below(g, 6)) {
    case 0: y = formula_gelu(g, x, wrong); break;
    case 1: y = formula_gelu_tanh(g, x, wrong); break;
    case 2: y = formula_logistic(g, x, wrong); break;
    case 3: y = x->type->rank ? formula_softmax(g, x, wrong) : x; break;
    case 4: y = gen_op2(g, OP_div, gen_const(g, wrong ? 2 : 1),
                        gen_op1(g, OP_sqrt, gen_op2(g, OP_add, gen_op2(g, OP_mul, x, x), gen_const(g, 0.5)))); break;
    default: {
        static const double powers[] = {2, 3, 0.5, -0.5, 1, -1, 4};
        y = gen_op2(g, OP_pow, gen_op2(g, OP_add, gen_op1(g, OP_abs, x), gen_const(g, 0.5)),
                    gen_const(g, powers[gen_below(g, 7)]));
        gen_push(g, gen_op1(g, OP_tanh, y), 1);
        return;
    }
    }
    gen_push(g, y, 8);
    if (gen_one_in(g, 2))
        gen_push(g, gen_op2(g, OP_mul, a.node, gen_op1(g, OP_sigmoid, a.node)), a.size);
}

/* ---- products, norms, reductions --------------------------------------------------------------------------------- */

static inline void step_linear(Gen *g)
{
    GenValue a = gen_pick(g);
    if (!gen_last_const(a.node->type) || a.node->type->rank > 4)
        return;
    Axis out = gen_new_axis(g, a.node->type);
    int together = 1 + gen_below(g, 3);
    Node *first = NULL;
    for (int i = 0; i < together; i++) {
        Node *y = gen_linear(g, a.node, 1, &out);
        if (gen_one_in(g, 2))
            y = gen_either(g, OP_add, y, gen_weight(g, 1, &out, 1));
        if (gen_one_in(g, 3))
            y = gen_op1(g, gen_one_in(g, 2) ? OP_silu : OP_tanh, y);
        gen_push(g, y, a.size * 3);
        if (first && gen_one_in(g, 2)) /* a gate */
            gen_push(g, gen_op2(g, OP_mul, first, y), a.size * a.size * 9);
        first = y;
        if (gen_one_in(g, 3))
            out = gen_new_axis(g, a.node->type);
    }
    if (gen_last_const(first->type) && gen_one_in(g, 2)) { /* back to where it came from, and the residual */
        Axis in = gen_last(a.node->type);
        if (type_find(first->type, in.name) < 0)
            gen_push(g, gen_either(g, OP_add, gen_linear(g, gen_op1(g, OP_tanh, first), 1, &in), a.node), a.size + 3);
    }
}

/* A product whose weight shares an axis with the rows: no gemm. */
static inline void step_shared_product(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    if (t->rank < 2 || !gen_last_const(t) || !extent_is_const(t->axis[t->rank - 2].size))
        return;
    Axis axes[] = {t->axis[t->rank - 2], gen_new_axis(g, t), gen_last(t)};
    gen_push(g, gen_dot(g, a.node, gen_weight(g, 3, axes, 1.5 / sqrt((double)axes[2].size.base)), axes[2].name),
             a.size * 3);
}

/* A product that sums over two axes, in either order. */
static inline void step_wide_product(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    if (t->rank < 2 || t->rank > 5 || !gen_last_const(t) || !extent_is_const(t->axis[t->rank - 2].size))
        return;
    Axis p = t->axis[t->rank - 2], q = gen_last(t);
    for (int i = 0; i < 2; i++) {
        Axis out = gen_new_axis(g, t), axes[] = {p, q, out};
        const Type *stored = gen_shuffled(g, gen_type(g, DT_F32, 3, axes));
        const char *over[] = {p.name, q.name};
        g->sums_over_two = true;
        Node *w = gen_weight(g, 3, stored->axis, 1.5 / sqrt((double)(p.size.base * q.size.base)));
        Node *n = gen_dot_over(g, a.node, w, over, 2, NULL);
        gen_push(g, gen_one_in(g, 2) ? n : gen_either(g, OP_add, n, gen_weight(g, 1, &out, 1)), a.size * 3);
    }
}

static inline void step_norm(Gen *g)
{
    GenValue a = gen_pick(g);
    if (!gen_last_const(a.node->type))
        return;
    Axis d = gen_last(a.node->type);
    Node *x = a.node;
    if (gen_one_in(g, 2))
        x = gen_op2(g, OP_sub, x, gen_reduce(g, OP_mean, x, d.name));
    Node *variance = gen_reduce(g, OP_mean, gen_one_in(g, 2) ? gen_op2(g, OP_mul, x, x)
                                : gen_op2(g, OP_pow, x, gen_const(g, 2)), d.name);
    Node *shifted = gen_either(g, OP_add, variance, gen_const(g, 1e-3));
    Node *y = gen_one_in(g, 2) ? gen_either(g, OP_mul, x, gen_op1(g, OP_rsqrt, shifted))
        : gen_op2(g, OP_div, x, gen_op1(g, OP_sqrt, shifted));
    y = gen_either(g, OP_mul, y, gen_weight(g, 1, &d, 1));
    if (gen_one_in(g, 2))
        y = gen_either(g, OP_add, y, gen_weight(g, 1, &d, 1));
    gen_push(g, y, 6);
}

/* x scaled row by row, with a gain or without, for products that are all that read it; and x again. */
static inline void step_scaled_products(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    if (!gen_last_const(t) || t->rank < 2 || t->rank > 4)
        return;
    Axis d = gen_last(t);
    Node *mean = gen_reduce(g, OP_mean, gen_op2(g, OP_mul, a.node, a.node), d.name);
    Node *y = gen_op2(g, OP_mul, a.node, gen_op1(g, OP_rsqrt, gen_op2(g, OP_add, mean, gen_const(g, 1e-3))));
    Node *gain = gen_weight(g, 1, &d, 1);
    if (gen_one_in(g, 3))
        gain = gen_either(g, OP_add, gain, gen_const(g, 1));
    if (gen_one_in(g, 2))
        y = gen_op2(g, OP_mul, y, gain);
    for (int i = 1 + gen_below(g, 3); i > 0; i--) {
        Axis out = gen_new_axis(g, t);
        gen_push(g, gen_linear(g, y, 1, &out), 18);
    }
    if (gen_one_in(g, 6))
        gen_push(g, y, 6);
    if (gen_one_in(g, 2))
        gen_push(g, gen_op1(g, OP_tanh, a.node), 1);
}

static inline void step_softmax(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    if (t->rank == 0)
        return;
    const char *axis = gen_one_in(g, 2) ? gen_last(t).name : t->axis[gen_below(g, t->rank)].name;
    gen_push(g, gen_reduce(g, OP_softmax, a.node, axis), 1);
}

static inline void step_reduce(Gen *g)
{
    static const Op ops[] = {OP_mean, OP_max, OP_sum};
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    if (t->rank < 2)
        return;
    Op op = ops[gen_below(g, 3)];
    const char *over[MAX_RANK];
    int count = 0, from = gen_below(g, t->rank), most = 1 + gen_below(g, t->rank - 1);
    for (int i = 0; i < most; i++)
        over[count++] = t->axis[(from + i) % t->rank].name;
    Node *r = gen_over(g, op, a.node, over, count);
    gen_push(g, r, op == OP_sum ? 31 : a.size);
    if (gen_one_in(g, 2)) /* back against what it was taken from */
        gen_push(g, gen_op2(g, gen_one_in(g, 2) ? OP_sub : OP_mul, a.node, g->pool[g->n_pool - 1].node), a.size * 4);
}

/* ---- views and moves --------------------------------------------------------------------------------------------- */

static inline int gen_const_axis(Gen *g, const Type *t)
{
    for (int tries = 0; tries < 4 && t->rank; tries++) {
        int i = gen_below(g, t->rank);
        if (extent_is_const(t->axis[i].size) && t->axis[i].size.base >= 2)
            return i;
    }
    return -1;
}

static inline const Type *gen_cut(Gen *g, const Type *t, int axis, const char *name, int64_t size)
{
    Type out = *t;
    out.axis[axis] = gen_axis(g, name, size);
    return gen_type(g, out.dtype, out.rank, out.axis);
}

static inline void step_slice(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    int axis = gen_const_axis(g, t);
    if (axis < 0)
        return;
    int64_t size = t->axis[axis].size.base, cut = 1 + gen_below(g, (int)size - 1);
    if (type_find(t, gen_name(g, "Lo")) >= 0 || type_find(t, gen_name(g, "Hi")) >= 0)
        return;
    if (gen_one_in(g, 4)) { /* one position */
        Type one = *t;
        memmove(&one.axis[axis], &one.axis[axis + 1], (size_t)(t->rank - axis - 1) * sizeof *one.axis);
        one.rank--;
        gen_push(g, gen_sliced(g, a.node, axis, gen_below(g, (int)size), gen_type(g, DT_F32, one.rank, one.axis)),
                 a.size);
        return;
    }
    Node *parts[] = {gen_sliced(g, a.node, axis, 0, gen_cut(g, t, axis, "Lo", cut)),
                     gen_sliced(g, a.node, axis, cut, gen_cut(g, t, axis, "Hi", size - cut))};
    if (cut > 1 && gen_one_in(g, 3)) /* a part of a part */
        parts[0] = gen_sliced(g, parts[0], axis, 1, gen_cut(g, t, axis, "Lo", cut - 1));
    else if (gen_one_in(g, 2)) { /* together again, the other way round */
        Node *joined = node_new(g->cx, g->here, OP_concat, t, 2, (Node *[]){parts[1], parts[0]});
        attr_set_name(g->cx, joined, ATTR_axis, t->axis[axis].name);
        gen_push(g, gen_typed(g, joined, t), a.size);
        return;
    }
    gen_push(g, parts[0], a.size);
    gen_push(g, parts[1], a.size);
}

/* The last axis as two, or two constant neighbours as one. */
static inline void step_view(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    Axis axes[MAX_RANK + 1];
    memcpy(axes, t->axis, sizeof t->axis);
    if (!gen_last_const(t) || type_find(t, gen_name(g, "P")) >= 0 || type_find(t, gen_name(g, "PQ")) >= 0)
        return;
    int64_t size = gen_last(t).size.base;
    if (t->rank >= 2 && extent_is_const(axes[t->rank - 2].size) && gen_one_in(g, 2)) {
        axes[t->rank - 2] = gen_axis(g, "PQ", size * axes[t->rank - 2].size.base);
        gen_push(g, gen_view(g, a.node, t->rank - 1, axes), a.size);
    } else if (size % 2 == 0 && t->rank < 6) {
        axes[t->rank - 1] = gen_axis(g, "P", 2);
        axes[t->rank] = gen_axis(g, "PQ", size / 2);
        gen_push(g, gen_view(g, a.node, t->rank + 1, axes), a.size);
    }
}

static inline void step_transpose(Gen *g)
{
    GenValue a = gen_pick(g);
    if (a.node->type->rank < 2)
        return;
    Node *n = gen_node(g, OP_transpose, 1, (Node *[]){a.node}, gen_shuffled(g, a.node->type));
    gen_push(g, n, a.size);
    if (gen_one_in(g, 2))
        gen_push(g, gen_op1(g, gen_one_in(g, 2) ? OP_neg : OP_tanh, n), a.size);
}

static inline void step_expand(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    if (t->rank == 0 || t->rank > 4)
        return;
    Type to = *t;
    int at = gen_below(g, t->rank + 1);
    memmove(&to.axis[at + 1], &to.axis[at], (size_t)(t->rank - at) * sizeof *to.axis);
    to.axis[at] = gen_new_axis(g, t);
    to.rank++;
    const Type *type = gen_type(g, DT_F32, to.rank, to.axis);
    Node *n = node_new(g->cx, g->here, OP_expand, type, 1, (Node *[]){a.node});
    attr_set_name(g->cx, n, ATTR_axis, to.axis[at].name);
    gen_push(g, gen_typed(g, n, type), a.size);
}

/* The positions of the largest of some whole numbers, which kernels order as the mathematics does, and what another
 * value has there. */
static inline void step_order(Gen *g)
{
    GenValue a = g->ints[gen_below(g, g->n_ints)], v = gen_pick(g);
    Type t = *a.node->type;
    if (!t.rank)
        return;
    int axis = gen_below(g, t.rank);
    Axis from = t.axis[axis], to = gen_new_axis(g, &t);
    to.size = extent_is_const(from.size) && from.size.base > 1 ? extent_const(1 + gen_below(g, (int)from.size.base)) : extent_const(1);
    to.name = gen_name(g, arena_print(g->cx->arena, "J%d", (int)to.size.base));
    t.dtype = DT_I32;
    t.axis[axis] = to;
    if (type_find(a.node->type, to.name) >= 0)
        return;
    Node *x = gen_cast(g, a.node, DT_F32), *n = node_new(g->cx, g->here, OP_topk, NULL, 1, &x);
    attr_set_names(g->cx, n, ATTR_over, &from.name, 1);
    attr_set_name(g->cx, n, ATTR_axis, to.name);
    gen_push_int(g, gen_typed(g, n, gen_type(g, DT_I32, t.rank, t.axis)), 60);
    int rank = t.rank;
    for (int i = 0; i < v.node->type->rank; i++)
        rank += type_find(&t, v.node->type->axis[i].name) < 0;
    if (type_find(v.node->type, from.name) < 0 || rank > 5)
        return;
    Node *there = node_new(g->cx, g->here, OP_gather, NULL, 2, (Node *[]){v.node, n});
    attr_set_names(g->cx, there, ATTR_over, &from.name, 1);
    gen_push(g, gen_typed(g, there, NULL), v.size);
}

/* Running sums and maxima. */
static inline void step_scan(Gen *g)
{
    GenValue a = gen_pick(g);
    if (!a.node->type->rank)
        return;
    Op op = gen_one_in(g, 2) ? OP_cumsum : OP_cummax;
    const char *axis = a.node->type->axis[gen_below(g, a.node->type->rank)].name;
    Node *n = gen_reduce(g, op, a.node, axis);
    if (gen_one_in(g, 3))
        attr_set_bool(g->cx, n, ATTR_reverse, true);
    if (op == OP_cumsum && gen_one_in(g, 3))
        attr_set_bool(g->cx, n, ATTR_exclusive, true);
    gen_push(g, gen_op2(g, OP_mul, n, gen_const(g, 0.125)), a.size * (op == OP_cumsum ? 8 : 1));
}

static inline void step_gather(Gen *g)
{
    Axis d = gen_new_axis(g, g->ids->type);
    Axis axes[2] = {gen_axis(g, "V", 11), d};
    Node *ids = g->ids;
    if (gen_one_in(g, 3)) { /* a computed row */
        GenValue i = g->ints[gen_below(g, g->n_ints)];
        if (i.node->type->rank && type_find(i.node->type, d.name) < 0 && type_find(i.node->type, axes[0].name) < 0)
            ids = gen_op2(g, OP_mod, i.node, gen_number(g, DT_I32, 11));
    }
    Node *n = node_new(g->cx, g->here, OP_gather, NULL, 2, (Node *[]){gen_weight(g, 2, axes, 1), ids});
    attr_set_names(g->cx, n, ATTR_over, &axes[0].name, 1);
    gen_push(g, gen_typed(g, n, NULL), 1);
}

#endif
