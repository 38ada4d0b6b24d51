/* Steps of the generator: low-rank weights, and attention whose keys and values are made of one cached latent, with
 * and without a part that all heads share, and with what forbids to absorb the weights. */
#ifndef ATTAR_TESTS_RANDOM_LATENT_H
#define ATTAR_TESTS_RANDOM_LATENT_H

#include "tests/driver/random_base.h"

/* x times a product of two weights. */
static inline void step_low_rank(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    if (t->rank == 0 || t->rank > 5 || !gen_last_const(t) || g->n_weights + 2 * GEN_ROUNDS > GEN_WEIGHTS)
        return;
    Axis in = gen_last(t), low = gen_axis(g, "Low", 2), out = gen_new_axis(g, t);
    const Type *down = gen_shuffled(g, gen_type(g, DT_F32, 2, (Axis[]){in, low})),
               *up = gen_shuffled(g, gen_type(g, DT_F32, 2, (Axis[]){low, out}));
    Node *w1 = gen_weight(g, 2, down->axis, 1.5 / sqrt((double)in.size.base)), *w2 = gen_weight(g, 2, up->axis, 1);
    Node *w = gen_dot(g, w1, w2, low.name);
    gen_maybe_keep(g, w);
    gen_push(g, gen_dot(g, a.node, w, in.name), a.size * 3);
    if (gen_one_in(g, 12))
        gen_push(g, w, 3);
}

/* One to three products of x, some with a low-rank path beside them, plain, scaled or masked on the way, before or behind the product; with a bias. */
static inline void step_beside(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    if (t->rank < 2 || t->rank > 4 || !gen_last_const(t) || g->n_weights + 12 * GEN_ROUNDS > GEN_WEIGHTS)
        return;
    Axis low = gen_axis(g, "Side", 3);
    for (int n = 1 + gen_below(g, 3); n > 0; n--) {
        Axis out = gen_new_axis(g, t);
        Node *y = gen_one_in(g, 2) ? gen_linear(g, a.node, 1, &out) : NULL;
        Node *l = gen_linear(g, a.node, 1, &low);
        if (gen_one_in(g, 3))
            l = gen_either(g, OP_mul, l, gen_one_in(g, 2) ? gen_const(g, 0.5) : gen_weight(g, 1, &low, 1));
        else if (gen_one_in(g, 3) && gen_axes_within(g->keep->type, l->type))
            l = gen_where(g, g->keep, l, gen_const(g, 0));
        const Type *back = gen_shuffled(g, gen_type(g, DT_F32, 2, (Axis[]){low, out}));
        Node *u = gen_dot(g, l, gen_weight(g, 2, back->axis, 1), low.name);
        gen_maybe_keep(g, u);
        y = y ? y : gen_linear(g, a.node, 1, &out);
        if (gen_one_in(g, 3))
            y = gen_either(g, OP_add, y, gen_weight(g, 1, &out, 1));
        y = gen_either(g, OP_add, y, u);
        if (gen_one_in(g, 3))
            y = gen_either(g, OP_mul, y, gen_weight(g, 1, &out, 1));
        gen_push(g, y, a.size * 12 + 1);
        if (gen_one_in(g, 8))
            gen_push(g, u, a.size * 9);
    }
}

typedef struct Latent {
    Axis heads, inner, plain, turned, both; /* the latent's own axis; a key's two parts, and the cached value's */
    bool shared;                            /* there is a part for all heads */
} Latent;

/* A product of the latent with a weight of each head, or something that only begins so. */
static inline Node *of_latent(Gen *g, const Latent *l, Node *c, Axis width)
{
    const Type *stored = gen_shuffled(g, gen_type(g, DT_F32, 3, (Axis[]){l->heads, width, l->inner}));
    Node *w = gen_weight(g, 3, stored->axis, 1.5 / sqrt((double)l->inner.size.base));
    Axis order[4] = {c->type->axis[0], c->type->axis[1], l->heads, width};
    Node *n = gen_ordered(g, gen_dot(g, c, w, l->inner.name), gen_type(g, DT_F32, 4, order));
    switch (gen_below(g, 14)) {
    case 0: return gen_op1(g, OP_tanh, n);
    case 1: return gen_op2(g, OP_add, n, gen_weight(g, 2, order + 2, 0.5));
    case 2:
    case 3:
    case 4:
    case 5: gen_push(g, n, 12); return n;
    default: gen_maybe_keep(g, n); return n;
    }
}

static inline Node *for_all_heads(Gen *g, const Latent *l, Node *r)
{
    Axis axes[4] = {r->type->axis[0], r->type->axis[1], l->heads, l->turned};
    const Type *type = gen_type(g, DT_F32, 4, axes);
    Node *n = node_new(g->cx, g->here, OP_expand, type, 1, &r);
    attr_set_name(g->cx, n, ATTR_axis, l->heads.name);
    return gen_typed(g, n, type);
}

static inline Node *side_by_side(Gen *g, Node *first, Node *second, Axis both)
{
    Type t = *first->type;
    t.axis[t.rank - 1] = both;
    Node *n = node_new(g->cx, g->here, OP_concat, gen_type(g, DT_F32, t.rank, t.axis), 2, (Node *[]){first, second});
    attr_set_name(g->cx, n, ATTR_axis, both.name);
    return n;
}

static inline Latent latent_choose(Gen *g, Axis heads, Axis k)
{
    Latent l = {.heads = heads, .inner = gen_axis(g, "Lat", gen_one_in(g, 2) ? 5 : 12)};
    l.shared = gen_one_in(g, 2);
    int64_t turned = l.shared ? 2 : 0;
    l.plain = l.shared ? gen_axis(g, "Plain", k.size.base - turned) : k;
    l.turned = gen_axis(g, "Turned", 2);
    l.both = l.shared ? gen_axis(g, "LatTurned", l.inner.size.base + turned) : l.inner;
    return l;
}

/* Keys [B, T, H, k] and values [B, T, H, w] from `cached`: [B, T, both]. */
static inline void latent_keys(Gen *g, const Latent *l, Node *cached, Axis k, Axis w, Node **keys, Node **values)
{
    Node *c = cached, *r = NULL;
    if (l->shared) {
        bool first = gen_one_in(g, 2); /* the latent comes first in the cache */
        int64_t size = l->inner.size.base;
        Type part = *cached->type;
        part.axis[2] = l->inner;
        c = gen_sliced(g, cached, 2, first ? 0 : 2, gen_type(g, DT_F32, 3, part.axis));
        part.axis[2] = l->turned;
        r = gen_sliced(g, cached, 2, first ? size : 0, gen_type(g, DT_F32, 3, part.axis));
    }
    *keys = of_latent(g, l, c, l->plain);
    *values = of_latent(g, l, c, w);
    if (!r)
        return;
    Node *all = for_all_heads(g, l, r);
    *keys = gen_one_in(g, 2) ? side_by_side(g, *keys, all, k) : side_by_side(g, all, *keys, k);
}

#endif
