/* What a caller gives against what the plan takes: names, element types, sizes, values. Internal to runtime/. */
#ifndef ATTAR_RUNTIME_INPUTS_H
#define ATTAR_RUNTIME_INPUTS_H

#include "support/context.h"
#include "support/plan.h"

enum { FROM_SESSION = -1, FROM_NOWHERE = -2 };

typedef struct Size { /* of one symbol, in this run */
    int64_t value;
    int input, axis; /* where it was read: an input, or FROM_SESSION; FROM_NOWHERE: not known */
} Size;

/* matched[i] is the caller's tensor for the plan's input i. E0601 to E0604. */
bool inputs_match(Context *cx, const Plan *plan, const HostTensor *given, int n, const HostTensor **matched);

/* Solves the symbols from the inputs' sizes (those FROM_SESSION are known before) and checks every axis and bound.
 * E0605, E0606. */
bool inputs_sizes(Context *cx, const Plan *plan, const HostTensor *const *matched, Size *sizes);

int64_t dim_value(const PlanDim *d, const Size *sizes); /* -1 if it overflows or is negative */

/* Copies one input's elements to `out` in the plan's element type. E0608. */
bool input_take(Context *cx, const PlanTensor *want, const HostTensor *given, void *out);

/* Names the input that holds an index out of range. E0610. */
void inputs_report_index(Context *cx, const Plan *plan, const HostTensor *const *matched, int64_t input, int64_t index,
                         int64_t bound);

const char *sizes_shown(Context *cx, const Plan *plan, const Size *sizes); /* B = 2, S = 128 */

#endif
