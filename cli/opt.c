/* attar opt: some passes on IR text, as the passes' own tests run them. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

typedef struct OptOptions {
    Options o;
    PassId passes[MAX_NAMED];
    int n_passes;
    bool remarks; /* on stdout behind the IR */
} OptOptions;

static const char doc[] =
    "Runs passes on IR text and prints the result; the remarks go to stderr.\n\n"
    "  attar opt saved.ir --passes canonicalize,fuse-attention\n"
    "  attar opt tests/passes/cases/cse_equal.ir --passes cse --remarks      both on stdout, as the .expected files\n"
    "  attar opt saved.ir                                                    the whole pipeline\n\n"
    "`attar ir MODEL` saves a model as IR text, before or after any pass.";

enum { KEY_PASSES = 2000, KEY_OPT_REMARKS, KEY_OPT_PASS };

static const struct argp_option options[] = {
    {"passes", KEY_PASSES, "NAME,...", 0, "these, in this order; a pass may stand there twice. Default: the pipeline", 0},
    {"pass", KEY_OPT_PASS, "NAME=off", 0, "leave out one pass", 0},
    {"remarks", KEY_OPT_REMARKS, 0, 0, "remarks on stdout, behind the IR and a line `---`", 0},
    {"json", 'j', 0, 0, "remarks as JSON, one object a line", 0},
    {0},
};

static void choose_passes(struct argp_state *state, OptOptions *r, char *list)
{
    for (char *name = strtok(list, ","); name; name = strtok(NULL, ",")) {
        if (r->n_passes == MAX_NAMED)
            argp_error(state, "--passes takes at most %d names", MAX_NAMED);
        options_pass(state, name, &r->passes[r->n_passes++]);
    }
    if (!r->n_passes)
        argp_error(state, "--passes takes names; `attar passes` lists them");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    OptOptions *r = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &r->o); return 0;
    case KEY_PASSES: choose_passes(state, r, arg); return 0;
    case KEY_OPT_PASS: options_turn_pass(state, &r->o, arg); return 0;
    case KEY_OPT_REMARKS: r->remarks = true; return 0;
    case 'j': r->o.json = true; return 0;
    case ARGP_KEY_ARG:
        if (r->o.compile.model)
            argp_error(state, "one file at a time: `%s` and `%s`", r->o.compile.model, arg);
        if (!tool_is_ir(arg))
            argp_error(state, "`%s` is not IR text: name a .ir file (`attar ir MODEL > x.ir` makes one)", arg);
        r->o.compile.model = arg;
        return 0;
    case ARGP_KEY_END:
        if (!r->o.compile.model)
            argp_error(state, "which file? name a .ir file");
        for (int i = 0; !r->n_passes && i < pipeline_length; i++)
            r->passes[i] = pipeline[i].id;
        r->n_passes = r->n_passes ? r->n_passes : pipeline_length;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {options, parse, "FILE.ir", doc, groups, NULL, NULL};

static void put_remarks(Tool *t, const OptOptions *r, Text *out)
{
    for (size_t i = 0; i < t->c.remarks.count; i++) {
        if (r->o.json)
            remark_json(&t->c.remarks.items[i], t->c.model.graph->name, out);
        else
            remark_print(&t->c.remarks.items[i], out);
        text_char(out, '\n');
    }
}

static bool run_passes(Tool *t, const OptOptions *r)
{
    if (!tool_load(t))
        return false;
    for (int i = 0; i < r->n_passes; i++)
        if (!r->o.compile.passes.off[r->passes[i]] &&
            !pass_run_one(&t->c.cx, t->c.model.graph, r->passes[i], &t->c.remarks))
            return false;
    Text ir = text_new(&t->c.arena), remarks = text_new(&t->c.arena);
    graph_print(t->c.model.graph, &ir);
    fwrite(ir.data, 1, ir.length, stdout);
    put_remarks(t, r, &remarks);
    if (r->remarks)
        printf("---\n");
    fflush(stdout);
    fputs(remarks.length ? remarks.data : "", r->remarks ? stdout : stderr);
    return true;
}

int verb_opt(int argc, char **argv)
{
    OptOptions r = {0};
    options_parse(&argp, argc, argv, &r);
    Tool t;
    tool_begin(&t, &r.o);
    return tool_end(&t, run_passes(&t, &r));
}
