/* Shared by the two halves of plan-memory: which buffers there are and how long they live (plan_memory.c), where
 * they lie (plan_offsets.c). */
#ifndef ATTAR_PASSES_PLAN_H
#define ATTAR_PASSES_PLAN_H

#include "ir/rows.h"
#include "passes/inside.h"

typedef struct Need { /* a span of time, in positions of executable order, both included */
    int first, last;
    const Node *writer,
        *value; /* the kernel that writes at `first` (NULL: nothing is written), and which value it is */
} Need;

typedef struct Buffer {
    Node *node; /* a value that it holds: a kernel's result, a get, a carry */
    Need *need; /* times in which its content is needed */
    int n;
    struct Buffer *same; /* joined with that one; NULL: its own */
    int output;          /* index of the model's result that it is, or -1 */
    int region;
    int64_t bytes, offset; /* per unit product of the region; times the product multiples of 64 */
} Buffer;

typedef struct Memory {
    PassContext *px;
    Graph *model;
    Buffer *buffers;
    int n;
    Buffer **of;   /* by node id */
    int *position; /* by node id: when the node runs */
    int *end;      /* by node id: when it is over (repeats), otherwise the same */
    int *last;     /* by node id: when its storage is needed last */
    int n_positions;
    RowAxes rows;
    int *exchanges; /* by position: kernels so far that read other rows than their own */
} Memory;

Buffer *buffer_root(Buffer *b);
/* Fills region, bytes and offset of every buffer that is its own root and no output, and the model's regions. False:
 * too many symbolic axes. */
bool place_buffers(Memory *m);

#endif
