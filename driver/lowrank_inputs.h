/* What products meet in the calibration run: the sum of x^T x over all rows, for each site of a plan that is asked for and each round. */
#ifndef ATTAR_DRIVER_LOWRANK_INPUTS_H
#define ATTAR_DRIVER_LOWRANK_INPUTS_H

#include "approx/matrix.h"
#include "driver/compile.h"
#include "passes/lowrank.h"

typedef struct LowrankInputs {
    Compilation *c;
    LowrankPlan *plan;
    Matrix **grams;                     /* [site][round], [in, in]; sites with the same x share them */
    int64_t rows;                       /* of x, the most that a site has seen in one call */
    int64_t *seen;                      /* [site]: rows of x in one round, of all calls; of sites that share sums the first has it */
    const char *measured_on;
    MatrixStatus status;                /* of the sums */
} LowrankInputs;

/* Compiles and runs the model on o->calibrate. False if errors were reported. */
bool lowrank_inputs(Compilation *c, const CompileOptions *o, LowrankPlan *plan, LowrankInputs *out);

#endif
