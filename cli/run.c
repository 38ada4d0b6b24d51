/* attar run: inputs from files through a model to files. */
#include <stdio.h>

#include "cli/cli.h"

typedef struct RunOptions {
    Options o;
    NamedFile outputs[MAX_NAMED];
    int n_outputs;
    bool timing;
} RunOptions;

static const char doc[] =
    "Runs a model.\n\n"
    "  attar run models/bert.attar --weights DIR --input ids=ids.npy --input keep=keep.npy -o pooled=y.npy\n"
    "  attar run models/bert.attar --weights DIR --input inputs.safetensors -o outputs.safetensors\n\n"
    "Without -o the outputs are described on stdout; with --timing it is said instead where the time went.";

enum { KEY_TIMING = 2000 };

static const struct argp_option options[] = {
    {"timing", KEY_TIMING, 0, 0, "how long each stage took, from the start of the process to the outputs", 0},
    {"json", 'j', 0, 0, "with --timing: one JSON object a line", 0},
    {"output", 'o', "NAME=FILE", 0,
     "write an output to a .npy file (repeatable), a single output to FILE.npy, or all to FILE.safetensors", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    RunOptions *r = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &r->o); return 0;
    case 'o':
        if (r->n_outputs == MAX_NAMED)
            argp_error(state, "-o may be given at most %d times", MAX_NAMED);
        r->outputs[r->n_outputs++] = options_named_file(state, "-o", arg);
        return 0;
    case KEY_TIMING: r->timing = true; return 0;
    case 'j': r->o.json = true; return 0;
    case ARGP_KEY_END:
        if (r->o.json && !r->timing)
            argp_error(state, "--json goes with --timing");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&model_group, 0, NULL, 0},   {&inputs_group, 0, NULL, 0},
                                           {&threads_group, 0, NULL, 0}, {&build_group, 0, NULL, 0},
                                           {&output_group, 0, NULL, 0},  {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

enum { SHOWN = 6 };

static void describe(Tool *t, const HostTensor *y)
{
    Text line = text_new(&t->c.arena);
    text_add(&line, "%s  ", y->name);
    tensors_describe(y, &line);
    int64_t count = host_count(y);
    for (int64_t i = 0; i < count && i < SHOWN; i++)
        text_add(&line, "%s%.6g", i ? " " : "  ", host_get(y, i));
    printf("%s%s\n", line.data, count > SHOWN ? " ..." : "");
}

static bool run_session(Tool *t, const RunOptions *r, Session *s, const HostTensor *inputs, int n_inputs)
{
    const HostTensor *outputs;
    if (!session_run(&t->c.cx, s, inputs, n_inputs, &outputs))
        return false;
    compile_stage(&t->c, "run");
    int count = t->c.emitted.plan.n_outputs;
    for (int i = 0; !r->n_outputs && !r->timing && i < count; i++)
        describe(t, &outputs[i]);
    bool good = tensors_save(&t->c.cx, r->outputs, r->n_outputs, outputs, count);
    compile_stage(&t->c, "write");
    return good;
}

static bool run(Tool *t, const RunOptions *r)
{
    HostTensor *inputs;
    int n_inputs;
    if (!compile_all(&t->c, &r->o.compile) || !tensors_load(&t->c.cx, &r->o, &t->c.emitted.plan, &inputs, &n_inputs))
        return false;
    compile_stage(&t->c, "inputs");
    Session *s = tool_session(t, inputs, n_inputs, NULL);
    if (!s)
        return false;
    compile_stage(&t->c, "session");
    bool good = run_session(t, r, s, inputs, n_inputs);
    session_free(s);
    if (good && r->timing)
        timing_print(t);
    return good;
}

int verb_run(int argc, char **argv)
{
    RunOptions r = {0};
    options_parse(&argp, argc, argv, &r);
    Tool t;
    tool_begin(&t, &r.o);
    return tool_end(&t, run(&t, &r));
}
