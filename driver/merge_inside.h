/* What the files of merging share: a tensor and the pairs that change it (merge_rows.c), and how that is measured (merge_loss.c). */
#ifndef ATTAR_DRIVER_MERGE_INSIDE_H
#define ATTAR_DRIVER_MERGE_INSIDE_H

#include "driver/merge.h"

enum { MERGE_PIECE = 2048, MERGE_ROWS = 64 }; /* elements at once; rows of a weight that are measured */

typedef struct Change { /* by one adapter */
    double weight;
    const AdapterSite *site;
    const double *bt;   /* B turned, [rank][out], where W is stored [in, out] */
    const double *gain; /* DoRA: of each output */
    bool bias;
} Change;

typedef struct Target { /* one tensor */
    const char *key, *origin;
    const Checkpoint *base;
    int64_t tensor, row, rows; /* number in base; elements of a stored row; rows */
    HostTensor type;
    bool stored; /* round to the base's type */
    Change *changes;
    int n;
} Target;

/* The gains of one pair: squares of norms may be summed by any thread, what is wrong with them is said afterwards. */
typedef struct Gains {
    Target v; /* W with this pair alone */
    Change change;
    double *gain;
    int error;
} Gains;

/* The base's elements and their update, of at most MERGE_PIECE elements of one row; 0, an errno or FILE_SHRUNK. */
int merge_row(const Target *t, int64_t row, int64_t column, int64_t count, double *w, double *sum);
Target merge_target(const Checkpoint *base, const char *key); /* nothing changes it yet */
const double *merge_turned(Arena *a, const AdapterSite *s);   /* Change.bt; NULL where it is not needed */
MadeTensor merge_tensor(const Target *t, const char *name);   /* *t stays where it is */

/* `gain` has room for the outputs. Sums from any thread; what is wrong is said at the end. */
void merge_gains_begin(Gains *g, Arena *a, const Checkpoint *base, const AdapterSite *s, double *gain);
void merge_gains_sum(Gains *g);
bool merge_gains_finish(Context *cx, Gains *g);

/* one(items, i) for i < n, by so many threads (0: all). */
void merge_each(int threads, int n, void (*one)(void *items, int i), void *items);

/* Adds a row to out->weights, which has room, for each target that pairs change. */
bool merge_measure(Context *cx, int threads, const Target *targets, int n, Merge *out);

#endif
