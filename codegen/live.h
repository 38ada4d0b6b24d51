/* Rows that kernels leave out: live.c. */
#ifndef ATTAR_CODEGEN_LIVE_H
#define ATTAR_CODEGEN_LIVE_H

#include "codegen/emit.h"

/* The bool input that says which of its rows the kernel has to compute; NULL: all. */
const Node *live_input(const Emitter *e, const Kernel *k);
/* `struct live` and `next_run`, which calls for runs of rows mention; for threads that share out rows `count_kept`, too. */
void emit_live(bool threads, Text *out);

#endif
