/* Sessions: one caller's arena, caches, outputs and threads for a compiled model. Knows the Plan and the entry points, nothing of the compiler. */
#ifndef ATTAR_RUNTIME_SESSION_H
#define ATTAR_RUNTIME_SESSION_H

#include "runtime/pack.h"
#include "runtime/pool.h"
#include "support/plan.h"

typedef struct Program {                        /* a compiled model, ready to run */
    const Plan *plan;
    int (*run)(const void *call, ptrdiff_t thread);
    size_t (*arena_bytes)(const int64_t *sizes, ptrdiff_t threads);     /* NAME_arena_bytes takes an array of the symbols' sizes */
    const unsigned char *weights;
    PackedRows *rows;                           /* of the weights; NULL: all are there */
} Program;

int64_t plan_capacity(const Plan *plan);        /* positions that its caches can hold, or the bound of the position where states alone are left; 0: no caches */
bool plan_grows(const Plan *plan);              /* some cache grows with the positions */
const PlanTensor *plan_state(const Plan *plan); /* a cache of constant size, or NULL: such a session cannot forget its last positions */

typedef struct Session Session;
typedef struct SessionHooks {                   /* all may be NULL */
    void (*tap)(void *state, int64_t value, int64_t layer, const void *data);
    void *tap_state;
    uint64_t *times;                            /* [kernels] nanoseconds */
} SessionHooks;

Session *session_new(Context *cx, const Program *program, int64_t batch, int threads, const SessionHooks *hooks);   /* NULL and E10xx */
void session_free(Session *s);
void session_reset(Session *s);
int64_t session_length(const Session *s);
void session_truncate(Session *s, int64_t length);  /* with a state only to 0 or not at all: anything else makes the next run fail (E0611) */

/* Checks names, dtypes, shapes, bounds (E0501.. with axis names), grows the arena if these sizes are new, runs. Steady state allocates nothing. */
bool session_run(Context *cx, Session *s, const HostTensor *inputs, int n_inputs, const HostTensor **outputs);

#endif
