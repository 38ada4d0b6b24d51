/* attar expand: a wider checkpoint whose model gives the same output. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "driver/expand.h"

enum { MOST_KEYS = 32 };

typedef struct ExpandOptions {
    Options o;
    int64_t factor;
    const char *folder, *keys[MOST_KEYS];
    int n_keys;
    bool force;
} ExpandOptions;

static const char doc[] =
    "Makes a wider checkpoint whose model gives the same output: every channel stands FACTOR times side by side, "
    "scaled.\n\n"
    "  attar expand models/bert.attar --weights DIR --factor 2 -o LARGER\n"
    "  attar expand models/bert.attar --weights DIR --factor 2 --widen intermediate_size -o LARGER\n\n"
    "The widths that config.json names are multiplied, and either the size of a head or the number of heads. What a "
    "weight is multiplied "
    "by follows from the model; one that cannot be enlarged exactly is refused. LARGER gets config.json and "
    "model.safetensors (f32).";

static const struct argp_option options[] = {
    {"factor", 'k', "N", 0, "how many times each channel stands (2 or more)", 0},
    {"output", 'o', "DIR", 0, "the folder of the larger checkpoint", 0},
    {"widen", 1, "KEY", 0, "multiply this key of config.json instead of the usual ones (repeatable)", 0},
    {"force", 2, 0, 0, "write over a checkpoint that the folder has", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    ExpandOptions *p = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &p->o); return 0;
    case 'k': p->factor = options_integer(state, "--factor", arg, 2, 1024); return 0;
    case 'o': p->folder = arg; return 0;
    case 1:
        if (p->n_keys == MOST_KEYS)
            argp_error(state, "--widen may be given at most %d times", MOST_KEYS);
        p->keys[p->n_keys++] = arg;
        return 0;
    case 2: p->force = true; return 0;
    case ARGP_KEY_END:
        if (!p->factor || !p->folder || !p->o.compile.weights)
            argp_error(state, "needed are --weights DIR, --factor N and -o DIR");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&model_group, 0, NULL, 0}, {&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

static void print_row(Tool *t, const Expansion *x, const Enlarged *e)
{
    Text axes = text_new(&t->c.arena), power = text_new(&t->c.arena);
    for (int i = 0; i < e->small->type->rank; i++)
        text_add(&axes, "%s%s%s", i ? ", " : "", e->small->type->axis[i].name,
                 e->inner[i] ? arena_print(&t->c.arena, " x %lld", (long long)x->factor) : "");
    text_double(&power, e->power);
    printf("  %-56s [%s]  * %lld^%s\n", e->name, axes.data ? axes.data : "", (long long)x->factor, power.data);
}

static void print_all(Tool *t, const ExpandOptions *p, const Expansion *x)
{
    printf("%s: config.json", p->folder);
    for (int i = 0; i < x->n_keys; i++)
        printf("%s %s = %lld", i ? "," : " with", x->keys[i],
               (long long)json_integer_value(json_object_get(x->config, x->keys[i])));
    printf("%s%s\n", x->scaled ? ", " : "", x->scaled ? x->scaled : "");
    for (int i = 0; i < x->n_weights; i++)
        print_row(t, x, &x->weights[i]);
    for (int i = 0; i < x->n_inputs; i++) {
        printf("the input has to be given as\n");
        print_row(t, x, &x->inputs[i]);
    }
    for (int i = 0; i < x->n_results; i++) {
        printf("the output is the smaller model's as\n");
        print_row(t, x, &x->results[i]);
    }
}

static bool expand(Tool *t, const ExpandOptions *p)
{
    Compilation *c = &t->c;
    if (!compile_load(c, &p->o.compile))
        return false;
    const char *old = arena_print(&c->arena, "%s/model.safetensors", p->folder);
    if (!p->force && access(old, F_OK) == 0) {
        diag_help(diag_file_error(&c->diags, "E1011", old, NULL, "the file exists already"), "--force writes over it");
        return false;
    }
    Expansion x;
    if (!c->config) {
        diag_file_error(&c->diags, "E0444", p->o.compile.weights, NULL, "there is no config.json in this folder");
        return false;
    }
    if (!expand_find(c, p->factor, p->keys, p->n_keys, &x))
        return false;
    bool good = expand_write(c, &x, p->folder);
    if (good)
        print_all(t, p, &x);
    json_decref(x.config);
    return good;
}

int verb_expand(int argc, char **argv)
{
    ExpandOptions p = {0};
    options_parse(&argp, argc, argv, &p);
    Tool t;
    tool_begin(&t, &p.o);
    return tool_end(&t, expand(&t, &p));
}
