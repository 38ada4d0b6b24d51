/* The next token from logits: the largest, or drawn from the softmax. */
#ifndef ATTAR_DRIVER_SAMPLE_H
#define ATTAR_DRIVER_SAMPLE_H

#include <stdint.h>

typedef struct Sampler {
    double temperature;                 /* 0: always the largest logit, the first of equals */
    int64_t top_k;                      /* draw among the k largest; 0: among all */
    uint64_t seed;                      /* state of the generator, changed by every draw */
    double *work;                       /* 2 * count numbers; may be NULL if temperature is 0 */
} Sampler;

int64_t sample_token(Sampler *s, const float *logits, int64_t count);

#endif
