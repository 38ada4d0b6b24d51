/* Inner loops of an object: its functions disassembled by LLVM, read as hot_loops.h reads assembly. */
#ifndef ATTAR_BENCH_DISASSEMBLE_H
#define ATTAR_BENCH_DISASSEMBLE_H

#include "runtime/hot_loops.h"

/* An ELF object for this machine; false if it cannot be read. */
bool hot_loops_of_object(Context *cx, const unsigned char *object, size_t bytes, HotLoop **loops, int *count);

#endif
