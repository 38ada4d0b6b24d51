/* Factors of low rank: which weights, of what rank, and what that costs. */
#ifndef ATTAR_DRIVER_LOWRANK_H
#define ATTAR_DRIVER_LOWRANK_H

#include "driver/compile.h"
#include "passes/lowrank.h"

/* Finds the products that o->lowrank or, where it is silent, @lowrank names and decomposes their weights as the checkpoint has them now (adapters merged): W ~ (U_r S_r) V_r^T, in float64. With
 * o->calibrate the factors are those that change x W least for the inputs x of the calibration run, and errors are those of x W. A rank is
 * the same for all layers of a repeat; with `err` the least that keeps the worst layer within it. `method=id` keeps that many hidden units instead (lowrank_units.c) and needs o->calibrate. The factors become made tensors of c->checkpoint, the errors records of
 * c->approximations: predicted from the singular values that are left out, measured on the factors in f32. `*out` NULL: nothing is asked for. False if errors were reported. */
bool lowrank_plan(Compilation *c, const CompileOptions *o, LowrankPlan **out);

#endif
