/* Wrappers over LAPACKE and CBLAS: checks before, LAPACK's report after. See matrix.h. */
#include "approx/matrix.h"

#include <assert.h>
#include <cblas.h>
#include <float.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>
#include "support/checked.h"

/* libgfortran writes numbers of 128 bits with this, and LAPACK has none. libquadmath's own would come with conversions that
 * it registers with printf as the program starts; from then on every printf takes its slow way. */
int quadmath_snprintf(char *out, size_t size, const char *format, ...);
int quadmath_snprintf(char *out, size_t size, const char *format, ...)
{
    (void)format;
    if (size)
        *out = 0;
    return 0;
}

const char *matrix_status_text(MatrixStatus status)
{
    switch (status) {
    case MATRIX_OK: return "no error";
    case MATRIX_SHAPE: return "the matrices do not fit each other";
    case MATRIX_TOO_LARGE: return "the matrix is too large";
    case MATRIX_NOT_FINITE: return "the matrix holds an infinity or a NaN";
    case MATRIX_NO_CONVERGENCE: return "the iteration for its singular values or eigenvalues did not end";
    case MATRIX_SINGULAR: return "the matrix is singular";
    case MATRIX_NO_MEMORY: return "memory ran out";
    }
    return "an unknown error";
}

Matrix matrix_new(Arena *a, int64_t rows, int64_t cols)
{
    assert(rows >= 0 && cols >= 0);
    return (Matrix){rows, cols, arena_array(a, (size_t)rows, (size_t)cols * sizeof(double))};
}

static size_t elements(Matrix m) { return (size_t)m.rows * (size_t)m.cols; }

Matrix matrix_copy(Arena *a, Matrix m)
{
    Matrix out = matrix_new(a, m.rows, m.cols);
    if (elements(m))
        memcpy(out.at, m.at, elements(m) * sizeof(double));
    return out;
}

Matrix matrix_transpose(Arena *a, Matrix m)
{
    Matrix out = matrix_new(a, m.cols, m.rows);
    for (int64_t i = 0; i < m.rows; i++)
        for (int64_t j = 0; j < m.cols; j++)
            out.at[j * m.rows + i] = m.at[i * m.cols + j];
    return out;
}

Matrix matrix_from_floats(Arena *a, const float *data, int64_t rows, int64_t cols)
{
    Matrix out = matrix_new(a, rows, cols);
    for (size_t i = 0; i < elements(out); i++)
        out.at[i] = data[i];
    return out;
}

double matrix_norm(Matrix m)
{
    return elements(m) ? LAPACKE_dlange(LAPACK_ROW_MAJOR, 'F', (lapack_int)m.rows, (lapack_int)m.cols, m.at, (lapack_int)m.cols) : 0;
}

/* Sizes within LAPACK's integers, workspaces included, and finite elements. */
static MatrixStatus usable(Matrix m)
{
    uint64_t area;
    if (m.rows < 1 || m.cols < 1)
        return MATRIX_SHAPE;
    if (!checked_mul((uint64_t)m.rows, (uint64_t)m.cols, &area) || area > INT32_MAX / 8)
        return MATRIX_TOO_LARGE;
    for (size_t i = 0; i < area; i++)
        if (!isfinite(m.at[i]))
            return MATRIX_NOT_FINITE;
    return MATRIX_OK;
}

/* What LAPACK's `info` means once shapes and elements have been checked: below 0 only its own allocations can have failed. */
static MatrixStatus verdict(lapack_int info, MatrixStatus positive)
{
    if (info == 0)
        return MATRIX_OK;
    assert(info > 0 || info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR);
    return info > 0 ? positive : MATRIX_NO_MEMORY;
}

MatrixStatus matrix_multiply_into(Matrix a, bool transpose_a, Matrix b, bool transpose_b, Matrix out)
{
    int64_t rows = transpose_a ? a.cols : a.rows, inner = transpose_a ? a.rows : a.cols;
    int64_t cols = transpose_b ? b.rows : b.cols, inner_b = transpose_b ? b.cols : b.rows;
    if (inner != inner_b || rows < 1 || cols < 1 || inner < 1 || out.rows != rows || out.cols != cols)
        return MATRIX_SHAPE;
    if (rows > INT32_MAX || cols > INT32_MAX || inner > INT32_MAX)
        return MATRIX_TOO_LARGE;
    cblas_dgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, (int)rows, (int)cols,
                (int)inner, 1.0, a.at, (int)a.cols, b.at, (int)b.cols, 0.0, out.at, (int)cols);
    return MATRIX_OK;
}

