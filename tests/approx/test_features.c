/* Random features: the generator, the golden made from given Gaussians, the moments that Lemma 2 states, and the trap of raw QR signs. */
#include <check.h>
#include <jansson.h>
#include <lapacke.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "approx/approx.h"

static Arena arena;
static void setup(void) { arena = (Arena){0}; }
static void teardown(void) { arena_free(&arena); }

START_TEST(numbers_of_one_stream_are_its_own)
{
    Random a = random_new(7, 0), b = random_new(7, 0), c = random_new(7, 1), d = random_new(8, 0);
    int same_c = 0, same_d = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t bits = random_bits(&a);
        ck_assert(bits == random_bits(&b));
        same_c += bits == random_bits(&c);
        same_d += bits == random_bits(&d);
    }
    ck_assert_int_eq(same_c + same_d, 0);
}
END_TEST

/* These very numbers: a projection drawn today is drawn again next year, on another machine. */
START_TEST(numbers_stay_what_they_are)
{
    Random r = random_new(7, 3);
    ck_assert_uint_eq(random_bits(&r), 2724116607704527824u);
    static const double want[] = {0x1.77ecbd897e973p-2, 0x1.161fa8103e7ebp+0, 0x1.fbb038b22f3a8p-2, -0x1.58c2733fbbbfdp-1};
    for (int i = 0; i < 4; i++)
        ck_assert(random_normal(&r) == want[i]);
}
END_TEST

START_TEST(normal_numbers)
{
    enum { N = 400000 };
    Random r = random_new(1, 1);
    double moment[5] = {0};
    int beyond = 0;
    for (int i = 0; i < N; i++) {
        double x = random_normal(&r), power = 1;
        for (int k = 0; k < 5; k++, power *= x)
            moment[k] += power / N;
        beyond += fabs(x) > 2.5758293035489; /* 1 % */
    }
    static const double want[] = {1, 0, 1, 0, 3}, variance[] = {0, 1, 2, 15, 96};
    for (int k = 1; k < 5; k++)
        ck_assert_double_eq_tol(moment[k], want[k], 5 * sqrt(variance[k] / N));
    ck_assert_double_eq_tol(beyond, 0.01 * N, 5 * sqrt(0.01 * N));
}
END_TEST

/* A tensor of the golden folder. */
static Matrix golden(const char *key)
{
    FILE *f = fopen(SOURCE_DIR "/tests/golden/op-performer-orthogonal/golden.safetensors", "rb");
    ck_assert_ptr_nonnull(f);
    uint64_t length;
    ck_assert_uint_eq(fread(&length, 8, 1, f), 1);
    char *text = arena_alloc(&arena, length + 1);
    ck_assert_uint_eq(fread(text, 1, length, f), length);
    json_t *header = json_loads(text, 0, NULL), *entry = json_object_get(header, key), *shape = json_object_get(entry, "shape");
    ck_assert_str_eq(json_string_value(json_object_get(entry, "dtype")), "F32");
    int64_t rows = json_integer_value(json_array_get(shape, 0)), cols = json_integer_value(json_array_get(shape, 1));
    float *data = arena_array(&arena, (size_t)(rows * cols), sizeof *data);
    fseek(f, (long)(8 + length + (uint64_t)json_integer_value(json_array_get(json_object_get(entry, "data_offsets"), 0))), SEEK_SET);
    ck_assert_uint_eq(fread(data, sizeof *data, (size_t)(rows * cols), f), (size_t)(rows * cols));
    fclose(f);
    json_decref(header);
    return matrix_from_floats(&arena, data, rows, cols);
}

START_TEST(golden_orthogonal)
{
    Matrix want = golden("output.w"), w;
    ck_assert_int_eq(features_from_gaussian(&arena, golden("input.gaussian"), golden("input.lengths"), &w), MATRIX_OK);
    ck_assert_int_eq(w.rows, want.rows);
    ck_assert_int_eq(w.cols, want.cols);
    double most = 0;
    for (int64_t i = 0; i < w.rows * w.cols; i++)
        most = fmax(most, fabs(w.at[i] - want.at[i]));
    ck_assert_double_le(most, 1e-5);
}
END_TEST

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

