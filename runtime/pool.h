/* Threads: the caller and n - 1 workers run one function together. Workers spin briefly, then sleep; n = 1 starts no thread at all. */
#ifndef ATTAR_RUNTIME_POOL_H
#define ATTAR_RUNTIME_POOL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct Pool Pool;
Pool *pool_new(int threads);                    /* NULL if threads cannot be started */
void pool_free(Pool *p);
int pool_threads(const Pool *p);
/* Calls run(state, t) for t in [0, threads), t = 0 on the caller; returns when all have returned. */
void pool_run(Pool *p, void (*run)(void *state, ptrdiff_t thread), void *state);
/* The same for work that is claimed piece by piece and that thread 0 can do alone: it returns when run(state, 0) and all others that
 * had begun have returned. A worker that comes later than that does not run at all. */
void pool_help(Pool *p, void (*run)(void *state, ptrdiff_t thread), void *state);
int pool_cpus(void);                            /* CPUs this process may use */

#endif
