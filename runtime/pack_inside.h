/* Shared by the files of packing: pack.c (items, blocks, workers) and pack_rows.c (rows that are packed when a run asks
 * for them). */
#ifndef ATTAR_RUNTIME_PACK_INSIDE_H
#define ATTAR_RUNTIME_PACK_INSIDE_H

#include <stdatomic.h>

#include "runtime/pack.h"

typedef struct Block {
    int64_t i0, i1, j0, j1, low, span;
} Block; /* columns, contracted elements; stored elements [low, low + span) */

typedef struct Job { /* one item */
    const PackItem *item;
    int64_t n, k;         /* columns, contracted elements */
    int64_t *noff, *koff; /* koff lies behind noff */
    int64_t *tensors;     /* numbers of the tensors of each layer; NULL for constants */
    int64_t each;         /* elements of one of them */
    double *gains;        /* [layers][gain_size], or one layer for all if the key has no {i}; NULL: none */
    int64_t gain_size, gain_step; /* its dimension; columns or contracted elements before it moves on by one */
    Block *blocks;
    size_t n_blocks, capacity;
} Job;

typedef struct Work {
    const Checkpoint *checkpoint;
    Job *jobs;
    int n_jobs;
    unsigned char *out;
    atomic_size_t next; /* blocks taken, counted over jobs, layers, blocks */
    atomic_int error;
    int64_t failed;       /* number of a tensor; written by the thread that sets error */
    unsigned char *rooms; /* for each worker: PACK_CHUNK stored elements, PACK_CHUNK floats */
} Work;

/* Reports what is wrong with the item; false. */
bool pack_fail(Context *cx, const PackItem *item, const char *code, const char *why);
/* The least and the largest of the offsets [from, to). */
void pack_range_of(const int64_t *offsets, int64_t from, int64_t to, int64_t *low, int64_t *high);
/* One block of a layer, by way of `room` (PACK_ROOM bytes). 0, or the error of reading *tensor. */
int pack_block(const Work *w, const Job *job, int64_t layer, const Block *b, unsigned char *room, int64_t *tensor);

/* pack_rows.c: takes the jobs whose rows are packed on demand out of the work; frees them. */
bool pack_take_tables(Context *cx, const Checkpoint *c, Work *w, Packed *out);
void pack_free_rows(PackedRows *rows);

#endif
