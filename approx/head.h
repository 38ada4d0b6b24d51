/* Inside approx/: rows of a head that are looked at, their exact softmax, and sums of squares of errors over rows and heads. */
#ifndef ATTAR_APPROX_HEAD_H
#define ATTAR_APPROX_HEAD_H

#include "approx/approx.h"

enum { BATCH = 64 };                            /* rows of a head that are worked on together */

typedef struct Rows {                           /* some rows of one head, at most BATCH */
    const Head *head;
    int64_t at[BATCH], count;
    Matrix p;                                   /* [count, keys]: the exact weights; rows that see nothing are left out of `at` */
    const double *centred;                      /* [keys][values]: the values less their mean, see head_mean */
} Rows;

typedef struct Sums {                           /* over rows and heads */
    double output, output_error, variation, predicted, pairs, key, key_error, logit_error, query_square, key_square;
    int64_t rows, queries, keys;
} Sums;

/* How many batches the rows of a head make, and the rows of one of them: `rows` of the head's rows, evenly spread (0: all). */
int64_t head_batches(const Head *h, int64_t rows);
void head_batch(Arena *a, const Head *h, int64_t rows, int64_t batch, const double *centred, Rows *out);
double *head_centred(Arena *a, const Head *h, const double *mean);
double *head_mean(Arena *a, const Head *heads, int n);  /* [values], over the keys that count */
MatrixStatus head_check(const Head *heads, int n);      /* sizes fit each other, numbers are finite; n is at least 1 */
bool head_key_counts(const Head *h, int64_t j); /* not dropped by `keep` */

/* What the weights `p` [count, keys] in the place of rows->p do to the output. */
MatrixStatus sums_add(Arena *a, Sums *s, const Rows *rows, Matrix p);
void sums_norms(Sums *s, const Head *h);
HeadError sums_error(const Sums *s);

double vector_dot(const double *a, const double *b, int64_t n);

#endif