MatrixStatus matrix_multiply(Arena *arena, Matrix a, bool transpose_a, Matrix b, bool transpose_b, Matrix *out)
{
    int64_t rows = transpose_a ? a.cols : a.rows, cols = transpose_b ? b.rows : b.cols;
    if (rows < 1 || cols < 1)
        return MATRIX_SHAPE;
    *out = matrix_new(arena, rows, cols);
    return matrix_multiply_into(a, transpose_a, b, transpose_b, *out);
}

/* A row-major m is, to LAPACK, the column-major m^T = v diag(values) u^T: its left factor is our vt and its right one our u, and
 * nothing has to be transposed. The divide and conquer method fails on rare matrices, where the older one still converges. */
MatrixStatus matrix_svd(Arena *a, Matrix m, Svd *out)
{
    MatrixStatus status = usable(m);
    if (status)
        return status;
    int64_t rank = m.rows < m.cols ? m.rows : m.cols;
    *out = (Svd){matrix_new(a, m.rows, rank), matrix_new(a, rank, m.cols), arena_array(a, (size_t)rank, sizeof(double)), rank};
    lapack_int rows = (lapack_int)m.rows, cols = (lapack_int)m.cols, r = (lapack_int)rank;
    lapack_int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'S', cols, rows, matrix_copy(a, m).at, cols, out->values, out->vt.at, cols,
                                     out->u.at, r);
    if (info > 0) {
        double *beside = arena_array(a, (size_t)rank, sizeof(double));
        info = LAPACKE_dgesvd(LAPACK_COL_MAJOR, 'S', 'S', cols, rows, matrix_copy(a, m).at, cols, out->values, out->vt.at, cols,
                              out->u.at, r, beside);
    }
    return verdict(info, MATRIX_NO_CONVERGENCE);
}

/* From LAPACK's form (r above the diagonal, reflections below) to q and r; column j of q and row j of r change sign where r's
 * diagonal is negative. */
static MatrixStatus unfold(Arena *a, Matrix folded, const double *tau, Matrix *q, Matrix *r)
{
    int64_t n = folded.rows < folded.cols ? folded.rows : folded.cols;
    *r = matrix_new(a, n, folded.cols);
    *q = matrix_new(a, folded.rows, n);
    for (int64_t i = 0; i < n; i++)
        memcpy(r->at + i * folded.cols + i, folded.at + i * folded.cols + i, (size_t)(folded.cols - i) * sizeof(double));
    for (int64_t i = 0; i < folded.rows; i++)
        memcpy(q->at + i * n, folded.at + i * folded.cols, (size_t)n * sizeof(double));
    lapack_int info = LAPACKE_dorgqr(LAPACK_ROW_MAJOR, (lapack_int)folded.rows, (lapack_int)n, (lapack_int)n, q->at, (lapack_int)n, tau);
    for (int64_t j = 0; j < n; j++)
        if (r->at[j * r->cols + j] < 0) {
            for (int64_t k = j; k < r->cols; k++)
                r->at[j * r->cols + k] = -r->at[j * r->cols + k];
            for (int64_t i = 0; i < q->rows; i++)
                q->at[i * n + j] = -q->at[i * n + j];
        }
    return verdict(info, MATRIX_NO_CONVERGENCE);
}

MatrixStatus matrix_qr(Arena *a, Matrix m, Matrix *q, Matrix *r)
{
    MatrixStatus status = usable(m);
    if (status)
        return status;
    Matrix folded = matrix_copy(a, m);
    double *tau = arena_array(a, (size_t)(m.rows < m.cols ? m.rows : m.cols), sizeof(double));
    status = verdict(LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, (lapack_int)m.rows, (lapack_int)m.cols, folded.at, (lapack_int)m.cols, tau),
                     MATRIX_NO_CONVERGENCE);
    return status ? status : unfold(a, folded, tau, q, r);
}

