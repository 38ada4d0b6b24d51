/* attar ir: a model as text, from a model file or from IR text. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "driver/source.h"

typedef struct IrOptions {
    Options o;
    const char *after;
    int level;
    bool locations;
} IrOptions;

static const char doc[] =
    "Prints a model's IR: the mathematics as loaded, after any pass, or the kernels at the end.\n\n"
    "  attar ir models/llama.attar --weights DIR\n"
    "  attar ir models/llama.attar --weights DIR --after fuse-attention\n"
    "  attar ir models/llama.attar --weights DIR --level kernel\n"
    "  attar ir saved.ir        reads IR text, verifies it and prints it again";

enum { KEY_LOCATIONS = 2000 };

static const struct argp_option options[] = {
    {"after", 'a', "PASS", 0, "run the passes up to and including this one; `attar passes` lists them", 0},
    {"level", 'l', "LEVEL", 0, "graph (as loaded, the default) or kernel (after all passes)", 0},
    {"locations", KEY_LOCATIONS, 0, 0, "in every line: the model's line and the standard library's that it went through", 0},
    {0},
};

static void choose_pass(struct argp_state *state, IrOptions *r, char *arg)
{
    PassId id;
    const char *names[PASS_COUNT];
    for (int i = 0; i < PASS_COUNT; i++)
        names[i] = pass_info[i].name;
    const char *near = name_nearest(arg, names, PASS_COUNT);
    if (!pass_from_name(arg, &id))
        argp_error(state, "no pass is called `%s`%s%s%s; `attar passes` lists them", arg,
                   near ? ", did you mean `" : "", near ? near : "", near ? "`?" : "");
    r->after = arg;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    IrOptions *r = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &r->o); return 0;
    case 'a': choose_pass(state, r, arg); return 0;
    case 'l':
        if (strcmp(arg, "graph") && strcmp(arg, "kernel"))
            argp_error(state, "--level takes graph or kernel, not `%s`", arg);
        r->level = *arg == 'k' ? LEVEL_KERNEL : LEVEL_GRAPH;
        return 0;
    case KEY_LOCATIONS: r->locations = true; return 0;
    case ARGP_KEY_END:
        if (r->after && r->level)
            argp_error(state, "--after says which passes run, --level as well: give one of them");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {
    {&model_group, 0, NULL, 0}, {&build_group, 0, NULL, 0}, {&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

enum { IR_LIMIT = 256 << 20 };

static bool is_ir(const char *path)
{
    size_t n = strlen(path);
    return n > 3 && !strcmp(path + n - 3, ".ir");
}

static bool load(Tool *t, const IrOptions *r)
{
    Compilation *c = &t->c;
    if (!is_ir(r->o.compile.model))
        return compile_load(c, &r->o.compile);
    if (!source_read(&c->cx, "E0100", r->o.compile.model, IR_LIMIT, &c->source))
        return false;
    c->model.graph = graph_read(&c->cx, &c->source);
    return c->model.graph != NULL;
}

static bool show(Tool *t, IrOptions *r)
{
    if (!load(t, r))
        return false;
    Compilation *c = &t->c;
    bool passes = r->after || (r->level == LEVEL_KERNEL && c->model.graph->level == LEVEL_GRAPH);
    r->o.compile.passes.stop_after = r->after;
    if (passes && !compile_passes(c, &r->o.compile))
        return false;
    Graph *g = passes ? c->kernels : c->model.graph;
    if (!is_ir(r->o.compile.model) || passes)
        graph_name_all(&c->cx, g);
    Text text = text_new(&c->arena);
    graph_print_with(g, r->locations ? LOCATIONS_FULL : LOCATIONS_SHORT, &text);
    fwrite(text.data, 1, text.length, stdout);
    return true;
}

int verb_ir(int argc, char **argv)
{
    IrOptions r = {0};
    options_parse(&argp, argc, argv, &r);
    Tool t;
    tool_begin(&t, &r.o);
    return tool_end(&t, show(&t, &r));
}
