/* Codebooks for keys: k-means in the metric of the queries, and what keys replaced by codes do to a head's weights. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "approx/head.h"

/* ---- the metric ------------------------------------------------------------------------------------------------------------------ */

/* M^(1/2) and M^(-1/2) for M = E[q q^T]. A direction that no query has would make M singular: it gets a millionth of the largest. */
static MatrixStatus metric_of(Arena *a, const Head *heads, int n, Codebook *out)
{
    int64_t width = heads->width;
    Matrix m = matrix_new(a, width, width), vectors, scaled;
    double queries = 0, *values;
    for (int t = 0; t < n; t++)
        for (int64_t i = 0; i < heads[t].queries; i++, queries++)
            for (int64_t d = 0; d < width; d++)
                for (int64_t e = 0; e <= d; e++)
                    m.at[d * width + e] += heads[t].q[i * width + d] * heads[t].q[i * width + e];
    MatrixStatus status = matrix_eigen(a, m, &values, &vectors);
    if (status)
        return status;
    double most = values[width - 1] / fmax(queries, 1);
    for (int inverse = 0; inverse < 2 && !status; inverse++) {
        scaled = matrix_copy(a, vectors);
        for (int64_t e = 0; e < width * width; e++) {
            double value = most > 0 ? fmax(values[e % width] / queries, 1e-6 * most) : 1;
            scaled.at[e] *= inverse ? 1 / sqrt(value) : sqrt(value);
        }
        status = matrix_multiply(a, scaled, false, vectors, true, inverse ? &out->from_metric : &out->to_metric);
    }
    return status;
}

/* ---- k-means --------------------------------------------------------------------------------------------------------------------- */

enum { AT_ONCE = 1024 };                        /* points that are compared with the centres in one product */

typedef struct Clusters {
    Matrix points, centres;
    int64_t *code;                              /* of each point */
    double *far;                                /* its squared distance to that code */
    double *scores;                             /* room for AT_ONCE points against every centre */
} Clusters;

static double square_of(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t d = 0; d < n; d++)
        sum += (a[d] - b[d]) * (a[d] - b[d]);
    return sum;
}

static Clusters clusters_new(Arena *a, Matrix points, Matrix centres)
{
    return (Clusters){points, centres, arena_array(a, (size_t)points.rows, sizeof(int64_t)), arena_array(a, (size_t)points.rows, sizeof(double)),
                      arena_array(a, AT_ONCE, (size_t)centres.rows * sizeof(double))};
}

/* The first of the nearest centres, by |c|^2 - 2 p.c. */
static MatrixStatus assign(Arena *a, Clusters *c)
{
    int64_t width = c->points.cols, count = c->centres.rows;
    double *norms = arena_array(a, (size_t)count, sizeof *norms);
    for (int64_t s = 0; s < count; s++)
        norms[s] = vector_dot(c->centres.at + s * width, c->centres.at + s * width, width);
    for (int64_t first = 0; first < c->points.rows; first += AT_ONCE) {
        int64_t here = c->points.rows - first < AT_ONCE ? c->points.rows - first : AT_ONCE;
        Matrix scores = {here, count, c->scores}, points = {here, width, c->points.at + first * width};
        MatrixStatus status = matrix_multiply_into(points, false, c->centres, true, scores);
        if (status)
            return status;
        for (int64_t i = 0; i < here; i++) {
            const double *row = scores.at + i * count;
            int64_t best = 0;
            for (int64_t s = 1; s < count; s++)
                if (norms[s] - 2 * row[s] < norms[best] - 2 * row[best])
                    best = s;
            c->code[first + i] = best;
            c->far[first + i] = square_of(c->points.at + (first + i) * width, c->centres.at + best * width, width);
        }
    }
    return MATRIX_OK;
}

