/* factor-lowrank: what the driver asks for. The pass decides nothing: the driver finds the products, computes factors, and hands over which to put in. */
#ifndef ATTAR_PASSES_LOWRANK_H
#define ATTAR_PASSES_LOWRANK_H

#include "ir/ir.h"

typedef struct LowrankUnits {           /* hidden units that a product dot(h, w) sums over, each a function of columns of the weights before it: they can be left out one by one */
    const char *axis;                   /* of the units; the only one that is summed */
    const Node *const *weights;         /* all that have it: of the products before, biases */
    int n;
    const char *refused;                /* why there are none; NULL: they can be pruned */
} LowrankUnits;

typedef struct LowrankSite {            /* a product dot(x, w) with a weight, in the loaded graph */
    const char *key;                    /* of w in the model, with {i} */
    const char *part;                   /* "attention": its result reaches a product of two activations, or x comes from one; "ffn": between elementwise operators and
                                         * sums in a repeat; "other": heads, poolers */
    const Node *weight;
    int64_t rounds;                     /* of the repeats around, if the key has a hole; else 1 */
    int64_t in, out;                    /* elements of the axes that are summed, and of the others */
    int n_in, n_out;
    int in_axis[MAX_RANK], out_axis[MAX_RANK];  /* positions in w's type, in its order */
    const char *request;                /* of @lowrank; NULL: none */
    const char *refused;                /* why it stays as it is; NULL: it may be factored */
    bool asked;                         /* a request names it */
    Node *kept;                         /* capture: a copy of x, or that of another site with the same x */
    LowrankUnits units;
    int64_t rank;                       /* of the factors; 0: it stays */
    const char *left, *right;           /* their keys: tensors [in.., rank] and [rank, out..]; left NULL: that many units are kept, and w is [rank, out..] */
} LowrankSite;

typedef struct LowrankPlan {
    bool capture;                       /* keep what the sites that are asked for multiply with, change nothing */
    LowrankSite *sites; int n;
} LowrankPlan;

LowrankPlan *lowrank_find(Context *cx, const Graph *model);
const char *lowrank_kept_key(Arena *a, const char *key);        /* of what the kept units leave of a weight before them */
bool lowrank_saves(const LowrankSite *s, int64_t rank);         /* rank * (in + out) < in * out */

#endif
