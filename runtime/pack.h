/* Packing: the checkpoint's tensors, as f32 or in their own type, in the layouts that the emitted kernels read. */
#ifndef ATTAR_RUNTIME_PACK_H
#define ATTAR_RUNTIME_PACK_H

#include "runtime/checkpoint.h"
#include "support/plan.h"

enum { PACK_CHUNK = 128 << 10, PACK_ROOM = PACK_CHUNK * (int)(sizeof(double) + sizeof(float)) };  /* elements that a worker reads at once; its memory in bytes */

typedef struct PackedRows PackedRows;
typedef struct Packed { unsigned char *data; uint64_t bytes; PackedRows *rows; } Packed;        /* rows: of the items that have rows_by, NULL if none has */

/* Anonymous memory of plan->weight_bytes, 64-byte aligned, filled item by item with bounded extra memory; on failure diagnostics and false.
 * `threads` workers share the items. */
bool pack_weights(Context *cx, const Checkpoint *c, const Plan *plan, int threads, Packed *out);
void pack_free(Packed *p);

/* Rows of the item are not packed with the others, but when a run asks for them. */
bool pack_by_rows(const Checkpoint *c, const PackItem *item);

/* Before a run: the rows that these elements of the input name. Several sessions may ask at the same time. A file that was written to since it was
 * opened, or that cannot be read: E0420 and false. Elements that name no row are left to the run. The checkpoint must still be open. */
bool pack_rows(Context *cx, PackedRows *rows, int input, const int32_t *elements, int64_t count);

#endif
