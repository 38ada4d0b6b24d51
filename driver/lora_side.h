/* Adapters beside the weights they change, which stay as they are: --lora-mode side and slots. The loaded graph is rewritten, and the adapters'
 * factors become tensors of the checkpoint. */
#ifndef ATTAR_DRIVER_LORA_SIDE_H
#define ATTAR_DRIVER_LORA_SIDE_H

#include "driver/adapter.h"
#include "driver/compile.h"

/* After model_load, before the passes. At each product with a weight W of shape [out, in] that an adapter touches
 *
 *     dot(x, W)   ->   dot(x, W) * f + dot(dot(x, A), B) + b          f, b: only where DoRA, lora_bias ask for them
 *
 * and where rows of W are looked up the same with rows of A. Adapters of side mode are side by side in A and B and add up. With `slots` the model gets
 * one more input, `adapter`: i32[B], for each row of the batch 0 (none) or the number of an adapter, from 1 in the order of o->lora: A and B hold all adapters, what is not the row's is masked between them
 * (of a dozen and more the row's own are looked up), f and b are looked up. False and E069x if a weight is used in another way or an adapter cannot stand beside. */
bool lora_beside(Compilation *c, const CompileOptions *o, bool slots);

#endif
