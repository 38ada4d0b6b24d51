/* Dense matrices in float64, and what LAPACK says about them: row-major, contiguous, in an arena.
 *
 * Everything here runs at compile time. The library is linked statically, so that every machine gets the same digits.
 * Each function checks sizes (LAPACK counts in 32 bits) and whether all numbers are finite before it starts. */
#ifndef ATTAR_APPROX_MATRIX_H
#define ATTAR_APPROX_MATRIX_H

#include <stdbool.h>
#include <stdint.h>
#include "support/arena.h"

typedef struct Matrix {
    int64_t rows, cols;
    double *at;                                 /* element (i, j) is at[i * cols + j] */
} Matrix;

typedef enum MatrixStatus {
    MATRIX_OK,
    MATRIX_SHAPE,                               /* the operands do not fit each other, or a size is below 1 */
    MATRIX_TOO_LARGE,                           /* beyond what LAPACK can count */
    MATRIX_NOT_FINITE,                          /* an operand holds an infinity or a NaN */
    MATRIX_NO_CONVERGENCE,                      /* an iteration did not end */
    MATRIX_SINGULAR,                            /* a triangular matrix with a zero on its diagonal */
    MATRIX_NO_MEMORY
} MatrixStatus;

const char *matrix_status_text(MatrixStatus status);    /* half a sentence, for a diagnostic */

Matrix matrix_new(Arena *a, int64_t rows, int64_t cols);        /* zeros */
Matrix matrix_copy(Arena *a, Matrix m);
Matrix matrix_transpose(Arena *a, Matrix m);
Matrix matrix_from_floats(Arena *a, const float *data, int64_t rows, int64_t cols);
double matrix_norm(Matrix m);                   /* Frobenius, without overflow on the way */

/* out = op(a) op(b), where op transposes if asked. `out` is made in the arena. */
MatrixStatus matrix_multiply(Arena *arena, Matrix a, bool transpose_a, Matrix b, bool transpose_b, Matrix *out);
MatrixStatus matrix_multiply_into(Matrix a, bool transpose_a, Matrix b, bool transpose_b, Matrix out); /* out: of the right shape, its own memory */

/* m = u diag(values) vt with r = min(rows, cols): u [rows, r], values descending, vt [r, cols]. */
typedef struct Svd {
    Matrix u, vt;
    double *values;
    int64_t rank;                               /* r */
} Svd;
MatrixStatus matrix_svd(Arena *a, Matrix m, Svd *out);

/* m = q r with r's diagonal >= 0, which makes the factors unique for a matrix of full rank; LAPACK's own signs follow its reflections,
 * and q of a Gaussian matrix would not be distributed evenly over all rotations. q [rows, n], r [n, cols], n = min(rows, cols). */
MatrixStatus matrix_qr(Arena *a, Matrix m, Matrix *q, Matrix *r);

/* Column j of q r is column order[j] of m; |r[j][j]| falls. `order` has m.cols entries. Diagonal >= 0 as above. */
MatrixStatus matrix_qr_pivoted(Arena *a, Matrix m, Matrix *q, Matrix *r, int64_t **order);

/* A symmetric m = vectors diag(values) vectors^T; values ascending, vectors in columns. The lower triangle is read. */
MatrixStatus matrix_eigen(Arena *a, Matrix m, double **values, Matrix *vectors);

/* The x of least norm among those that minimise |m x - b|: x [m.cols, b.cols]. Singular values below `cutoff` times the largest
 * count as zero (below 0: rows and columns times the machine's epsilon). `rank`, if not NULL, gets how many did not. */
MatrixStatus matrix_least_squares(Arena *a, Matrix m, Matrix b, double cutoff, Matrix *x, int64_t *rank);
MatrixStatus matrix_pseudo_inverse(Arena *a, Matrix m, double cutoff, Matrix *out);

/* x with r x = b for an upper triangular r (what lies below the diagonal is not read). */
MatrixStatus matrix_solve_upper(Arena *a, Matrix r, Matrix b, Matrix *x);

#endif
