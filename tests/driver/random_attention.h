/* Steps of the generator: attention in many shapes, masks, rotary positions, caches, and what only looks like it. */
#ifndef ATTAR_TESTS_RANDOM_ATTENTION_H
#define ATTAR_TESTS_RANDOM_ATTENTION_H

#include "tests/driver/random_base.h"
#include "tests/driver/random_latent.h"

typedef struct Attention {
    GenValue x, y;      /* what queries, and keys and values, are made of: [B, S, constant] */
    Axis b, s, t, k, w; /* t: the keys' positions; k, w: the width of keys and of values */
    Axis q_heads[2], k_heads[1];
    int n_q, n_k; /* heads: [H] and [H], [G, R] and [G], [H] and none, none and none */
    Extent first; /* position of the first query */
    bool cached;
    Node *q, *keys, *values;
} Attention;

static inline void choose_heads(Gen *g, Attention *a)
{
    switch (gen_below(g, 5)) {
    case 0:
    case 1:
        a->q_heads[0] = a->k_heads[0] = gen_axis(g, "H", 3);
        a->n_q = a->n_k = 1;
        break;
    case 2:
        a->q_heads[0] = a->k_heads[0] = gen_axis(g, "G", 2);
        a->q_heads[1] = gen_axis(g, "R", 2);
        a->n_q = 2;
        a->n_k = 1;
        break;
    case 3:
        a->q_heads[0] = gen_axis(g, "H", 3);
        a->n_q = 1;
        a->n_k = 0;
        break;
    default: a->n_q = a->n_k = 0;
    }
    static const int64_t widths[] = {8, 6, 32, 6}; /* a gemm rotates heads of 32 */
    a->k = gen_axis(g, "K", widths[gen_below(g, 4)]);
    a->w = gen_one_in(g, 3) ? gen_axis(g, "W", 5) : a->k;
}

/* Heads by a product with several axes, or by one with a merged axis that is split. */
static inline Node *project(Gen *g, Node *x, int n_heads, const Axis *heads, Axis width, const char *merged)
{
    Axis axes[3], whole[MAX_RANK];
    int64_t size = width.size.base;
    for (int i = 0; i < n_heads; i++) {
        axes[i] = heads[i];
        size *= heads[i].size.base;
    }
    axes[n_heads] = width;
    bool biased = gen_one_in(g, 3);
    if (n_heads == 0 || gen_one_in(g, 2)) {
        Node *n = gen_linear(g, x, n_heads + 1, axes);
        return biased ? gen_either(g, OP_add, n, gen_weight(g, n_heads + 1, axes, 0.5)) : n;
    }
    Axis one = gen_axis(g, merged, size);
    Node *n = gen_linear(g, x, 1, &one);
    const Type *t = x->type;
    if (biased)
        n = gen_either(g, OP_add, n, gen_weight(g, 1, &one, 0.5));
    if (!extent_equal(gen_last(n->type).size, one.size)) { /* the weight's axes lead */
        Axis order[] = {t->axis[0], t->axis[1], one};
        n = gen_ordered(g, n, gen_type(g, DT_F32, 3, order));
    }
    memcpy(whole, t->axis, 2 * sizeof *whole);
    memcpy(whole + 2, axes, (size_t)(n_heads + 1) * sizeof *whole);
    return gen_view(g, n, n_heads + 3, whole);
}

/* Queries, keys and values as slices of one product. */
static inline void project_together(Gen *g, Attention *a)
{
    int64_t size = a->q_heads[0].size.base * a->k.size.base;
    Axis all = gen_axis(g, "QKV", 3 * size), part = gen_axis(g, "Part", size),
        axes[4] = {a->b, a->s, a->q_heads[0], a->k};
    Axis order[] = {a->b, a->s, all};
    Node *n = gen_either(g, OP_add, gen_linear(g, a->x.node, 1, &all), gen_weight(g, 1, &all, 0.5));
    n = gen_ordered(g, n, gen_type(g, DT_F32, 3, order));
    order[2] = part;
    const Type *cut = gen_type(g, DT_F32, 3, order);
    a->q = gen_view(g, gen_sliced(g, n, 2, 0, cut), 4, axes);
    a->keys = gen_view(g, gen_sliced(g, n, 2, size, cut), 4, axes);
    a->values = gen_view(g, gen_sliced(g, n, 2, 2 * size, cut), 4, axes);
}

