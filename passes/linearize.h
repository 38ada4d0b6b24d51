/* linearize-performer and linearize-vq: what the driver hands to them, and what it learns from them.
 *
 * These passes change what a model computes, so they decide nothing. The driver runs the pipeline twice: with `capture`, where nothing changes
 * but that the queries, keys and values of every attention are kept for whoever taps the model; then with a choice for each layer and head.
 * Without a plan the passes do nothing. */
#ifndef ATTAR_PASSES_LINEARIZE_H
#define ATTAR_PASSES_LINEARIZE_H

#include "ir/ir.h"
#include "support/linearize.h"

/* Which constants a spec has at a site, the same for all of its layers and heads: made tensors with the key
 * "linearize.SITE.SPEC.PART", inside a repeat with ".{i}" behind it, i the round of the loaded model. */
typedef struct LinearizeParts {
    bool query_mean, key_mean;          /* [G, K]: subtracted; with query_mean also `offset` [G, K]: see linearize_build.c */
    bool rescale;                       /* query_scale, key_scale [G, K]: factors, inverse of each other */
    bool metric;                        /* query_metric, key_metric [G, K, K]: rows of queries and keys times this */
    bool block;                         /* vq: recent keys are exact */
} LinearizeParts;                       /* always: projection [G, F, K], or codebook [G, N, K] */

typedef struct LinearizeSite {          /* one attend, in the order of the graph after fuse-attention */
    const char *where;                  /* its place in the checkpoint, {i} for the round; or the value's name */
    const char *name, *path;            /* the value's name; the checkpoint path alone */
    const char *request;                /* of @linearize in one spelling; NULL: none */
    const char *refused;                /* why it has to stay exact; NULL: it may be linearized */
    bool masked;                        /* it is the mask that refuses */
    Span at;
    int64_t first_layer, rounds;        /* its layers are first_layer .. first_layer + rounds - 1: one number for each round of a repeat */
    bool repeated;                      /* it stands in a repeat */
    int64_t heads, group;               /* heads of the keys, and how many heads of the queries share one */
    int64_t width, values;
    double scale;
    bool causal;                        /* rows see keys up to their own position only */
    const char *over, *head_axis, *queries, *keys;      /* head_axis NULL: the keys have one head */
    Node *kept[4];                      /* capture: copies of q, k, v, and of the mask as f32 (NULL: every key is seen) */
    const LinearizeParts *parts;        /* [specs] */
    int asked;                          /* 1 + the kind of the request that names it, for remarks; 0: none does */
    const int *choice;                  /* [rounds * heads]: number of the spec, or -1: exact; NULL: all exact */
} LinearizeSite;

typedef struct LinearizePiece LinearizePiece;
typedef struct LinearizePieces { LinearizePiece *items; size_t count, capacity; } LinearizePieces;

struct LinearizePlan {
    bool capture;                       /* fill `sites`, keep their values, change nothing */
    LinearizeSite *sites; int n_sites;
    const LinearizeSpec *specs; int n_specs;
    bool split;                         /* what is chosen differently stands apart: done by the first of the two passes */
    LinearizePieces pieces;             /* then */
};
typedef struct LinearizePlan LinearizePlan;

const char *linearize_key(Arena *a, int site, int spec, const char *part, bool repeated);

#endif
