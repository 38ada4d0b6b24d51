/* How long compiling takes with nothing cached: model file to machine code, without reading and packing the weights.
 *
 *     compile_time MODEL WEIGHTS [rounds=3]
 *
 * One line of JSON: milliseconds of the fastest round, stage by stage. */
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <time.h>

#include "driver/compile.h"

enum { STAGES = 5 };
static const char *const names[STAGES] = {"load", "passes", "emit", "clang", "link"};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static bool compile_once(const CompileOptions *o, double *stages)
{
    Compilation c;
    compile_begin(&c);
    double start = now();
    bool good = compile_load(&c, o);
    double loaded = now();
    good = good && compile_passes(&c, o);
    double passed = now();
    good = good && compile_emit(&c, o);
    double emitted = now();
    good = good && compile_build(&c, o);
    if (good) {
        double times[STAGES] = {loaded - start, passed - loaded, emitted - passed, 1e3 * c.jit_stats.compile_seconds, 1e3 * c.jit_stats.link_seconds};
        memcpy(stages, times, sizeof times);
    } else {
        Text t = text_new(&c.arena);
        diag_render(&c.diags, &t, false);
        fputs(t.data ? t.data : "out of memory\n", stderr);
    }
    compile_free(&c);
    return good;
}

int main(int argc, char **argv)
{
    long rounds = argc > 3 && !strncmp(argv[3], "rounds=", 7) ? strtol(argv[3] + 7, NULL, 10) : 3;
    if (argc < 3 || argc > 4 || rounds < 1) {
        fputs("usage: compile_time MODEL WEIGHTS [rounds=3]\n", stderr);
        return 2;
    }
    CompileOptions o = {.model = argv[1], .weights = argv[2], .allow_extra = true, .threads = 2, .jit = {.no_cache = true}};
    double best[STAGES] = {0}, least = 0;
    for (long r = 0; r < rounds; r++) {
        double stages[STAGES], all = 0;
        if (!compile_once(&o, stages))
            return 1;
        for (int i = 0; i < STAGES; i++)
            all += stages[i];
        if (!r || all < least) {
            least = all;
            memcpy(best, stages, sizeof best);
        }
    }
    printf("{\"all\": %.1f", least);
    for (int i = 0; i < STAGES; i++)
        printf(", \"%s\": %.1f", names[i], best[i]);
    puts("}");
    return 0;
}