static inline Node *in_rows(Gen *g, const Attention *a, Node *n, int n_heads, const Axis *heads, Axis width)
{
    Axis axes[5] = {a->b, a->s};
    for (int i = 0; i < n_heads; i++)
        axes[2 + i] = heads[i];
    axes[2 + n_heads] = width;
    return gen_ordered(g, n, gen_type(g, DT_F32, n_heads + 3, axes));
}

static inline void choose_values(Gen *g, Attention *a)
{
    bool same_heads = a->n_q == 1 && a->n_k == 1 && a->w.name == a->k.name;
    if (same_heads && a->x.node == a->y.node && gen_one_in(g, 2)) {
        project_together(g, a);
        return;
    }
    a->q = in_rows(g, a, project(g, a->x.node, a->n_q, a->q_heads, a->k, "QW"), a->n_q, a->q_heads, a->k);
    a->keys = in_rows(g, a, project(g, a->y.node, a->n_k, a->k_heads, a->k, "KW"), a->n_k, a->k_heads, a->k);
    a->values = in_rows(g, a, project(g, a->y.node, a->n_k, a->k_heads, a->w, "VW"), a->n_k, a->k_heads, a->w);
}

/* ---- positions --------------------------------------------------------------------------------------------------- */

static inline Node *rotated(Gen *g, const Attention *a, Node *x, Node *cos, Node *sin)
{
    Node *n = gen_node(g, OP_rotate, 3, (Node *[]){x, cos, sin}, NULL);
    (void)a;
    return n;
}

static inline void rotate_both(Gen *g, Attention *a)
{
    Axis half = gen_axis(g, "Half", a->k.size.base / 2 - gen_one_in(g, 4)); /* or the first channels alone */
    Node *p = gen_cast(g, gen_iota(g, a->s, a->first), DT_F32);
    Node *e = gen_op2(g, OP_mul, gen_cast(g, gen_iota(g, half, extent_const(0)), DT_F32), gen_const(g, -0.5));
    Node *f = gen_op2(g, OP_pow, gen_const(g, 10000), e);
    Node *angle = gen_op2(g, OP_mul, p, f);
    Node *cos = gen_op1(g, OP_cos, angle), *sin = gen_op1(g, OP_sin, angle);
    bool interleave = gen_one_in(g, 2);
    a->q = rotated(g, a, a->q, cos, sin);
    a->keys = rotated(g, a, a->keys, cos, sin);
    if (interleave) {
        attr_set_bool(g->cx, a->q, ATTR_interleave, true);
        attr_set_bool(g->cx, a->keys, ATTR_interleave, true);
    }
    gen_maybe_keep(g, a->keys);
}

/* ---- caches ------------------------------------------------------------------------------------------------------ */

static inline const char *add_cache(Gen *g, const Type *value)
{
    Graph *m = g->model;
    Type t = *value;
    const char *name = gen_name(g, arena_print(g->cx->arena, "kv.c%d", g->next_cache++));
    t.axis[1] = gen_axis(g, "T", GEN_CAPACITY);
    m->caches = arena_grow(g->cx->arena, m->caches, (size_t)m->n_caches, (size_t)m->n_caches + 1, sizeof *m->caches);
    m->caches[m->n_caches++] = (Cache){.name = name,
                                       .type = gen_type(g, DT_F32, t.rank, t.axis),
                                       .growing = 1,
                                       .layers = g->here == g->model ? 1 : GEN_ROUNDS};
    return name;
}

static inline Node *appended(Gen *g, Node *value)
{
    Node *layer = g->here == g->model ? gen_number(g, DT_I32, 0) : g->index;
    Node *n = node_new(g->cx, g->here, OP_append, NULL, 2, (Node *[]){value, layer});
    attr_set_name(g->cx, n, ATTR_cache, add_cache(g, value->type));
    return gen_typed(g, n, NULL);
}

