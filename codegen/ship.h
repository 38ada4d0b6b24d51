/* A model as C that its user compiles: NAME.c and NAME.h, with an interface that checks what it is given. NAME.c has a section
 * of kernels for each kind of processors that was asked for; the weights are a file of which NAME.c knows where each section's begin. */
#ifndef ATTAR_CODEGEN_SHIP_H
#define ATTAR_CODEGEN_SHIP_H

#include "codegen/codegen.h"

/* NONE: the entry is calls and loops. CALLER: NAME_use_threads takes a function that runs the threads. POOL: and the file has one. */
typedef enum ShipThreads { SHIP_THREADS_NONE, SHIP_THREADS_CALLER, SHIP_THREADS_POOL } ShipThreads;

typedef struct ShipOptions {
    EmitOptions emit;                           /* its target is not read; no taps, no timing */
    const Target *const *targets; int n_targets;        /* of each kind once; they are tried in the order of target.c */
    ShipThreads threads;
    bool embed;                                 /* NAME.h declares NAME_weights, the file as an array */
} ShipOptions;

typedef struct ShipSection {                    /* of the weights file: targets that pack alike share one */
    Plan plan;
    uint64_t offset, bytes;                     /* offset % 64 == 0; bytes = plan.weight_bytes */
} ShipSection;

typedef struct Shipped {
    const char *source, *header; size_t source_length, header_length;
    const char *name, *upper;                   /* minilm, MINILM */
    const char **dims, **inputs, **outputs;     /* members of the structs; of a symbol that is no member (past) NULL */
    const Plan *plan;                           /* of the first target */
    const Target *const *targets; int n_targets;        /* in the order of the file */
    const Emitted *emitted;                     /* scratch of each of them */
    ShipSection *sections; int n_sections;
    const int *section;                         /* of each target */
    uint64_t file_bytes;                        /* of the weights file */
    uint64_t layout_hash;                       /* what NAME.c expects to lie where in it */
    const char *clang_flags, *gcc_flags;        /* that the file is compiled with; gcc_flags NULL: gcc cannot */
    struct ShipMachine { const char *name, *clang_flags; } *machines;   /* besides, where the targets are of several machines: of each that needs some */
    int n_machines;
    bool caches;                                /* it has NAME_step and its kin */
    int64_t capacity;                           /* positions that a cache holds; 0 without caches */
} Shipped;

enum { SHIP_HEADER_BYTES = 4096, SHIP_FORMAT = 1 };      /* of the weights file, whose first bytes are "ATTARWTS" */

/* False and diagnostics if some op cannot be emitted. Same input, same bytes. */
bool codegen_ship(Context *cx, const Graph *kernels, const ShipOptions *options, Shipped *out);

/* What NAME_arena_bytes returns at these sizes (of all symbols), the most of all targets; 0: it cannot be addressed by 64 bits. */
int64_t codegen_ship_arena(const Shipped *s, const Graph *kernels, const int64_t *sizes, int64_t threads);

#endif
