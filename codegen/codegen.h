/* From a KERNEL-level, planned model to one C file and the plan the runtime needs. */
#ifndef ATTAR_CODEGEN_CODEGEN_H
#define ATTAR_CODEGEN_CODEGEN_H

#include "ir/ir.h"
#include "support/approximation.h"
#include "support/plan.h"

/* ---- targets (target.c): sizes of tiles are data ------------------------------------------------------------------------------------ */

typedef struct Target {
    const char *name;                   /* x86-64-v4, aarch64 .. */
    const char *machines;               /* which ones, for people */
    const char *architecture;           /* x86_64, aarch64 ..; NULL: any */
    int lanes;                          /* floats in one vector: 16, 8, 4 */
    int registers;                      /* vector registers */
    int sums;                           /* of them hold sums of a gemm's tile, at most: what more would spill once its loop is unrolled */
    int steps;                          /* of a sum that its loop takes at a time; 1 where clang would spill (a product needs a register too) */
    const char *const *flags;           /* for clang, NULL-terminated */
    const char *const *gcc_flags;       /* NULL: gcc has no such target */
} Target;
extern const Target targets[];          /* of one architecture the widest first; the last two are for every machine, with vectors and without */
extern const int target_count;
const Target *target_by_name(const char *name);
bool target_runs_here(const Target *t); /* can this machine run code for it? */
const Target *target_native(void);      /* the first that this machine can run */

/* ---- tiles of gemms (choose.h, choose.c) ----------------------------------------------------------------------------------------- */

typedef struct Tile { int rows, vectors; } Tile;        /* sums: rows x vectors of lanes, for each accumulator */
typedef struct GemmShape {
    int accumulators;                   /* that meet in one result */
    int64_t rows;                       /* 0: not known before the model runs */
    int64_t depth, columns;             /* of each */
    int weight_bytes;                   /* of an element of the weights, as stored */
} GemmShape;
/* ASKED: by EmitOptions.alternative. ROTATED: a result that is rotated takes pairs of vectors. BESIDE: products of few columns share a panel, which
 * is as wide as all of them; the shape is that of all. ALIKE: as wide as a rotated product's, which spares a kind of tile.
 * MEASURED: a row of the table. */
typedef enum TileSource { TILE_EXPECTED, TILE_ASKED, TILE_ROTATED, TILE_BESIDE, TILE_ALIKE, TILE_MEASURED } TileSource;
typedef struct TileChoice {
    GemmShape shape;
    Tile tile, expected;                /* taken; what the costs alone would take */
    TileSource how;
    double share, ratio;                /* of the peak, as expected of `tile`; TILE_MEASURED: its time over that of `expected` */
    int64_t measured_rows;
    const Node *gemm;
} TileChoice;
typedef struct TunedTile { GemmShape shape; Tile tile; double ratio; } TunedTile;  /* shape.rows: those it was measured with */
typedef struct TileTable { const TunedTile *items; int n; } TileTable;

typedef struct EmitOptions {
    const Target *target;
    bool taps;                          /* for `attar diff` */
    bool timing;                        /* for `attar bench` */
    bool split;                         /* for tests: the smallest kernels are shared by all threads too */
    bool tiles;                         /* for tests and bench/: `int64_t PREFIX_tiles[2]` counts attend's tiles (rows times KEY_PANEL keys)
                                         * that are executed, and those of them in which nothing is compared */
    const TileTable *tuned;             /* measured on this machine; NULL: none */
    int units;                          /* the file is cut into at most so many that compile at the same time; 0: into as many as make sense apart */
    int alternative;                    /* > 0: gemms take this one of their tiles if they have so many (tile_alternatives); 0: what is best */
    const char *(*key)(void *state, const char *key);   /* the checkpoint's spelling of a weight key (with {i} kept) */
    void *key_state;
    const Approximations *approximations;               /* for the header comment; NULL: none */
} EmitOptions;

/* Taps: after a kernel, one thread calls tap(state, kernel's index, layer or -1 outside a repeat, data) once for each of its results, in their
 * order, those without a `get` left out; data is the result in its place and layout (packed; panels for keys). The consumer counts the calls.
 * `append` reports the first byte of its layer of the cache. */
typedef struct KernelInfo {             /* in the order of the emitted entry; index = position in SLOT_TIMES and tap value number */
    const char *function;               /* C name */
    const char *name;                   /* value name in the model */
    const Node *node;
    int64_t times;                      /* runs a call: layers, or 1 */
} KernelInfo;

/* Scratch that grows with a size: `bytes`, a multiple of 64, for each started `each` of it. */
typedef struct ScratchGrowth { Extent size; int64_t each; uint64_t bytes; } ScratchGrowth;

typedef struct Emitted {
    const char *text; size_t length;    /* the C file */
    CodeUnit *units; int n_units;       /* the same in pieces that compile apart; their names are those of functions in them */
    Plan plan;
    KernelInfo *kernels; int n_kernels;
    TileChoice *tiles; int n_tiles;     /* of gemms, in the order in which they were emitted; several of one that has several groups of results */
    uint64_t scratch;                   /* bytes of scratch that one thread needs; codegen_scratch says it for sizes */
    ScratchGrowth *grows; size_t n_grows;
} Emitted;

/* The bytes of the arena that a thread has for itself at these sizes: PREFIX_arena_bytes counts them beside those of the values. */
int64_t codegen_scratch(const Emitted *e, const Graph *model, const int64_t *sizes);

/* `text`, some C, behind those of the emitted files' types, helpers and vector functions (exp2_lanes ..) that it names. */
const char *codegen_helped(Context *cx, const Target *target, const char *text);

/* False and a diagnostic E08xx naming op and value if some op cannot be emitted. Same input, same bytes. */
bool codegen_emit(Context *cx, const Graph *model, const EmitOptions *options, Emitted *out);

#endif
