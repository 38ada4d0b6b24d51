/* What random features make of a head's weights, beside what Lemma 2 predicts, and the rewrites that make their variance smaller. */
#include <math.h>
#include <string.h>

#include "approx/head.h"

/* ---- x and y --------------------------------------------------------------------------------------------------------------------- */

typedef struct Sides {                          /* of one head, after the reduction; see approx.h */
    Matrix x, y;
    double *offset;                             /* [keys]: added to the exponent of a key's features */
} Sides;

static double x_at(const Head *h, const Reduction *r, int64_t i, int64_t d)
{
    return (r->rescale ? r->rescale[d] : 1) * sqrt(h->scale) * (h->q[i * h->width + d] - (r->query_mean ? r->query_mean[d] : 0));
}

static double y_at(const Head *h, const Reduction *r, int64_t j, int64_t d)
{
    return sqrt(h->scale) * (h->k[j * h->width + d] - (r->key_mean ? r->key_mean[d] : 0)) / (r->rescale ? r->rescale[d] : 1);
}

static Sides split(Arena *a, const Head *h, const Reduction *r)
{
    Sides s = {matrix_new(a, h->queries, h->width), matrix_new(a, h->keys, h->width), arena_array(a, (size_t)h->keys, sizeof *s.offset)};
    for (int64_t i = 0; i < h->queries; i++)
        for (int64_t d = 0; d < h->width; d++)
            s.x.at[i * h->width + d] = x_at(h, r, i, d);
    for (int64_t j = 0; j < h->keys; j++)
        for (int64_t d = 0; d < h->width; d++) {
            s.y.at[j * h->width + d] = y_at(h, r, j, d);
            if (r->query_mean)
                s.offset[j] += h->scale * r->query_mean[d] * (h->k[j * h->width + d] - (r->key_mean ? r->key_mean[d] : 0));
        }
    return s;
}

/* ---- weights --------------------------------------------------------------------------------------------------------------------- */

/* Exponents of features [of.rows, F or 2 F]: w.x for each row, and -w.x behind it for hyperbolic ones. */
static MatrixStatus exponents(Arena *a, FeatureKind kind, Matrix of, Matrix w, Matrix *out)
{
    Matrix product;
    MatrixStatus status = matrix_multiply(a, of, false, w, true, &product);
    if (status || kind == FEATURES_POSITIVE) {
        *out = product;
        return status;
    }
    *out = matrix_new(a, of.rows, 2 * w.rows);
    for (int64_t i = 0; i < of.rows; i++)
        for (int64_t f = 0; f < w.rows; f++) {
            out->at[i * out->cols + f] = product.at[i * w.rows + f];
            out->at[i * out->cols + w.rows + f] = -product.at[i * w.rows + f];
        }
    return MATRIX_OK;
}

typedef struct Features {
    Matrix u, e;                                /* exponents of queries and of keys, the latter with their norms and offsets */
    double *top;                                /* of e, by feature, over the keys that count */
    Matrix phi;                                 /* exp(e - top), zero for keys that do not count */
} Features;

static MatrixStatus features_of(Arena *a, FeatureKind kind, const Head *h, Sides s, Matrix w, Features *f)
{
    MatrixStatus status = exponents(a, kind, s.x, w, &f->u);
    if (!status)
        status = exponents(a, kind, s.y, w, &f->e);
    if (status)
        return status;
    int64_t count = f->e.cols;
    f->top = arena_array(a, (size_t)count, sizeof *f->top);
    for (int64_t c = 0; c < count; c++)
        f->top[c] = -INFINITY;
    for (int64_t j = 0; j < h->keys; j++) {
        const double *y = s.y.at + j * h->width;
        double shift = s.offset[j] - vector_dot(y, y, h->width) / 2;
        for (int64_t c = 0; c < count; c++) {
            double e = f->e.at[j * count + c] += shift;
            if (head_key_counts(h, j) && e > f->top[c])
                f->top[c] = e;
        }
    }
    f->phi = matrix_new(a, h->keys, count);
    for (int64_t j = 0; j < h->keys; j++)
        for (int64_t c = 0; c < count && head_key_counts(h, j); c++)
            f->phi.at[j * count + c] = exp(f->e.at[j * count + c] - f->top[c]);
    return MATRIX_OK;
}

