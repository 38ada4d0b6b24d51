/* attar run: inputs from files through a model to files. */
#include <stdio.h>

#include "cli/cli.h"

typedef struct RunOptions {
    Options o;
    NamedFile outputs[MAX_NAMED];
    int n_outputs;
} RunOptions;

static const char doc[] =
    "Runs a model.\n\n"
    "  attar run models/bert.attar --weights DIR --input ids=ids.npy --input keep=keep.npy -o pooled=y.npy\n"
    "  attar run models/bert.attar --weights DIR --input inputs.safetensors -o outputs.safetensors\n\n"
    "Without -o the outputs are described on stdout.";

static const struct argp_option options[] = {
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
    int count = t->c.emitted.plan.n_outputs;
    for (int i = 0; !r->n_outputs && i < count; i++)
        describe(t, &outputs[i]);
    return tensors_save(&t->c.cx, r->outputs, r->n_outputs, outputs, count);
}

static bool run(Tool *t, const RunOptions *r)
{
    HostTensor *inputs;
    int n_inputs;
    if (!compile_all(&t->c, &r->o.compile) || !tensors_load(&t->c.cx, &r->o, &t->c.emitted.plan, &inputs, &n_inputs))
        return false;
    Session *s = tool_session(t, inputs, n_inputs, NULL);
    if (!s)
        return false;
    bool good = run_session(t, r, s, inputs, n_inputs);
    session_free(s);
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
