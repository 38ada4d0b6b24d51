/* Loop nests: the frame of every kernel that is not a gemm or an attend. Outer loops over rows, shared by the threads; vectors along
 * the last axis; a body evaluated at each step. */
#ifndef ATTAR_CODEGEN_NEST_H
#define ATTAR_CODEGEN_NEST_H

#include "codegen/emit.h"

enum { MAX_BLOCK = 8 };                 /* rows of a loop that go together */

typedef struct Loop {                   /* one C variable; stands for several axes if all operands step through them as one */
    Axis axis[MAX_RANK];
    int n;
    const char *var;                    /* C text; NULL: not open yet */
    int rows;                           /* goes so many rows at a time; 0: one */
} Loop;

typedef struct Nest {
    Kernel *k;
    const Graph *body;
    Access *params;                     /* of the body's parameters */
    int64_t *panel;                     /* a gathered table stored as gemm panels of this width; 0: plain */
    int n_params;
    Loop loop[2 * MAX_RANK];
    int n_loops;
    const char *lane;                   /* the axis along the vectors; NULL: one number at a time */
    const char *count;                  /* how many lanes exist (C text); NULL: all */
    BodyPrinter printer;
    int depth;                          /* > 0 inside a step */
    const Access *shared;               /* set before nest_rows: the innermost loop whose axes this operand lacks goes several rows at a time */
    Loop *blocked;                      /* that loop; NULL: none */
    Map vars;                           /* axis -> its C variable */
    Map ids;                            /* gather node -> its row number, a C variable */
} Nest;

typedef void LaneStep(Nest *nest, void *state);

/* Reads the operands of the kernel's body: inputs[i] is its parameter i, except number `skip` (-1: none). */
bool nest_begin(Nest *nest, Kernel *k, int skip);
/* Opens loops over the axes, merged where all parameters and the `n_extra` other operands allow, and shared by the threads. */
void nest_rows(Nest *nest, const Axis *axes, int n, const Access *const *extra, int n_extra);
void nest_end_rows(Nest *nest);
const char *nest_size(Nest *nest, const Loop *l);                       /* how many rows a loop has */
Loop *nest_loop(Nest *nest, const Axis *axis, const char *var);         /* one more variable, for an axis the caller steps through */
const char *nest_var(Nest *nest, const Axis *axis);                     /* a fresh C name for the axis' variable: d for D */
/* Steps through the axis a vector at a time: `step` prints the statements for one vector, once for the loop, once for the rest. */
void nest_lanes(Nest *nest, const Axis *axis, LaneStep *step, void *state);
void nest_plain_loop(Nest *nest, const Axis *axis, LaneStep *step, void *state);       /* one element at a time, no vectors */
Operand nest_value(Nest *nest, const Node *n);
Operand nest_load(Nest *nest, const Access *a);
void nest_store(Nest *nest, const Access *a, Operand value);
const char *nest_address(Nest *nest, const Access *a);

/* Between the two, statements go to a text of their own; its number of lines decides on braces. */
typedef struct Capture { Text outer; int indent; } Capture;
Capture capture_begin(Kernel *k, int deeper);
Text capture_end(Kernel *k, Capture c, int *lines);

#endif
