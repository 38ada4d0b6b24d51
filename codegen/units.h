/* The emitted file cut into units that compile apart. */
#ifndef ATTAR_CODEGEN_UNITS_H
#define ATTAR_CODEGEN_UNITS_H

#include "codegen/emit.h"

typedef struct KernelText {
    const char *function, *head;
    Scope names;                        /* of its parameters and variables */
    size_t from, at, body, to;
    bool helps;                         /* is called by kernels, not by the entry */
} KernelText;

/* A kernel stands in e->kernels: from `from` on comments and its own functions, from `at` on its head, from `body` to `to`
 * the rest. `head` is the head of a function that other units may call. */
void units_note(Emitter *e, const KernelText *kernel);
/* (same.c) The function of a kernel noted before whose code is the same but for names, which does for this one too; NULL: there is none. */
const char *units_same(Emitter *e, const KernelText *kernel);
void units_make(Emitter *e, const Text *entry, Emitted *out);           /* `entry`: the text of the file after the kernels */

#endif
