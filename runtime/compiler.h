/* clang as a child process: found on the PATH, fed by a socket, read through pipes, stopped after a time limit.
 * Internal to runtime/. */
#ifndef ATTAR_RUNTIME_COMPILER_H
#define ATTAR_RUNTIME_COMPILER_H

#include "support/context.h"
#include "support/plan.h"

typedef struct Compiler {
    const char *path;     /* as it is started */
    const char *identity; /* path, resolved path, size and time of the binary: part of cache keys, costs no process */
} Compiler;

bool compiler_find(Context *cx, const char *asked, Compiler *out); /* E0801 */
const char *compiler_version(Context *cx, const Compiler *c);      /* first line of --version, or NULL */

typedef struct CompilerJob {
    const CodeUnit *unit;
    unsigned char *object; /* malloc'd */
    size_t bytes;
    double seconds;
} CompilerJob;

/* Compiles units to objects, `at_once` at a time and the long ones first, each for at most so many seconds; false and
 * E0802 to E0807 about the first that failed, and no objects. Any thread's signals are left as they were. */
bool compiler_run(Context *cx, const Compiler *c, const char *const *flags, CompilerJob *jobs, int n, int at_once,
                  double seconds);

/* Whether bytes are a whole ELF relocatable object; *symbol (may stay NULL) is a function that it defines. */
bool object_is_whole(const unsigned char *object, size_t bytes, const char **symbol);

#endif
