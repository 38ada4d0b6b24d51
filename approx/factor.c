/* Factors of low rank; see factor.h. */
#include "approx/factor.h"

#include <math.h>
#include <string.h>

/* diag(sqrt(values)) vectors^T. Eigenvalues that rounding has pushed below 0 are 0. */
MatrixStatus factor_root(Arena *a, Matrix gram, Matrix *out)
{
    double *values;
    Matrix vectors;
    MatrixStatus status = matrix_eigen(a, gram, &values, &vectors);
    if (status)
        return status;
    *out = matrix_transpose(a, vectors);
    for (int64_t i = 0; i < out->rows; i++)
        for (int64_t j = 0; j < out->cols; j++)
            out->at[i * out->cols + j] *= sqrt(fmax(values[i], 0));
    return MATRIX_OK;
}

MatrixStatus factor_svd(Arena *a, Matrix w, Matrix root, Svd *svd)
{
    Matrix product;
    MatrixStatus status = matrix_multiply(a, root, false, w, false, &product);
    return status ? status : matrix_svd(a, product, svd);
}

MatrixStatus factor_given(Arena *a, Matrix w, const Svd *svd, int64_t rank, Matrix *left, Matrix *right)
{
    if (rank < 1 || rank > svd->rank)
        return MATRIX_SHAPE;
    *right = (Matrix){rank, svd->vt.cols, svd->vt.at}; /* the first rows */
    return matrix_multiply(a, w, false, *right, true, left);
}

MatrixStatus factor_columns(Arena *a, Matrix m, int64_t rank, int64_t **columns)
{
    Matrix q, r;
    if (rank < 1 || rank > m.cols)
        return MATRIX_SHAPE;
    return matrix_qr_pivoted(a, m, &q, &r, columns);
}

MatrixStatus factor_rows(Arena *a, Matrix m, int64_t rank, int64_t **rows)
{
    return factor_columns(a, matrix_transpose(a, m), rank, rows);
}

Matrix factor_take_columns(Arena *a, Matrix m, const int64_t *columns, int64_t rank)
{
    Matrix out = matrix_new(a, m.rows, rank);
    for (int64_t i = 0; i < m.rows; i++)
        for (int64_t j = 0; j < rank; j++)
            out.at[i * rank + j] = m.at[i * m.cols + columns[j]];
    return out;
}

Matrix factor_take_rows(Arena *a, Matrix m, const int64_t *rows, int64_t rank)
{
    Matrix out = matrix_new(a, rank, m.cols);
    for (int64_t i = 0; i < rank; i++)
        memcpy(out.at + i * m.cols, m.at + rows[i] * m.cols, (size_t)m.cols * sizeof *out.at);
    return out;
}

MatrixStatus factor_cur(Arena *a, Matrix m, const int64_t *columns, const int64_t *rows, int64_t rank, Matrix *u)
{
    Matrix c, r, inner;
    MatrixStatus status = matrix_pseudo_inverse(a, factor_take_columns(a, m, columns, rank), -1, &c);
    if (!status)
        status = matrix_pseudo_inverse(a, factor_take_rows(a, m, rows, rank), -1, &r);
    if (!status)
        status = matrix_multiply(a, c, false, m, false, &inner);
    return status ? status : matrix_multiply(a, inner, false, r, false, u);
}

MatrixStatus factor_interpolative(Arena *a, Matrix m, int64_t rank, int64_t **columns, Matrix *z, double *error)
{
    Matrix q, r, chosen, miss;
    MatrixStatus status = rank < 1 || rank > m.cols ? MATRIX_SHAPE : matrix_qr_pivoted(a, m, &q, &r, columns);
    if (status)
        return status;
    chosen = factor_take_columns(a, m, *columns, rank);
    status = matrix_least_squares(a, chosen, m, -1, z, NULL);
    if (!status)
        status = matrix_multiply(a, chosen, false, *z, false, &miss);
    for (int64_t i = 0; !status && i < m.rows * m.cols; i++)
        miss.at[i] = m.at[i] - miss.at[i];
    if (!status && error)
        *error = matrix_norm(miss);
    return status;
}
