/* --compute bf16: what rounding the operands of products costs, measured and recorded. */
#ifndef ATTAR_DRIVER_COMPUTE_H
#define ATTAR_DRIVER_COMPUTE_H

#include "driver/compile.h"

/* Reads o->compute into the passes' options. False and E0907 if it is no request. */
bool compute_plan(Compilation *c, const CompileOptions *o, PassOptions *passes);

/* After the passes: if they rounded, a record of c->approximations. Its error is that of the weights, of 64 rows of each at most, the worst of them; with
 * o->calibrate that of the outputs on these inputs, for which the model is run twice, with and without. False if errors were reported. */
bool compute_record(Compilation *c, const CompileOptions *o);

#endif
