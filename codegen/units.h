/* The emitted file cut into units that compile apart. */
#ifndef ATTAR_CODEGEN_UNITS_H
#define ATTAR_CODEGEN_UNITS_H

#include "codegen/emit.h"

typedef struct KernelText {
    const char *function, *head;
    size_t from, at, body, to;
} KernelText;

/* A kernel stands in e->kernels: from `from` on comments and its own functions, from `at` on its head, from `body` on
 * the rest. `head` is the head of a function that other units may call. */
void units_note(Emitter *e, const char *function, const char *head, size_t from, size_t at, size_t body);
void units_make(Emitter *e, const Text *entry, Emitted *out);           /* `entry`: the text of the file after the kernels */

#endif