static inline Node *as_keys(Gen *g, const Attention *a, Node *n)
{
    Axis axes[MAX_RANK];
    memcpy(axes, n->type->axis, sizeof axes);
    axes[1] = a->t;
    return gen_view(g, n, n->type->rank, axes);
}

/* ---- masks ------------------------------------------------------------------------------------------------------- */

static inline Node *both(Gen *g, Node *a, Node *b)
{
    return !a ? b : !b ? a : gen_either(g, gen_one_in(g, 5) ? OP_or : OP_and, a, b);
}

static inline Node *attention_mask(Gen *g, const Attention *a)
{
    Node *rows = gen_iota(g, a->s, a->first), *keys = gen_iota(g, a->t, extent_const(0)), *mask = NULL;
    if (gen_one_in(g, 2))
        mask = gen_op2(g, OP_le, keys, rows);
    if (gen_one_in(g, 3))
        mask = both(g, mask, gen_op2(g, OP_lt, gen_op2(g, OP_sub, rows, keys),
                                     gen_number(g, DT_I32, 1 + gen_below(g, 9))));
    if (gen_one_in(g, 5))
        mask = both(g, mask, gen_op2(g, OP_ne, gen_op2(g, OP_mod, keys, gen_number(g, DT_I32, 3)),
                                     gen_number(g, DT_I32, 1)));
    if (!a->cached && gen_one_in(g, 3))
        mask = both(g, mask, as_keys(g, a, g->keep));
    if (mask)
        gen_maybe_keep(g, mask);
    return mask;
}

static inline Node *masked(Gen *g, const Attention *a, Node *score)
{
    Node *mask = attention_mask(g, a), *none = gen_const(g, -INFINITY);
    if (!mask)
        return score;
    switch (gen_below(g, 5)) {
    case 0: score = gen_either(g, OP_add, score, gen_where(g, mask, gen_const(g, 0), none)); break;
    case 1: score = gen_where(g, gen_op1(g, OP_not, mask), none, score); break;
    case 2: score = gen_either(g, OP_add, score, gen_where(g, gen_op1(g, OP_not, mask), none, gen_const(g, 0))); break;
    default: score = gen_where(g, mask, score, none);
    }
    Node *more = gen_one_in(g, 4) ? attention_mask(g, a) : NULL;
    return more ? gen_where(g, more, score, none) : score;
}

/* A factor before the product, after it, or as a quotient. */
static inline Node *scaled_score(Gen *g, const Attention *a, Node *q, Node *k)
{
    static const double factors[] = {0.25, 0.35355339059327373, 0.5};
    double c = factors[gen_below(g, 3)];
    int where = gen_below(g, 6);
    if (where == 0)
        q = gen_either(g, OP_mul, q, gen_const(g, c));
    if (where == 1)
        k = gen_op2(g, OP_div, k, gen_const(g, 1 / c));
    if (where < 2 && gen_one_in(g, 4))
        gen_push(g, where == 0 ? q : k, 12); /* and read elsewhere */
    Node *s = gen_dot(g, q, k, a->k.name);
    if (where == 2)
        s = gen_either(g, OP_mul, s, gen_const(g, c));
    if (where == 3)
        s = gen_op2(g, OP_div, s, gen_const(g, 1 / c));
    if (where == 4)
        s = gen_op1(g, OP_neg, gen_op2(g, OP_mul, s, gen_const(g, -c)));
    return s;
}

