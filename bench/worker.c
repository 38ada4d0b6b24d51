/* Attar as one engine of the benchmark (bench/README.md has the protocol): commands on stdin, one line of JSON on stdout for each.
 *
 *     load WORKLOAD key=value ...   read the inputs, compile, open a session
 *     run N                         N timed runs, input i modulo 4
 *     check FILE                    save the result of input 0 as .npy
 *     memory                        highest resident memory so far
 *
 * The work goes through the public interface alone (runtime/attar.h), as a program that uses Attar would do it. Threads come from BENCH_THREADS,
 * machine code is kept in BENCH_ENGINE_CACHE if that is set. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/worker.h"

enum { LINE = 4096, MOST_RUNS = 10000 };

static void answer_error(const char *message)
{
    fputs("{\"error\": \"", stdout);
    for (const char *c = message; *c; c++)
        if (*c == '"' || *c == '\\')
            printf("\\%c", *c);
        else
            putchar((unsigned char)*c < ' ' ? ' ' : *c);
    puts("\"}");
}

static long peak_kib(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long kib = 0;
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "VmHWM:", 6))
            kib = strtol(line + 6, NULL, 10);
    if (f)
        fclose(f);
    return kib;
}

static bool timed_runs(Job *j, long count, long first, char *message)
{
    static int64_t ns[MOST_RUNS];
    for (long i = 0; i < count; i++) {
        int input = (int)((first + i) % INPUTS);
        if (!job_before(j, input, message))
            return false;
        int64_t start = worker_now();
        if (!job_run(j, input, message))
            return false;
        ns[i] = worker_now() - start;
    }
    printf("{\"ns\": [");
    for (long i = 0; i < count; i++)
        printf("%s%lld", i ? ", " : "", (long long)ns[i]);
    puts("]}");
    return true;
}

static bool answer(Job *j, char *line, long *runs, char *message)
{
    char *rest = NULL, *word = strtok_r(line, " \n", &rest);
    if (!word)
        return worker_fail(message, "an empty line");
    if (!strcmp(word, "load")) {
        int64_t start = worker_now();
        job_close(j);
        if (!job_load(j, rest, message))
            return false;
        printf("{\"load_ns\": %lld}\n", (long long)(worker_now() - start));
        return true;
    }
    if (!strcmp(word, "memory")) {
        printf("{\"peak_kib\": %ld}\n", peak_kib());
        return true;
    }
    char *argument = strtok_r(NULL, " \n", &rest);
    if (!argument || !j->session)
        return worker_fail(message, argument ? "nothing is loaded" : "what is missing after `%s`?", word);
    if (!strcmp(word, "run")) {
        long count = strtol(argument, NULL, 10);
        if (count < 1 || count > MOST_RUNS)
            return worker_fail(message, "run 1 to %d times", (int)MOST_RUNS);
        if (!timed_runs(j, count, *runs, message))
            return false;
        *runs += count;
        return true;
    }
    if (strcmp(word, "check"))
        return worker_fail(message, "unknown command `%s`", word);
    if (!job_before(j, 0, message) || !job_run(j, 0, message) || !job_save(j, argument, message))
        return false;
    printf("{\"saved\": \"%s\"}\n", argument);
    return true;
}

int main(void)
{
    static char line[LINE];
    const char *threads = getenv("BENCH_THREADS");
    Job job = {.threads = threads ? (int)strtol(threads, NULL, 10) : 1};
    long runs = 0;
    while (fgets(line, sizeof line, stdin)) {
        char message[MESSAGE];
        if (!answer(&job, line, &runs, message))
            answer_error(message);
        fflush(stdout);
    }
    job_close(&job);
    return 0;
}
