/* Attention in many spellings: a program is one choice for each of the things that people write differently. `spell`
 * writes the model; `spelling_expected` says what fuse-attention has to make of it.
 *
 *     q: [B, S, H, K]   k: [B, T, heads, K]   v: [B, T, heads, W]   ->   o: [B, S, H, W] */
#ifndef ATTAR_TESTS_SPELLINGS_H
#define ATTAR_TESTS_SPELLINGS_H

#include <math.h>
#include "support/context.h"

enum { SCALE_NONE, SCALE_PRODUCT, SCALE_QUOTIENT, SCALE_QUERY, SCALE_KEY, SCALE_BOTH, SCALE_LEFT, SCALE_WEIGHT, N_SCALES };
enum { MASK_NONE, MASK_WHERE, MASK_ADDED, MASK_TURNED, MASK_LOG, MASK_PADDING, MASK_BOTH, MASK_NESTED, MASK_PRODUCT,
       MASK_FINITE, MASK_FIRST, MASK_KEYS_ADDED, MASK_TENSOR, MASK_EITHER, MASK_NOT, MASK_FACTOR, MASK_MINIMUM,
       MASK_CAPPED_FINITE, N_MASKS };
enum { SOFTMAX_NAMED, SOFTMAX_SHIFTED, SOFTMAX_PLAIN, SOFTMAX_SHARE, SOFTMAX_LATE, SOFTMAX_LOG_SUM, N_SOFTMAXES };
enum { HEADS_ALIKE, HEADS_GROUPED, HEADS_REPEATED, HEADS_ONE, HEADS_WITH_BATCH, HEADS_JOINED_SCORES, HEADS_EXPANDED,
       HEADS_QUERIES, HEADS_VALUES_OWN, N_HEADS };
enum { ORDER_QK, ORDER_KQ, ORDER_EINSUM, ORDER_HEADS_FIRST, ORDER_KEYS_ACROSS, ORDER_TWO_AXES, N_ORDERS };
enum { BIAS_NONE, BIAS_TENSOR, BIAS_ALIBI, BIAS_BUCKETS, BIAS_CAP, BIAS_KEYS, BIAS_ROWS, BIAS_AFTER_CAP, N_BIASES };
enum { KEYS_WHOLE, KEYS_JOINED, KEYS_TWO_SCORES, N_KEYS };
enum { FROM_INPUTS, FROM_PROJECTION, FROM_WIDE_PROJECTION, N_SOURCES };

typedef struct Spelling { int scale, mask, softmax, heads, order, bias, keys, source; } Spelling;
enum { SPELLING_DIMS = 8 };
static const int spelling_size[SPELLING_DIMS] = {N_SCALES, N_MASKS, N_SOFTMAXES, N_HEADS,
                                                 N_ORDERS, N_BIASES, N_KEYS, N_SOURCES};

static inline int *spelling_choice(Spelling *s, int dim)
{
    int *all[SPELLING_DIMS] = {&s->scale, &s->mask, &s->softmax, &s->heads, &s->order, &s->bias, &s->keys, &s->source};
    return all[dim];
}

/* Combinations that say nothing: a scale folded into a weight needs a weight, and so on. */
static inline bool spelling_exists(Spelling s)
{
    bool own_order = s.order == ORDER_HEADS_FIRST || s.order == ORDER_KEYS_ACROSS || s.order == ORDER_EINSUM ||
                     s.order == ORDER_TWO_AXES;
    if (s.scale == SCALE_WEIGHT && s.source == FROM_INPUTS)
        return false;
    if (s.keys != KEYS_WHOLE && s.source != FROM_INPUTS)
        return false;
    if (own_order && s.heads != HEADS_ALIKE)
        return false;
    if (s.keys == KEYS_TWO_SCORES && (s.heads != HEADS_ALIKE || s.order > ORDER_KQ || s.softmax == SOFTMAX_LATE))
        return false;
    if (s.mask == MASK_FACTOR && (s.softmax == SOFTMAX_NAMED || s.softmax == SOFTMAX_LOG_SUM))
        return false;
    if (s.mask == MASK_FIRST && (s.bias == BIAS_CAP || s.bias == BIAS_AFTER_CAP))
        return false;
    if (s.mask == MASK_CAPPED_FINITE && s.bias != BIAS_CAP)
        return false;
    bool over_keys = s.mask == MASK_PADDING || s.mask == MASK_BOTH || s.mask == MASK_NESTED || s.mask == MASK_PRODUCT ||
                     s.mask == MASK_KEYS_ADDED || s.mask == MASK_TENSOR || s.mask == MASK_MINIMUM ||
                     s.bias == BIAS_TENSOR || s.bias == BIAS_KEYS || s.bias == BIAS_ROWS || s.bias == BIAS_AFTER_CAP;
    if (s.keys != KEYS_WHOLE && over_keys)
        return false;
    if (s.order == ORDER_KQ && (s.heads == HEADS_GROUPED || s.heads == HEADS_JOINED_SCORES))
        return false;
    if (s.source != FROM_INPUTS && (s.heads == HEADS_QUERIES || s.heads == HEADS_VALUES_OWN))
        return false;
    return true;
}

