/* How much memory a run will take, before there is one. */
#ifndef ATTAR_DRIVER_MEMORY_H
#define ATTAR_DRIVER_MEMORY_H

#include "driver/compile.h"

typedef struct Memory {                 /* bytes */
    int64_t process;                    /* the program, its libraries, what compiling leaves behind, code */
    int64_t weights;                    /* packed; of tables that are only looked up, the rows that a run's elements can name */
    int64_t values;                     /* arena without scratch */
    int64_t tensors;                    /* copies of inputs and outputs */
    int64_t caches;
    int64_t thread;                     /* each thread: scratch, and room for packing before the first run */
    int64_t peak;                       /* all of it, on one thread */
} Memory;

/* What the process of `attar run` takes at most for a run at these sizes (in the order of the model's symbols), from an emitted model. Compilers are
 * processes of their own, and so is what the system's page cache holds of the checkpoint. */
Memory memory_of(const Compilation *c, const int64_t *sizes);

#endif
