/* What this machine can do right now: fp32 multiply-adds from registers, and reading memory.
 *
 *     cc -O2 -march=native -mprefer-vector-width=512 -ffp-contract=fast probe.c -o probe -lpthread
 *     ./probe            1 and 2 threads, best of 20, one JSON line each
 *     ./probe serve      for each line "T" on stdin, one short probe on T threads; run between the engines
 *
 * Threads are pinned to cores 0 .. T-1. Memory is read over 256 MiB on huge pages, far more than the caches hold. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined __AVX512F__
enum { WIDTH = 64 };                                    /* bytes of one vector register */
#elif defined __AVX__
enum { WIDTH = 32 };
#else
enum { WIDTH = 16 };
#endif
typedef float floats __attribute__((vector_size(WIDTH)));
typedef uint64_t words __attribute__((vector_size(WIDTH)));

enum { MAX_THREADS = 64, ACCUMULATORS = 12, ROUNDS = 1000000, PASSES = 2 };
static const size_t bytes = 256u << 20;

static unsigned char *memory;
static volatile float float_sink;
static volatile uint64_t word_sink;

static struct {
    int threads;
    pthread_barrier_t gate;
    double flops, bandwidth;                            /* per second, written by thread 0 */
} probe;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void multiply_add(void)
{
    floats a[ACCUMULATORS], x = {0}, y = {0};
    x += 0.999f;
    y += 0.001f;
    for (int i = 0; i < ACCUMULATORS; i++)
        a[i] = x * (float)i;
    for (long r = 0; r < ROUNDS; r++)
#pragma GCC unroll 12
        for (int i = 0; i < ACCUMULATORS; i++)
            a[i] = a[i] * x + y;
    for (int i = 1; i < ACCUMULATORS; i++)
        a[0] += a[i];
    float_sink = a[0][0];
}

static void read_part(const words *p, size_t n)
{
    words s[8] = {{0}};
    for (size_t i = 0; i < n; i += 8)
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++)
            s[k] += p[i + k];
    for (int k = 1; k < 8; k++)
        s[0] += s[k];
    word_sink = s[0][0];
}

static void *probe_thread(void *argument)
{
    long me = (long)argument;
    size_t part = bytes / sizeof(words) / probe.threads / 8 * 8;
    const words *mine = (const words *)memory + me * part;
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET(me, &core);
    sched_setaffinity(0, sizeof core, &core);
    double flop_time = 1e9, read_time = 1e9;
    for (int k = 0; k < PASSES; k++) {
        pthread_barrier_wait(&probe.gate);
        double t = now();
        multiply_add();
        pthread_barrier_wait(&probe.gate);
        if (now() - t < flop_time)
            flop_time = now() - t;
        pthread_barrier_wait(&probe.gate);
        t = now();
        read_part(mine, part);
        pthread_barrier_wait(&probe.gate);
        if (now() - t < read_time)
            read_time = now() - t;
    }
    if (!me) {
        probe.flops = (double)ROUNDS * ACCUMULATORS * 2 * (sizeof(floats) / sizeof(float)) * probe.threads / flop_time;
        probe.bandwidth = (double)part * sizeof(words) * probe.threads / read_time;
    }
    return NULL;
}

static void measure(int threads)
{
    pthread_t handle[MAX_THREADS];
    probe.threads = threads;
    pthread_barrier_init(&probe.gate, NULL, threads);
    for (long i = 0; i < threads; i++)
        pthread_create(&handle[i], NULL, probe_thread, (void *)i);
    for (int i = 0; i < threads; i++)
        pthread_join(handle[i], NULL);
    pthread_barrier_destroy(&probe.gate);
}

static void report(double flops, double bandwidth)
{
    printf("{\"threads\": %d, \"gflops\": %.1f, \"gbytes\": %.2f}\n", probe.threads, flops / 1e9, bandwidth / 1e9);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    memory = aligned_alloc(2 << 20, bytes);
    if (!memory)
        return perror("probe"), 1;
    madvise(memory, bytes, MADV_HUGEPAGE); /* small pages cost a quarter of the bandwidth */
    memset(memory, 1, bytes);
    if (argc > 1 && !strcmp(argv[1], "serve")) {
        for (int threads; scanf("%d", &threads) == 1 && threads > 0 && threads <= MAX_THREADS;) {
            measure(threads);
            report(probe.flops, probe.bandwidth);
        }
        return 0;
    }
    for (int threads = 1; threads <= 2; threads++) {
        double flops = 0, bandwidth = 0;
        for (int k = 0; k < 20; k++) {
            measure(threads);
            flops = probe.flops > flops ? probe.flops : flops;
            bandwidth = probe.bandwidth > bandwidth ? probe.bandwidth : bandwidth;
        }
        report(flops, bandwidth);
    }
}
