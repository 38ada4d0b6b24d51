/* Shared by lora_side.c (the graph) and lora_parts.c (the numbers). */
#ifndef ATTAR_DRIVER_LORA_INSIDE_H
#define ATTAR_DRIVER_LORA_INSIDE_H

#include "driver/lora_side.h"

/* What stands beside one weight, or beside the weights of all rounds of a repeat. Columns of A, rows of B: adapter k has those from first[k] on, of which
 * a round may use fewer (the rest is zero); with slots each has `rank` of them. */
typedef struct Parts {
    const char *key;                    /* the weight's, in the checkpoint's spelling, with holes */
    const AdapterSite **sites;          /* [adapter][round]; NULL: this adapter leaves this round alone */
    int64_t rounds, in, out, columns, rank;
    int64_t *first;
    bool turned, table, gains, biases;
    bool chosen;                        /* of many adapters: A is [n + 1, rank, in] and B [n + 1, rank, out], looked up for each row; 0: zeros */
    bool before;                        /* B is divided by f, so that f comes after the sum; false: some f is near zero, B stands as it is */
    const char *a, *b, *f, *bias;       /* keys of the made tensors, with the same holes */
    bool made;
} Parts;

enum { CHOOSE_FROM = 12 }; /* so many adapters in slots are looked up; fewer are all computed, in the tiles of the products, and masked (measured: bench/lora.sh) */

typedef struct Beside {
    Compilation *c;
    Context *cx;
    Adapter *const *adapters;
    int n;
    bool slots;
    Parts **parts;                      /* made so far */
    size_t n_parts, capacity;
    MadeTensor *made;
    size_t n_made, made_capacity;
    bool **applied, **read;             /* [adapter][site]: something stands beside; the model reads the weight */
    Node *choice, *first;               /* the input `adapter`; the first node of the model before the rewrite */
    Axis batch;
    Node **masks; int64_t *mask_rank;   /* one a rank */
    int n_masks;
} Beside;

/* Of the weight with this key (checkpoint's spelling, with holes); `lookup`: where rows of it are looked up, else a product; `tied`: a product with a
 * table that is looked up as well. NULL: no adapter touches it. */
Parts *parts_of(Beside *b, const char *key, int64_t rounds, bool lookup, bool tied);
bool parts_make(Beside *b, Parts *p);                       /* the tensors; false and a diagnostic if W cannot be read */
const char *parts_mask(Beside *b, int64_t rank);            /* key of the tensor [n + 1, n, rank]: row k + 1 has ones at adapter k */

#endif
