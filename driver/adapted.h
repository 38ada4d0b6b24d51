/* Adapters on the way of a model: before it is loaded they change tensors of the checkpoint, after it what the graph reads. Called by compile_load. */
#ifndef ATTAR_DRIVER_ADAPTED_H
#define ATTAR_DRIVER_ADAPTED_H

#include "driver/compile.h"

/* Opens o->lora, puts what they replace whole over c->checkpoint, and shows c->options the new table. */
bool adapted_weights(Compilation *c, const CompileOptions *o);

/* With the model: every adapter changes something that the model reads. Then they are merged, a table that embedding and head share being taken apart where
 * only one changes, or stand beside the weights. */
bool adapted_model(Compilation *c, const CompileOptions *o);

#endif
