/* How long the passes take: a model at the size of a config, without weights and without clang.
 *
 *     passes MODEL CONFIG [ROUNDS]
 *
 * Prints, pass by pass, the least time of all rounds in milliseconds, verifier included, and nodes afterwards. */
#include <stdio.h>
#include <stdlib.h>
#include "driver/compile.h"

enum { MAX_STEPS = 64 };

static int failed(Compilation *c)
{
    Text t = text_new(&c->arena);
    diag_render(&c->diags, &t, false);
    fprintf(stderr, "%s", t.data ? t.data : "");
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 3 || pipeline_length > MAX_STEPS) {
        fprintf(stderr, "usage: passes MODEL CONFIG [ROUNDS]\n");
        return 2;
    }
    CompileOptions o = {.model = argv[1], .config = argv[2]};
    int rounds = argc > 3 ? atoi(argv[3]) : 20;
    double least[MAX_STEPS], total = 0;
    int nodes[MAX_STEPS] = {0};
    for (int round = 0; round < rounds; round++) {
        Compilation c;
        compile_begin(&c);
        if (!compile_load(&c, &o) || !compile_passes(&c, &o))
            return failed(&c);
        for (int i = 0; i < pipeline_length; i++) {
            least[i] = round && least[i] < c.times[i].seconds ? least[i] : c.times[i].seconds;
            nodes[i] = c.times[i].nodes_after;
        }
        compile_free(&c);
    }
    for (int i = 0; i < pipeline_length; i++) {
        printf("%-18s %8.3f ms %6d nodes\n", pass_info[pipeline[i].id].name, 1e3 * least[i], nodes[i]);
        total += least[i];
    }
    printf("%-18s %8.3f ms\n", "all", 1e3 * total);
    return 0;
}
