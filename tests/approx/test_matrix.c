/* The wrappers over LAPACK: factors multiply back, have the shape and order that matrix.h promises, and bad matrices are refused. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "approx/matrix.h"

static Arena arena;
static void setup(void) { arena = (Arena){0}; }
static void teardown(void) { arena_free(&arena); }

static Matrix noise(int64_t rows, int64_t cols, uint64_t seed)
{
    Matrix m = matrix_new(&arena, rows, cols);
    uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
    for (int64_t i = 0; i < rows * cols; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        m.at[i] = (double)(int64_t)state / 9.3e18;
    }
    return m;
}

static Matrix times(Matrix a, bool ta, Matrix b, bool tb)
{
    Matrix out;
    ck_assert_int_eq(matrix_multiply(&arena, a, ta, b, tb, &out), MATRIX_OK);
    return out;
}

static double apart(Matrix a, Matrix b)
{
    ck_assert_int_eq(a.rows, b.rows);
    ck_assert_int_eq(a.cols, b.cols);
    double most = 0;
    for (int64_t i = 0; i < a.rows * a.cols; i++)
        most = fmax(most, fabs(a.at[i] - b.at[i]));
    return most;
}

static Matrix identity(int64_t n)
{
    Matrix m = matrix_new(&arena, n, n);
    for (int64_t i = 0; i < n; i++)
        m.at[i * n + i] = 1;
    return m;
}

static const int64_t shapes[][2] = {{1, 1}, {7, 3}, {3, 7}, {16, 16}, {1, 9}, {40, 25}};

START_TEST(products_by_hand)
{
    Matrix a = noise(4, 5, 1), b = noise(5, 3, 2), out = times(a, false, b, false);
    for (int64_t i = 0; i < 4; i++)
        for (int64_t j = 0; j < 3; j++) {
            double sum = 0;
            for (int64_t k = 0; k < 5; k++)
                sum += a.at[i * 5 + k] * b.at[k * 3 + j];
            ck_assert_double_eq_tol(out.at[i * 3 + j], sum, 1e-15);
        }
    ck_assert_double_le(apart(out, times(matrix_transpose(&arena, a), true, matrix_transpose(&arena, b), true)), 1e-15);
    Matrix none;
    ck_assert_int_eq(matrix_multiply(&arena, a, false, b, true, &none), MATRIX_SHAPE);
}
END_TEST

START_TEST(singular_values)
{
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        Matrix m = noise(shapes[s][0], shapes[s][1], s + 3), left;
        Svd svd;
        ck_assert_int_eq(matrix_svd(&arena, m, &svd), MATRIX_OK);
        ck_assert_double_le(apart(times(svd.u, true, svd.u, false), identity(svd.rank)), 1e-13);
        ck_assert_double_le(apart(times(svd.vt, false, svd.vt, true), identity(svd.rank)), 1e-13);
        left = matrix_copy(&arena, svd.u);
        double squares = 0;
        for (int64_t i = 0; i < left.rows * left.cols; i++)
            left.at[i] *= svd.values[i % left.cols];
        for (int64_t k = 0; k < svd.rank; k++) {
            squares += svd.values[k] * svd.values[k];
            ck_assert(k == 0 || svd.values[k] <= svd.values[k - 1]);
        }
        ck_assert_double_le(apart(times(left, false, svd.vt, false), m), 1e-13);
        ck_assert_double_eq_tol(sqrt(squares), matrix_norm(m), 1e-12);
    }
}
END_TEST

/* The raw signs of LAPACK make the first diagonal entry of r negative for nearly every Gaussian matrix. */
START_TEST(qr_has_a_positive_diagonal)
{
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        Matrix m = noise(shapes[s][0], shapes[s][1], s + 11), q, r;
        ck_assert_int_eq(matrix_qr(&arena, m, &q, &r), MATRIX_OK);
        ck_assert_double_le(apart(times(q, false, r, false), m), 1e-13);
        ck_assert_double_le(apart(times(q, true, q, false), identity(q.cols)), 1e-13);
        for (int64_t i = 0; i < r.rows; i++)
            for (int64_t j = 0; j <= i && j < r.cols; j++)
                ck_assert(j < i ? r.at[i * r.cols + j] == 0 : r.at[i * r.cols + j] >= 0);
    }
}
END_TEST

