/* What a compiler made of a kernel's inner loops: whether the sums of a tile stayed in registers. */
#ifndef ATTAR_RUNTIME_HOT_LOOPS_H
#define ATTAR_RUNTIME_HOT_LOOPS_H

#include "support/context.h"

/* An innermost loop that multiplies and adds vectors. The stack is touched by vector registers at fixed places, as they
 * are spilled: a write and a read are a sum that did not find a register, a read alone is a constant that did not.
 * Arrays of the kernel's own, which are indexed, do not count. */
typedef struct HotLoop {
    const char *function;
    int instructions, multiply_adds; /* fused, or if there are none the multiplications */
    int stack_reads, stack_writes;
} HotLoop;

/* The loops of assembly as `clang -S` and `gcc -S` write it for x86-64 (AT&T), aarch64 or riscv64, in their order. */
HotLoop *hot_loops_of_text(Context *cx, const char *text, size_t length, int *count);

#endif
