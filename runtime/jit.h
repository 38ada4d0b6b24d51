/* JIT: C text to machine code. clang runs as a child process (posix_spawn, C on stdin, object on a pipe); link.c puts the objects into
 * memory. */
#ifndef ATTAR_RUNTIME_JIT_H
#define ATTAR_RUNTIME_JIT_H

#include "support/context.h"
#include "support/plan.h"

typedef struct JitOptions {
    const char *clang;                  /* NULL: $ATTAR_CLANG, clang-19, clang; must be version 19 or later */
    const char *const *flags;           /* NULL-terminated, from the target */
    bool no_cache;
    const char *cache_dir;              /* NULL: $ATTAR_CACHE_DIR, $XDG_CACHE_HOME/attar, ~/.cache/attar */
    double time_limit;                  /* seconds that clang may take; 0: 120 */
} JitOptions;

typedef struct Jit Jit;
typedef struct JitUnit {
    const char *name;
    bool cached;                        /* its object came from the cache */
    double seconds;                     /* of its compiler */
    size_t bytes;                       /* of its object */
} JitUnit;
typedef struct JitStats {
    bool cached;                        /* all units were */
    double look_up_seconds, compile_seconds, link_seconds, keep_seconds;       /* by the clock; units are compiled at the same time */
    size_t object_bytes;
    JitUnit *units; int n_units;        /* in the context's arena */
} JitStats;

/* Compiles units that call each other: those that the cache does not have, on all processors. NULL and an E08xx diagnostic if clang is absent,
 * too old, fails, is killed, or exceeds 120 s. Cache trouble is a W07xx warning, never an error. */
Jit *jit_compile(Context *cx, const CodeUnit *units, int n, const JitOptions *options, JitStats *stats);
void *jit_symbol(Context *cx, Jit *jit, const char *name);      /* NULL and E0809 */
void jit_free(Jit *jit);

/* The compiler and its version line, for `attar doctor`; false and E0801 if none is usable. */
bool jit_compiler(Context *cx, const char *clang, const char **path, const char **version);

const char *jit_processor(Context *cx);                         /* (machine.c) its name, and which instructions it has */

/* (machine.c) The processor's name, and what tells this processor with this compiler from others; no process is started for it. False, in
 * silence, without a compiler. */
bool jit_machine(Context *cx, const char *clang, const char **name, const char **identity);

/* ---- the object cache (cache.c): one file per entry, key XXH3-128 of text without comments, flags, compiler identity, CPU ---- */

bool cache_directory(Context *cx, const char *asked, const char **out);         /* created with mode 0700; false: no usable directory (W0701) */
bool cache_read(Context *cx, const char *dir, const char *key, void **object, size_t *bytes);   /* malloc'd; damaged entry: W0702, renamed aside, false */
void cache_write(Context *cx, const char *dir, const char *key, const void *object, size_t bytes);      /* failure: W0703 */
typedef struct CacheEntry { const char *key; size_t bytes; int64_t mtime; bool sound; } CacheEntry;
CacheEntry *cache_list(Context *cx, const char *dir, int *count);               /* `sound`: header and hash verified */
const char *cache_key(Context *cx, const char *text);                            /* the key of an entry that this text names */
int cache_prune(Context *cx, const char *dir, uint64_t keep_bytes);             /* oldest access first; entries removed */

#endif
