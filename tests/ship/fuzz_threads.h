/* Threads that cannot be, functions that call them in an order of their own, and pools that never ran: included by fuzz.c. */
#ifndef SHIP_FUZZ_THREADS_H
#define SHIP_FUZZ_THREADS_H

#include "tests/ship/fuzz.h"

enum { ROWS = 2, LENGTH = 5 }; /* of what is called here and in fuzz.c */

#ifdef SHARED
static int turns; /* calls of the function that a model was given */

/* One thread after the other, the last one first. */
static void in_turn(void *state, void (*body)(void *, ptrdiff_t), void *work, ptrdiff_t threads)
{
    ++*(int *)state;
    for (ptrdiff_t i = threads - 1; i >= 0; i--)
        body(work, i);
}

static void fuzz_threads(const Block *file, const Block *right)
{
    static const ptrdiff_t no[] = {-1, 0, PTRDIFF_MIN, PTRDIFF_MAX, (ptrdiff_t)1 << 31, CODE(MAX_THREADS) + 1},
                           yes[] = {1, 2, 3, 7, CODE(MAX_THREADS)};
    Frame f;
    Model m;
    memset(&m, 0, sizeof m);
    expect(CALL(use_threads)(NULL, 2, in_turn, &turns) == CODE(BAD_ARGUMENT), "use_threads(NULL, ..)", 0);
    expect(CALL(use_threads)(&m, 2, in_turn, &turns) == CODE(BAD_ARGUMENT), "use_threads of an unopened model", 0);
    expect(CALL(open)(&m, file->data, file->bytes) == CODE(OK), "open", 0);
    frame_new(&f, &m, ROWS, LENGTH, 1); /* enough for one thread */
    expect(CALL(use_threads)(&m, 2, NULL, NULL) == CODE(BAD_ARGUMENT), "use_threads without a function", 0);
    int before = turns;
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        expect(CALL(use_threads)(&m, no[i], in_turn, &turns) == CODE(BAD_ARGUMENT), "use_threads", (long long)no[i]);
    expect(frame_call(&f, &m) == CODE(OK) && turns == before, "after threads that could not be: one", 0);
    expect(CALL(use_threads)(&m, 2, in_turn, &turns) == CODE(OK), "use_threads", 2);
    expect(frame_call(&f, &m) == CODE(SMALL_ARENA) && turns == before, "an arena for fewer threads", 0);
    frame_free(&f);
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        expect(CALL(use_threads)(&m, yes[i], in_turn, &turns) == CODE(OK), "use_threads", (long long)yes[i]);
        frame_new(&f, &m, ROWS, LENGTH, 1);
        expect(frame_call(&f, &m) == CODE(OK) && !memcmp(right->data, f.out.data, right->bytes),
               "the same bits by threads", (long long)yes[i]);
        frame_free(&f);
    }
    expect(CALL(use_threads)(&m, 1, NULL, NULL) == CODE(OK), "one thread needs no function", 0);
    frame_new(&f, &m, ROWS, LENGTH, 1);
    expect(frame_call(&f, &m) == CODE(OK), "one thread without a function", 0);
    frame_free(&f);
}
#endif

#ifdef POOL
/* What was never started, could not be, or was stopped is as good as one thread. */
static void fuzz_pool(const Model *model, const Block *right)
{
    static const ptrdiff_t no[] = {-1, 0, PTRDIFF_MIN, PTRDIFF_MAX, (ptrdiff_t)1 << 31, CODE(MAX_THREADS) + 1};
    struct CALL(pool) pool;
    Model m = *model;
    Frame f;
    CALL(pool_stop)(NULL);
    expect(CALL(pool_start)(NULL, 2) == CODE(BAD_ARGUMENT), "pool_start(NULL, ..)", 0);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        memset(&pool, 0xff, sizeof pool);
        expect(CALL(pool_start)(&pool, no[i]) == CODE(BAD_ARGUMENT), "pool_start", (long long)no[i]);
        CALL(pool_stop)(&pool);
    }
    for (int i = 0; i < 4; i++) { /* no pool; none that could be; one that works; one that was stopped */
        expect(CALL(use_threads)(&m, 3, CALL(pool_parallel), i ? &pool : NULL) == CODE(OK), "use_threads with a pool",
               i);
        expect(i != 2 || CALL(pool_start)(&pool, 3) == CODE(OK), "pool_start", 3);
        frame_new(&f, &m, ROWS, LENGTH, 1);
        expect(frame_call(&f, &m) == CODE(OK) && !memcmp(right->data, f.out.data, right->bytes), "a pool", i);
        frame_free(&f);
        CALL(pool_stop)(i == 2 ? &pool : NULL);
    }
    CALL(pool_stop)(&pool);
}
#endif

#endif
