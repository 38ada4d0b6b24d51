/* The pool: every thread runs once a call, in any number of calls, and what it wrote is seen afterwards. */
#include "tests/runtime/fixture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>
#include "runtime/pool.h"

enum { RUNS = 20000, MOST = 8 };

typedef struct Tally {
    int64_t plain[MOST * 16];
    int threads;
} Tally; /* a cache line each, not atomic: the pool orders them */

static void count(void *state, ptrdiff_t thread)
{
    Tally *t = state;
    t->plain[thread * 16]++;
}

START_TEST(every_thread_once)
{
    Pool *p = pool_new(_i);
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(pool_threads(p), _i);
    Tally t = {.threads = _i};
    int runs = _i > pool_cpus() ? RUNS / 10 : RUNS;
    for (int run = 1; run <= runs; run++) {
        pool_run(p, count, &t);
        for (int i = 0; i < _i; i++)
            if (t.plain[i * 16] != run)
                ck_abort_msg("thread %d, run %d: %d", i, run, (int)t.plain[i * 16]);
    }
    pool_free(p);
}
END_TEST

START_TEST(asleep_between)
{ /* long enough that the workers sleep */
    Pool *p = pool_new(3);
    Tally t = {.threads = 3};
    for (int run = 1; run <= 30; run++) {
        nanosleep(&(struct timespec){0, 1000000}, NULL);
        pool_run(p, count, &t);
        for (int i = 0; i < 3; i++)
            ck_assert_int_eq(t.plain[i * 16], run);
    }
    pool_free(p);
}
END_TEST

static void slow(void *state, ptrdiff_t thread)
{
    if (thread == 1)
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    count(state, thread);
}

START_TEST(waits_for_the_last)
{ /* long enough that the caller sleeps */
    Pool *p = pool_new(2);
    Tally t = {.threads = 2};
    for (int run = 1; run <= 30; run++) {
        pool_run(p, slow, &t);
        ck_assert_int_eq(t.plain[16], run);
    }
    pool_free(p);
}
END_TEST

static void late(void *state, ptrdiff_t thread)
{
    if (thread == 2)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    count(state, thread);
}

START_TEST(helped)
{ /* the caller always runs, others at most once; who has begun is waited for; between them runs of all are complete */
    Pool *p = pool_new(4);
    Tally t = {.threads = 4};
    int64_t least[4] = {0}, most = 0;
    for (int run = 1; run <= 3000; run++) {
        pool_help(p, run % 100 ? count : late, &t);
        most++;
        int64_t now[4];
        for (int i = 0; i < 4; i++) {
            now[i] = t.plain[i * 16];
            ck_assert(now[i] >= least[i] && now[i] <= most && now[i] - least[i] <= 1);
            least[i] = now[i];
        }
        ck_assert_int_eq(now[0], most);
        if (run % 10)
            continue;
        pool_run(p, count, &t);
        most++;
        for (int i = 0; i < 4; i++)
            ck_assert_int_eq(t.plain[i * 16], ++least[i]);
    }
    pool_free(p);
}
END_TEST

static void on_caller(void *state, ptrdiff_t thread)
{
    if (thread == 0)
        ck_assert(pthread_equal(pthread_self(), *(pthread_t *)state));
}

START_TEST(first_on_caller)
{
    pthread_t self = pthread_self();
    for (int n = 0; n <= 2; n++) { /* 0 means 1 */
        Pool *p = pool_new(n);
        pool_run(p, on_caller, &self);
        pool_free(p);
    }
}
END_TEST

START_TEST(started_and_stopped)
{
    for (int i = 0; i < 300; i++)
        pool_free(pool_new(1 + i % 4));
    pool_free(NULL);
}
END_TEST

static atomic_int handled;
static pthread_t handler_thread;
static void handler(int number)
{
    (void)number;
    handler_thread = pthread_self();
    atomic_store(&handled, 1);
}

START_TEST(no_signals)
{ /* those of the process go to the host's threads, never to workers */
    Pool *p = pool_new(4);
    signal(SIGUSR1, handler);
    for (int i = 0; i < 50; i++) {
        atomic_store(&handled, 0);
        kill(getpid(), SIGUSR1);
        while (!atomic_load(&handled))
            sched_yield();
        ck_assert(pthread_equal(handler_thread, pthread_self()));
    }
    pool_free(p);
}
END_TEST

typedef struct Apart {
    int runs;
    bool good;
} Apart;

static void *own_pool(void *state)
{
    Apart *a = state;
    Pool *p = pool_new(2);
    Tally t = {.threads = 2};
    a->good = p != NULL;
    for (int i = 1; p && i <= a->runs; i++) {
        pool_run(p, count, &t);
        a->good = a->good && t.plain[0] == i && t.plain[16] == i;
    }
    pool_free(p);
    return NULL;
}

START_TEST(pools_beside_each_other)
{
    pthread_t threads[3];
    Apart each[3];
    for (int i = 0; i < 3; i++) {
        each[i] = (Apart){200, false};
        pthread_create(&threads[i], NULL, own_pool, &each[i]);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        ck_assert(each[i].good);
    }
}
END_TEST

START_TEST(cpus)
{
    cpu_set_t set, one;
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    ck_assert_int_eq(pool_cpus(), CPU_COUNT(&set));
    CPU_ZERO(&one);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &set)) {
            CPU_SET(i, &one);
            break;
        }
    }
    ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
    ck_assert_int_eq(pool_cpus(), 1);
}
END_TEST

START_TEST(no_threads_left)
{ /* a limit on address space keeps stacks from being made */
    if (SANITIZED)
        return;
    struct rlimit before, small;
    getrlimit(RLIMIT_AS, &before);
    FILE *statm = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;
    ck_assert(statm && fscanf(statm, "%lu", &pages) == 1);
    fclose(statm);
    small = (struct rlimit){pages * (rlim_t)sysconf(_SC_PAGESIZE) + (20 << 20), before.rlim_max};
    setrlimit(RLIMIT_AS, &small);
    Pool *p = pool_new(200);
    setrlimit(RLIMIT_AS, &before);
    ck_assert_ptr_null(p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pool");
    TCase *t = tcase_create("pool");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, every_thread_once, 1, 6);
    tcase_add_test(t, helped);
    tcase_add_test(t, asleep_between);
    tcase_add_test(t, waits_for_the_last);
    tcase_add_test(t, first_on_caller);
    tcase_add_test(t, started_and_stopped);
    tcase_add_test(t, no_signals);
    tcase_add_test(t, pools_beside_each_other);
    tcase_add_test(t, cpus);
    tcase_add_test(t, no_threads_left);
    suite_add_tcase(s, t);
    return run_suite(s);
}
