/* --store bf16 or f16: matrices and tables of the checkpoint rounded to fewer bits, and what that costs. */
#ifndef ATTAR_DRIVER_NARROW_H
#define ATTAR_DRIVER_NARROW_H

#include "driver/compile.h"

/* If o->store asks for it: a layer over c->checkpoint in which every tensor of two and more dimensions that c->model reads has that type, each element
 * the nearest one, computed when it is read; and a record of c->approximations with the error of each weight, counted over all of its elements. What
 * the checkpoint stores in that type already stays as it is, and if all of it does there is no record. False if errors were reported: E0907 for a
 * request that is none, E0908 where an element is too large for the type. */
bool narrow_weights(Compilation *c, const CompileOptions *o);

#endif
