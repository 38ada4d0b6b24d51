/* attar emit: the C file that a model becomes. */
#include <stdio.h>

#include "cli/cli.h"
#include "driver/ship.h"

typedef struct EmitVerb {
    Options o;
    ShipThreads threads;
    bool tuned, header;
} EmitVerb;

static const char doc[] =
    "Prints the C that a model becomes: one function a kernel, in the model's words.\n\n"
    "  attar emit models/bert.attar --weights DIR > bert.c\n"
    "  attar emit models/bert.attar --weights DIR --target aarch64 > bert.c\n"
    "  attar emit models/bert.attar --weights DIR --target x86-64-v3,x86-64-v4 --threads caller > bert.c\n"
    "  attar emit saved.ir        of IR text";

static const struct argp_option options[] = {
    {"tuned", 2, 0, 0, "with the tiles that `attar tune` measured on this machine; without: the same C on every machine", 0},
    {"threads", 3, "HOW", 0, OPTIONS_SHIP_THREADS, 0},
    {"header", 4, 0, 0, "print NAME.h instead, which declares what it defines", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    EmitVerb *v = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &v->o); return 0;
    case 2: v->tuned = true; return 0;
    case 3:
        v->threads = options_ship_threads(state, arg);
        return 0;
    case 4: v->header = true; return 0;
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
    const char *list = v.o.compile.target; /* what is compiled on the way is for this machine */
    v.o.compile.target = NULL;
    Tool t;
    tool_begin(&t, &v.o);
    ShipOptions ship = {.threads = v.threads};
    ship.targets = ship_targets(&t.c, list, &ship.n_targets);
    Shipped out;
    bool good = ship.targets && tool_load(&t) && compile_passes(&t.c, &v.o.compile) && compile_ship(&t.c, &v.o.compile, &ship, &out);
    if (good)
        fwrite(v.header ? out.header : out.source, 1, v.header ? out.header_length : out.source_length, stdout);
    return tool_end(&t, good);
}
