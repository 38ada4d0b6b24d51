/* The float64 interpreter beside the compiled model: the same inputs, caches and weights, every value kept. */
#ifndef ATTAR_DRIVER_ORACLE_H
#define ATTAR_DRIVER_ORACLE_H

#include "driver/compile.h"
#include "ir/interpret.h"

typedef struct Oracle {
    Compilation *c;
    const Graph *graph;                 /* the model's GRAPH level or its kernels */
    Arena work;                         /* values of the last call */
    Arena kept;                         /* the caches, and what oracle_keep kept */
    Value *caches;
    Value ***values;                    /* by node id and round + 1, as the interpreter's tap counts; NULL unless keeping */
    int64_t rounds;                     /* length of each list */
} Oracle;

void oracle_begin(Oracle *o, Compilation *c, const Graph *graph);
void oracle_free(Oracle *o);
/* Sizes and inputs are those of a call of the compiled model (plan's symbols, any order of inputs). `keep`: values can be asked for
 * afterwards. NULL and diagnostics on error; results in the order of the graph's results. */
Value *oracle_run(Oracle *o, const int64_t *sizes, const HostTensor *inputs, int n_inputs, bool keep);
const Value *oracle_value(const Oracle *o, const Node *n, int64_t round);       /* NULL if the node gave none */

#endif
