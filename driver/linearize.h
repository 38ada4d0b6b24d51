/* The gate: requests to approximate attention, from the command and from @linearize, met only if what they cost was measured. */
#ifndef ATTAR_DRIVER_LINEARIZE_H
#define ATTAR_DRIVER_LINEARIZE_H

#include "driver/calibrate.h"

/* Decides for every layer and head what it is replaced with: `out` is the plan for the passes, NULL if nothing is asked for. The constants become made
 * tensors of c->checkpoint, the errors records of c->approximations (compile_emit refuses those over their bound). False if errors were reported. */
bool linearize_plan(Compilation *c, const CompileOptions *o, LinearizePlan **out);

/* One head of one layer, measured for one request. */
typedef struct LinearizeRow {
    int site;
    int64_t round, head;
    HeadError error;
    double flops_before, flops_after;   /* of the head over a sequence of `length` positions */
    double seconds_before, seconds_after;       /* of the same on one thread, heads that share keys together; NAN: not timed */
    int64_t length, pays;               /* pays: the shortest length at which it takes fewer operations; 0: none */
} LinearizeRow;

/* The cost columns of a row: at the bound of the keys' axis, or at `usual` if it has none. */
void linearize_cost(const LinearizeSite *site, const LinearizeSpec *spec, const Graph *model, int64_t usual, LinearizeRow *row);

/* Seconds that one key head with the query heads that share it takes for `length` positions on one thread, as it is (spec NULL) or replaced, by
 * compiling and running it. NAN if it cannot be, or if so many operations would take too long. */
double linearize_time(const CompileOptions *o, const LinearizeSite *site, const LinearizeSpec *spec, int64_t length, double flops);

/* The constants and errors of a head as `spec` would replace it, from what it saw. MATRIX_OK or why not. `parts` NULL: everything that helps. */
typedef struct LinearizeConstants {
    Matrix rows;                        /* projection, or codebook in the metric of the queries */
    Reduction reduction;                /* performer */
    Matrix to_metric, from_metric;      /* vq */
} LinearizeConstants;
MatrixStatus linearize_head(Compilation *c, Arena *a, const CompileOptions *o, const LinearizeSite *site, const LinearizeSpec *spec, int64_t layer, int64_t head,
                            const Head *heads, int n, LinearizeConstants *constants, HeadError *error);

/* The errors of constants on other sequences than those that they were made from. */
MatrixStatus linearize_error(Arena *a, const LinearizeSite *site, const LinearizeSpec *spec, const LinearizeConstants *k, const Head *heads, int n,
                             HeadError *error);

#endif
