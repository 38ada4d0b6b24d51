/* Requests for factors of low rank: WHERE:rank=R or WHERE:err=E, max_err=E, method=svd|cur|id. WHERE is `ffn`, `attention`, `all`, or a pattern of weights' keys in which `*` stands
 * for any characters. Read from --lowrank, and without WHERE from @lowrank. */
#ifndef ATTAR_SUPPORT_LOWRANK_H
#define ATTAR_SUPPORT_LOWRANK_H

#include <stdbool.h>
#include <stdint.h>

#include "support/arena.h"

typedef enum LowrankMethod {
    LOWRANK_SVD,                        /* the nearest of its rank; for the inputs of a calibration if there is one */
    LOWRANK_CUR,                        /* the right factor is rows of the weight itself */
    LOWRANK_ID                          /* no factors: the hidden units that the weight sums over are pruned, others stand for them */
} LowrankMethod;

typedef struct LowrankSpec {
    const char *where;
    int64_t rank;                       /* 0: as `err` asks */
    double err;                         /* of each weight, or of the product on a calibration, relative, in the Frobenius norm; NAN: `rank` is given */
    double max_err;                     /* with `rank`: over it the build fails; NAN: none */
    LowrankMethod method;
    const char *text;                   /* the request as given */
} LowrankSpec;

bool lowrank_read(Arena *a, const char *text, LowrankSpec *out, const char **why);
/* What stands behind the colon alone: a request for one weight, whose `where` is `key`. */
bool lowrank_read_settings(Arena *a, const char *key, const char *text, LowrankSpec *out, const char **why);
/* `part`: "ffn", "attention" or "other"; `key`: the weight's, with holes. */
bool lowrank_names(const LowrankSpec *s, const char *part, const char *key);

#endif