/* One row's weights, the sum over features of each pair taken by itself: for rows that see only keys far below the tops. */
static void weights_slowly(const Head *h, const Features *f, int64_t i, double *p)
{
    int64_t count = f->e.cols;
    const double *u = f->u.at + i * count;
    double top = -INFINITY;
    for (int64_t j = 0; j < h->keys; j++)
        for (int64_t c = 0; c < count && head_sees(h, i, j); c++)
            top = fmax(top, u[c] + f->e.at[j * count + c]);
    for (int64_t j = 0; j < h->keys; j++) {
        p[j] = 0;
        for (int64_t c = 0; c < count && head_sees(h, i, j); c++)
            p[j] += exp(u[c] + f->e.at[j * count + c] - top);
    }
}

static double sum_of(const double *p, int64_t n)
{
    double sum = 0;
    for (int64_t j = 0; j < n; j++)
        sum += p[j];
    return sum;
}

/* phi(x).phi(y) over its sum, for rows that see at least one key. All rows share the tops; a query's features are scaled so that the largest is 1,
 * so a sum above LEAST has lost nothing to underflow. */
static MatrixStatus weights(Arena *a, const Rows *rows, const Features *f, Matrix *p)
{
    static const double LEAST = 1e-150;
    const Head *h = rows->head;
    int64_t count = f->e.cols;
    Matrix phi = matrix_new(a, rows->count, count);
    for (int64_t r = 0; r < rows->count; r++) {
        const double *u = f->u.at + rows->at[r] * count;
        double top = -INFINITY;
        for (int64_t c = 0; c < count; c++)
            top = fmax(top, u[c] + f->top[c]);
        for (int64_t c = 0; c < count; c++)
            phi.at[r * count + c] = exp(u[c] + f->top[c] - top);
    }
    MatrixStatus status = matrix_multiply(a, phi, false, f->phi, true, p);
    for (int64_t r = 0; r < rows->count && !status; r++) {
        double *row = p->at + r * h->keys, sum;
        for (int64_t j = 0; j < h->keys; j++)
            row[j] *= head_sees(h, rows->at[r], j);
        if ((sum = sum_of(row, h->keys)) < LEAST) {
            weights_slowly(h, f, rows->at[r], row);
            sum = sum_of(row, h->keys);
        }
        for (int64_t j = 0; j < h->keys; j++)
            row[j] /= sum;
    }
    return status;
}

static double sum_square(const double *x, const double *y, int64_t n) /* |x + y|^2 */
{
    double sum = 0;
    for (int64_t d = 0; d < n; d++)
        sum += (x[d] + y[d]) * (x[d] + y[d]);
    return sum;
}

static void predict(FeatureKind kind, const Rows *rows, Sides s, int64_t count, Sums *sums)
{
    for (int64_t r = 0; r < rows->count; r++)
        for (int64_t j = 0; j < rows->head->keys; j++)
            if (head_sees(rows->head, rows->at[r], j)) {
                sums->predicted += features_variance(kind, sum_square(s.x.at + rows->at[r] * s.x.cols, s.y.at + j * s.y.cols, s.x.cols), count);
                sums->pairs++;
            }
}

MatrixStatus features_error(Arena *work, FeatureKind kind, Matrix w, const Reduction *reduction, const Head *heads, int n, int64_t rows,
                            HeadError *out)
{
    static const Reduction none;
    Sums sums = {0};
    MatrixStatus status = head_check(heads, n);
    if (status)
        return status;
    const double *mean = head_mean(work, heads, n);
    for (int t = 0; t < n; t++) {
        const Head *h = &heads[t];
        if (w.cols != h->width || w.rows < 1)
            return MATRIX_SHAPE;
        if (w.rows > INT32_MAX / 16 / h->keys)
            return MATRIX_TOO_LARGE;
        Sides s = split(work, h, reduction ? reduction : &none);
        Features f;
        status = features_of(work, kind, h, s, w, &f);
        double *centred = head_centred(work, h, mean);
        sums_norms(&sums, h);
        for (int64_t b = 0; b < head_batches(h, rows) && !status; b++) {
            Rows batch;
            Matrix p;
            head_batch(work, h, rows, b, centred, &batch);
            if (!batch.count)
                continue;
            predict(kind, &batch, s, w.rows, &sums);
            status = weights(work, &batch, &f, &p);
            if (!status)
                status = sums_add(work, &sums, &batch, p);
        }
        if (status)
            return status;
    }
    *out = sums_error(&sums);
    return MATRIX_OK;
}

