/* What a compiled model asks of the runtime: how weights are packed, how the entry is called. No compiler types: the runtime reads it. */
#ifndef ATTAR_SUPPORT_PLAN_H
#define ATTAR_SUPPORT_PLAN_H

#include "support/dtype.h"

/* A piece of C that compiles by itself, in the name of one of its functions. */
typedef struct CodeUnit { const char *name, *text; size_t length; } CodeUnit;

/* ---- weights ---------------------------------------------------------------------------------------------------------------------- */

typedef enum PackLayout {
    PACK_PLAIN,                         /* row-major over n then k */
    PACK_PANELS                         /* [ceil(n / panel)][k][panel], the last panel filled with zeros: what gemm tiles read */
} PackLayout;

typedef struct PackDim { int64_t size, stride; } PackDim;       /* stride: elements in the stored tensor */

typedef struct PackItem {               /* one weight, or one per layer */
    const char *key;                    /* in the checkpoint's spelling, with holes (support/holes.h) */
    int64_t layers;                     /* 1 if the key has no hole for the layer */
    int64_t stack;                      /* so many tensors of the checkpoint one after the other, `stored` begins with this number; 0: it is one tensor */
    int stored_rank;
    int64_t stored[MAX_RANK];           /* shape in the checkpoint, already checked */
    int64_t start;                      /* first element in the stored tensor */
    int n_rank, k_rank;
    PackDim n[MAX_RANK], k[MAX_RANK];   /* output columns and contracted axes, outermost first; element (i, j) at start + sum n + sum k */
    PackLayout layout;
    int64_t panel;
    DType dtype;                        /* f32; or bf16 or f16 if all of its tensors are: then without gain and factor, and bit for bit as they are stored */
    bool rounded;                       /* every element, times gain and factor, is the nearest one of bf16: then dtype is bf16 or f32, whatever the tensors are */
    const char *gain;                   /* NULL: none; else the key of a vector as long as the size of dimension `gain_dim` (n first, then k): every */
    int gain_dim;                       /* element is packed times that vector's + plus: computed in double, rounded once to f32 */
    double plus;
    double factor;                      /* every element is packed times this too, before the one rounding; 0: none */
    uint64_t offset;                    /* bytes into the packed weights: layer 0 */
    uint64_t bytes;                     /* of one layer, a multiple of 64 */
    uint64_t layer_stride;              /* bytes from one layer to the next */
    int rows_by;                        /* 0, or 1 + the number of an i32 input: runs read no rows (of the first dimension) but those that its elements
                                         * name. Then the item begins at a page and ends at one, and its rows are packed when a run needs them */
    const float *data;                  /* table constants: values instead of a key; NULL for checkpoint weights */
} PackItem;

/* ---- the entry -------------------------------------------------------------------------------------------------------------------- */

/* The emitted file defines `struct NAME_call`, whose members are all 8 bytes wide (pointers and ptrdiff_t) in the order of `slots`, and
 *     int NAME_run(const struct NAME_call *call, ptrdiff_t thread);          thread 0 calls it, and any others with their own number: a thread that comes late or not at all is not missed; 0 = good
 *     size_t NAME_arena_bytes(const int64_t *sizes, ptrdiff_t threads);      sizes in the order of symbols
 * The runtime fills an array of 8-byte slots and passes it as the struct. */
typedef enum SlotKind {
    SLOT_INPUT, SLOT_OUTPUT,            /* index into inputs, outputs */
    SLOT_WEIGHTS, SLOT_ARENA,
    SLOT_CACHE,                         /* index into caches: base of layer 0 */
    SLOT_SIZE,                          /* index into symbols: ptrdiff_t */
    SLOT_THREADS,                       /* ptrdiff_t */
    SLOT_MEET,                          /* 256 bytes for each thread, aligned to 128 and zeroed before each run: what has been taken and done of its work */
    SLOT_FAULT,                         /* int64_t[4], zeroed before the run: code (1 = index out of range), input or value number, the index, its bound */
    SLOT_TAP,                           /* only with taps: void (*)(void *state, int64_t value, int64_t round, const void *data), called after each kernel, by one thread at a time; round as in ir/interpret.h; NULL: none */
    SLOT_TAP_STATE,
    SLOT_TIMES,                         /* only with timing: uint64_t[kernels] nanoseconds accumulated by thread 0, see codegen.h */
    SLOT_CLOCK                          /* only with timing: uint64_t (*)(void), monotonic nanoseconds */
} SlotKind;

typedef struct Slot { SlotKind kind; int index; } Slot;

typedef struct PlanDim {                /* a size as an affine function of the symbols */
    const char *name;                   /* axis name */
    int64_t base;
    int n;
    int symbol[3];
    int64_t factor[3];
} PlanDim;

typedef struct PlanTensor {             /* an input, output or cache field */
    const char *name;
    DType dtype;
    int rank;
    PlanDim dims[MAX_RANK];
    bool in_place;                      /* inputs: kernels read the caller's elements themselves, at any multiple of 4 bytes and none behind the last */
    /* caches */
    int64_t layers;
    int growing;                        /* position of the growing axis (its PlanDim is the constant capacity), -1 otherwise */
    uint64_t bytes_per_row;             /* caches: bytes of one layer = bytes_per_row * B if the first axis is symbolic, else bytes_per_row */
} PlanTensor;

typedef struct PlanSymbol { const char *name; int64_t low, high; bool past; /* the filled length of the caches */ } PlanSymbol;

typedef struct Plan {
    const char *name;                   /* C prefix: minilm */
    PlanSymbol *symbols; int n_symbols;
    PlanTensor *inputs; int n_inputs;
    PlanTensor *outputs; int n_outputs;
    PlanTensor *caches; int n_caches;
    PlanDim grows;                      /* positions that one run appends to the caches; all zero: the one symbol that is neither past nor batch */
    Slot *slots; int n_slots;
    PackItem *weights; int n_weights;
    uint64_t weight_bytes;              /* of the packed blob */
} Plan;

#endif
