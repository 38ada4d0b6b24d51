/* Packing: the checkpoint's tensors, as f32 or in their own type, in the layouts that the emitted kernels read. */
#ifndef ATTAR_RUNTIME_PACK_H
#define ATTAR_RUNTIME_PACK_H

#include "runtime/checkpoint.h"
#include "support/plan.h"

typedef struct Packed { unsigned char *data; uint64_t bytes; } Packed;

/* Anonymous memory of plan->weight_bytes, 64-byte aligned, filled item by item with bounded extra memory; on failure diagnostics and false.
 * `threads` workers share the items. */
bool pack_weights(Context *cx, const Checkpoint *c, const Plan *plan, int threads, Packed *out);
void pack_free(Packed *p);

#endif
