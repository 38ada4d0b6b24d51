/* The steps of an entry function: recorded while the graph is walked, printed when it is known which of them need which. */
#ifndef ATTAR_CODEGEN_SCHEDULE_H
#define ATTAR_CODEGEN_SCHEDULE_H

#include "codegen/emit.h"

typedef struct Touch {                  /* what a kernel does to a value */
    const Node *home;
    bool writes;
    int64_t row;                        /* bytes from one of the model's rows to the next, if it stays within the row; else 0 */
} Touch;

typedef enum StepKind {
    STEP_KERNEL,
    STEP_LINE,                          /* C text: an `if`, a tap */
    STEP_MEET,                          /* everybody is done with what came before, if it touched anything */
    STEP_ROUNDS, STEP_END               /* of a repeat */
} StepKind;

typedef struct Step {
    StepKind kind;
    int indent;
    const char *text;                   /* of a line; of a kernel about how much work it is */
    const char *function, **items;      /* of a kernel: its call */
    size_t n_items;
    bool alone;                         /* a kernel that one part computes */
    bool rows;                          /* a kernel that is shared out by rows where there are many */
    bool live;                          /* .. and called for each run of rows that count */
    bool product;                       /* a gemm */
    bool clears;                        /* a line after which nobody is behind */
    Touch *touches;
    size_t n_touches;
    /* Decided by schedule_print: what stands before the step .. */
    bool meets;                         /* all wait for all */
    bool follows;                       /* the same where the rows are not shared out */
    bool settles;                       /* all wait until the marked kernel is done, long after it */
    bool marked;                        /* .. and that this is the one */
} Step;

typedef struct Steps {
    Step *step;
    size_t n, capacity;
    int indent;
} Steps;

Step *step_add(Emitter *e, StepKind kind, const char *text);            /* the pointer is good until the next one is added */
void step_touch(Emitter *e, Step *s, const Access *a, bool writes);
void schedule_print(Emitter *e, const Steps *steps, Text *out);
const char *schedule_rows(Emitter *e);  /* how many rows there are, as C text; NULL: the model has none */

#endif
