/* Factors of low rank against golden matrices: for given activations, from rows and columns, and columns that the others are made of. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "approx/factor.h"
#include "driver/compile.h"

static Compilation c;
static Checkpoint *golden;

static void open_golden(const char *path)
{
    compile_begin(&c);
    golden = checkpoint_open(&c.cx, path);
    ck_assert_msg(golden != NULL, "%s", path);
}

static void close_golden(void)
{
    checkpoint_close(golden);
    compile_free(&c);
}

static Matrix read_matrix(const char *name)
{
    const HostTensor *t = checkpoint_find(golden, name);
    ck_assert_msg(t != NULL, "%s", name);
    int64_t count = host_count(t), cols = t->rank ? t->dims[t->rank - 1] : 1;
    Matrix m = matrix_new(&c.arena, count / cols, cols);
    ck_assert(checkpoint_read_f64(&c.cx, golden, name, 0, count, m.at));
    return m;
}

static int64_t *read_numbers(const char *name)
{
    Matrix m = read_matrix(name);
    int64_t *out = arena_array(&c.arena, (size_t)m.cols, sizeof *out);
    for (int64_t i = 0; i < m.cols; i++)
        out[i] = (int64_t)m.at[i];
    return out;
}

static Matrix times(Matrix a, bool turn_a, Matrix b)
{
    Matrix out;
    ck_assert_int_eq(matrix_multiply(&c.arena, a, turn_a, b, false, &out), MATRIX_OK);
    return out;
}

static double apart(Matrix a, Matrix b)
{
    ck_assert_int_eq(a.rows, b.rows);
    ck_assert_int_eq(a.cols, b.cols);
    double most = 0, size = 0;
    for (int64_t i = 0; i < a.rows * a.cols; i++) {
        most = fmax(most, fabs(a.at[i] - b.at[i]));
        size = fmax(size, fabs(b.at[i]));
    }
    return most / size;
}

START_TEST(for_given_activations)
{
    open_golden(SOURCE_DIR "/tests/golden/op-lowrank-activation/golden.safetensors");
    Matrix w = read_matrix("input.w"), x = read_matrix("input.x"), root, left, right;
    Svd svd;
    ck_assert_int_eq(factor_root(&c.arena, times(x, true, x), &root), MATRIX_OK);
    ck_assert_double_le(apart(times(root, true, root), times(x, true, x)), 1e-12);
    ck_assert_int_eq(factor_svd(&c.arena, w, root, &svd), MATRIX_OK);
    ck_assert_int_eq(factor_given(&c.arena, w, &svd, 5, &left, &right), MATRIX_OK);
    ck_assert_double_le(apart(times(left, false, right), read_matrix("output.product")), 1e-5);
    double missed = 0;
    for (int64_t i = 5; i < svd.rank; i++)
        missed += svd.values[i] * svd.values[i];
    ck_assert_double_eq_tol(sqrt(missed), read_matrix("output.error").at[0], 1e-5);
    ck_assert_int_eq(factor_given(&c.arena, w, &svd, 0, &left, &right), MATRIX_SHAPE);
    ck_assert_int_eq(factor_given(&c.arena, w, &svd, 18, &left, &right), MATRIX_SHAPE);
    close_golden();
}
END_TEST

START_TEST(from_rows_and_columns)
{
    open_golden(SOURCE_DIR "/tests/golden/op-lowrank-cur/golden.safetensors");
    Matrix m = read_matrix("input.m"), u;
    int64_t *columns = read_numbers("input.columns"), *rows = read_numbers("input.rows"), *found;
    ck_assert_int_eq(factor_columns(&c.arena, m, 6, &found), MATRIX_OK);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(found[i], columns[i]);
    ck_assert_int_eq(factor_rows(&c.arena, m, 6, &found), MATRIX_OK);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(found[i], rows[i]);
    ck_assert_int_eq(factor_cur(&c.arena, m, columns, rows, 6, &u), MATRIX_OK);
    ck_assert_double_le(apart(u, read_matrix("output.u")), 1e-5);
    Matrix left = times(factor_take_columns(&c.arena, m, columns, 6), false, u);
    ck_assert_double_le(apart(times(left, false, factor_take_rows(&c.arena, m, rows, 6)), read_matrix("output.product")), 1e-5);
    close_golden();
}
END_TEST

START_TEST(columns_that_the_others_are_made_of)
{
    open_golden(SOURCE_DIR "/tests/golden/op-lowrank-interpolative/golden.safetensors");
    Matrix h = read_matrix("input.h"), next = read_matrix("input.next"), z;
    int64_t *wanted = read_numbers("output.columns"), *columns;
    double error;
    ck_assert_int_eq(factor_interpolative(&c.arena, h, 6, &columns, &z, &error), MATRIX_OK);
    for (int i = 0; i < 6; i++)
        ck_assert_int_eq(columns[i], wanted[i]);
    ck_assert_double_le(apart(z, read_matrix("output.z")), 1e-5);
    ck_assert_double_le(apart(times(z, false, next), read_matrix("output.next")), 1e-5);
    ck_assert_double_eq_tol(error, read_matrix("output.error").at[0], 1e-5);
    close_golden();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lowrank_factors");
    TCase *t = tcase_create("lowrank_factors");
    tcase_add_test(t, for_given_activations);
    tcase_add_test(t, from_rows_and_columns);
    tcase_add_test(t, columns_that_the_others_are_made_of);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
