/* attar run --timing: where the time went, stage by stage. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

typedef struct Meaning {
    const char *stage, *text;
} Meaning;

static const Meaning meanings[] = {
    {"start", "before main: the program and its libraries"},
    {"open", "model file, config, headers of the weights"},
    {"parse", "the model file, checked against the checkpoint"},
    {"passes", "graph to kernels"},
    {"emit", "kernels to C"},
    {"look-up", "units that the cache has"},
    {"compile", "the other units, at the same time"},
    {"link", "machine code into this process"},
    {"keep", "new units into the cache"},
    {"functions", "looking for the entry"},
    {"pack", "weights read and laid out"},
    {"inputs", "inputs read"},
    {"session", "threads"},
    {"run", "the model, rows of tables that it looks up, memory for its values"},
    {"write", "outputs written"},
};

static const char *meaning_of(const char *stage)
{
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (!strcmp(meanings[i].stage, stage))
            return meanings[i].text;
    return "";
}

static void put_stage(Tool *t, const char *stage, double seconds)
{
    if (t->o->json)
        printf("{\"stage\": \"%s\", \"ms\": %.3f}\n", stage, 1e3 * seconds);
    else
        printf("%-10s %9.2f ms  %s\n", stage, 1e3 * seconds, meaning_of(stage));
}

/* What of `build` was what; the rest of it is spent on finding the compiler, and on keys. */
static void put_build(Tool *t, double seconds)
{
    const JitStats *j = &t->c.jit_stats;
    put_stage(t, "look-up", seconds - j->compile_seconds - j->link_seconds - j->keep_seconds);
    if (!j->cached)
        put_stage(t, "compile", j->compile_seconds);
    for (int i = 0; i < j->n_units; i++) {
        const JitUnit *u = &j->units[i];
        if (t->o->json)
            printf("{\"unit\": \"%s\", \"cached\": %s, \"ms\": %.3f, \"bytes\": %zu}\n", u->name,
                   u->cached ? "true" : "false", 1e3 * u->seconds, u->bytes);
        else if (!u->cached)
            printf("  %9.2f ms  %s\n", 1e3 * u->seconds, u->name);
    }
    if (!t->o->json && j->cached)
        printf("  all %d units came from the cache\n", j->n_units);
    put_stage(t, "link", j->link_seconds);
    if (!j->cached)
        put_stage(t, "keep", j->keep_seconds);
}

void timing_print(Tool *t)
{
    double all = 0;
    for (int i = 0; i < t->c.n_stages; i++) {
        const Stage *s = &t->c.stages[i];
        all += s->seconds;
        if (!strcmp(s->name, "build"))
            put_build(t, s->seconds);
        else
            put_stage(t, s->name, s->seconds);
    }
    double peak = tool_peak();
    if (t->o->json)
        printf("{\"stage\": \"all\", \"ms\": %.3f}\n{\"peak_bytes\": %.0f}\n", 1e3 * all, peak);
    else
        printf("%-10s %9.2f ms\n%-10s %9.2f MB  of memory at most, with the program itself\n", "all", 1e3 * all, "peak", 1e-6 * peak);
}