static inline uint64_t spelling_next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline Spelling spelling_random(uint64_t *state)
{
    for (;;) {
        Spelling s;
        for (int d = 0; d < SPELLING_DIMS; d++)
            *spelling_choice(&s, d) = (int)(spelling_next(state) % (uint64_t)spelling_size[d]);
        if (spelling_exists(s))
            return s;
    }
}

/* Every row sees the first key: exp(s) / sum(exp(s)) of nothing is NaN. */
static inline void see_first_key(HostTensor *h)
{
    int64_t keys = h->dims[h->rank - 1], count = host_count(h);
    for (int64_t i = 0; h->dtype == DT_BOOL && i < count; i += keys)
        host_set(h, i, 1);
}

/* Heads that k and v have in the checkpoint or among the inputs. */
static inline const char *spelling_key_heads(Spelling s)
{
    switch (s.heads) {
    case HEADS_GROUPED:
    case HEADS_REPEATED:
    case HEADS_JOINED_SCORES: return "G, ";
    case HEADS_ONE:
    case HEADS_EXPANDED:
    case HEADS_VALUES_OWN: return "";
    default: return "H, ";
    }
}

static inline void spell_sources(Spelling s, Text *t)
{
    const char *heads = spelling_key_heads(s), *v_heads = s.heads == HEADS_VALUES_OWN ? "H, " : heads;
    const char *tuple = !strcmp(heads, "H, ") ? "(H, " : !strcmp(heads, "G, ") ? "(G, " : "";
    const char *close = *tuple ? ")" : "";
    const char *more = s.heads == HEADS_QUERIES ? "E, " : "";
    if (s.keys == KEYS_JOINED)
        text_add(t, "block Tail(q: [B, S, H, %sK], k: [B, T, %sK], v: [B, T, %sW]) -> [B, S, H, %sW] {\n", more, heads,
                 v_heads, more);
    else if (s.keys == KEYS_TWO_SCORES)
        text_add(t, "block Tail(s: [%s], v1: [B, P, H, W], v2: [B, N, H, W]) -> [B, S, H, W] {\n",
                 s.order == ORDER_KQ ? "B, T, H, S" : "B, S, H, T");
    else if (s.source == FROM_INPUTS)
        text_add(t, "model M(q: f32[B, S, H, %sK], k: f32[B, T, %sK], v: f32[B, T, %sW], ", more, heads, v_heads);
    else
        text_add(t, "model M(x: f32[B, S, D], y: f32[B, T, D], ");
    if (s.keys == KEYS_WHOLE)
        text_add(t, "keep: bool[B, T], see: bool[B, S, T], table: f32[H, S, T], rows: f32[B, S, T]) "
                    "-> (o: f32[B, S, H, %sW]) {\n", more);
    if (s.source != FROM_INPUTS && s.scale == SCALE_WEIGHT)
        text_add(t, "  q = dot(x, weight(\"q.weight\", [(H, K), D]) * c, over=D) + weight(\"q.bias\", [(H, K)]) * c\n");
    else if (s.source == FROM_PROJECTION)
        text_add(t, "  q = linear(x, \"q\", (H, K), bias=true)\n");
    else if (s.source == FROM_WIDE_PROJECTION)
        text_add(t, "  q = split(linear(x, \"q\", HK, bias=true), HK, [H, K])\n");
    if (s.source == FROM_PROJECTION) {
        text_add(t, "  k = linear(y, \"k\", %sK%s, bias=true)\n", tuple, close);
        text_add(t, "  v = linear(y, \"v\", %sW%s, bias=true)\n", tuple, close);
    } else if (s.source == FROM_WIDE_PROJECTION) {
        bool grouped = !strcmp(heads, "G, ");
        if (*heads) {
            text_add(t, "  k = split(linear(y, \"k\", %s, bias=true), %s, [%sK])\n", grouped ? "GK" : "HK",
                     grouped ? "GK" : "HK", heads);
            text_add(t, "  v = split(linear(y, \"v\", %s, bias=true), %s, [%sW])\n", grouped ? "GW" : "HW",
                     grouped ? "GW" : "HW", heads);
        } else {
            text_add(t, "  k = linear(y, \"k\", K, bias=true)\n  v = linear(y, \"v\", W, bias=true)\n");
        }
    }
}

