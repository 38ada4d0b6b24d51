/* attar ir: a model as text or as a drawing, from a model file or from IR text, and what the passes change in it. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "support/linediff.h"

typedef struct IrOptions {
    Options o;
    const char *after, *before;
    int level;
    bool diff, print_changed, dot;
    Locations locations; /* LOCATIONS_SHORT unless asked for */
} IrOptions;

static const char doc[] =
    "Prints a model's IR: the mathematics as loaded, before or after any pass, or the kernels at the end.\n\n"
    "  attar ir models/llama.attar --weights DIR\n"
    "  attar ir models/llama.attar --weights DIR --level kernel\n"
    "  attar ir models/llama.attar --weights DIR --after fuse-attention --diff        what this pass changed\n"
    "  attar ir models/llama.attar --weights DIR --print-changed                      what each pass changed\n"
    "  attar ir models/llama.attar --weights DIR --level kernel --dot | dot -Tsvg > llama.svg\n"
    "  attar ir saved.ir        reads IR text, verifies it and prints it again\n\n"
    "Diffs leave out locations, and columns that only moved are no change.";

enum { KEY_LOCATIONS = 2000, KEY_DIFF, KEY_PRINT_CHANGED, KEY_DOT };

static const struct argp_option options[] = {
    {"after", 'a', "PASS", 0, "run the passes up to and including this one; `attar passes` lists them", 0},
    {"before", 'b', "PASS", 0, "run the passes up to where this one first stands", 0},
    {"level", 'l', "LEVEL", 0, "graph (as loaded, the default) or kernel (after all passes)", 0},
    {"diff", KEY_DIFF, 0, 0, "with --after: only what that pass changed; otherwise what all of them did", 0},
    {"print-changed", KEY_PRINT_CHANGED, 0, 0, "after each pass that changed something: its name, its time and the diff",
     0},
    {"dot", KEY_DOT, 0, 0, "for Graphviz; repeats and kernels are clusters", 0},
    {"locations", KEY_LOCATIONS, 0, 0,
     "in every line: the model's line and the standard library's that it went through", 0},
    {0},
};

static const char *choose_pass(struct argp_state *state, char *arg)
{
    PassId id;
    options_pass(state, arg, &id);
    return arg;
}

