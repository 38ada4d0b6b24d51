/* attar check: types, axes and weights, without any code. */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] =
    "Checks a model: types, axes, and every weight's name and shape against the checkpoint. No code is made.\n\n"
    "  attar check models/llama.attar --weights DIR\n"
    "  attar check models/llama.attar --config config.json        types and axes alone";

static const struct argp_child groups[] = {
    {&model_group, 0, NULL, 0}, {&build_group, 0, NULL, 0}, {&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {NULL, options_only, "MODEL", doc, groups, NULL, NULL};

static int count_nodes(const Graph *g)
{
    int count = 0;
    for (const Node *n = g->first; n; n = n->next)
        count += 1 + (n->body ? count_nodes(n->body) : 0);
    return count;
}

static void summarise(Tool *t, double seconds)
{
    Compilation *c = &t->c;
    const Graph *g = c->model.graph;
    printf("%s: %s is sound: %d values, %d input%s, %d output%s", t->o->compile.model, g->name, count_nodes(g),
           g->n_params, g->n_params == 1 ? "" : "s", g->n_results, g->n_results == 1 ? "" : "s");
    if (c->checkpoint) {
        int64_t tensors;
        const HostTensor *all = checkpoint_tensors(c->checkpoint, &tensors);
        double numbers = 0;
        for (int64_t i = 0; i < tensors; i++)
            numbers += (double)host_count(&all[i]);
        printf("; checked against %lld tensors, %s numbers, %s in %s", (long long)tensors,
               tool_count(&c->arena, numbers), tool_bytes(&c->arena, (double)checkpoint_bytes(c->checkpoint)),
               checkpoint_path(c->checkpoint));
        if (c->model.spelling)
            printf(" (names: %s)", c->model.spelling);
    } else {
        printf("; no checkpoint was given, so the weights are not checked");
    }
    printf("; %.1f ms\n", 1e3 * seconds);
}

int verb_check(int argc, char **argv)
{
    Options o = {0};
    options_parse(&argp, argc, argv, &o);
    Tool t;
    tool_begin(&t, &o);
    double start = tool_seconds();
    bool good = compile_load(&t.c, &o.compile);
    if (good)
        summarise(&t, tool_seconds() - start);
    return tool_end(&t, good);
}