static inline void spell_heads(Spelling s, Text *t)
{
    static const char *const both[] = {"k", "v"}, *const last[] = {"K", "W"};
    if (s.scale == SCALE_QUERY || s.scale == SCALE_BOTH)
        text_add(t, "  q = q * %s\n", s.scale == SCALE_BOTH ? "c^0.5" : "c");
    for (int i = 0; i < 2; i++) {
        if (i == 0 && (s.scale == SCALE_KEY || s.scale == SCALE_BOTH))
            text_add(t, "  k = %s * k\n", s.scale == SCALE_BOTH ? "c^0.5" : "c");
        if (s.heads == HEADS_REPEATED)
            text_add(t, "  %s = merge(rearrange(expand(%s, R), [R, B, T, G, %s], [B, T, G, R, %s]), [G, R], H)\n", both[i],
                     both[i], last[i], last[i]);
        if (s.heads == HEADS_EXPANDED)
            text_add(t, "  %s = rearrange(expand(%s, H), [H, B, T, %s], [B, T, H, %s])\n", both[i], both[i], last[i], last[i]);
        if (s.heads == HEADS_WITH_BATCH)
            text_add(t, "  %s = rearrange(%s, [B, T, H, %s], [(B, H), T, %s])\n", both[i], both[i], last[i],
                     last[i]);
    }
    if (s.heads == HEADS_GROUPED || s.heads == HEADS_JOINED_SCORES)
        text_add(t, "  q = split(q, H, [G, R])\n");
    if (s.heads == HEADS_WITH_BATCH)
        text_add(t, "  q = rearrange(q, [B, S, H, K], [(B, H), S, K])\n");
}

static inline void spell_scores(Spelling s, Text *t)
{
    if (s.keys == KEYS_TWO_SCORES) {
        /* they come as they are: the model at the end joins them */
    } else if (s.order == ORDER_KQ) {
        text_add(t, "  s = dot(k, q, over=K)\n");
    } else if (s.order == ORDER_EINSUM) {
        text_add(t, "  s = einsum(\"b t h k, b s h k -> h t b s\", k, q)\n");
    } else if (s.order == ORDER_HEADS_FIRST) {
        text_add(t, "  q = rearrange(q, [B, S, H, K], [B, H, S, K])\n  k = rearrange(k, [B, T, H, K], [B, H, T, K])\n"
                    "  s = dot(q, k, over=K)\n");
    } else if (s.order == ORDER_KEYS_ACROSS) {
        text_add(t, "  k = rearrange(k, [B, T, H, K], [B, H, K, T])\n  s = dot(q, k, over=K)\n");
    } else if (s.order == ORDER_TWO_AXES) {
        text_add(t, "  s = dot(split(q, K, [K1, K2]), split(k, K, [K1, K2]), over=[K1, K2])\n");
    } else {
        text_add(t, "  s = dot(q, k, over=K)\n");
    }
    if (s.heads == HEADS_WITH_BATCH)
        text_add(t, s.order == ORDER_KQ ? "  s = rearrange(s, [(B, H), T, S], [B, H, T, S])\n"
                                        : "  s = rearrange(s, [(B, H), S, T], [B, H, S, T])\n");
    if (s.heads == HEADS_JOINED_SCORES)
        text_add(t, "  s = merge(s, [G, R], H)\n");
    if (s.mask == MASK_FIRST)
        text_add(t, "  s = where(j <= i, s, -inf)\n");
    if (s.scale == SCALE_PRODUCT)
        text_add(t, "  s = s * c\n");
    if (s.scale == SCALE_LEFT)
        text_add(t, "  s = c * s\n");
    if (s.scale == SCALE_QUOTIENT)
        text_add(t, "  s = s / c^-1\n");
}