MatrixStatus matrix_qr_pivoted(Arena *a, Matrix m, Matrix *q, Matrix *r, int64_t **order)
{
    MatrixStatus status = usable(m);
    if (status)
        return status;
    Matrix folded = matrix_copy(a, m);
    double *tau = arena_array(a, (size_t)(m.rows < m.cols ? m.rows : m.cols), sizeof(double));
    lapack_int *pivots = arena_array(a, (size_t)m.cols, sizeof *pivots); /* zeros: every column is free to move */
    status = verdict(LAPACKE_dgeqp3(LAPACK_ROW_MAJOR, (lapack_int)m.rows, (lapack_int)m.cols, folded.at, (lapack_int)m.cols, pivots, tau),
                     MATRIX_NO_CONVERGENCE);
    if (status)
        return status;
    *order = arena_array(a, (size_t)m.cols, sizeof **order);
    for (int64_t j = 0; j < m.cols; j++)
        (*order)[j] = pivots[j] - 1;
    return unfold(a, folded, tau, q, r);
}

MatrixStatus matrix_eigen(Arena *a, Matrix m, double **values, Matrix *vectors)
{
    MatrixStatus status = m.rows == m.cols ? usable(m) : MATRIX_SHAPE;
    if (status)
        return status;
    *vectors = matrix_copy(a, m);
    *values = arena_array(a, (size_t)m.rows, sizeof **values);
    return verdict(LAPACKE_dsyevd(LAPACK_ROW_MAJOR, 'V', 'L', (lapack_int)m.rows, vectors->at, (lapack_int)m.cols, *values),
                   MATRIX_NO_CONVERGENCE);
}

MatrixStatus matrix_least_squares(Arena *a, Matrix m, Matrix b, double cutoff, Matrix *x, int64_t *rank)
{
    MatrixStatus status = usable(m);
    if (!status)
        status = b.rows == m.rows ? usable(b) : MATRIX_SHAPE;
    if (status)
        return status;
    /* LAPACK writes x over b, which therefore needs room for the longer of the two. */
    int64_t longer = m.rows > m.cols ? m.rows : m.cols, shorter = m.rows < m.cols ? m.rows : m.cols;
    Matrix both = matrix_new(a, longer, b.cols);
    memcpy(both.at, b.at, elements(b) * sizeof(double));
    double *values = arena_array(a, (size_t)shorter, sizeof(double));
    lapack_int found;
    status = verdict(LAPACKE_dgelsd(LAPACK_ROW_MAJOR, (lapack_int)m.rows, (lapack_int)m.cols, (lapack_int)b.cols, matrix_copy(a, m).at,
                                    (lapack_int)m.cols, both.at, (lapack_int)b.cols, values, cutoff < 0 ? (double)longer * DBL_EPSILON : cutoff,
                                    &found),
                     MATRIX_NO_CONVERGENCE);
    *x = (Matrix){m.cols, b.cols, both.at};
    if (rank)
        *rank = found;
    return status;
}

MatrixStatus matrix_pseudo_inverse(Arena *a, Matrix m, double cutoff, Matrix *out)
{
    Svd svd;
    MatrixStatus status = matrix_svd(a, m, &svd);
    if (status)
        return status;
    double least = (cutoff < 0 ? (double)(m.rows > m.cols ? m.rows : m.cols) * DBL_EPSILON : cutoff) * svd.values[0];
    Matrix scaled = matrix_copy(a, svd.vt);
    for (int64_t k = 0; k < svd.rank; k++)
        for (int64_t j = 0; j < m.cols; j++)
            scaled.at[k * m.cols + j] = svd.values[k] > least ? scaled.at[k * m.cols + j] / svd.values[k] : 0;
    return matrix_multiply(a, scaled, true, svd.u, true, out);
}

MatrixStatus matrix_solve_upper(Arena *a, Matrix r, Matrix b, Matrix *x)
{
    MatrixStatus status = r.rows == r.cols && b.rows == r.rows ? usable(r) : MATRIX_SHAPE;
    if (!status)
        status = usable(b);
    if (status)
        return status;
    *x = matrix_copy(a, b);
    return verdict(LAPACKE_dtrtrs(LAPACK_ROW_MAJOR, 'U', 'N', 'N', (lapack_int)r.rows, (lapack_int)b.cols, r.at, (lapack_int)r.cols, x->at,
                                  (lapack_int)b.cols),
                   MATRIX_SINGULAR);
}
