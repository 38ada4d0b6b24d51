/* Threads: the caller and n - 1 workers.
 *
 * A run is announced by adding 1 to `epoch`. Its door is open from a little before until the caller has returned from
 * its own part: `inside` counts the workers that have entered and not yet left. A worker that comes when the door is
 * closed has missed the run and waits for the next, so a run is never held up by a thread that has no processor.
 * Whoever waits first spins for about 100 us, since on a virtual machine waking a sleeper costs 30 to 60 us, and then
 * sleeps on a futex. The one who changes a counter wakes sleepers only if `sleeping` says that there are some: both
 * sides use sequentially consistent order, so one of them sees the other. */
#include "runtime/pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPIN_NANOSECONDS = 100000, SPINS_A_LOOK = 64, LINE = 128 };
static const unsigned closed = 1u << 31; /* in `inside`: nobody may enter */

typedef struct Signal { /* a counter on its own cache lines, and how many sleep on it */
    _Alignas(LINE) atomic_uint value;
    atomic_int sleeping;
} Signal;

typedef struct Worker {
    Pool *pool;
    ptrdiff_t number;
    pthread_t thread;
} Worker;

struct Pool {
    Signal epoch, inside, come; /* come: how many have entered this run */
    _Alignas(LINE) void (*run)(void *state, ptrdiff_t thread);
    void *state;
    unsigned number; /* of the run whose door is open: the epoch that announces it */
    bool stop; /* read after a new epoch */
    int threads, started;
    int64_t spin; /* nanoseconds */
    Worker *workers;
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void futex(atomic_uint *value, int operation, unsigned argument)
{
    syscall(SYS_futex, value, operation | FUTEX_PRIVATE_FLAG, argument, NULL, NULL, 0);
}

/* Until *value is `wanted` (or no longer is, if `leave`). Returns the value seen. */
static unsigned wait_for(Signal *s, unsigned wanted, bool leave, int64_t spin)
{
    int64_t limit = now() + spin;
    for (;;) {
        for (int i = 0; i < SPINS_A_LOOK; i++) {
            unsigned seen = atomic_load_explicit(&s->value, memory_order_acquire);
            if ((seen == wanted) != leave)
                return seen;
            relax();
        }
        if (now() >= limit)
            break;
    }
    atomic_fetch_add(&s->sleeping, 1);
    unsigned seen = atomic_load(&s->value);
    while ((seen == wanted) == leave) {
        futex(&s->value, FUTEX_WAIT, seen);
        seen = atomic_load(&s->value);
    }
    atomic_fetch_sub(&s->sleeping, 1);
    return seen;
}

static void wake(Signal *s)
{
    if (atomic_load(&s->sleeping) > 0)
        futex(&s->value, FUTEX_WAKE, INT32_MAX);
}

/* False: the door is closed. */
static bool enter(Pool *p)
{
    unsigned inside = atomic_load(&p->inside.value);
    do {
        if (inside & closed)
            return false;
    } while (!atomic_compare_exchange_weak(&p->inside.value, &inside, inside + 1));
    return true;
}

static void *work(void *argument)
{
    Worker *w = argument;
    Pool *p = w->pool;
    unsigned epoch = 0;
    for (;;) {
        epoch = wait_for(&p->epoch, epoch, true, p->spin);
        if (p->stop)
            return NULL;
        if (!enter(p))
            continue;
        epoch = p->number; /* it may be a later run than the one that was announced, even one that will be at once */
        atomic_fetch_add(&p->come.value, 1);
        wake(&p->come);
        p->run(p->state, w->number);
        if (atomic_fetch_sub(&p->inside.value, 1) == closed + 1)
            wake(&p->inside);
    }
}

static void announce(Pool *p)
{
    atomic_fetch_add(&p->epoch.value, 1);
    wake(&p->epoch);
}

/* Workers take no signals: those are the host program's, and its own threads'. */
static void start(Pool *p)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 1; i < p->threads; i++) {
        Worker *w = &p->workers[i];
        *w = (Worker){.pool = p, .number = i};
        if (pthread_create(&w->thread, NULL, work, w) != 0)
            break;
        p->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

Pool *pool_new(int threads)
{
    if (threads < 1)
        threads = 1;
    Pool *p = aligned_alloc(LINE, (sizeof *p + LINE - 1) / LINE * LINE);
    if (!p)
        return NULL;
    *p = (Pool){.threads = threads, .started = 1, .spin = threads <= pool_cpus() ? SPIN_NANOSECONDS : 0};
    atomic_store(&p->inside.value, closed);
    p->workers = calloc((size_t)threads, sizeof *p->workers);
    if (p->workers)
        start(p);
    if (p->workers && p->started == threads)
        return p;
    pool_free(p);
    return NULL;
}

void pool_free(Pool *p)
{
    if (!p)
        return;
    p->stop = true;
    announce(p);
    for (int i = 1; i < p->started; i++)
        pthread_join(p->workers[i].thread, NULL);
    free(p->workers);
    free(p);
}

int pool_threads(const Pool *p)
{
    return p->threads;
}

static void run_with(Pool *p, void (*run)(void *state, ptrdiff_t thread), void *state, bool all)
{
    if (p->threads == 1) {
        run(state, 0);
        return;
    }
    p->run = run;
    p->state = state;
    p->number = atomic_load(&p->epoch.value) + 1;
    atomic_store(&p->come.value, 0);
    atomic_store(&p->inside.value, 0);
    announce(p);
    run(state, 0);
    if (all)
        wait_for(&p->come, (unsigned)p->threads - 1, false, p->spin);
    atomic_fetch_or(&p->inside.value, closed);
    wait_for(&p->inside, closed, false, p->spin);
}

void pool_run(Pool *p, void (*run)(void *state, ptrdiff_t thread), void *state)
{
    run_with(p, run, state, true);
}

void pool_help(Pool *p, void (*run)(void *state, ptrdiff_t thread), void *state)
{
    run_with(p, run, state, false);
}

int pool_cpus(void)
{
    for (int cpus = CPU_SETSIZE; cpus <= 1 << 16; cpus *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        if (!set)
            break;
        int got = sched_getaffinity(0, size, set);
        int error = errno, count = got == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (got == 0)
            return count > 0 ? count : 1;
        if (error != EINVAL)
            break;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 && online < 1 << 16 ? (int)online : 1;
}