/* k-means++: each next centre is a point drawn with a probability in proportion to its squared distance from those there are. */
static void start(Random *r, Clusters *c)
{
    int64_t width = c->points.cols, n = c->points.rows;
    for (int64_t i = 0; i < n; i++)
        c->far[i] = INFINITY;
    int64_t next = (int64_t)(random_uniform(r) * (double)n);
    for (int64_t s = 0; s < c->centres.rows; s++) {
        memcpy(c->centres.at + s * width, c->points.at + next * width, (size_t)width * sizeof(double));
        double total = 0;
        for (int64_t i = 0; i < n; i++)
            total += c->far[i] = fmin(c->far[i], square_of(c->points.at + i * width, c->centres.at + s * width, width));
        double left = random_uniform(r) * total;
        int64_t last = next;                    /* with no distance left every point is a centre already: the last one again */
        for (next = 0; next < n && (left -= c->far[next]) >= 0; next++)
            ;
        next = next < n ? next : last;
    }
}

/* Centres move to the means of their points. One without points takes the point that is farthest from its own centre. */
static bool move(Arena *a, Clusters *c)
{
    int64_t width = c->points.cols, count = c->centres.rows;
    Matrix sums = matrix_new(a, count, width);
    int64_t *points = arena_array(a, (size_t)count, sizeof *points);
    for (int64_t i = 0; i < c->points.rows; i++) {
        points[c->code[i]]++;
        for (int64_t d = 0; d < width; d++)
            sums.at[c->code[i] * width + d] += c->points.at[i * width + d];
    }
    bool moved = false;
    for (int64_t s = 0; s < count; s++) {
        double *centre = c->centres.at + s * width;
        int64_t farthest = 0;
        for (int64_t i = 1; i < c->points.rows && !points[s]; i++)
            farthest = c->far[i] > c->far[farthest] ? i : farthest;
        if (!points[s] && c->far[farthest] <= 0)
            continue;
        for (int64_t d = 0; d < width; d++) {
            double to = points[s] ? sums.at[s * width + d] / (double)points[s] : c->points.at[farthest * width + d];
            moved |= to != centre[d];
            centre[d] = to;
        }
        if (!points[s])
            c->far[farthest] = 0;
    }
    return moved;
}

enum { MOST_KEYS = 8192 };                      /* that are clustered: of more, every second, third ... */

/* Heads of the queries that share a head of the keys bring the same keys one after the other. */
static bool same_keys(const Head *a, const Head *b)
{
    size_t bytes = (size_t)(a->keys * a->width) * sizeof *a->k;
    return a->keys == b->keys && (a->k == b->k || !memcmp(a->k, b->k, bytes)) && a->keep == b->keep;
}

static Matrix gather(Arena *a, const Head *heads, int n)
{
    int64_t all = 0, width = heads->width, seen = 0;
    bool *again = arena_array(a, (size_t)n, sizeof *again);
    for (int t = 0; t < n; t++) {
        again[t] = t && same_keys(&heads[t - 1], &heads[t]);
        for (int64_t j = 0; j < heads[t].keys && !again[t]; j++)
            all += head_key_counts(&heads[t], j);
    }
    int64_t step = (all + MOST_KEYS - 1) / MOST_KEYS;
    Matrix keys = matrix_new(a, step ? (all + step - 1) / step : 0, width);
    for (int t = 0; t < n; t++)
        for (int64_t j = 0; j < heads[t].keys && !again[t]; j++)
            if (head_key_counts(&heads[t], j) && seen++ % step == 0)
                memcpy(keys.at + (seen - 1) / step * width, heads[t].k + j * width, (size_t)width * sizeof(double));
    return keys;
}

MatrixStatus codes_train(Arena *a, Random *r, const Head *heads, int n, int64_t codes, int rounds, Codebook *out)
{
    MatrixStatus status = head_check(heads, n);
    if (status)
        return status;
    if (codes < 1)
        return MATRIX_SHAPE;
    if (codes > INT32_MAX / 16 / AT_ONCE || codes > INT32_MAX / 16 / heads->width)
        return MATRIX_TOO_LARGE;
    Matrix keys = gather(a, heads, n), points;
    if (!keys.rows)
        return MATRIX_SHAPE;
    status = metric_of(a, heads, n, out);
    if (!status)
        status = matrix_multiply(a, keys, false, out->to_metric, false, &points);
    if (status)
        return status;
    Clusters c = clusters_new(a, points, matrix_new(a, codes, heads->width));
    start(r, &c);
    for (int round = 0; round < rounds; round++) {
        if ((status = assign(a, &c)))
            return status;
        if (!move(a, &c))
            break;
    }
    return matrix_multiply(a, c.centres, false, out->from_metric, false, &out->codes);
}