static inline void spell_bias(Spelling s, Text *t)
{
    bool grouped = s.heads == HEADS_GROUPED, first = s.order == ORDER_QK && s.heads != HEADS_WITH_BATCH;
    switch (s.bias) {
    case BIAS_TENSOR: text_add(t, "  s = s + %s\n", grouped ? "split(table, H, [G, R])" : "table"); break;
    case BIAS_ALIBI:
        text_add(t, "  slope = weight(\"slopes\", [H])\n  s = s + %s * (j - i)\n", grouped ? "split(slope, H, [G, R])" : "slope");
        break;
    case BIAS_BUCKETS:
        text_add(t, "  buckets = weight(\"buckets\", [N8, H])\n"
                    "  near = gather(buckets, minimum(abs(j - i), 7), over=N8)\n  s = %s\n",
                 grouped ? "s + split(near, H, [G, R])" : "s + near");
        break;
    case BIAS_CAP: text_add(t, "  s = 5 * tanh(s / 5)\n"); break;
    case BIAS_KEYS: text_add(t, "  s = s + where(keep, 0.25, -0.5)\n"); break;
    case BIAS_ROWS: text_add(t, first ? "  s = rows + s\n" : "  s = s + rows\n"); break;
    case BIAS_AFTER_CAP: text_add(t, first ? "  s = rows + 5 * tanh(s / 5)\n" : "  s = 5 * tanh(s / 5) + rows\n"); break;
    default: break;
    }
}

static inline void spell_mask(Spelling s, Text *t)
{
    static const char *const line[N_MASKS] = {
        [MASK_WHERE] = "  s = where(j <= i, s, -inf)\n",
        [MASK_ADDED] = "  s = s + where(j <= i, 0, -inf)\n",
        [MASK_TURNED] = "  s = where(j > i, -inf, s)\n",
        [MASK_LOG] = "  s = s + log(where(j <= i, 1.0, 0.0))\n",
        [MASK_PADDING] = "  s = where(keep, s, -inf)\n",
        [MASK_BOTH] = "  s = where(keep & j <= i, s, -inf)\n",
        [MASK_NESTED] = "  s = where(keep, where(j <= i, s, -inf), -inf)\n",
        [MASK_PRODUCT] = "  both = where(keep, 1.0, 0.0) * where(j <= i, 1.0, 0.0)\n  s = where(both > 0.5, s, -inf)\n",
        [MASK_FINITE] = "  s = s + (1 - where(j <= i, 1.0, 0.0)) * -10000.0\n",
        [MASK_KEYS_ADDED] = "  s = s + where(keep, 0, -inf)\n",
        [MASK_TENSOR] = "  s = where(see, s, -inf)\n",
        [MASK_EITHER] = "  s = where(j <= i | j < 3, s, -inf)\n",
        [MASK_NOT] = "  s = where(!(j > i | i - j > 2), s, -inf)\n",
        [MASK_MINIMUM] = "  s = s + minimum(where(keep, 0, -inf), where(j <= i, 0, -inf))\n",
        [MASK_CAPPED_FINITE] = "  s = where(j <= i, s, -10000.0)\n",
    };
    if (line[s.mask])
        text_add(t, "%s", line[s.mask]);
}

static inline void spell_softmax(Spelling s, Text *t)
{
    const char *factor = s.mask == MASK_FACTOR ? " * where(j <= i, 1.0, 0.0)" : "";
    if (s.heads == HEADS_WITH_BATCH)
        text_add(t, s.order == ORDER_KQ ? "  s = rearrange(s, [B, H, T, S], [(B, H), T, S])\n"
                                        : "  s = rearrange(s, [B, H, S, T], [(B, H), S, T])\n");
    switch (s.softmax) {
    case SOFTMAX_NAMED: text_add(t, "  p = softmax(s, over=T)\n"); break;
    case SOFTMAX_SHIFTED: text_add(t, "  e = exp(s - max(s, over=T))%s\n  p = e / sum(e, over=T)\n", factor); break;
    case SOFTMAX_PLAIN: text_add(t, "  e = exp(s)%s\n  p = e / sum(e, over=T)\n", factor); break;
    case SOFTMAX_SHARE: text_add(t, "  e = exp(s - max(s, over=T))%s\n  p = e * (1 / sum(e, over=T))\n", factor); break;
    case SOFTMAX_LATE: text_add(t, "  e = exp(s - max(s, over=T))%s\n  p = e\n", factor); break;
    default: text_add(t, "  m = max(s, over=T)\n  p = exp(s - (m + log(sum(exp(s - m), over=T))))\n"); break;
    }
    if (s.heads == HEADS_JOINED_SCORES)
        text_add(t, "  p = split(p, H, [G, R])\n");
}