START_TEST(rows_of_a_block_are_orthogonal)
{
    enum { D = 12, M = 31 };
    Matrix w;
    for (int equal = 0; equal < 2; equal++) {
        Random r = random_new(5, 0);
        ck_assert_int_eq(features_orthogonal(&arena, &r, M, D, equal, &w), MATRIX_OK);
        double mean = 0, lengths = 0;
        for (int i = 0; i < M; i++) {
            double square = dot(w.at + i * D, w.at + i * D, D);
            mean += square / M;
            lengths += (square - D) * (square - D) / M;
            for (int j = 0; j < i; j++)
                if (i / D == j / D)
                    ck_assert_double_le(fabs(dot(w.at + i * D, w.at + j * D, D)), 1e-12 * D);
        }
        ck_assert_double_eq_tol(mean, D, equal ? 1e-12 : 5);
        ck_assert(equal ? lengths < 1e-24 : lengths > 5); /* chi-squared with D degrees: variance 2 D */
    }
    Random r = random_new(5, 0);
    ck_assert_int_eq(features_orthogonal(&arena, &r, 0, D, false, &w), MATRIX_SHAPE);
    ck_assert_int_eq(features_orthogonal(&arena, &r, INT64_MAX / 2, D, false, &w), MATRIX_TOO_LARGE);
}
END_TEST

/* ---- moments ---------------------------------------------------------------------------------------------------------------------- */

enum { WIDTH = 16, ROWS = 16, DRAWS = 12000 };

static double estimate(FeatureKind kind, Matrix w, const double *x, const double *y)
{
    double both[WIDTH], sum = 0;
    for (int i = 0; i < WIDTH; i++)
        both[i] = x[i] + y[i];
    for (int64_t f = 0; f < w.rows; f++) {
        double u = dot(w.at + f * WIDTH, both, WIDTH);
        sum += kind == FEATURES_POSITIVE ? exp(u) : cosh(u);
    }
    return sum / (double)w.rows * exp(-(dot(x, x, WIDTH) + dot(y, y, WIDTH)) / 2);
}

typedef struct Moments { double mean, error, square; } Moments;  /* error: of the mean; square: mean squared error against exp(x.y) */

typedef enum Draw { DRAW_ORTHOGONAL, DRAW_INDEPENDENT, DRAW_RAW_SIGNS } Draw;

static void draw(Draw how, Random *r, Matrix *w)
{
    Arena *a = &arena;
    if (how == DRAW_INDEPENDENT) {
        *w = matrix_new(a, ROWS, WIDTH);
        for (int i = 0; i < ROWS * WIDTH; i++)
            w->at[i] = random_normal(r);
        return;
    }
    if (how == DRAW_ORTHOGONAL) {
        ck_assert_int_eq(features_orthogonal(a, r, ROWS, WIDTH, false, w), MATRIX_OK);
        return;
    }
    /* One block as features_from_gaussian makes it, but with the signs that LAPACK's reflections happen to give. */
    double tau[WIDTH], *q = arena_array(a, WIDTH * WIDTH, sizeof *q);
    for (int i = 0; i < WIDTH * WIDTH; i++)
        q[i] = random_normal(r);
    ck_assert_int_eq(LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, WIDTH, WIDTH, q, WIDTH, tau), 0);
    ck_assert_int_eq(LAPACKE_dorgqr(LAPACK_ROW_MAJOR, WIDTH, WIDTH, WIDTH, q, WIDTH, tau), 0);
    *w = matrix_transpose(a, (Matrix){WIDTH, WIDTH, q});
    for (int i = 0; i < ROWS; i++) {
        double square = 0;
        for (int j = 0; j < WIDTH; j++) {
            double g = random_normal(r);
            square += g * g;
        }
        for (int j = 0; j < WIDTH; j++)
            w->at[i * WIDTH + j] *= sqrt(square);
    }
}

static Moments moments(Draw how, FeatureKind kind, const double *x, const double *y)
{
    Random r = random_new(11, (uint64_t)how * 2 + kind);
    double exact = exp(dot(x, y, WIDTH)), sum = 0, squares = 0, off = 0;
    for (int t = 0; t < DRAWS; t++) {
        Matrix w;
        draw(how, &r, &w);
        double e = estimate(kind, w, x, y);
        sum += e;
        squares += e * e;
        off += (e - exact) * (e - exact);
        arena_free(&arena);
    }
    double mean = sum / DRAWS;
    return (Moments){mean, sqrt((squares / DRAWS - mean * mean) / DRAWS), off / DRAWS};
}