static void check_together(struct argp_state *state, const IrOptions *r)
{
    if ((r->after != NULL) + (r->before != NULL) + (r->level != 0) > 1)
        argp_error(state, "--after, --before and --level each say which passes run: give one of them");
    if (r->diff + r->print_changed + r->dot > 1)
        argp_error(state, "--diff, --print-changed and --dot are three ways to show it: give one of them");
    if ((r->diff || r->print_changed) && (r->before || r->level == LEVEL_GRAPH))
        argp_error(state, "a diff needs passes that run: leave out %s", r->before ? "--before" : "--level graph");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    IrOptions *r = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &r->o); return 0;
    case 'a': r->after = choose_pass(state, arg); return 0;
    case 'b': r->before = choose_pass(state, arg); return 0;
    case 'l':
        if (strcmp(arg, "graph") && strcmp(arg, "kernel"))
            argp_error(state, "--level takes graph or kernel, not `%s`", arg);
        r->level = *arg == 'k' ? LEVEL_KERNEL : LEVEL_GRAPH;
        return 0;
    case KEY_DIFF: r->diff = true; return 0;
    case KEY_PRINT_CHANGED: r->print_changed = true; return 0;
    case KEY_DOT: r->dot = true; return 0;
    case KEY_LOCATIONS: r->locations = LOCATIONS_FULL; return 0;
    case ARGP_KEY_END: check_together(state, r); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {
    {&model_group, 0, NULL, 0}, {&build_group, 0, NULL, 0}, {&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

/* ---- what the passes change -------------------------------------------------------------------------------------- */

typedef struct Trace {
    Tool *t;
    const IrOptions *r;
    const char *text; /* the graph as it was after the step before */
    int step;
    Text idle; /* names of passes that changed nothing */
} Trace;

static const char *text_for_diff(Trace *trace, const Graph *g)
{
    Text text = text_new(&trace->t->c.arena);
    graph_print_with(g, trace->r->locations == LOCATIONS_FULL ? LOCATIONS_FULL : LOCATIONS_NONE, &text);
    return text.data;
}

static bool put_diff(Trace *trace, const char *text, const char *before, const char *after)
{
    LineDiffLook look = {before, after, 3, trace->t->colour_out, true};
    Text out = text_new(&trace->t->c.arena);
    if (!linediff(trace->text, text, &look, &out))
        return false;
    fputs(out.data, stdout);
    return true;
}

static void print_changed(Trace *trace, const PassInfo *pass, const PassTime *time, const char *text)
{
    if (!time->changed) {
        if (!strstr(trace->idle.length ? trace->idle.data : "", pass->name))
            text_add(&trace->idle, "%s%s", trace->idle.length ? ", " : "", pass->name);
        return;
    }
    printf("%s== %s   %.2f ms   %d -> %d nodes%s\n", tool_paint(trace->t, "\033[1m"), pass->name, 1e3 * time->seconds,
           time->nodes_before, time->nodes_after, tool_paint(trace->t, "\033[0m"));
    if (!put_diff(trace, text, NULL, NULL))
        puts("nothing that the text shows");
    putchar('\n');
}

static void follow(void *state, const PassInfo *pass, const Graph *model, const PassTime *time)
{
    Trace *trace = state;
    Arena *a = &trace->t->c.arena;
    const IrOptions *r = trace->r;
    const char *text = time->changed ? text_for_diff(trace, model) : trace->text;
    if (r->print_changed)
        print_changed(trace, pass, time, text);
    else if (r->after && !strcmp(pass->name, r->after))
        put_diff(trace, text, arena_print(a, "before %s", pass->name), arena_print(a, "after %s", pass->name));
    if (r->print_changed || r->after)
        trace->text = text;
}

/* Runs the passes and prints what they change. */
static bool show_changes(Tool *t, IrOptions *r)
{
    Trace trace = {.t = t, .r = r, .idle = text_new(&t->c.arena)};
    trace.text = text_for_diff(&trace, t->c.model.graph);
    r->o.compile.passes.after = follow;
    r->o.compile.passes.after_state = &trace;
    if (!compile_passes(&t->c, &r->o.compile))
        return false;
    if (r->print_changed && trace.idle.length)
        printf("== changed nothing: %s\n", trace.idle.data);
    if (r->diff && !r->after)
        put_diff(&trace, text_for_diff(&trace, t->c.kernels), "as loaded", "after all passes");
    return true;
}

/* ---- the graph itself -------------------------------------------------------------------------------------------- */

static void print_graph(Tool *t, const IrOptions *r, const Graph *g)
{
    Text text = text_new(&t->c.arena);
    if (r->dot)
        graph_dot(g, &text);
    else
        graph_print_with(g, r->locations, &text);
    fwrite(text.data, 1, text.length, stdout);
}

static bool show(Tool *t, IrOptions *r)
{
    Compilation *c = &t->c;
    if (!tool_load(t))
        return false;
    if (!tool_is_ir(r->o.compile.model) || r->diff || r->print_changed)
        graph_name_all(&c->cx, c->model.graph);
    r->o.compile.passes.stop_after = r->after;
    r->o.compile.passes.stop_before = r->before;
    if (r->diff || r->print_changed)
        return show_changes(t, r);
    bool passes = r->after || r->before || (r->level == LEVEL_KERNEL && c->model.graph->level == LEVEL_GRAPH);
    if (passes && !compile_passes(c, &r->o.compile))
        return false;
    if (passes)
        graph_name_all(&c->cx, c->kernels);
    print_graph(t, r, passes ? c->kernels : c->model.graph);
    return true;
}

int verb_ir(int argc, char **argv)
{
    IrOptions r = {.locations = LOCATIONS_SHORT};
    options_parse(&argp, argc, argv, &r);
    Tool t;
    tool_begin(&t, &r.o);
    return tool_end(&t, show(&t, &r));
}
