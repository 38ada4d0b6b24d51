/* Errors of approximate weights against the softmax of one head. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "approx/head.h"

double vector_dot(const double *a, const double *b, int64_t n)
{
    double even = 0, odd = 0;
    int64_t i = 0;
    for (; i + 1 < n; i += 2) {
        even += a[i] * b[i];
        odd += a[i + 1] * b[i + 1];
    }
    return i < n ? even + odd + a[i] * b[i] : even + odd;
}

int64_t head_position(const Head *h, int64_t i) { return h->keys - h->queries + i; }

bool head_key_counts(const Head *h, int64_t j) { return !h->keep || h->keep[j]; }

static bool finite_all(const double *x, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

MatrixStatus head_check(const Head *heads, int n)
{
    const int64_t most = INT32_MAX / 8 / BATCH;
    for (int t = 0; t < n; t++) {
        const Head *h = &heads[t];
        if (h->queries < 1 || h->keys < 1 || h->width < 1 || h->values < 1 || h->width != heads->width || h->values != heads->values ||
            ((h->causal || h->document) && h->keys < h->queries) || !(h->scale > 0))
            return MATRIX_SHAPE;
        if (h->queries > most || h->keys > most || h->width > most || h->values > most)
            return MATRIX_TOO_LARGE;
        if (!isfinite(h->scale) || !finite_all(h->q, h->queries * h->width) || !finite_all(h->k, h->keys * h->width) ||
            !finite_all(h->v, h->keys * h->values))
            return MATRIX_NOT_FINITE;
    }
    return n < 1 ? MATRIX_SHAPE : MATRIX_OK;
}

bool head_sees(const Head *h, int64_t i, int64_t j)
{
    int64_t p = head_position(h, i);
    return head_key_counts(h, j) && (!h->causal || j <= p || j < h->prefix) && (!h->document || h->document[j] == h->document[p]) &&
           (!h->sees || h->sees[i * h->keys + j]);
}

static int64_t looked_at(const Head *h, int64_t rows) { return rows > 0 && rows < h->queries ? rows : h->queries; }

int64_t head_batches(const Head *h, int64_t rows) { return (looked_at(h, rows) + BATCH - 1) / BATCH; }

/* The exact weights of one row; false if it sees nothing. */
static bool softmax(const Head *h, int64_t i, double *p)
{
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < h->keys; j++) {
        p[j] = head_sees(h, i, j) ? h->scale * vector_dot(h->q + i * h->width, h->k + j * h->width, h->width) : -INFINITY;
        top = fmax(top, p[j]);
    }
    if (top == -INFINITY)
        return false;
    for (int64_t j = 0; j < h->keys; j++)
        sum += p[j] = p[j] == -INFINITY ? 0 : exp(p[j] - top);
    for (int64_t j = 0; j < h->keys; j++)
        p[j] /= sum;
    return true;
}

void head_batch(Arena *a, const Head *h, int64_t rows, int64_t batch, const double *centred, Rows *out)
{
    int64_t all = looked_at(h, rows), end = all < (batch + 1) * BATCH ? all : (batch + 1) * BATCH;
    *out = (Rows){.head = h, .p = matrix_new(a, BATCH, h->keys), .centred = centred};
    for (int64_t r = batch * BATCH; r < end; r++) {
        int64_t i = (2 * r + 1) * h->queries / (2 * all); /* the middle of the r-th of `all` equal parts */
        if (softmax(h, i, out->p.at + out->count * h->keys))
            out->at[out->count++] = i;
    }
    out->p.rows = out->count;
}

double *head_mean(Arena *a, const Head *heads, int n)
{
    double *mean = arena_array(a, (size_t)heads->values, sizeof *mean), count = 0;
    for (int t = 0; t < n; t++)
        for (int64_t j = 0; j < heads[t].keys; j++) {
            count += head_key_counts(&heads[t], j);
            for (int64_t c = 0; c < heads->values && head_key_counts(&heads[t], j); c++)
                mean[c] += heads[t].v[j * heads->values + c];
        }
    for (int64_t c = 0; c < heads->values; c++)
        mean[c] /= fmax(count, 1);
    return mean;
}

double *head_centred(Arena *a, const Head *h, const double *mean)
{
    double *centred = arena_array(a, (size_t)h->keys, (size_t)h->values * sizeof *centred);
    for (int64_t j = 0; j < h->keys; j++)
        for (int64_t c = 0; c < h->values; c++)
            centred[j * h->values + c] = h->v[j * h->values + c] - mean[c];
    return centred;
}

MatrixStatus sums_add(Arena *a, Sums *s, const Rows *rows, Matrix p)
{
    Matrix v = {rows->head->keys, rows->head->values, (double *)rows->centred}, exact, error, apart = matrix_copy(a, p);
    assert(p.rows == rows->count && p.cols == rows->p.cols);
    if (!rows->count)
        return MATRIX_OK;
    for (int64_t e = 0; e < p.rows * p.cols; e++) {
        apart.at[e] -= rows->p.at[e];
        s->variation += 0.5 * fabs(apart.at[e]);
    }
    MatrixStatus status = matrix_multiply(a, rows->p, false, v, false, &exact);
    if (!status)
        status = matrix_multiply(a, apart, false, v, false, &error);
    if (status)
        return status;
    s->output += vector_dot(exact.at, exact.at, exact.rows * exact.cols);
    s->output_error += vector_dot(error.at, error.at, error.rows * error.cols);
    s->rows += rows->count;
    return MATRIX_OK;
}

void sums_norms(Sums *s, const Head *h)
{
    s->query_square += h->scale * vector_dot(h->q, h->q, h->queries * h->width);
    s->key_square += h->scale * vector_dot(h->k, h->k, h->keys * h->width);
    s->queries += h->queries;
    s->keys += h->keys;
}

static double root_of(double sum, double by) { return sum > 0 ? sqrt(sum / by) : 0; }

HeadError sums_error(const Sums *s)
{
    return (HeadError){.query_norm = root_of(s->query_square, (double)s->queries),
                       .key_norm = root_of(s->key_square, (double)s->keys),
                       .predicted = root_of(s->predicted, s->pairs),
                       .measured = root_of(s->output_error, s->output),
                       .variation = s->rows ? s->variation / (double)s->rows : 0,
                       .key_error = root_of(s->key_error, s->key),
                       .logit_error = root_of(s->logit_error, s->pairs),
                       .rows = s->rows};
}
