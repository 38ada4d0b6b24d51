/* The float64 interpreter: a plain definition of every GRAPH and KERNEL op, the oracle for passes, emitted C and `attar diff`. */
#ifndef ATTAR_IR_INTERPRET_H
#define ATTAR_IR_INTERPRET_H

#include "ir/ir.h"

typedef struct Value {                  /* every dtype held as double; row-major, packed */
    const Type *type;
    int rank;
    int64_t dims[MAX_RANK];             /* run-time sizes */
    int64_t count;
    double *data;
} Value;

typedef struct Bindings {
    /* run-time sizes, parallel to model->symbols */
    const int64_t *sizes;
    /* inputs in the order of model->params */
    const HostTensor *inputs;
    /* Fills `out` (all stored elements of the tensor, in stored order) with the weight called `key`; false if there is none. */
    bool (*weight)(void *state, const char *key, double *out, int64_t count);
    void *weight_state;
    /* The caches' contents [layers, cache type...], one Value each, kept by the caller between calls; NULL without caches. */
    Value *caches;
    /* Called after each node of the model and of repeat bodies (not of kernel bodies). `round` is -1 outside a repeat; inside another
     * repeat it counts on through the rounds of both. The value lasts for the call only: the next round of a repeat reuses its
     * memory. May be NULL. */
    void (*tap)(void *state, const Node *n, int64_t round, const Value *value);
    void *tap_state;
    bool spoil;                         /* rows that kernels need not compute (`live`) are NaN: nothing may depend on them */
} Bindings;

/* Results in the order of model->results, or NULL and one diagnostic (an id out of range, a missing weight). `work` holds all values. */
Value *interpret(Context *cx, const Graph *model, const Bindings *b, Arena *work);

/* Allocates zeroed caches for `interpret`. */
Value *interpret_caches(const Graph *model, const int64_t *sizes, Arena *arena);

int64_t extent_value(Extent e, const Graph *model, const int64_t *sizes);   /* with run-time sizes */

#endif
