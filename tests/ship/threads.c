/* One built model, many threads: two with an arena each (and a cache each) get the bits that one alone gets; and, where
 * the model was built for it, one call shared among threads of the caller's or of the model's pool, in any order. Compiled
 * under ThreadSanitizer: tests/ship/threads.sh.
 *
 *     threads NAME.weights */
#include <pthread.h>

#include "tests/ship/fuzz.h"

enum { ROWS = 2, LENGTH = 24, RUNS = 8, THREADS = 2, CROWD = 4, FEW = 4, ROUNDS = 400 };

static Model model;
static Block right;

/* LENGTH positions at once, RUNS times; a decoder begins with an empty cache each time. */
static void *work(void *state)
{
    const Model *m = state;
    intptr_t wrong = 0;
    for (int i = 0; i < RUNS; i++) {
        Frame f;
        frame_new(&f, m, ROWS, LENGTH, 1);
        wrong += frame_call(&f, m) != CODE(OK) || memcmp(f.out.data, right.data, right.bytes) != 0;
        frame_free(&f);
    }
    return (void *)wrong;
}

/* As many callers of `models[i]` at the same time. */
static void side_by_side(Model *const *models, const char *what)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        expect(!pthread_create(&threads[i], NULL, work, models[i]), "a thread", i);
    for (int i = 0; i < THREADS; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        expect(!wrong, what, (long long)(intptr_t)wrong);
    }
}

#ifdef SHARED
static void expect_same(const Model *m, const char *what)
{
    expect(work((void *)(uintptr_t)m) == NULL, what, 0);
}

typedef struct Part {
    void (*body)(void *, ptrdiff_t);
    void *work;
    ptrdiff_t thread;
} Part;

static void *run_part(void *state)
{
    const Part *p = state;
    p->body(p->work, p->thread);
    return NULL;
}

/* A thread for each part. */
static void by_threads(void *state, void (*body)(void *, ptrdiff_t), void *what, ptrdiff_t threads)
{
    pthread_t all[16];
    Part parts[16];
    ++*(int *)state;
    for (ptrdiff_t i = 0; i < threads; i++) {
        parts[i] = (Part){body, what, i};
        expect(!pthread_create(&all[i], NULL, run_part, &parts[i]), "a thread", i);
    }
    for (ptrdiff_t i = 0; i < threads; i++)
        pthread_join(all[i], NULL);
}

/* One after the other, the last one first. */
static void backwards(void *state, void (*body)(void *, ptrdiff_t), void *what, ptrdiff_t threads)
{
    ++*(int *)state;
    for (ptrdiff_t i = threads - 1; i >= 0; i--)
        body(what, i);
}

static void share(void)
{
    int calls[THREADS] = {0};
    Model models[THREADS] = {model, model};
    for (ptrdiff_t threads = 1; threads <= 4; threads++) {
        Model m = model;
        expect(CALL(use_threads)(&m, threads, by_threads, &calls[0]) == CODE(OK), "use_threads", threads);
        expect_same(&m, "by threads of ours");
        expect(CALL(use_threads)(&m, threads, backwards, &calls[0]) == CODE(OK), "use_threads", threads);
        expect_same(&m, "one after the other");
    }
    expect(calls[0] > 0, "the function was called", 0);
    for (int i = 0; i < THREADS; i++)
        expect(CALL(use_threads)(&models[i], 2, by_threads, &calls[i]) == CODE(OK), "use_threads", i);
    side_by_side((Model *[]){&models[0], &models[1]}, "two callers with threads of their own");
}
#endif

#ifdef POOL
static struct CALL(pool) shared_pool;

/* Workers are done later than their callers, who have to wait for them. */
static void linger(void *runs, ptrdiff_t thread)
{
    for (volatile int i = 0; i < (thread ? 300 : 100); i++)
        continue;
    if (!thread)
        ++*(int *)runs;
}

static void *run_few(void *runs)
{
    for (int i = 0; i < FEW; i++)
        CALL(pool_parallel)(&shared_pool, linger, runs, 2);
    return NULL;
}

/* Callers who want the same pool, again and again: all come back, and each run was done once. */
static void crowd(void)
{
    expect(CALL(pool_start)(&shared_pool, 2) == CODE(OK), "pool_start", 2);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t callers[CROWD];
        int runs[CROWD] = {0};
        for (int i = 0; i < CROWD; i++)
            expect(!pthread_create(&callers[i], NULL, run_few, &runs[i]), "a thread", i);
        for (int i = 0; i < CROWD; i++) {
            pthread_join(callers[i], NULL);
            expect(runs[i] == FEW, "runs of a caller", runs[i]);
        }
    }
    CALL(pool_stop)(&shared_pool);
}

static void pool(void)
{
    struct CALL(pool) pools[THREADS];
    Model models[THREADS] = {model, model};
    for (ptrdiff_t threads = 1; threads <= 3; threads++) {
        expect(CALL(pool_start)(&pools[0], threads) == CODE(OK), "pool_start", threads);
        expect(CALL(use_threads)(&models[0], threads, CALL(pool_parallel), &pools[0]) == CODE(OK), "use_threads",
               threads);
        expect_same(&models[0], "a pool");
        CALL(pool_stop)(&pools[0]);
    }
    for (int i = 0; i < THREADS; i++) {
        expect(CALL(pool_start)(&pools[i], 2) == CODE(OK), "pool_start", i);
        expect(CALL(use_threads)(&models[i], 2, CALL(pool_parallel), &pools[i]) == CODE(OK), "use_threads", i);
    }
    side_by_side((Model *[]){&models[0], &models[1]}, "two pools");
    side_by_side((Model *[]){&models[0], &models[0]}, "two callers of a model with a pool");
    for (int i = 0; i < THREADS; i++)
        CALL(pool_stop)(&pools[i]);
}
#endif

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    Block file = block_read(argv[1]);
    Frame f;
    expect(CALL(open)(&model, file.data, file.bytes) == CODE(OK), "open", 0);
    frame_new(&f, &model, ROWS, LENGTH, 1);
    expect(frame_call(&f, &model) == CODE(OK), "a call", 0);
    right = block_new(f.out.bytes);
    memcpy(right.data, f.out.data, right.bytes);
    frame_free(&f);
    side_by_side((Model *[]){&model, &model}, "two threads with two arenas on one model");
#ifdef SHARED
    share();
#endif
#ifdef POOL
    crowd();
    pool();
#endif
    block_free(&right);
    block_free(&file);
    return finish();
}
