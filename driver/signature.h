/* What a model's signature says about a call: its symbols' roles, sizes for a call, made-up inputs for `attar diff` and `attar bench`. */
#ifndef ATTAR_DRIVER_SIGNATURE_H
#define ATTAR_DRIVER_SIGNATURE_H

#include "passes/passes.h"
#include "support/plan.h"

/* Indices into plan->symbols, or -1. */
int signature_past(const Plan *plan);           /* the filled length of the caches */
int signature_batch(const Plan *plan);          /* the first axis of the caches, or else of the first input, if it is a symbol */
int signature_step(const Plan *plan);           /* models with caches: how many positions a call adds */

/* The axis of the tensor whose size is exactly this symbol, or -1. */
int signature_axis(const PlanTensor *t, int symbol);
int64_t signature_size(const PlanDim *d, const int64_t *sizes);

/* The batch that these inputs have, 1 if they do not say. */
int64_t signature_batch_size(const Plan *plan, const HostTensor *inputs, int n_inputs);

/* A node that makes a number of how long the text is, what the caches hold included; NULL if there is none. Where there is one, a model may give
 * other outputs for the first positions of a long text than for these positions alone. */
const Node *signature_measures(const Graph *model);

/* The same sizes in the order of the graph's symbols. */
void signature_for_graph(const Plan *plan, const Graph *graph, const int64_t *sizes, int64_t *out);

/* Sizes for all symbols: those asked for; otherwise batch = `batch`, past = 0 and the rest min(`length`, bound). Symbols that the sizes of the
 * given inputs fix come from there (inputs may be NULL). False and E0653 for an unknown name or a size out of bounds. */
bool signature_sizes(Context *cx, const Plan *plan, const NamedSize *asked, int n_asked, const HostTensor *inputs, int n_inputs,
                     int64_t batch, int64_t length, int64_t *sizes);

/* One tensor an input, filled from `seed`: floats about N(0, 1); ids below the tables that they index in `model` (GRAPH level); bools true but
 * for one in eight, never in a row's first place. */
HostTensor *signature_random(Context *cx, const Plan *plan, const Graph *model, const int64_t *sizes, uint64_t seed);

uint64_t random_next(uint64_t *state);          /* splitmix64 */
double random_unit(uint64_t *state);            /* [0, 1) */

#endif
