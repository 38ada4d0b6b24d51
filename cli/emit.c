/* attar emit: the C file that a model becomes. */
#include <stdio.h>

#include "cli/cli.h"

typedef struct EmitVerb {
    Options o;
    const char *golden, *selftest;
    bool tuned;
} EmitVerb;

static const char doc[] =
    "Prints the C that a model becomes: one function a kernel, in the model's words.\n\n"
    "  attar emit models/bert.attar --weights DIR > bert.c\n"
    "  attar emit models/bert.attar --weights DIR --target aarch64 > bert.c\n"
    "  attar emit models/bert.attar --weights DIR --target aarch64 --golden DIR/golden.safetensors --selftest out\n"
    "  attar emit saved.ir        of IR text";

static const struct argp_option options[] = {
    {"golden", 'g', "FILE", 0, "for --selftest: input.NAME and output.NAME in one .safetensors file, its tolerances beside it", 0},
    {"selftest", 1, "DIR", 0, "write into this folder the C, the packed weights, and selftest.c, which compares what the model gives on another machine with the golden file", 0},
    {"tuned", 2, 0, 0, "with the tiles that `attar tune` measured on this machine; without: the same C on every machine", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    EmitVerb *v = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &v->o); return 0;
    case 'g': v->golden = arg; return 0;
    case 1: v->selftest = arg; return 0;
    case 2: v->tuned = true; return 0;
    case ARGP_KEY_END:
        if (!v->golden != !v->selftest)
            argp_error(state, "--selftest DIR and --golden FILE belong together");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {
    {&model_group, 0, NULL, 0}, {&build_group, 0, NULL, 0}, {&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

int verb_emit(int argc, char **argv)
{
    EmitVerb v = {0};
    options_parse(&argp, argc, argv, &v);
    v.o.compile.untuned = !v.tuned;
    Tool t;
    tool_begin(&t, &v.o);
    bool good = tool_load(&t) && compile_passes(&t.c, &v.o.compile) && compile_emit(&t.c, &v.o.compile);
    if (good && v.selftest)
        good = selftest_write(&t, v.golden, v.selftest);
    else if (good)
        fwrite(t.c.emitted.text, 1, t.c.emitted.length, stdout);
    return tool_end(&t, good);
}
