/* attar report: every decision of the passes, one line each. */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] = "Says what was fused, what was not, and why.\n\n"
                          "  attar report models/bert.attar --weights DIR\n"
                          "  attar report models/bert.attar --weights DIR --json        one record a line\n\n"
                          "`attar explain CODE` tells more about a reason.";

static const struct argp_option options[] = {{"json", 'j', 0, 0, "one JSON object a line", 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    Options *o = state->input;
    (void)arg;
    if (key == ARGP_KEY_INIT)
        options_to_groups(state, o);
    else if (key == 'j')
        o->json = true;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

static const struct argp_child groups[] = {{&model_group, 0, NULL, 0},
                                           {&dims_group, 0, NULL, 0},
                                           {&build_group, 0, NULL, 0},
                                           {&output_group, 0, NULL, 0},
                                           {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

enum { USUAL_LENGTH = 128 };

static bool print_header(Tool *t)
{
    Compilation *c = &t->c;
    const Plan *plan = &c->emitted.plan;
    int64_t *sizes = arena_array(&c->arena, (size_t)plan->n_symbols, sizeof *sizes), lower_bound = 0;
    if (!signature_sizes(&c->cx, plan, t->o->dims, t->o->n_dims, NULL, 0, 1, USUAL_LENGTH, sizes))
        return false;
    printf("%s", c->kernels->name);
    for (int i = 0; i < plan->n_symbols; i++)
        printf("   %s=%lld", plan->symbols[i].name, (long long)sizes[i]);
    int64_t *own = arena_array(&c->arena, (size_t)c->kernels->n_symbols, sizeof *own);
    signature_for_graph(plan, c->kernels, sizes, own);
    int64_t arena = plan_arena_bytes(c->kernels, own, &lower_bound);
    printf("   %.3f GFLOP   weights %s packed   arena %s (at least %s)   %d kernels\n\n",
           1e-9 * graph_cost(c->kernels, own).flops, tool_bytes(&c->arena, (double)plan->weight_bytes),
           tool_bytes(&c->arena, (double)arena), tool_bytes(&c->arena, (double)lower_bound), c->emitted.n_kernels);
    return true;
}

static bool report(Tool *t)
{
    Compilation *c = &t->c;
    if (!compile_load(c, &t->o->compile) || !compile_passes(c, &t->o->compile) || !compile_emit(c, &t->o->compile))
        return false;
    if (!t->o->json && !print_header(t))
        return false;
    for (size_t i = 0; i < c->remarks.count; i++) {
        Text line = text_new(&c->arena);
        if (t->o->json)
            remark_json(&c->remarks.items[i], c->kernels->name, &line);
        else
            remark_print(&c->remarks.items[i], &line);
        bool ended = line.length && line.data[line.length - 1] == '\n';
        printf("%s%s", line.data, ended ? "" : "\n");
    }
    return true;
}

int verb_report(int argc, char **argv)
{
    Options o = {0};
    options_parse(&argp, argc, argv, &o);
    Tool t;
    tool_begin(&t, &o);
    return tool_end(&t, report(&t));
}
