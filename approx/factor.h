/* Factors of low rank for a weight w [in, out] that is read as x w: by the activations x that it meets, or from its own rows and columns. */
#ifndef ATTAR_APPROX_FACTOR_H
#define ATTAR_APPROX_FACTOR_H

#include "approx/matrix.h"

/* A square s with s^T s = gram, for a symmetric gram without negative eigenvalues but for rounding: |s m| = |x m| in the Frobenius norm if gram = x^T x, whatever m. */
MatrixStatus factor_root(Arena *a, Matrix gram, Matrix *out);

/* left [in, rank], right [rank, out] that minimise |x (w - left right)|: with x w = u s v^T they are w v_r and v_r^T. `root` as above; the singular values, of which
 * those after the rank are what is missed, come out in `svd` (of root w). The rank is at most min(in, out). */
MatrixStatus factor_svd(Arena *a, Matrix w, Matrix root, Svd *svd);
MatrixStatus factor_given(Arena *a, Matrix w, const Svd *svd, int64_t rank, Matrix *left, Matrix *right);

/* Columns and rows that column-pivoted QR of m and of m^T takes first; [rank]. */
MatrixStatus factor_columns(Arena *a, Matrix m, int64_t rank, int64_t **columns);
MatrixStatus factor_rows(Arena *a, Matrix m, int64_t rank, int64_t **rows);

/* m ~ c u r with c = m[:, columns], r = m[rows]: u = c^+ m r^+, the best there is for these. */
MatrixStatus factor_cur(Arena *a, Matrix m, const int64_t *columns, const int64_t *rows, int64_t rank, Matrix *u);
Matrix factor_take_columns(Arena *a, Matrix m, const int64_t *columns, int64_t rank);
Matrix factor_take_rows(Arena *a, Matrix m, const int64_t *rows, int64_t rank);

/* m ~ m[:, columns] z with the columns of column-pivoted QR, in its order: z [rank, cols]; `error`, if not NULL, gets |m - m[:, columns] z|. */
MatrixStatus factor_interpolative(Arena *a, Matrix m, int64_t rank, int64_t **columns, Matrix *z, double *error);

#endif
