/* Errors of approximate attention: known tables, quadratic forms written out again, the rewrites that change nothing, and the costs. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "approx/approx.h"

static Arena arena;
static void setup(void) { arena = (Arena){0}; }
static void teardown(void) { arena_free(&arena); }

static double *normals(Random *r, int64_t count)
{
    double *x = arena_array(&arena, (size_t)count, sizeof *x);
    for (int64_t i = 0; i < count; i++)
        x[i] = random_normal(r);
    return x;
}

static Head head_at_random(Random *r, int64_t queries, int64_t keys, int64_t width)
{
    return (Head){.queries = queries, .keys = keys, .width = width, .values = width, .scale = 1 / sqrt((double)width),
                  .q = normals(r, queries * width), .k = normals(r, keys * width), .v = normals(r, keys * width)};
}

/* A second sequence with the opposite values, so that the mean of the values is 0 and nothing is taken off. */
static Head opposite(Head h)
{
    double *v = arena_array(&arena, (size_t)(h.keys * h.values), sizeof *v);
    for (int64_t e = 0; e < h.keys * h.values; e++)
        v[e] = -h.v[e];
    h.v = v;
    return h;
}

static void set_norms(double *rows, int64_t count, int64_t width, double norm)
{
    for (int64_t i = 0; i < count; i++) {
        double square = 0;
        for (int64_t d = 0; d < width; d++)
            square += rows[i * width + d] * rows[i * width + d];
        for (int64_t d = 0; d < width; d++)
            rows[i * width + d] *= norm / sqrt(square);
    }
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

typedef struct WithFeatures { FeatureKind kind; Matrix w; } WithFeatures;

static double pair_of_features(const Head *h, int64_t i, int64_t j, const void *with)
{
    const WithFeatures *f = with;
    double sum = 0, norms = 0, x[64], y[64];
    for (int64_t d = 0; d < h->width; d++) {
        x[d] = sqrt(h->scale) * h->q[i * h->width + d];
        y[d] = sqrt(h->scale) * h->k[j * h->width + d];
        norms += (x[d] * x[d] + y[d] * y[d]) / 2;
    }
    for (int64_t m = 0; m < f->w.rows; m++) {
        double u = dot(f->w.at + m * h->width, x, h->width) + dot(f->w.at + m * h->width, y, h->width);
        sum += f->kind == FEATURES_POSITIVE ? exp(u - norms) : exp(u - norms) + exp(-u - norms);
    }
    return sum;
}

/* ---- performer: d = 64, L = 1024, directions at random, every row of norm rho ------------------------------------------------------ */

static const struct { double rho; int64_t features; double predicted, measured; } performer_table[] = {
    {1, 64, 0.067, 0.039}, {1, 256, 0.033, 0.024}, {2, 64, 0.164, 0.112}, {2, 256, 0.082, 0.052},
    {4, 64, 0.92, 0.72},   {4, 256, 0.46, 0.39},   {8, 64, 373, 4.8},     {8, 256, 186, 3.7},
};

START_TEST(performer_errors)
{
    enum { D = 64, L = 1024 };
    Random r = random_new(7, 1);
    for (size_t t = 0; t < sizeof performer_table / sizeof *performer_table; t++) {
        double rho = performer_table[t].rho;
        Head h = head_at_random(&r, L, L, D);
        set_norms((double *)h.q, L, D, rho);
        set_norms((double *)h.k, L, D, rho);
        Head both[] = {h, opposite(h)};
        Matrix w;
        HeadError e;
        ck_assert_int_eq(features_orthogonal(&arena, &r, performer_table[t].features, D, false, &w), MATRIX_OK);
        ck_assert_int_eq(features_error(&arena, FEATURES_POSITIVE, w, NULL, both, 2, 128, &e), MATRIX_OK);
        ck_assert_int_eq(e.rows, 256);
        ck_assert_double_eq_tol(e.query_norm, rho / pow(D, 0.25), 1e-12);
        /* The table's prediction is that of the mean of z = |x + y|^2; z is nearly normal with deviation 2 rho^2 / D, and so is its exponential's
         * mean larger. */
        double predicted = e.predicted / performer_table[t].predicted / exp(pow(rho * rho / D, 2)), measured = e.measured / performer_table[t].measured;
        ck_assert_msg(predicted > 0.93 && predicted < 1.07, "row %zu: predicted %g", t, e.predicted);
        ck_assert_msg(measured > 0.6 && measured < 1.67, "row %zu: measured %g", t, e.measured);
        arena_free(&arena);
    }
}
END_TEST

/* Each weight's error before they are normalised, relative to exp(x.y), over pairs and redraws: what is predicted for independent rows, and not more
 * for orthogonal ones. */
START_TEST(predictions_hold_for_single_weights)
{
    enum { D = 16, L = 24, M = 32, DRAWS = 400 };
    Random r = random_new(7, 5);
    Head h = head_at_random(&r, L, L, D);
    set_norms((double *)h.q, L, D, 1.6);
    set_norms((double *)h.k, L, D, 1.6);
    for (FeatureKind kind = FEATURES_POSITIVE; kind <= FEATURES_HYPERBOLIC; kind++)
        for (int orthogonal = 0; orthogonal < 2; orthogonal++) {
            double squares = 0;
            HeadError e;
            for (int t = 0; t < DRAWS; t++) {
                Matrix w = {M, D, NULL};
                if (orthogonal)
                    ck_assert_int_eq(features_orthogonal(&arena, &r, M, D, false, &w), MATRIX_OK);
                else
                    w.at = normals(&r, M * D);
                if (!t)
                    ck_assert_int_eq(features_error(&arena, kind, w, NULL, &h, 1, 0, &e), MATRIX_OK);
                for (int64_t i = 0; i < L; i++)
                    for (int64_t j = 0; j < L; j++) {
                        double exact = exp(h.scale * dot(h.q + i * D, h.k + j * D, D));
                        double pair = pair_of_features(&h, i, j, &(WithFeatures){kind, w}) / (kind == FEATURES_HYPERBOLIC ? 2 * M : M);
                        squares += (pair / exact - 1) * (pair / exact - 1) / (DRAWS * L * L);
                    }
            }
            double ratio = sqrt(squares) / e.predicted;
            ck_assert_msg(ratio < 1.06 && ratio > (orthogonal ? 0.5 : 0.94), "kind %d, orthogonal %d: measured %g, predicted %g", kind, orthogonal,
                          sqrt(squares), e.predicted);
        }
}
END_TEST

/* With the values' mean at 1 the same weights would seem twenty times as good: the measure does not see the mean. */
START_TEST(the_mean_of_the_values_does_not_hide_anything)
{
    Random r = random_new(7, 2);
    Head h = head_at_random(&r, 200, 200, 16);
    Matrix w;
    HeadError plain, shifted;
    ck_assert_int_eq(features_orthogonal(&arena, &r, 32, 16, false, &w), MATRIX_OK);
    ck_assert_int_eq(features_error(&arena, FEATURES_POSITIVE, w, NULL, &h, 1, 0, &plain), MATRIX_OK);
    for (int i = 0; i < 200 * 16; i++)
        ((double *)h.v)[i] += 100;
    ck_assert_int_eq(features_error(&arena, FEATURES_POSITIVE, w, NULL, &h, 1, 0, &shifted), MATRIX_OK);
    ck_assert_double_ge(plain.measured, 0.1);
    ck_assert_double_eq_tol(plain.measured, shifted.measured, 1e-9);
}
END_TEST

/* ---- the measure itself, written out again ------------------------------------------------------------------------------------------ */

/* Output error and total variation of weights that pair(h, i, j) gives up to a factor. */
static void by_hand(const Head *h, double (*pair)(const Head *, int64_t, int64_t, const void *), const void *with, double *measured, double *variation)
{
    double error = 0, size = 0, apart = 0, rows = 0, mean[64] = {0}, counted = 0;
    for (int64_t j = 0; j < h->keys; j++)
        if (!h->keep || h->keep[j]) {
            counted++;
            for (int64_t c = 0; c < h->values; c++)
                mean[c] += h->v[j * h->values + c];
        }
    for (int64_t i = 0; i < h->queries; i++) {
        double exact[64] = {0}, other[64] = {0}, sum = 0, sum_other = 0;
        for (int64_t j = 0; j < h->keys; j++) {
            sum += head_sees(h, i, j) ? exp(h->scale * dot(h->q + i * h->width, h->k + j * h->width, h->width)) : 0;
            sum_other += head_sees(h, i, j) ? pair(h, i, j, with) : 0;
        }
        if (!sum)
            continue;
        for (int64_t j = 0; j < h->keys; j++) {
            if (!head_sees(h, i, j))
                continue;
            double p = exp(h->scale * dot(h->q + i * h->width, h->k + j * h->width, h->width)) / sum, o = pair(h, i, j, with) / sum_other;
            apart += fabs(p - o) / 2;
            for (int64_t c = 0; c < h->values; c++) {
                exact[c] += p * (h->v[j * h->values + c] - mean[c] / counted);
                other[c] += o * (h->v[j * h->values + c] - mean[c] / counted);
            }
        }
        rows++;
        for (int64_t c = 0; c < h->values; c++) {
            size += exact[c] * exact[c];
            error += (exact[c] - other[c]) * (exact[c] - other[c]);
        }
    }
    *measured = sqrt(error / size);
    *variation = apart / rows;
}

static Head masked(Random *r, int which)
{
    enum { L = 37 };
    Head h = head_at_random(r, which == 5 ? 9 : L, L, 8);
    int32_t *keep = arena_array(&arena, L, sizeof *keep), *document = arena_array(&arena, L, sizeof *document);
    uint8_t *sees = arena_array(&arena, L * L, 1);
    for (int j = 0; j < L; j++) {
        keep[j] = j % 5 != 2 && j > 1;
        document[j] = j / 11;
        for (int i = 0; i < L; i++)
            sees[i * L + j] = (i * 7 + j * 3) % 4 != 0;
    }
    h.causal = which == 1 || which == 2 || which == 5 || which == 6;
    h.prefix = which == 2 ? 12 : 0;
    h.keep = which >= 2 ? keep : NULL;
    h.document = which == 4 || which == 5 ? document : NULL;
    h.sees = which == 3 ? sees : NULL;
    return h;
}

START_TEST(masks_and_kinds_by_hand)
{
    Random r = random_new(17, 3);
    for (int which = 0; which < 7; which++)
        for (FeatureKind kind = FEATURES_POSITIVE; kind <= FEATURES_HYPERBOLIC; kind++) {
            Head h = masked(&r, which);
            WithFeatures with = {.kind = kind};
            HeadError e;
            double measured, variation;
            ck_assert_int_eq(features_orthogonal(&arena, &r, 20, 8, false, &with.w), MATRIX_OK);
            ck_assert_int_eq(features_error(&arena, kind, with.w, NULL, &h, 1, 0, &e), MATRIX_OK);
            by_hand(&h, pair_of_features, &with, &measured, &variation);
            ck_assert_double_eq_tol(e.measured, measured, 1e-11 * measured);
            ck_assert_double_eq_tol(e.variation, variation, 1e-11);
        }
}
END_TEST

/* Five keys so long that their features lie hundreds of powers of ten below those of a sixth key, which only its own row sees: the first five
 * rows weigh them as they do without the sixth. */
START_TEST(rows_far_below_the_tops)
{
    enum { D = 8 };
    static const int32_t document[] = {0, 0, 0, 0, 0, 1};
    Random r = random_new(18, 3);
    Head h = head_at_random(&r, 6, 6, D);
    Matrix w;
    HeadError alone, beside;
    for (int e = 0; e < 5 * D; e++)
        ((double *)h.k)[e] = 40 * h.k[e % D] + h.k[e];
    ck_assert_int_eq(features_orthogonal(&arena, &r, 20, D, false, &w), MATRIX_OK);
    h.document = document;
    h.causal = true;
    ck_assert_int_eq(features_error(&arena, FEATURES_POSITIVE, w, NULL, &h, 1, 0, &beside), MATRIX_OK);
    h.queries = h.keys = 5;
    ck_assert_int_eq(features_error(&arena, FEATURES_POSITIVE, w, NULL, &h, 1, 0, &alone), MATRIX_OK);
    ck_assert(beside.rows == 6 && alone.rows == 5 && alone.variation > 0.01);
    ck_assert_double_eq_tol(beside.variation * 6, alone.variation * 5, 1e-9);
}
END_TEST

START_TEST(what_cannot_be_measured)
{
    Random r = random_new(19, 3);
    Head h = masked(&r, 3), other = h;
    Matrix w;
    HeadError e;
    int32_t nothing[37] = {0};
    ck_assert_int_eq(features_orthogonal(&arena, &r, 20, 8, false, &w), MATRIX_OK);
    h.keep = nothing;
    ck_assert_int_eq(features_error(&arena, FEATURES_POSITIVE, w, NULL, &h, 1, 0, &e), MATRIX_OK);
    ck_assert(e.rows == 0 && e.measured == 0 && e.variation == 0 && e.predicted == 0);
    other.width = 7;
    ck_assert_int_eq(features_error(&arena, FEATURES_POSITIVE, w, NULL, &other, 1, 0, &e), MATRIX_SHAPE);
    other = masked(&r, 1);
    ((double *)other.k)[5] = NAN;
    ck_assert_int_eq(features_error(&arena, FEATURES_POSITIVE, w, NULL, &other, 1, 0, &e), MATRIX_NOT_FINITE);
    Codebook codebook;
    ck_assert_int_eq(codes_train(&arena, &r, &other, 1, 4, 5, &codebook), MATRIX_NOT_FINITE);
    ck_assert_int_eq(codes_train(&arena, &r, &h, 1, 4, 5, &codebook), MATRIX_SHAPE);
}
END_TEST

/* ---- reductions --------------------------------------------------------------------------------------------------------------------- */

/* d = 64, queries and keys of deviation 0.3 about means of norm 6: 0.53 without, 0.43 with keys centred, 0.08 with both. */
START_TEST(centring)
{
    enum { D = 64, L = 1024 };
    Random r = random_new(21, 3);
    Head h = head_at_random(&r, L, L, D);
    double *means[2] = {normals(&r, D), normals(&r, D)};
    for (int side = 0; side < 2; side++) {
        set_norms(means[side], 1, D, 6);
        for (int e = 0; e < L * D; e++)
            ((double *)(side ? h.k : h.q))[e] = 0.3 * (side ? h.k : h.q)[e] + means[side][e % D];
    }
    Reduction both = reduction_choose(&arena, FEATURES_POSITIVE, &h, 1), keys = {NULL, both.key_mean, NULL};
    ck_assert(both.query_mean && both.key_mean);
    Head pair[] = {h, opposite(h)};
    Matrix w;
    HeadError without, one, two;
    ck_assert_int_eq(features_orthogonal(&arena, &r, 256, D, false, &w), MATRIX_OK);
    ck_assert_int_eq(features_error(&arena, FEATURES_POSITIVE, w, NULL, pair, 2, 64, &without), MATRIX_OK);
    ck_assert_int_eq(features_error(&arena, FEATURES_POSITIVE, w, &keys, pair, 2, 64, &one), MATRIX_OK);
    ck_assert_int_eq(features_error(&arena, FEATURES_POSITIVE, w, &both, pair, 2, 64, &two), MATRIX_OK);
    ck_assert_msg(without.measured > 0.25 && without.measured < 1.2, "%g", without.measured);
    ck_assert_msg(one.measured > 0.25 && one.measured < 1.2, "%g", one.measured);
    ck_assert_msg(two.measured > 0.05 && two.measured < 0.12, "%g", two.measured);
    ck_assert_msg(two.predicted < one.predicted && one.predicted < without.predicted, "%g %g %g", two.predicted, one.predicted, without.predicted);
}
END_TEST

/* Two channels whose scales are out of balance: rescaling makes their sizes equal, and with very many features every choice of a reduction
 * tends to the same, exact weights. */
START_TEST(rescaling)
{
    enum { D = 4, L = 64 };
    Random r = random_new(22, 3);
    Head h = head_at_random(&r, L, L, D);
    for (int e = 0; e < L * D; e++) {
        ((double *)h.q)[e] *= e % D == 1 ? 8 : 0.4;
        ((double *)h.k)[e] *= e % D == 1 ? 0.125 : 0.4;
    }
    Reduction chosen = reduction_choose(&arena, FEATURES_HYPERBOLIC, &h, 1);
    ck_assert_ptr_nonnull(chosen.rescale);
    ck_assert_double_eq_tol(chosen.rescale[1], 0.125, 0.03);
    Matrix w;
    HeadError without, with;
    ck_assert_int_eq(features_orthogonal(&arena, &r, 4096, D, false, &w), MATRIX_OK);
    ck_assert_int_eq(features_error(&arena, FEATURES_HYPERBOLIC, w, NULL, &h, 1, 0, &without), MATRIX_OK);
    ck_assert_int_eq(features_error(&arena, FEATURES_HYPERBOLIC, w, &chosen, &h, 1, 0, &with), MATRIX_OK);
    ck_assert_msg(with.measured < 0.2 && without.measured > 4 * with.measured, "%g %g", with.measured, without.measured);
}
END_TEST

/* ---- codes: T = 4096, d = 64 ---------------------------------------------------------------------------------------------------------- */

enum { KEYS_GAUSSIAN, KEYS_CLUSTERED, KEYS_RANK_8 };
static const struct { int keys; int64_t codes; double measured; } codes_table[] = {
    {KEYS_GAUSSIAN, 64, 0.80}, {KEYS_GAUSSIAN, 256, 0.78},  {KEYS_CLUSTERED, 64, 0.38}, {KEYS_CLUSTERED, 256, 0.19},
    {KEYS_RANK_8, 64, 0.63},   {KEYS_RANK_8, 256, 0.55},
};

START_TEST(codes_errors)
{
    enum { D = 64, T = 4096, ROWS = 128 };
    for (size_t t = 0; t < sizeof codes_table / sizeof *codes_table; t++) {
        Random r = random_new(31, t / 2);
        Head h = head_at_random(&r, ROWS, T, D);
        double *centres = normals(&r, 64 * D), *k = (double *)h.k;
        for (int j = 0; j < T && codes_table[t].keys == KEYS_CLUSTERED; j++) {
            int64_t c = (int64_t)(random_uniform(&r) * 64);
            for (int d = 0; d < D; d++)
                k[j * D + d] = centres[c * D + d] + 0.2 * k[j * D + d];
        }
        for (int j = 0; j < T && codes_table[t].keys == KEYS_RANK_8; j++) {
            double small[8];
            for (int s = 0; s < 8; s++)
                small[s] = random_normal(&r);
            for (int d = 0; d < D; d++) {
                k[j * D + d] = 0;
                for (int s = 0; s < 8; s++)
                    k[j * D + d] += small[s] * centres[s * D + d] / sqrt(8);
            }
        }
        Codebook codebook;
        HeadError e;
        ck_assert_int_eq(codes_train(&arena, &r, &h, 1, codes_table[t].codes, 15, &codebook), MATRIX_OK);
        ck_assert_int_eq(codes_error(&arena, &codebook, 0, (Head[]){h, opposite(h)}, 2, 0, &e), MATRIX_OK);
        double ratio = e.measured / codes_table[t].measured;
        /* k-means++ finds the 64 clusters that a start at random keys partly misses: it may only be better there. */
        ck_assert_msg(ratio < 1.15 && ratio > (codes_table[t].keys == KEYS_CLUSTERED ? 0.3 : 0.85), "row %zu: measured %g", t, e.measured);
        ck_assert(e.key_error > 0 && e.logit_error > 0 && e.variation > 0 && e.variation < 1);
        arena_free(&arena);
    }
}
END_TEST

typedef struct WithCodes { const Codebook *codebook; int64_t block; } WithCodes;

static double pair_of_codes(const Head *h, int64_t i, int64_t j, const void *with)
{
    const WithCodes *c = with;
    const double *k = h->k + j * h->width;
    int64_t position = h->keys - h->queries + i, near = 0;
    double least = INFINITY;
    if (c->block && j / c->block >= position / c->block - 1)
        return exp(h->scale * dot(h->q + i * h->width, k, h->width));
    for (int64_t s = 0; s < c->codebook->codes.rows; s++) {
        double far = 0;
        for (int64_t d = 0; d < h->width; d++) {
            double part = 0;
            for (int64_t e = 0; e < h->width; e++)
                part += c->codebook->to_metric.at[d * h->width + e] * (k[e] - c->codebook->codes.at[s * h->width + e]);
            far += part * part;
        }
        if (far < least) {
            least = far;
            near = s;
        }
    }
    return exp(h->scale * dot(h->q + i * h->width, c->codebook->codes.at + near * h->width, h->width));
}

START_TEST(codes_by_hand)
{
    Random r = random_new(32, 0);
    for (int which = 0; which < 7; which++) {
        Head h = masked(&r, which);
        Codebook codebook;
        HeadError e;
        double measured, variation;
        ck_assert_int_eq(codes_train(&arena, &r, &h, 1, 9, 5, &codebook), MATRIX_OK);
        WithCodes with = {&codebook, which % 2 ? 6 : 0};
        ck_assert_int_eq(codes_error(&arena, &codebook, with.block, &h, 1, 0, &e), MATRIX_OK);
        by_hand(&h, pair_of_codes, &with, &measured, &variation);
        ck_assert_double_eq_tol(e.measured, measured, 1e-9);
        ck_assert_double_eq_tol(e.variation, variation, 1e-9);
    }
}
END_TEST

/* The metric: keys that differ most where no query looks. Plain k-means would spend its codes there. */
START_TEST(codes_go_where_the_queries_look)
{
    enum { D = 8, L = 512 };
    Random r = random_new(33, 0);
    Head h = head_at_random(&r, L, L, D);
    for (int e = 0; e < L * D; e++) {
        ((double *)h.q)[e] *= e % D < 2 ? 3 : 0.01;
        ((double *)h.k)[e] *= e % D < 2 ? 1 : 10;
    }
    Codebook codebook, plain;
    HeadError e, of_plain;
    ck_assert_int_eq(codes_train(&arena, &r, &h, 1, 64, 15, &codebook), MATRIX_OK);
    ck_assert_int_eq(codes_error(&arena, &codebook, 0, &h, 1, 0, &e), MATRIX_OK);
    Head blind = h;
    blind.q = normals(&r, L * D);
    ck_assert_int_eq(codes_train(&arena, &r, &blind, 1, 64, 15, &plain), MATRIX_OK);
    ck_assert_int_eq(codes_error(&arena, &plain, 0, &h, 1, 0, &of_plain), MATRIX_OK);
    ck_assert_msg(e.measured < 0.4 && of_plain.measured > 2 * e.measured, "%g %g", e.measured, of_plain.measured);
}
END_TEST

/* Same seed, same codes; as many codes as keys: exact; more codes than different keys, or all keys alike: no empty code breaks anything. */
START_TEST(codes_at_the_edges)
{
    enum { D = 4, L = 24 };
    Random r = random_new(34, 0);
    Head h = head_at_random(&r, L, L, D);
    Codebook one, two;
    HeadError e;
    for (int64_t codes = 1; codes <= 40; codes += 13) {
        Random a = random_new(5, 5), b = random_new(5, 5);
        ck_assert_int_eq(codes_train(&arena, &a, &h, 1, codes, 20, &one), MATRIX_OK);
        ck_assert_int_eq(codes_train(&arena, &b, &h, 1, codes, 20, &two), MATRIX_OK);
        ck_assert_mem_eq(one.codes.at, two.codes.at, (size_t)(codes * D) * sizeof(double));
        ck_assert_int_eq(codes_error(&arena, &one, 0, &h, 1, 0, &e), MATRIX_OK);
        ck_assert(codes < L ? e.measured > 0.01 : e.measured < 1e-9 && e.key_error < 1e-9);
        for (int64_t i = 0; i < codes * D; i++)
            ck_assert(isfinite(one.codes.at[i]));
    }
    for (int j = 0; j < L * D; j++)
        ((double *)h.k)[j] = h.k[j % D];
    ck_assert_int_eq(codes_train(&arena, &r, &h, 1, 6, 20, &one), MATRIX_OK);
    ck_assert_int_eq(codes_error(&arena, &one, 0, &h, 1, 0, &e), MATRIX_OK);
    ck_assert_double_le(e.variation, 1e-12);
    memset((double *)h.q, 0, L * D * sizeof(double));
    ck_assert_int_eq(codes_train(&arena, &r, &h, 1, 6, 20, &one), MATRIX_OK);
}
END_TEST

/* Every centre is the mean of its keys, once the rounds change nothing any more; in the metric or out of it, that is the same mean. */
START_TEST(codes_are_means)
{
    enum { D = 3, L = 200, S = 12 };
    Random r = random_new(35, 0);
    Head h = head_at_random(&r, L, L, D);
    Codebook c;
    ck_assert_int_eq(codes_train(&arena, &r, &h, 1, S, 1000, &c), MATRIX_OK);
    double sum[S][D] = {{0}}, count[S] = {0};
    for (int j = 0; j < L; j++) {
        int near = 0;
        double least = INFINITY;
        for (int s = 0; s < S; s++) {
            double far = 0;
            for (int d = 0; d < D; d++) {
                double part = 0;
                for (int e = 0; e < D; e++)
                    part += c.to_metric.at[d * D + e] * (h.k[j * D + e] - c.codes.at[s * D + e]);
                far += part * part;
            }
            if (far < least) {
                least = far;
                near = s;
            }
        }
        count[near]++;
        for (int d = 0; d < D; d++)
            sum[near][d] += h.k[j * D + d];
    }
    for (int s = 0; s < S; s++) {
        ck_assert(count[s] > 0);
        for (int d = 0; d < D; d++)
            ck_assert_double_eq_tol(c.codes.at[s * D + d], sum[s][d] / count[s], 1e-9);
    }
}
END_TEST

/* ---- costs -------------------------------------------------------------------------------------------------------------------------- */

START_TEST(lengths_from_which_it_pays)
{
    static const struct { int64_t width, features, full, causal; } favor[] = {{64, 266, 544, 1248}, {64, 64, 144, 336}, {128, 621, 1248, 2688}};
    for (int t = 0; t < 3; t++) {
        AttentionShape full = {favor[t].width, favor[t].width, false}, causal = {favor[t].width, favor[t].width, true};
        ck_assert_int_eq(cost_features_pays(full, FEATURES_POSITIVE, favor[t].features), favor[t].full);
        ck_assert_int_eq(cost_features_pays(causal, FEATURES_POSITIVE, favor[t].features), favor[t].causal);
        ck_assert_int_gt(cost_features_pays(full, FEATURES_HYPERBOLIC, favor[t].features), favor[t].full);
    }
    static const struct { int64_t codes, pays; } vq[] = {{512, 3136}, {256, 1600}, {128, 832}}; /* found in steps of 64 */
    for (int t = 0; t < 3; t++) {
        int64_t pays = cost_codes_pays((AttentionShape){128, 128, true}, vq[t].codes, vq[t].codes);
        ck_assert(pays <= vq[t].pays && pays > vq[t].pays - 64);
    }
    AttentionShape s = {64, 64, true};
    int64_t pays = cost_features_pays(s, FEATURES_POSITIVE, 100);
    ck_assert(cost_features(s, FEATURES_POSITIVE, 100, pays) < cost_exact(s, pays));
    ck_assert(cost_features(s, FEATURES_POSITIVE, 100, pays - 16) >= cost_exact(s, pays - 16));
    ck_assert_int_eq(cost_features_pays(s, FEATURES_POSITIVE, 1 << 24), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("errors");
    TCase *tests = tcase_create("errors");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, performer_errors);
    tcase_add_test(tests, predictions_hold_for_single_weights);
    tcase_add_test(tests, the_mean_of_the_values_does_not_hide_anything);
    tcase_add_test(tests, masks_and_kinds_by_hand);
    tcase_add_test(tests, rows_far_below_the_tops);
    tcase_add_test(tests, what_cannot_be_measured);
    tcase_add_test(tests, centring);
    tcase_add_test(tests, rescaling);
    tcase_add_test(tests, codes_errors);
    tcase_add_test(tests, codes_by_hand);
    tcase_add_test(tests, codes_go_where_the_queries_look);
    tcase_add_test(tests, codes_at_the_edges);
    tcase_add_test(tests, codes_are_means);
    tcase_add_test(tests, lengths_from_which_it_pays);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