static inline void spell_result(Spelling s, Text *t)
{
    if (s.keys == KEYS_TWO_SCORES)
        text_add(t, "  p1 = slice(p, T, 0..P) as [%s]\n  p2 = slice(p, T, P..T) as [%s]\n"
                    "  o = dot(p1, v1, over=P) + dot(p2, v2, over=N)\n",
                 s.order == ORDER_KQ ? "B, P, H, S" : "B, S, H, P", s.order == ORDER_KQ ? "B, N, H, S" : "B, S, H, N");
    else if (s.order == ORDER_EINSUM)
        text_add(t, "  o = einsum(\"b t h w, h t b s -> b s h w\", v, p)\n");
    else
        text_add(t, "  o = dot(p, v, over=T)\n");
    if (s.softmax == SOFTMAX_LATE)
        text_add(t, s.heads == HEADS_JOINED_SCORES ? "  o = o / split(sum(e, over=T), H, [G, R])\n" : "  o = o / sum(e, over=T)\n");
    if (s.heads == HEADS_WITH_BATCH)
        text_add(t, "  o = rearrange(o, [(B, H), S, W], [B, H, S, W])\n");
    if (s.heads == HEADS_GROUPED || s.heads == HEADS_JOINED_SCORES)
        text_add(t, "  o = merge(o, [G, R], H)\n");
    bool heads_first = s.heads == HEADS_WITH_BATCH || s.order == ORDER_HEADS_FIRST ||
                       (s.order == ORDER_KQ && (s.heads == HEADS_ALIKE || s.heads == HEADS_REPEATED ||
                                                s.heads == HEADS_EXPANDED || s.heads == HEADS_QUERIES));
    const char *more = s.heads == HEADS_QUERIES ? "E, " : "";
    if (heads_first && s.heads == HEADS_QUERIES)
        text_add(t, "  o = rearrange(o, [B, H, S, E, W], [B, S, H, E, W])\n");
    else if (heads_first)
        text_add(t, "  o = rearrange(o, [B, H, S, W], [B, S, H, W])\n");
    text_add(t, "  return o\n}\n");
    if (s.keys == KEYS_WHOLE)
        return;
    const char *heads = spelling_key_heads(s), *v_heads = s.heads == HEADS_VALUES_OWN ? "H, " : heads;
    text_add(t, "model M(q: f32[B, S, H, %sK], k1: f32[B, P, %sK], k2: f32[B, N, %sK], v1: f32[B, P, %sW], v2: f32[B, N, %sW]) "
                "-> (o: f32[B, S, H, %sW]) {\n", more, heads, heads, v_heads, v_heads, more);
    if (s.keys == KEYS_JOINED) {
        text_add(t, "  return Tail(q, concat(k1, k2, axis=P), concat(v1, v2, axis=P))\n}\n");
        return;
    }
    if (s.scale == SCALE_QUERY || s.scale == SCALE_BOTH)
        text_add(t, "  q = q * %s\n", s.scale == SCALE_BOTH ? "c^0.5" : "c");
    if (s.scale == SCALE_KEY || s.scale == SCALE_BOTH)
        text_add(t, "  k1 = k1 * %s\n  k2 = %s * k2\n", s.scale == SCALE_BOTH ? "c^0.5" : "c",
                 s.scale == SCALE_BOTH ? "c^0.5" : "c");
    text_add(t, s.order == ORDER_KQ ? "  return Tail(concat(dot(k1, q, over=K), dot(k2, q, over=K), axis=P), v1, v2)\n}\n"
                                    : "  return Tail(concat(dot(q, k1, over=K), dot(q, k2, over=K), axis=P), v1, v2)\n}\n");
}

/* The whole model file. */
static inline void spell(Spelling s, Text *t)
{
    text_add(t, "let H = 4; let G = 2; let R = 2; let K = 8; let W = 6; let E = 3; let D = 10; let N8 = 8\n"
                "let K1 = 2; let K2 = 4; let HK = 32; let GK = 16; let HW = 24; let GW = 12; let c = K^-0.5\n");
    spell_sources(s, t);
    text_add(t, "  i = 0..S\n  j = 0..T\n");
    if (s.keys != KEYS_TWO_SCORES)
        spell_heads(s, t);
    spell_scores(s, t);
    spell_bias(s, t);
    spell_mask(s, t);
    spell_softmax(s, t);
    spell_result(s, t);
}

/* ---- what has to come out ---------------------------------------------------------------------------------------- */

static inline double spelling_scale(Spelling s)
{
    bool capped = s.bias == BIAS_CAP || s.bias == BIAS_AFTER_CAP; /* tanh(s / 5): the division is a scale too */
    return (s.scale == SCALE_NONE ? 1 : pow(8, -0.5)) * (capped ? 0.2 : 1);
}

/* A large negative number stays what it is, and that is reported; below a cap it is proved to be -inf. */
static inline bool spelling_is_finite(Spelling s)
{
    return s.mask == MASK_FINITE && s.bias != BIAS_CAP;
}

/* The mask is -inf in the kernel, so tiles can be skipped. */
static inline bool spelling_is_masked(Spelling s)
{
    return s.mask != MASK_NONE && !spelling_is_finite(s);
}

#endif
