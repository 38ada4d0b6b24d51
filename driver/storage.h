/* In which type weights stand in memory: that of the checkpoint where it is bf16 or f16. */
#ifndef ATTAR_DRIVER_STORAGE_H
#define ATTAR_DRIVER_STORAGE_H

#include "driver/compile.h"

/* Sets the attribute `storage` of the graph's weights to what c->checkpoint holds now: bf16 or f16 for weights of two and more stored dimensions all of
 * whose tensors have that type. Vectors, such as biases and gains, are few bytes and stay f32, and with `wide` everything does. */
void storage_mark(Compilation *c, Graph *g, bool wide);

#endif
