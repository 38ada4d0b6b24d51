/* Sampling in double from float logits: the same seed gives the same tokens on every machine whose logits have the same
 * bits. */
#include <math.h>
#include <stdlib.h>

#include "driver/sample.h"
#include "driver/signature.h"

static int64_t largest(const float *logits, int64_t count)
{
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The k-th largest logit: smaller ones are not drawn. Equal ones beyond the k-th all stay. */
static double threshold(Sampler *s, const float *logits, int64_t count)
{
    if (s->top_k <= 0 || s->top_k >= count)
        return -INFINITY;
    double *sorted = s->work + count;
    for (int64_t i = 0; i < count; i++)
        sorted[i] = (double)logits[i];
    qsort(sorted, (size_t)count, sizeof *sorted, descending);
    return sorted[s->top_k - 1];
}

int64_t sample_token(Sampler *s, const float *logits, int64_t count)
{
    int64_t best = largest(logits, count);
    if (s->temperature <= 0)
        return best;
    double low = threshold(s, logits, count), sum = 0, *weights = s->work;
    for (int64_t i = 0; i < count; i++) {
        double logit = (double)logits[i];
        weights[i] = logit < low ? 0 : exp((logit - (double)logits[best]) / s->temperature);
        sum += weights[i];
    }
    double draw = random_unit(&s->seed) * sum;
    for (int64_t i = 0; i < count; i++) {
        draw -= weights[i];
        if (draw < 0)
            return i;
    }
    return best;
}
