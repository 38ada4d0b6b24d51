/* Objects to code in this process: what a linker and a loader do, for relocatable ELF objects that need nothing but each
 * other and functions of the process (memcpy, memset, memmove). No LLVM: a start that finds everything in the cache does
 * not pay for a compiler. */
#ifndef ATTAR_RUNTIME_LINK_H
#define ATTAR_RUNTIME_LINK_H

#include <stdbool.h>
#include <stddef.h>

typedef struct LinkObject {
    const unsigned char *data;          /* whole by object_is_whole */
    size_t bytes;
} LinkObject;

typedef struct Code Code;

enum { LINK_MESSAGE = 256 };

/* Objects are not needed any more afterwards. NULL: `message` says why. Nothing in an object is believed: places, sizes,
 * symbols and types of relocations are checked. Code is never writable when it can be run. */
Code *code_link(const LinkObject *objects, int n, char message[LINK_MESSAGE]);
void *code_symbol(const Code *c, const char *name);     /* of a global function or variable; NULL: there is none */
void code_free(Code *c);

#endif