START_TEST(pivots_reveal_the_rank)
{
    Matrix m = times(noise(12, 4, 21), false, noise(4, 9, 22), false), q, r;
    int64_t *order, seen = 0;
    ck_assert_int_eq(matrix_qr_pivoted(&arena, m, &q, &r, &order), MATRIX_OK);
    Matrix back = times(q, false, r, false);
    for (int64_t j = 0; j < 9; j++) {
        seen |= 1 << order[j];
        for (int64_t i = 0; i < 12; i++)
            ck_assert_double_eq_tol(back.at[i * 9 + j], m.at[i * 9 + order[j]], 1e-13);
        ck_assert(j == 0 || r.at[j * 9 + j] <= r.at[(j - 1) * 9 + j - 1] + 1e-14);
    }
    ck_assert_int_eq(seen, (1 << 9) - 1);
    ck_assert_double_ge(r.at[3 * 9 + 3], 1e-3);
    ck_assert_double_le(r.at[4 * 9 + 4], 1e-13);
}
END_TEST

START_TEST(eigenvalues_of_a_symmetric_matrix)
{
    Matrix half = noise(9, 6, 31), m = times(half, true, half, false), vectors, scaled;
    double *values;
    ck_assert_int_eq(matrix_eigen(&arena, m, &values, &vectors), MATRIX_OK);
    ck_assert_double_le(apart(times(vectors, true, vectors, false), identity(6)), 1e-13);
    scaled = matrix_copy(&arena, vectors);
    for (int64_t i = 0; i < 36; i++)
        scaled.at[i] *= values[i % 6];
    ck_assert_double_le(apart(times(scaled, false, vectors, true), m), 1e-13);
    for (int k = 1; k < 6; k++)
        ck_assert(values[k] >= values[k - 1]);
    Matrix wide = noise(2, 3, 1);
    ck_assert_int_eq(matrix_eigen(&arena, wide, &values, &vectors), MATRIX_SHAPE);
}
END_TEST

/* Full rank, tall, wide and of deficient rank: the residual is orthogonal to the columns, and x has no part in the null space. */
START_TEST(least_squares)
{
    for (int k = 0; k < 3; k++) {
        Matrix m = k == 0 ? noise(20, 6, 41) : k == 1 ? noise(6, 20, 42) : times(noise(20, 3, 43), false, noise(3, 8, 44), false);
        Matrix b = noise(m.rows, 2, 45), x, inverse;
        int64_t rank;
        ck_assert_int_eq(matrix_least_squares(&arena, m, b, k == 2 ? 1e-10 : -1, &x, &rank), MATRIX_OK);
        ck_assert_int_eq(rank, k == 2 ? 3 : 6);
        Matrix residual = times(m, false, x, false);
        for (int64_t i = 0; i < b.rows * b.cols; i++)
            residual.at[i] -= b.at[i];
        ck_assert_double_le(apart(times(m, true, residual, false), matrix_new(&arena, m.cols, 2)), 1e-12);
        ck_assert_int_eq(matrix_pseudo_inverse(&arena, m, k == 2 ? 1e-10 : -1, &inverse), MATRIX_OK);
        ck_assert_double_le(apart(times(inverse, false, b, false), x), 1e-11);
    }
}
END_TEST

START_TEST(triangles)
{
    Matrix q, r, b = noise(5, 2, 52), x;
    ck_assert_int_eq(matrix_qr(&arena, noise(5, 5, 51), &q, &r), MATRIX_OK);
    ck_assert_int_eq(matrix_solve_upper(&arena, r, b, &x), MATRIX_OK);
    ck_assert_double_le(apart(times(r, false, x, false), b), 1e-12);
    r.at[2 * 5 + 2] = 0;
    ck_assert_int_eq(matrix_solve_upper(&arena, r, b, &x), MATRIX_SINGULAR);
}
END_TEST

START_TEST(bad_matrices_are_refused)
{
    Matrix m = noise(3, 3, 61), q, r;
    Svd svd;
    m.at[4] = NAN;
    ck_assert_int_eq(matrix_svd(&arena, m, &svd), MATRIX_NOT_FINITE);
    m.at[4] = INFINITY;
    ck_assert_int_eq(matrix_qr(&arena, m, &q, &r), MATRIX_NOT_FINITE);
    ck_assert_int_eq(matrix_svd(&arena, (Matrix){0, 3, NULL}, &svd), MATRIX_SHAPE);
    ck_assert_int_eq(matrix_svd(&arena, (Matrix){1 << 20, 1 << 20, NULL}, &svd), MATRIX_TOO_LARGE);
    ck_assert_int_eq(matrix_qr(&arena, (Matrix){INT64_MAX, 3, NULL}, &q, &r), MATRIX_TOO_LARGE);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("matrix");
    TCase *tests = tcase_create("matrix");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, products_by_hand);
    tcase_add_test(tests, singular_values);
    tcase_add_test(tests, qr_has_a_positive_diagonal);
    tcase_add_test(tests, pivots_reveal_the_rank);
    tcase_add_test(tests, eigenvalues_of_a_symmetric_matrix);
    tcase_add_test(tests, least_squares);
    tcase_add_test(tests, triangles);
    tcase_add_test(tests, bad_matrices_are_refused);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