static void make_pair(double size, bool along_an_axis, double *x, double *y)
{
    Random r = random_new(3, 9);
    for (int i = 0; i < WIDTH; i++) {
        x[i] = along_an_axis ? (i == 0) * size : size * random_normal(&r);
        y[i] = along_an_axis ? (i == 0) * size : size * random_normal(&r);
    }
}

/* The sample mean lies within 4 standard errors of exp(x.y), the standard error being that of Lemma 2, and the mean squared error is Lemma 2's for
 * independent rows and at most that, less Theorem 2's gap, for orthogonal ones. */
START_TEST(lemma_2)
{
    for (int c = 0; c < 8; c++) {
        FeatureKind kind = c & 1 ? FEATURES_HYPERBOLIC : FEATURES_POSITIVE;
        Draw how = c & 2 ? DRAW_INDEPENDENT : DRAW_ORTHOGONAL;
        double x[WIDTH], y[WIDTH], both[WIDTH];
        make_pair(c & 4 ? 0.6 : 0.2, c & 4, x, y);
        for (int i = 0; i < WIDTH; i++)
            both[i] = x[i] + y[i];
        double exact = exp(dot(x, y, WIDTH)), z = dot(both, both, WIDTH), lemma = exact * exact * features_variance(kind, z, ROWS);
        Moments m = moments(how, kind, x, y);
        ck_assert_msg(fabs(m.mean - exact) <= 4 * sqrt(lemma / DRAWS), "case %d: mean %g, exact %g, %g standard errors", c, m.mean, exact,
                      fabs(m.mean - exact) / sqrt(lemma / DRAWS));
        if (how == DRAW_INDEPENDENT) {
            ck_assert_msg(fabs(m.square / lemma - 1) < 0.15, "case %d: squared error %g, Lemma 2 %g", c, m.square, lemma);
        } else {
            double apart = exact - exp(-(dot(x, x, WIDTH) + dot(y, y, WIDTH)) / 2);
            double gap = kind == FEATURES_POSITIVE ? 2.0 * (ROWS - 1) / (ROWS * (WIDTH + 2)) * apart * apart : 0;
            ck_assert_msg(m.square <= (lemma - gap) * 1.15, "case %d: squared error %g, bound %g", c, m.square, lemma - gap);
        }
    }
}
END_TEST

/* What the sign correction is for: with LAPACK's own signs the mean is off by many standard errors. */
START_TEST(raw_signs_would_be_wrong)
{
    double x[WIDTH], y[WIDTH];
    make_pair(0.8, true, x, y);
    double exact = exp(dot(x, y, WIDTH));
    Moments raw = moments(DRAW_RAW_SIGNS, FEATURES_POSITIVE, x, y), right = moments(DRAW_ORTHOGONAL, FEATURES_POSITIVE, x, y);
    ck_assert_double_ge(fabs(raw.mean - exact), 5 * raw.error);
    ck_assert_double_le(fabs(right.mean - exact), 4 * right.error);
}
END_TEST

START_TEST(variance_beyond_float64)
{
    ck_assert(isinf(features_variance(FEATURES_POSITIVE, 800, 256)));
    ck_assert(features_variance(FEATURES_POSITIVE, 0, 256) == 0);
    ck_assert_double_eq_tol(features_variance(FEATURES_POSITIVE, 1e-9, 1), 1e-9, 1e-17);
    ck_assert_double_eq_tol(features_variance(FEATURES_HYPERBOLIC, 1e-4, 1), 0.5e-8, 1e-15);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("features");
    TCase *tests = tcase_create("features");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, numbers_of_one_stream_are_its_own);
    tcase_add_test(tests, numbers_stay_what_they_are);
    tcase_add_test(tests, normal_numbers);
    tcase_add_test(tests, golden_orthogonal);
    tcase_add_test(tests, rows_of_a_block_are_orthogonal);
    tcase_add_test(tests, lemma_2);
    tcase_add_test(tests, raw_signs_would_be_wrong);
    tcase_add_test(tests, variance_beyond_float64);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
