/* The entry function under construction: pointers to values, and one call a kernel. */
#ifndef ATTAR_CODEGEN_ENTRY_H
#define ATTAR_CODEGEN_ENTRY_H

#include "codegen/emit.h"

/* C text valid in the entry: the pointer to a value's storage ("x", "call->ids", "query_weight + layer * 1024"). */
const char *entry_pointer(Emitter *e, const Node *home);
const char *entry_weight(Emitter *e, const Node *weight, uint64_t offset, uint64_t layer_stride, DType dtype, int64_t panel, bool paired);    /* panel 0: plain */
const char *entry_product(Emitter *e, Extent at, Stride stride);        /* "past * 384" */
/* What a kernel calls a value: the model's word, for weights the key's last parts (query_weight). */
const char *entry_value_name(Emitter *e, const Node *value);
void entry_call(Emitter *e, const Kernel *k);                           /* appends the call, after a `meet` where one is needed */

/* Sizes as text without a kernel (kernel.c). */
const char *extent_text(Context *cx, Extent e);
const char *extent_factor_text(Context *cx, Extent e);                  /* fit for a product */
const char *stride_text(Context *cx, Stride s);                         /* a product */

#endif
