/* Shared by the benches of attention kernels: a model compiled with timing, and what its attention takes in a run. It is
 * processor time that counts, and the least of the rounds: whatever else the machine does only adds to it. */
#ifndef ATTAR_BENCH_ATTENTION_RUN_H
#define ATTAR_BENCH_ATTENTION_RUN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "driver/compile.h"

typedef struct Build {
    Compilation c;
    Session *session;
    uint64_t times[16]; /* nanoseconds of each kernel */
    double clocked;     /* seconds of the last run's attention by the clock: what is so short that nothing comes between */
    int inputs;
} Build;

static int rounds;

/* The bench's own: the inputs of this length, and run_inputs on them. */
static double run(Build *b, int64_t length);

static void fail(Build *b)
{
    Text t = text_new(&b->c.arena);
    diag_render(&b->c.diags, &t, false);
    fputs(t.data, stderr);
    exit(1);
}

/* `sizes`: let declarations, before the model's text. */
static void build(Build *b, const char *sizes, const char *text, const char *weights)
{
    char path[] = "/tmp/attentionXXXXXX";
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        perror(path);
        exit(1);
    }
    fprintf(f, "%s%s", sizes, text);
    fclose(f);
    CompileOptions o = {.model = path, .weights = weights, .timing = true, .threads = 1};
    SessionHooks hooks = {.times = b->times};
    compile_begin(&b->c);
    bool good = compile_all(&b->c, &o);
    unlink(path);
    b->session = good ? session_new(&b->c.cx, &b->c.program, 1, 1, &hooks) : NULL;
    if (!b->session)
        fail(b);
    b->inputs = b->c.program.plan->n_inputs;
}

static void free_builds(Build *builds, int n)
{
    for (int i = 0; i < n; i++) {
        session_free(builds[i].session);
        compile_free(&builds[i].c);
    }
}

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double processor_time(void)
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

/* Processor seconds of the attention of one run: its share of the run's time, which the copies of the inputs belong to,
 * too. */
static double run_inputs(Build *b, const HostTensor *in)
{
    const HostTensor *out;
    memset(b->times, 0, sizeof b->times);
    double start = seconds_of(CLOCK_MONOTONIC), busy = processor_time(), attention = 0;
    if (!session_run(&b->c.cx, b->session, in, b->inputs, &out))
        fail(b);
    busy = processor_time() - busy;
    double all = seconds_of(CLOCK_MONOTONIC) - start;
    for (int i = 0; i < b->c.emitted.n_kernels; i++) {
        Op op = b->c.emitted.kernels[i].node->op;
        attention += op == OP_attend || op == OP_linear_attend || op == OP_codebook_attend ? (double)b->times[i] : 0;
    }
    b->clocked = 1e-9 * attention;
    return busy * b->clocked / all;
}

static double least(Build *b, int64_t length)
{
    double best = run(b, length);
    for (int i = 1; i < rounds; i++) {
        double again = run(b, length);
        best = again < best ? again : best;
    }
    return best;
}

/* One position at a time after `before` positions: the least of `steps`. */
static double step(Build *b, int64_t before, int steps)
{
    double best = 1;
    while (session_length(b->session) < before) {
        int64_t rest = before - session_length(b->session);
        run(b, rest < 1024 ? rest : 1024);
    }
    for (int i = 0; i < steps; i++) {
        run(b, 1);
        best = b->clocked < best ? b->clocked : best;
    }
    return best;
}

/* Numbers in [-1, 1), always the same, on large pages as NumPy's arrays lie: kernels read them where they are. Ends the
 * program without memory. */
static float *draw(size_t count, uint64_t *state)
{
    const size_t page = 2 << 20, bytes = (count * sizeof(float) + page - 1) / page * page;
    float *data = aligned_alloc(page, bytes);
    if (!data)
        exit(1);
    madvise(data, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < count; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        data[i] = (float)((double)(*state >> 40) / (1 << 23) - 1);
    }
    return data;
}

/* rounds=, longest=, exact=; false if something else is asked for. */
static bool read_settings(int argc, char **argv, int64_t least_length, int64_t *longest, int64_t *exact)
{
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], "rounds=", 7))
            rounds = (int)strtol(argv[i] + 7, NULL, 10);
        else if (!strncmp(argv[i], "longest=", 8))
            *longest = strtoll(argv[i] + 8, NULL, 10);
        else if (!strncmp(argv[i], "exact=", 6))
            *exact = strtoll(argv[i] + 6, NULL, 10);
        else
            return false;
    return rounds >= 1 && *longest >= least_length && *longest <= 1 << 20 && *exact >= 0;
}

#endif
