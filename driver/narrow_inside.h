/* Shared by the files of narrowing: a tensor that is rounded (narrow_rows.c), and which tensors are (narrow.c). */
#ifndef ATTAR_DRIVER_NARROW_INSIDE_H
#define ATTAR_DRIVER_NARROW_INSIDE_H

#include "runtime/checkpoint.h"

typedef struct Narrow { /* one tensor */
    const Checkpoint *base;
    HostTensor from;
    DType to;
    double error, size;    /* sums of squares */
    double largest, among; /* the largest error of an element; the largest element */
    int failed;
} Narrow;

MadeTensor narrow_tensor(const Narrow *t); /* *t stays where it is */

/* The sums of all of them, each over all elements in their order, by so many threads (0: all). What is wrong with one is in its `failed`. */
void narrow_measure(Narrow **items, size_t n, int threads);
bool narrow_report(Context *cx, const void *narrow, int error);

#endif
