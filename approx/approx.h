/* What an approximate attention would lose on the numbers a model really has, in float64, and the constants it needs.
 *
 * Everything works on arrays of one head: the queries, keys and values that enter its softmax (positions already turned in), as some
 * calibration text made them. Nothing here knows graphs or files: the driver captures the arrays and hands decisions to the passes.
 * All of it is a function of its arguments: the same seed gives the same numbers on every machine and with any number of threads. */
#ifndef ATTAR_APPROX_APPROX_H
#define ATTAR_APPROX_APPROX_H

#include "approx/matrix.h"

/* ---- chance (random.c) ----------------------------------------------------------------------------------------------------------- */

typedef struct Random { uint64_t state[4]; double spare; bool has_spare; } Random;

/* Streams of one seed are independent: one for each layer and head, say. */
Random random_new(uint64_t seed, uint64_t stream);
uint64_t random_bits(Random *r);
double random_uniform(Random *r);               /* in [0, 1) */
double random_normal(Random *r);                /* mean 0, variance 1 */

/* ---- a head ---------------------------------------------------------------------------------------------------------------------- */

typedef struct Head {                           /* of one sequence */
    int64_t queries, keys, width, values;       /* row i stands at position keys - queries + i; values: their width */
    const double *q, *k, *v;                    /* [queries][width], [keys][width], [keys][values] */
    double scale;                               /* softmax over keys of scale * q.k */
    bool causal;                                /* row i sees the keys up to its own position, and those below `prefix` */
    int64_t prefix;
    const int32_t *keep;                        /* [keys], 0: nobody sees this key; NULL: all are seen */
    const int32_t *document;                    /* [keys]: a row sees the keys of its own document; NULL: one document */
    const uint8_t *sees;                        /* [queries][keys]: any further condition; NULL: none */
} Head;

bool head_sees(const Head *h, int64_t i, int64_t j);
int64_t head_position(const Head *h, int64_t i);        /* of row i */

/* ---- random features (features.c) ------------------------------------------------------------------------------------------------ */

typedef enum FeatureKind { FEATURES_POSITIVE, FEATURES_HYPERBOLIC } FeatureKind;

/* w [features, width]: blocks of `width` orthogonal rows, evenly distributed over all rotations, the last block cut; every row as long as a
 * fresh Gaussian row (or sqrt(width) each with `equal_lengths`: less variance, and a bias). features_from_gaussian makes the same from given
 * numbers: gaussian [a multiple of width, width], lengths [features, width] of which the norms of the rows count. */
MatrixStatus features_orthogonal(Arena *a, Random *r, int64_t features, int64_t width, bool equal_lengths, Matrix *w);
MatrixStatus features_from_gaussian(Arena *a, Matrix gaussian, Matrix lengths, Matrix *w);

/* Variance of the estimate of exp(x.y) from `rows` independent rows of w, relative to its square, for z = |x + y|^2 (hyperbolic: each row gives
 * two features). Orthogonal rows have at most this. +inf where it is beyond float64. */
double features_variance(FeatureKind kind, double z, int64_t rows);

/* Rewrites that leave the softmax as it is and make z smaller, for the heads that share one key head. With x = q sqrt(scale), y = k sqrt(scale):
 *     exp(scale q.k)  is proportional, over the keys of a row, to  exp(x'.y' + scale query_mean.(k - key_mean))
 *     x' = rescale (x - sqrt(scale) query_mean),  y' = (y - sqrt(scale) key_mean) / rescale
 * Each is [width], or NULL where it would not help. */
typedef struct Reduction { double *query_mean, *key_mean, *rescale; } Reduction;
Reduction reduction_choose(Arena *a, FeatureKind kind, const Head *heads, int n);

/* ---- codebooks (codes.c) --------------------------------------------------------------------------------------------------------- */

/* The keys' codes for the queries at hand. An error k - c costs q.(k - c) in the score of q, in the mean over queries its length in the metric
 * M = E[q q^T]: the codes are the centres of k-means in it. They stand in the keys' own space. Whoever assigns keys to codes has to do it in the
 * same metric: the nearest code of k is the one for which |to_metric (k - c)| is least, that is of k' = to_metric k among to_metric c; with
 * q' = from_metric q the products q'.k' = q.k stay. (to_metric = M^(1/2), from_metric its inverse; both symmetric [width, width].) */
typedef struct Codebook { Matrix codes, to_metric, from_metric; } Codebook;

/* At most `rounds` of Lloyd's algorithm from a k-means++ start. `codes` above the number of different keys gives equal codes. */
MatrixStatus codes_train(Arena *a, Random *r, const Head *heads, int n, int64_t codes, int rounds, Codebook *out);

/* ---- errors (errors.c) ----------------------------------------------------------------------------------------------------------- */

typedef struct HeadError {
    double query_norm, key_norm;                /* root mean squares of |q| and |k|, times sqrt(scale): the x and y of Lemma 2 before reductions */
    double predicted;                           /* features: root of the mean of features_variance over seen pairs; codes: 0 */
    double measured;                            /* |o' - o| / |o|, o the exact output: see below */
    double variation;                           /* mean over rows of half the sum of |p' - p| */
    double key_error;                           /* codes: |k' - k| / |k|, both less the mean key */
    double logit_error;                         /* codes: root mean square of scale q.(k' - k) over seen pairs */
    int64_t rows;                               /* that were measured */
} HeadError;

/* The mean of the values over all keys of all `heads` is taken off first: any weights that add up to 1 hand it on, so it would make a failure
 * look like a success. What differs from one sequence to the next stays.
 *
 * All of `heads` together: sequences of one head, or of several. At most `rows` rows of each are looked at, evenly spread (0: all).
 * `work` is for what is needed on the way. Rows that see no key do not count; if all are such, the errors are 0. */
MatrixStatus features_error(Arena *work, FeatureKind kind, Matrix w, const Reduction *reduction, const Head *heads, int n, int64_t rows,
                            HeadError *out);
/* `block`: keys of the row's own block of positions and of the one before are exact; 0: every key is its code. */
MatrixStatus codes_error(Arena *work, const Codebook *codebook, int64_t block, const Head *heads, int n, int64_t rows, HeadError *out);

/* ---- operations (cost.c) --------------------------------------------------------------------------------------------------------- */

typedef struct AttentionShape { int64_t width, values; bool causal; } AttentionShape;

/* Floating point operations of one head over a sequence of so many positions. */
double cost_exact(AttentionShape s, int64_t length);
double cost_features(AttentionShape s, FeatureKind kind, int64_t rows, int64_t length);
double cost_codes(AttentionShape s, int64_t codes, int64_t block, int64_t length);
/* The shortest length (a multiple of 16) from which on it costs less than exact attention; 0: none up to 2^24. */
int64_t cost_features_pays(AttentionShape s, FeatureKind kind, int64_t rows);
int64_t cost_codes_pays(AttentionShape s, int64_t codes, int64_t block);

#endif
