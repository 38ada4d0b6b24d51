/* What entry.c and emit.c share about the entry function. */
#ifndef ATTAR_CODEGEN_ENTRY_INSIDE_H
#define ATTAR_CODEGEN_ENTRY_INSIDE_H

#include "codegen/entry.h"
#include "codegen/schedule.h"

enum { MAX_REPEATS = 8 };               /* one inside the other */

typedef struct EntryState {
    Scope names;
    Map pointers;                       /* value or weight -> variable */
    Text declarations, weights, calls;  /* calls: the steps as C text, once all are there */
    Steps steps;
    int depth;
    const char *layer;                  /* the innermost repeat's variable; NULL outside */
    const char *round;                  /* the same, counted on through the rounds of the repeats around: what taps are told */
    const char *layers[MAX_REPEATS];    /* of each repeat around, the outermost first */
    int64_t times;                      /* rounds of the repeats around; 0 outside */
    const char **unit, **base;          /* variables for each region */
    const char **input, **output, **cache, **symbol;    /* members of the call */
    const char *scratch, *since;
    Chooser open;                       /* the choice's side whose `if` is open; {NULL}: none */
    bool scratch_used;
    const char **waits;                 /* an argument of the last product's call: what the next one reads first; NULL: there is none */
    FirstPanel begins[MAX_REPEATS];     /* of each repeat around: what its first product reads first */
    const Node *live;                   /* the input by which kernels leave rows out; NULL: none does */
    KernelInfo *kernels;
    size_t n_kernels, kernels_capacity;
} EntryState;

void entry_begin(Emitter *e);
void entry_meet(Emitter *e);            /* if anything was touched since the last one */
void emit_nodes(Emitter *e, const Graph *g);
const char *region_unit(Emitter *e, const Region *r);
void call_members(Emitter *e);          /* emit.c: C names of the call's members */

#endif