/* Soft cap, a bias by distance, a learned bias, another order of axes; sometimes the score is read elsewhere. */
static inline Node *score_function(Gen *g, const Attention *a, Node *s)
{
    if (gen_one_in(g, 5))
        s = gen_op2(g, OP_mul, gen_op1(g, OP_tanh, gen_op2(g, OP_mul, s, gen_const(g, 0.5))), gen_const(g, 2));
    if (gen_one_in(g, 5)) {
        Node *distance = gen_op2(g, OP_sub, gen_iota(g, a->t, extent_const(0)), gen_iota(g, a->s, a->first));
        Node *bias = gen_op2(g, OP_mul, gen_cast(g, distance, DT_F32), gen_const(g, 0.125));
        if (a->n_q && gen_one_in(g, 2))
            bias = gen_either(g, OP_mul, bias, gen_weight(g, a->n_q, a->q_heads, 0.5));
        s = gen_either(g, OP_add, s, gen_ordered(g, bias, gen_shuffled(g, bias->type)));
    }
    if (gen_one_in(g, 6))
        s = gen_ordered(g, s, gen_shuffled(g, s->type));
    if (gen_one_in(g, 14))
        gen_push(g, s, 30);
    if (g->kept_one_in && gen_one_in(g, 12))
        attr_set_bool(g->cx, s, ATTR_keep, true);
    if (a->n_q == 1 && gen_one_in(g, 16)) { /* heads that talk to each other */
        Axis other = gen_axis(g, "H2", 3), axes[] = {other, a->q_heads[0]};
        const Type *t = s->type;
        Axis back[MAX_RANK];
        const char *over = a->q_heads[0].name;
        s = gen_dot_over(g, s, gen_weight(g, 2, axes, 1), &over, 1, NULL);
        memcpy(back, s->type->axis, sizeof back);
        back[type_find(s->type, other.name)] = a->q_heads[0];
        s = gen_view(g, s, t->rank, back);
    }
    return s;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

/* softmax, mostly over the keys; then the values. */
static inline Node *weighted_values(Gen *g, const Attention *a, Node *score)
{
    bool odd = gen_one_in(g, 14);
    Node *p = gen_reduce(g, OP_softmax, score, odd ? score->type->axis[gen_below(g, score->type->rank)].name
                         : a->t.name);
    if (g->kept_one_in && gen_one_in(g, 12))
        attr_set_bool(g->cx, p, ATTR_keep, true);
    if (gen_one_in(g, 12))
        gen_push(g, p, 1); /* the weights escape */
    if (gen_one_in(g, 12))
        p = gen_op2(g, OP_mul, p, gen_const(g, 0.5));
    if (gen_one_in(g, 6))
        p = gen_ordered(g, p, gen_shuffled(g, p->type));
    Node *v = a->values;
    if (gen_one_in(g, 6))
        v = gen_ordered(g, v, gen_shuffled(g, v->type));
    return gen_dot(g, p, v, a->t.name);
}

/* The same by features in the place of the softmax: one node, any mask. */
static inline Node *linear_values(Gen *g, const Attention *a)
{
    static const char *const features[] = {"elu1", "relu", "positive", "hyperbolic"};
    int kind = gen_below(g, 4), n = 3;
    Node *inputs[5] = {a->q, a->keys, a->values}, *mask = attention_mask(g, a);
    const char *roles[2];
    Axis rows[] = {gen_axis(g, "Feat", 7), a->k};
    if (kind > 1) {
        roles[n - 3] = gen_name(g, "projection");
        inputs[n++] = gen_weight(g, 2, rows, 0.7);
    }
    if (mask) {
        roles[n - 3] = gen_name(g, "mask");
        inputs[n++] = mask;
    }
    Node *o = node_new(g->cx, g->here, OP_linear_attend, NULL, n, inputs);
    attr_set_names(g->cx, o, ATTR_over, &a->k.name, 1);
    attr_set_name(g->cx, o, ATTR_keys, a->t.name);
    attr_set_name(g->cx, o, ATTR_queries, a->s.name);
    attr_set_name(g->cx, o, ATTR_features, gen_name(g, features[kind]));
    if (n > 3)
        attr_set_names(g->cx, o, ATTR_roles, roles, n - 3);
    if (kind == 1)
        attr_set_float(g->cx, o, ATTR_eps, 0.125);
    if (gen_one_in(g, 2))
        attr_set_float(g->cx, o, ATTR_scale, 0.25);
    return gen_typed(g, o, NULL);
}

/* The heads together, projected back to the width of x, and the residual. */
static inline void project_back(Gen *g, const Attention *a, Node *o)
{
    Axis axes[5] = {a->b, a->s}, in = gen_last(a->x.node->type);
    int rank = 2;
    int64_t size = a->w.size.base;
    for (int i = 0; i < a->n_q; i++) {
        axes[rank++] = a->q_heads[i];
        size *= a->q_heads[i].size.base;
    }
    axes[rank++] = a->w;
    o = gen_ordered(g, o, gen_type(g, DT_F32, rank, axes));
    gen_push(g, o, a->y.size * 3 + 1);
    o = g->pool[g->n_pool - 1].node;
    if (rank == 4 && gen_one_in(g, 2) && type_find(a->x.node->type, axes[2].name) < 0) {
        const char *over[] = {axes[2].name, axes[3].name};
        Axis stored[] = {in, axes[2], axes[3]};
        const Type *w = gen_shuffled(g, gen_type(g, DT_F32, 3, stored));
        g->sums_over_two = true;
        o = gen_dot_over(g, o, gen_weight(g, 3, w->axis, 0.3), over, 2, NULL);
    } else {
        axes[2] = gen_axis(g, "HW", size);
        o = gen_linear(g, gen_view(g, o, 3, axes), 1, &in);
    }
    gen_push(g, o, a->y.size * 3 + 1);
    gen_push(g, gen_either(g, OP_add, g->pool[g->n_pool - 1].node, a->x.node), a->x.size + a->y.size * 3 + 1);
}

static inline bool has_attention_axis(Gen *g, const Type *t)
{
    static const char *const names[] = {"H", "G", "R", "K", "W", "T", "HW", "QKV", "Lat", "Plain", "Turned", "LatTurned"};
    for (int i = 0; i < 12; i++)
        if (type_find(t, gen_name(g, names[i])) >= 0)
            return true;
    return false;
}

static inline bool pick_rows(Gen *g, GenValue *out)
{
    for (int tries = 0; tries < 12; tries++) {
        *out = gen_pick(g);
        const Type *t = out->node->type;
        if (gen_is_rows(g, t) && !has_attention_axis(g, t))
            return true;
    }
    return false;
}

static inline void step_attention(Gen *g)
{
    Attention a = {0};
    if (!pick_rows(g, &a.x) || g->n_pool + 8 > GEN_VALUES)
        return;
    if (gen_one_in(g, 4) || !pick_rows(g, &a.y))
        a.y = a.x;
    if (gen_one_in(g, 2)) { /* from one value in any case */
        Node *x = a.x.size > 4 ? gen_op1(g, OP_tanh, a.x.node) : a.x.node;
        a.x = a.y = (GenValue){x, fmin(a.x.size, 4)};
    }
    a.b = a.x.node->type->axis[0];
    a.s = a.x.node->type->axis[1];
    a.first = extent_const(0);
    a.t = gen_symbol_axis(g, "T", g->s);
    choose_heads(g, &a);
    choose_values(g, &a);
    a.cached = g->next_cache < 4 && gen_one_in(g, 3);
    if (a.cached) {
        Extent end;
        a.first = extent_symbol(g->past);
        extent_add(a.first, a.s.size, &end);
        a.t = (Axis){gen_name(g, "T"), end};
    }
    bool latent = a.cached && a.n_k == 1 && gen_one_in(g, 2);
    if (!latent && gen_one_in(g, 3))
        rotate_both(g, &a);
    if (latent) {
        Latent l = latent_choose(g, a.k_heads[0], a.k);
        Axis order[] = {a.b, a.s, l.both};
        Node *made = gen_ordered(g, gen_linear(g, a.y.node, 1, &l.both), gen_type(g, DT_F32, 3, order));
        latent_keys(g, &l, appended(g, made), a.k, a.w, &a.keys, &a.values);
    } else if (a.cached) {
        a.keys = appended(g, a.keys);
        a.values = appended(g, a.values);
    } else {
        a.keys = as_keys(g, &a, a.keys);
        a.values = as_keys(g, &a, a.values);
    }
    if (gen_one_in(g, 5))
        a.keys = gen_ordered(g, a.keys, gen_shuffled(g, a.keys->type));
    if (!latent && gen_one_in(g, 6)) {
        project_back(g, &a, linear_values(g, &a));
        return;
    }
    Node *score = masked(g, &a, score_function(g, &a, scaled_score(g, &a, a.q, a.keys)));
    project_back(g, &a, weighted_values(g, &a, score));
}

#endif