/* ---- errors ---------------------------------------------------------------------------------------------------------------------- */

/* The code of each key of a head, nearest in the metric. */
static MatrixStatus quantise(Arena *a, const Codebook *codebook, const Head *h, Matrix *keys)
{
    Matrix points, centres;
    MatrixStatus status = matrix_multiply(a, (Matrix){h->keys, h->width, (double *)h->k}, false, codebook->to_metric, false, &points);
    if (!status)
        status = matrix_multiply(a, codebook->codes, false, codebook->to_metric, false, &centres);
    if (status)
        return status;
    Clusters c = clusters_new(a, points, centres);
    if ((status = assign(a, &c)))
        return status;
    *keys = matrix_new(a, h->keys, h->width);
    for (int64_t j = 0; j < h->keys; j++)
        memcpy(keys->at + j * h->width, codebook->codes.at + c.code[j] * h->width, (size_t)h->width * sizeof(double));
    return MATRIX_OK;
}

static void add_key_errors(const Head *h, Matrix quantised, Sums *sums)
{
    for (int64_t d = 0; d < h->width; d++) {
        double sum = 0, square = 0, count = 0;
        for (int64_t j = 0; j < h->keys; j++)
            if (head_key_counts(h, j)) {
                double k = h->k[j * h->width + d], apart = quantised.at[j * h->width + d] - k;
                sum += k;
                square += k * k;
                count++;
                sums->key_error += apart * apart;
            }
        sums->key += count ? fmax(square - sum * sum / count, 0) : 0;
    }
}

/* One row's weights with keys as the kernel has them; the row sees something. */
static void weights(const Head *h, Matrix quantised, int64_t block, int64_t i, double *p, Sums *sums)
{
    int64_t recent = block ? (head_position(h, i) / block - 1) * block : INT64_MAX;
    const double *q = h->q + i * h->width;
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j < h->keys; j++) {
        p[j] = -INFINITY;
        if (!head_sees(h, i, j))
            continue;
        double exact = h->scale * vector_dot(q, h->k + j * h->width, h->width);
        p[j] = j >= recent ? exact : h->scale * vector_dot(q, quantised.at + j * h->width, h->width);
        sums->logit_error += (p[j] - exact) * (p[j] - exact);
        sums->pairs++;
        top = fmax(top, p[j]);
    }
    for (int64_t j = 0; j < h->keys; j++)
        sum += p[j] = p[j] == -INFINITY ? 0 : exp(p[j] - top);
    for (int64_t j = 0; j < h->keys; j++)
        p[j] /= sum;
}

MatrixStatus codes_error(Arena *work, const Codebook *codebook, int64_t block, const Head *heads, int n, int64_t rows, HeadError *out)
{
    Sums sums = {0};
    MatrixStatus status = head_check(heads, n);
    if (status)
        return status;
    const double *mean = head_mean(work, heads, n);
    for (int t = 0; t < n; t++) {
        const Head *h = &heads[t];
        Matrix quantised;
        if (codebook->codes.cols != h->width || block < 0)
            return MATRIX_SHAPE;
        status = quantise(work, codebook, h, &quantised);
        if (status)
            return status;
        add_key_errors(h, quantised, &sums);
        sums_norms(&sums, h);
        double *centred = head_centred(work, h, mean);
        for (int64_t b = 0; b < head_batches(h, rows) && !status; b++) {
            Rows batch;
            head_batch(work, h, rows, b, centred, &batch);
            Matrix p = matrix_new(work, batch.count, h->keys);
            for (int64_t r = 0; r < batch.count; r++)
                weights(h, quantised, block, batch.at[r], p.at + r * h->keys, &sums);
            status = sums_add(work, &sums, &batch, p);
        }
        if (status)
            return status;
    }
    *out = sums_error(&sums);
    return MATRIX_OK;
}
