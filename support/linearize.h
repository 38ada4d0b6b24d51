/* Requests to replace the softmax of attentions by an approximation, as the command and model files write them:
 *
 *     performer:features=256,seed=7,layers=2-5,max_err=0.05
 *     vq:codes=256,block=256,layers=0+4-7,heads=0-3,max_err=0.1
 *
 * `trained` (performer) says that the model was trained with these features: nothing is measured. */
#ifndef ATTAR_SUPPORT_LINEARIZE_H
#define ATTAR_SUPPORT_LINEARIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "support/arena.h"

typedef enum LinearizeKind { LINEARIZE_PERFORMER, LINEARIZE_VQ } LinearizeKind;

enum { LINEARIZE_RANGES = 32, LINEARIZE_MOST = 65536 /* features or codes */ };
typedef struct LinearizeRanges { int n; int64_t low[LINEARIZE_RANGES], high[LINEARIZE_RANGES]; } LinearizeRanges;  /* inclusive; n 0: all */

typedef struct LinearizeSpec {
    LinearizeKind kind;
    int64_t size;                       /* features, or codes */
    int64_t block;                      /* vq: positions in a block; 0: no key is exact */
    int64_t seed;
    LinearizeRanges layers, heads;
    double max_err;                     /* NAN: no bound */
    bool trained;
    const char *text;                   /* the request in one spelling: linearize_read reads it back */
} LinearizeSpec;

/* False and a sentence without a full stop in *why if the text is no request. */
bool linearize_read(Arena *a, const char *text, LinearizeSpec *out, const char **why);

bool linearize_in(const LinearizeRanges *r, int64_t number);
const char *linearize_pass(LinearizeKind kind);         /* "linearize-performer" */
const char *linearize_setting(Arena *a, const LinearizeSpec *s);        /* what a record says: "features=256, seed=7" */

#endif