/* ---- the choice of a reduction ---------------------------------------------------------------------------------------------------- */

enum { LOOKED_AT = 48 };                        /* rows and keys of each head by which reductions are compared */

static void add_means(const Head *heads, int n, double *query_mean, double *key_mean)
{
    double queries = 0, keys = 0;
    int64_t width = heads->width;
    for (int t = 0; t < n; t++)
        for (int64_t i = 0; i < heads[t].queries; i++, queries++)
            for (int64_t d = 0; d < width; d++)
                query_mean[d] += heads[t].q[i * width + d];
    for (int t = 0; t < n; t++)
        for (int64_t j = 0; j < heads[t].keys; j++) {
            keys += head_key_counts(&heads[t], j);
            for (int64_t d = 0; d < width && head_key_counts(&heads[t], j); d++)
                key_mean[d] += heads[t].k[j * width + d];
        }
    for (int64_t d = 0; d < width; d++) {
        query_mean[d] /= fmax(queries, 1);
        key_mean[d] /= fmax(keys, 1);
    }
}

/* The factors that make E|x'|^2 + E|y'|^2 least: by^4 = E y_d^2 / E x_d^2, kept within bounds where one side is (nearly) constant. */
static double *choose_rescale(Arena *a, const Head *heads, int n, const Reduction *means)
{
    int64_t width = heads->width;
    double *by = arena_array(a, (size_t)width, sizeof *by);
    for (int64_t d = 0; d < width; d++) {
        double xs = 0, ys = 0, queries = 0, keys = 0;
        for (int t = 0; t < n; t++) {
            for (int64_t i = 0; i < heads[t].queries; i++, queries++)
                xs += pow(x_at(&heads[t], means, i, d), 2);
            for (int64_t j = 0; j < heads[t].keys; j++)
                if (head_key_counts(&heads[t], j)) {
                    ys += pow(y_at(&heads[t], means, j, d), 2);
                    keys++;
                }
        }
        double ratio = ys * queries / (xs * keys);
        by[d] = ratio > 0 && isfinite(ratio) ? fmin(fmax(pow(ratio, 0.25), 1.0 / 16), 16) : 1;
    }
    return by;
}

/* The logarithm of the mean variance over some pairs, up to a constant: without overflow, whatever the norms. */
static double log_variance(FeatureKind kind, const Head *heads, int n, const Reduction *r)
{
    double top = -INFINITY, sum = 0, pairs = 0;
    for (int t = 0; t < n; t++) {
        const Head *h = &heads[t];
        int64_t by_i = (h->queries + LOOKED_AT - 1) / LOOKED_AT, by_j = (h->keys + LOOKED_AT - 1) / LOOKED_AT;
        for (int64_t i = by_i / 2; i < h->queries; i += by_i)
            for (int64_t j = by_j / 2; j < h->keys; j += by_j) {
                if (!head_sees(h, i, j))
                    continue;
                double z = 0;
                for (int64_t d = 0; d < h->width; d++)
                    z += pow(x_at(h, r, i, d) + y_at(h, r, j, d), 2);
                double e = z + log1p(-exp(-z)) * (kind == FEATURES_HYPERBOLIC ? 2 : 1);
                if (e > top) {
                    sum = sum * exp(top - e) + 1;
                    top = e;
                } else if (e > -INFINITY) {
                    sum += exp(e - top);
                }
                pairs++;
            }
    }
    return pairs ? top + log(sum / pairs) : -INFINITY;
}

Reduction reduction_choose(Arena *a, FeatureKind kind, const Head *heads, int n)
{
    Reduction best = {0};
    if (n < 1)
        return best;
    double *query_mean = arena_array(a, (size_t)heads->width, sizeof *query_mean), *key_mean = arena_array(a, (size_t)heads->width, sizeof *key_mean);
    add_means(heads, n, query_mean, key_mean);
    double least = log_variance(kind, heads, n, &best);
    for (int choice = 1; choice < 8; choice++) {
        Reduction r = {choice & 1 ? query_mean : NULL, choice & 2 ? key_mean : NULL, NULL};
        if (choice & 4)
            r.rescale = choose_rescale(a, heads, n, &r);
        double found = log_variance(kind, heads, n, &r);
        if (found < least - 1e-3) { /* less than a tenth of a per cent of variance is not worth a subtraction */
            least = found;
            best = r;
        }
    }
    return best;
}
