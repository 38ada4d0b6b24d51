/* Inside driver/: the constants of linearized attention as tensors of the checkpoint. */
#ifndef ATTAR_DRIVER_LINEARIZE_MAKE_H
#define ATTAR_DRIVER_LINEARIZE_MAKE_H

#include "driver/linearize.h"

typedef struct LinearizeTensors { MadeTensor *items; size_t count, capacity; } LinearizeTensors;

/* For each spec the tensors that site `number` of the plan needs. `constants` is [n_specs][rounds * heads]; heads without `rows` are not replaced by
 * that spec. Gives what is to stand in the site's `parts`. */
const LinearizeParts *linearize_make(Compilation *c, int number, const LinearizeSite *site, const LinearizeSpec *specs, int n_specs,
                                     const LinearizeConstants *constants, LinearizeTensors *out);
/* Adds them to c->checkpoint; once. False if errors were reported. */
bool linearize_hand_over(Compilation *c, const LinearizeTensors *made);

#endif
