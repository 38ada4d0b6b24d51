/* attar emit: the C file that a model becomes. */
#include <stdio.h>

#include "cli/cli.h"

typedef struct EmitVerb {
    Options o;
    const char *golden, *selftest;
    ShipThreads threads;
    bool tuned, header;
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
    {"threads", 3, "none|caller", 0, "how many threads can run it: one (default), or those that the caller has, by a function of theirs", 0},
    {"header", 4, 0, 0, "print NAME.h instead, which declares what it defines", 0},
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
    case 3:
        v->threads = options_ship_threads(state, arg);
        return 0;
    case 4: v->header = true; return 0;
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
    bool good = tool_load(&t) && compile_passes(&t.c, &v.o.compile);
    if (good && v.selftest) {
        good = compile_emit(&t.c, &v.o.compile) && selftest_write(&t, v.golden, v.selftest);
    } else if (good) {
        const Target *target = compile_target(&t.c, &v.o.compile);
        ShipOptions ship = {.targets = &target, .n_targets = 1, .threads = v.threads};
        Shipped out;
        good = target && compile_ship(&t.c, &v.o.compile, &ship, &out);
        if (good)
            fwrite(v.header ? out.header : out.source, 1, v.header ? out.header_length : out.source_length, stdout);
    }
    return tool_end(&t, good);
}
