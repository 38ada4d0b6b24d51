/* Shared by the two halves of plan-memory: which buffers there are and how long they live (plan_memory.c), where they lie (plan_offsets.c). */
#ifndef ATTAR_PASSES_PLAN_H
#define ATTAR_PASSES_PLAN_H

#include "passes/inside.h"

typedef struct Buffer {
    Node *node;                         /* whose result it holds: a kernel, a get, or a carry */
    int first, last;                    /* positions in executable order; a buffer is needed from first to last, both included */
    struct Buffer *same;                /* joined with that one (in place); NULL: its own */
    int output;                         /* index of the model's result that it is, or -1 */
    int region;
    int64_t bytes, offset;              /* per unit product of the region; bytes a multiple of 64 */
} Buffer;

typedef struct Memory {
    PassContext *px;
    Graph *model;
    Buffer *buffers;
    int n, capacity;
    Buffer **of;                        /* by node id */
    int *position;                      /* by node id: when the node runs */
    int *end;                           /* by node id: when it is over (repeats), otherwise the same */
    int n_positions;
} Memory;

Buffer *buffer_root(Buffer *b);
/* Fills region, bytes and offset of every buffer that is its own root and no output, and the model's regions. False: too many symbolic axes. */
bool place_buffers(Memory *m);

#endif
