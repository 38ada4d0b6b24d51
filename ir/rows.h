/* The rows of a model: the axes that its products keep, such as [B, S] of `x: [B, S, D]`. Threads may share a model out by them. */
#ifndef ATTAR_IR_ROWS_H
#define ATTAR_IR_ROWS_H

#include "ir/ir.h"

typedef struct RowAxes {
    Axis axis[MAX_RANK];
    int n;                              /* 0: the model has no rows in common */
} RowAxes;

/* Those of the first gemm of the innermost repeat that has one, or of the first one at all. */
RowAxes rows_of_model(const Graph *model);
/* The type begins with these axes, in their order. */
bool rows_lead(const RowAxes *rows, const Type *type);
/* The kernel computes a row of each result from this row of the inputs that other kernels wrote, and from no other: a thread that
 * has written a block of rows may go on with it. */
bool rows_alone(const RowAxes *rows, const Node *kernel);

#endif
