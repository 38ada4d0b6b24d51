/* Merging: W + sum of weight * (W' - W) over the adapters, as tensors that stand in the place of the base's. Computed in double and rounded once when an
 * element is read, so no merged checkpoint exists anywhere. */
#ifndef ATTAR_DRIVER_MERGE_H
#define ATTAR_DRIVER_MERGE_H

#include "driver/adapter.h"
#include "support/approximation.h"

typedef struct MergeLoss {              /* of one weight, in one element type */
    double update, base;                /* Frobenius norms of the update and of W, over the rows looked at */
    double error;                       /* norm of (rounded W + update) - W - update */
    double still, entries;              /* entries that the update should change, and that keep the base's value; that it should change */
} MergeLoss;

typedef struct MergedWeight {
    const char *key;
    DType stored;                       /* of the base */
    int adapters, rank;                 /* how many change it, and their ranks together */
    MergeLoss kept, as_stored;          /* in f32 (or what was asked for), and in the base's type */
} MergedWeight;

typedef struct Merge {
    MergedWeight *weights; int n;       /* sorted by key */
    int biases;
    int64_t rows;                       /* at most so many rows of each weight were looked at for the losses */
    bool stored;                        /* kept as the base stores them, not in f32 */
} Merge;

typedef struct MergeOptions {
    bool stored;                        /* round to the base's own type, as a merged checkpoint would */
    int threads;
} MergeOptions;

/* A layer over `base` (which has what adapters replace: adapters_replace), or `base` itself if nothing changes; NULL and a diagnostic: base is left alone.
 * Heads that are tied (AdapterSite.tied) are left to merge_head. */
Checkpoint *merge_adapters(Context *cx, Checkpoint *base, const Adapters *all, const MergeOptions *o, Merge *out);

/* `table` as a tensor of its own, `name`, for the head that reads it: with the pairs of `head` alone (tied ones), or with none. `base`: without merged weights. */
Checkpoint *merge_head(Context *cx, Checkpoint *top, const Checkpoint *base, const Adapters *all, const MergeOptions *o, const char *table,
                       const char *name, Merge *out);

/* Update and losses over all weights: norms add up. */
MergeLoss merge_total(const Merge *m, bool as_stored);
/* One record: the error of the update, in the type that is kept, against the bound of a quarter. None where f32 keeps a thousandth of it or better:
 * that is the rounding of any weight, not an approximation. */
void merge_record(Context *cx, const Merge *m, const Adapters *all, Approximations *out);

#endif
