/* Options that several verbs share, as groups for glibc's argp, and what argp lacks: a suggestion for a mistyped
 * option. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "support/compute.h"
#include "support/linearize.h"
#include "support/lowrank.h"
#include "support/store.h"

/* ---- values ------------------------------------------------------------------------------------------------------ */

int64_t options_integer(struct argp_state *state, const char *option, const char *text, int64_t low, int64_t high)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || errno)
        argp_error(state, "%s takes a whole number, not `%s`", option, text);
    if (value < low || value > high)
        argp_error(state, "%s takes a number from %lld to %lld, not %s", option, (long long)low, (long long)high, text);
    return value;
}

ShipThreads options_ship_threads(struct argp_state *state, const char *text)
{
    if (!strcmp(text, "caller"))
        return SHIP_THREADS_CALLER;
    if (!strcmp(text, "pool"))
        return SHIP_THREADS_POOL;
    if (strcmp(text, "none") != 0)
        argp_error(state, "--threads takes none, caller or pool, not `%s`; how many there are is said when the program runs", text);
    return SHIP_THREADS_NONE;
}

double options_real(struct argp_state *state, const char *option, const char *text, double low, double high)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || isnan(value))
        argp_error(state, "%s takes a number, not `%s`", option, text);
    if (value < low || value > high)
        argp_error(state, "%s takes a number from %g to %g, not %s", option, low, high, text);
    return value;
}

NamedFile options_named_file(struct argp_state *state, const char *option, char *text)
{
    char *equals = strchr(text, '=');
    if (!*text || equals == text || (equals && !equals[1]))
        argp_error(state, "%s takes NAME=FILE or FILE, not `%s`", option, text);
    if (!equals)
        return (NamedFile){.path = text};
    *equals = 0;
    return (NamedFile){.name = text, .path = equals + 1};
}

static void add_dim(struct argp_state *state, Options *o, char *text)
{
    char *equals = strchr(text, '=');
    if (!equals || equals == text)
        argp_error(state, "--dim takes NAME=SIZE, for example B=1, not `%s`", text);
    if (o->n_dims == MAX_NAMED)
        argp_error(state, "--dim may be given at most %d times", MAX_NAMED);
    *equals = 0;
    o->dims[o->n_dims++] = (NamedSize){text, options_integer(state, "--dim", equals + 1, 0, INT32_MAX)};
}

void options_pass(struct argp_state *state, const char *name, PassId *out)
{
    const char *names[PASS_COUNT];
    for (int i = 0; i < PASS_COUNT; i++)
        names[i] = pass_info[i].name;
    const char *near = name_nearest(name, names, PASS_COUNT);
    *out = 0;
    if (!pass_from_name(name, out))
        argp_error(state, "no pass is called `%s`%s%s%s; `attar passes` lists them", name,
                   near ? ", did you mean `" : "", near ? near : "", near ? "`?" : "");
}

void options_turn_pass(struct argp_state *state, Options *o, char *text)
{
    char *equals = strchr(text, '=');
    bool off = equals && !strcmp(equals + 1, "off");
    if (!equals || (!off && strcmp(equals + 1, "on")))
        argp_error(state, "--pass takes NAME=off or NAME=on, not `%s`", text);
    *equals = 0;
    PassId id;
    options_pass(state, text, &id);
    if (off && !compile_may_turn_off(id))
        argp_error(state, "the pass `%s` has to run", text);
    o->compile.passes.off[id] = off;
}

static void choose_colour(struct argp_state *state, Options *o, const char *text)
{
    if (!strcmp(text, "auto"))
        o->colour = COLOUR_AUTO;
    else if (!strcmp(text, "always"))
        o->colour = COLOUR_ALWAYS;
    else if (!strcmp(text, "never"))
        o->colour = COLOUR_NEVER;
    else
        argp_error(state, "--color takes auto, always or never, not `%s`", text);
}

static void choose_error_format(struct argp_state *state, Options *o, const char *text)
{
    if (strcmp(text, "json") && strcmp(text, "text"))
        argp_error(state, "--error-format takes text or json, not `%s`", text);
    o->json_errors = !strcmp(text, "json");
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

enum {
    KEY_CONFIG = 1000,
    KEY_MODEL,
    KEY_EXTRA,
    KEY_LORA,
    KEY_LORA_MODE,
    KEY_LORA_COMBINE,
    KEY_LORA_DTYPE,
    KEY_STORAGE,
    KEY_COMPUTE,
    KEY_LINEARIZE,
    KEY_LOWRANK,
    KEY_CALIBRATE,
    KEY_PASS,
    KEY_REMARKS,
    KEY_TARGET,
    KEY_CLANG,
    KEY_NO_CACHE,
    KEY_CACHE_DIR,
    KEY_DIM,
    KEY_SEED,
    KEY_COLOUR,
    KEY_ERRORS
};

static void take_model(struct argp_state *state, Options *o, char *arg)
{
    if (o->compile.model)
        argp_error(state, "one model file at a time: `%s` and `%s`", o->compile.model, arg);
    o->compile.model = arg;
}

static void add_weights(struct argp_state *state, Options *o, const char *arg)
{
    if (!o->compile.weights) {
        o->compile.weights = arg;
        return;
    }
    if (o->n_weights == MAX_NAMED)
        argp_error(state, "--weights may be given at most %d times", MAX_NAMED + 1);
    o->weights[o->n_weights++] = arg;
    o->compile.more_weights = o->weights;
}

static void add_lora(struct argp_state *state, Options *o, const char *arg)
{
    if (o->n_lora == MAX_NAMED)
        argp_error(state, "--lora may be given at most %d times", MAX_NAMED);
    o->lora[o->n_lora++] = arg;
    o->compile.lora = o->lora;
}

static void choose_combine(struct argp_state *state, const char *arg)
{
    static const char *const others[][2] = {
        {"linear", "it multiplies A of one adapter with B of another, which is not the sum of the adapters"},
        {"svd", "it cuts the sum off at a rank"},
        {"ties", "it drops small entries and takes votes on signs"},
        {"ties_svd", "it drops small entries, takes votes on signs and cuts the sum off at a rank"},
        {"dare_linear", "it drops entries at random"},
        {"dare_ties", "it drops entries at random and takes votes on signs"},
        {"dare_linear_svd", "it drops entries at random and cuts the sum off at a rank"},
        {"dare_ties_svd", "it drops entries at random, takes votes on signs and cuts the sum off at a rank"},
        {"magnitude_prune", "it drops small entries"},
        {"magnitude_prune_svd", "it drops small entries and cuts the sum off at a rank"},
    };
    if (!strcmp(arg, "cat"))
        return;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcmp(arg, others[i][0]))
            argp_error(state, "--lora-combine %s is another function than the sum of the adapters: %s; only `cat` is supported, which is exact", arg,
                       others[i][1]);
    argp_error(state, "--lora-combine takes cat, the exact sum, not `%s`", arg);
}

static void choose_lora_dtype(struct argp_state *state, Options *o, const char *arg)
{
    if (strcmp(arg, "f32") && strcmp(arg, "stored"))
        argp_error(state, "--lora-dtype takes f32 or stored, not `%s`", arg);
    o->compile.lora_stored = !strcmp(arg, "stored");
}

static void choose_lora_mode(struct argp_state *state, Options *o, const char *arg)
{
    if (strcmp(arg, "merge") && strcmp(arg, "side") && strcmp(arg, "slots"))
        argp_error(state, "--lora-mode takes merge, side or slots, not `%s`", arg);
    o->compile.lora_mode = arg;
}

static void choose_storage(struct argp_state *state, Options *o, const char *arg)
{
    StoreSpec spec;
    const char *why;
    if (!store_read(arg, &spec, &why))
        argp_error(state, "--store %s: %s", arg, why);
    o->compile.store = arg;
    o->compile.wide_weights = spec.wide;
}

static void choose_compute(struct argp_state *state, Options *o, const char *arg)
{
    ComputeSpec spec;
    const char *why;
    if (!compute_read(arg, &spec, &why))
        argp_error(state, "--compute %s: %s", arg, why);
    o->compile.compute = arg;
}

static void add_linearize(struct argp_state *state, Options *o, const char *arg)
{
    Arena arena = {0};
    LinearizeSpec spec;
    const char *why;
    if (!linearize_read(&arena, arg, &spec, &why))
        argp_error(state, "--linearize %s: %s", arg, why);
    arena_free(&arena);
    if (o->n_linearize == MAX_NAMED)
        argp_error(state, "--linearize may be given at most %d times", MAX_NAMED);
    o->linearize[o->n_linearize++] = arg;
    o->compile.linearize = o->linearize;
}

static void add_lowrank(struct argp_state *state, Options *o, const char *arg)
{
    Arena arena = {0};
    LowrankSpec spec;
    const char *why;
    if (!lowrank_read(&arena, arg, &spec, &why))
        argp_error(state, "--lowrank %s: %s", arg, why);
    arena_free(&arena);
    if (o->n_lowrank == MAX_NAMED)
        argp_error(state, "--lowrank may be given at most %d times", MAX_NAMED);
    o->lowrank[o->n_lowrank++] = arg;
    o->compile.lowrank = o->lowrank;
}

static error_t parse_model(int key, char *arg, struct argp_state *state)
{
    Options *o = state->input;
    switch (key) {
    case 'w': add_weights(state, o, arg); return 0;
    case KEY_CONFIG: o->compile.config = arg; return 0;
    case KEY_MODEL: o->compile.model_name = arg; return 0;
    case KEY_EXTRA: o->compile.allow_extra = true; return 0;
    case KEY_LORA: add_lora(state, o, arg); return 0;
    case KEY_LORA_MODE: choose_lora_mode(state, o, arg); return 0;
    case KEY_LORA_COMBINE: choose_combine(state, arg); return 0;
    case KEY_LORA_DTYPE: choose_lora_dtype(state, o, arg); return 0;
    case KEY_STORAGE: choose_storage(state, o, arg); return 0;
    case KEY_COMPUTE: choose_compute(state, o, arg); return 0;
    case KEY_LINEARIZE: add_linearize(state, o, arg); return 0;
    case KEY_LOWRANK: add_lowrank(state, o, arg); return 0;
    case KEY_CALIBRATE: o->compile.calibrate = arg; return 0;
    case ARGP_KEY_ARG: take_model(state, o, arg); return 0;
    case ARGP_KEY_END:
        if (!o->compile.model)
            argp_error(state, "which model? name a .attar file");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_build(int key, char *arg, struct argp_state *state)
{
    Options *o = state->input;
    switch (key) {
    case KEY_PASS: options_turn_pass(state, o, arg); return 0;
    case KEY_REMARKS: o->remarks = arg; return 0;
    case 'R': o->remark_summary = true; return 0;
    case KEY_TARGET: o->compile.target = arg; return 0;
    case KEY_CLANG: o->compile.jit.clang = arg; return 0;
    case KEY_NO_CACHE: o->compile.jit.no_cache = true; return 0;
    case KEY_CACHE_DIR: o->compile.jit.cache_dir = arg; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_threads(int key, char *arg, struct argp_state *state)
{
    Options *o = state->input;
    if (key != 't')
        return ARGP_ERR_UNKNOWN;
    o->threads = o->compile.threads = (int)options_integer(state, "--threads", arg, 1, 1024);
    return 0;
}

static error_t parse_dims(int key, char *arg, struct argp_state *state)
{
    if (key != KEY_DIM)
        return ARGP_ERR_UNKNOWN;
    add_dim(state, state->input, arg);
    return 0;
}

static error_t parse_inputs(int key, char *arg, struct argp_state *state)
{
    Options *o = state->input;
    switch (key) {
    case 'i':
        if (o->n_inputs == MAX_NAMED)
            argp_error(state, "--input may be given at most %d times", MAX_NAMED);
        o->inputs[o->n_inputs++] = options_named_file(state, "--input", arg);
        return 0;
    case KEY_SEED: o->seed = (uint64_t)options_integer(state, "--seed", arg, 0, INT64_MAX); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_output(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case KEY_COLOUR: choose_colour(state, state->input, arg); return 0;
    case KEY_ERRORS: choose_error_format(state, state->input, arg); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option model_options[] = {
    {"model", KEY_MODEL, "NAME", 0, "which model of the file, if it has several", 0},
    {"weights", 'w', "PATH", 0,
     "directory with config.json and model.safetensors (or shards and their index), or one .safetensors file; given several times: the tensors of all; NAME=PATH puts `NAME.` before their names", 0},
    {"config", KEY_CONFIG, "FILE", 0, "this config.json instead of the one beside the weights", 0},
    {"allow-extra", KEY_EXTRA, 0, 0, "tensors that the model does not use are a warning, not an error", 0},
    {"lora", KEY_LORA, "DIR[:WEIGHT]", 0, "an adapter as PEFT saves it, times a weight (1); given several times: the sum of all", 0},
    {"lora-mode", KEY_LORA_MODE, "MODE", 0, "merge: added to the weights; side: beside them, which stay as they are; slots: each row of the batch chooses one, by one more input `adapter` (0: none); without: merge or side, whichever costs less", 0},
    {"lora-combine", KEY_LORA_COMBINE, "HOW", 0, "how several adapters are combined: cat, the exact sum", 0},
    {"lora-dtype", KEY_LORA_DTYPE, "TYPE", 0, "merged weights are kept in f32 (default), or rounded to the type that the checkpoint stores them in: stored", 0},
    {"store", KEY_STORAGE, "TYPE", 0,
     "weights in memory: stored (default), bf16 and f16 as the checkpoint has them, widened where they are read; f32; or rounded once to bf16 or f16, an approximation: bf16:max_err=E fails if the error is larger", 0},
    {"storage", KEY_STORAGE, "TYPE", OPTION_ALIAS, 0, 0},
    {"compute", KEY_COMPUTE, "TYPE", 0,
     "products with weights take operands of this type and add up in f32: f32 (default), bf16, or bf16:max_err=E, which fails if the error is larger", 0},
    {"linearize", KEY_LINEARIZE, "SPEC", 0,
     "approximate attention: performer:features=256,seed=7,layers=2-5,max_err=0.05 or vq:codes=256,block=256 (repeatable)", 0},
    {"lowrank", KEY_LOWRANK, "SPEC", 0,
     "weights as two factors: ffn:rank=128, attention:err=0.02, or a pattern of keys such as *.down_proj.weight:rank=64; with method=id and --calibrate fewer hidden units instead (repeatable; the first that names a weight has it)", 0},
    {"calibrate", KEY_CALIBRATE, "FILE", 0, "inputs of the model in a .safetensors file, on which approximations are measured; factors and hidden units are chosen for them", 0},
    {0},
};
static const struct argp_option build_options[] = {
    {"pass", KEY_PASS, "NAME=off", 0, "leave out one pass; `attar passes` lists them", 0},
    {"remarks", KEY_REMARKS, "FILE", 0, "write every decision of the passes to this file, one JSON object a line", 0},
    {"remark-summary", 'R', 0, 0, "say on stderr in a few lines what was fused and what was not", 0},
    {"target", KEY_TARGET, "NAME", 0, "emit for this kind of processor instead of this machine's: x86-64-v4, x86-64-v3, x86-64, aarch64, riscv64, wasm32, generic or scalar (plain C that any compiler takes); build and emit take several with commas between them", 0},
    {"clang", KEY_CLANG, "PATH", 0, "the compiler to use (19 or later)", 0},
    {"no-cache", KEY_NO_CACHE, 0, 0, "neither read nor write compiled objects on disk", 0},
    {"cache-dir", KEY_CACHE_DIR, "DIR", 0, "where compiled objects are kept", 0},
    {0},
};
static const struct argp_option threads_options[] = {
    {"threads", 't', "N", 0, "threads to run on; the result has the same bits for any number", 0},
    {0},
};
static const struct argp_option dims_options[] = {
    {"dim", KEY_DIM, "NAME=SIZE", 0, "size of a free axis, as in --dim B=1 --dim S=128", 0},
    {0},
};
static const struct argp_option inputs_options[] = {
    {"input", 'i', "NAME=FILE", 0, "an input from a .npy file (repeatable), or one FILE.safetensors with all of them",
     0},
    {"seed", KEY_SEED, "N", 0, "seed of what is drawn at random (0)", 0},
    {0},
};
static const struct argp_option output_options[] = {
    {"color", KEY_COLOUR, "WHEN", 0, "auto, always or never; NO_COLOR and TERM=dumb are honoured", 0},
    {"error-format", KEY_ERRORS, "FORMAT", 0, "text or json (one object a line)", 0},
    {0},
};

const struct argp model_group = {model_options, parse_model, NULL, NULL, NULL, NULL, NULL};
const struct argp build_group = {build_options, parse_build, NULL, NULL, NULL, NULL, NULL};
const struct argp threads_group = {threads_options, parse_threads, NULL, NULL, NULL, NULL, NULL};
const struct argp dims_group = {dims_options, parse_dims, NULL, NULL, NULL, NULL, NULL};
const struct argp inputs_group = {inputs_options, parse_inputs, NULL, NULL, NULL, NULL, NULL};
const struct argp output_group = {output_options, parse_output, NULL, NULL, NULL, NULL, NULL};

void options_to_groups(struct argp_state *state, Options *o)
{
    for (int i = 0; i < o->groups; i++)
        state->child_inputs[i] = o;
}

error_t options_only(int key, char *arg, struct argp_state *state)
{
    (void)arg;
    if (key != ARGP_KEY_INIT)
        return ARGP_ERR_UNKNOWN;
    options_to_groups(state, state->input);
    return 0;
}

/* ---- mistyped options -------------------------------------------------------------------------------------------- */

enum { MAX_OPTIONS = 64 };

typedef struct OptionTable {
    const struct argp_option *rows[MAX_OPTIONS];
    int count;
} OptionTable;

static void collect(const struct argp *argp, OptionTable *table)
{
    for (const struct argp_option *o = argp->options; o && (o->name || o->key || o->doc); o++)
        if (o->name && table->count < MAX_OPTIONS)
            table->rows[table->count++] = o;
    for (const struct argp_child *c = argp->children; c && c->argp; c++)
        collect(c->argp, table);
}

/* The option that the word names, abbreviations included as getopt takes them, or NULL. */
static const struct argp_option *option_named(const OptionTable *table, const char *word, size_t length)
{
    for (int i = 0; i < table->count; i++)
        if (!strncmp(table->rows[i]->name, word, length))
            return table->rows[i];
    return NULL;
}

static bool short_takes_next(const OptionTable *table, const char *word)
{
    for (int i = 0; word[0] == '-' && word[1] && !word[2] && i < table->count; i++)
        if (table->rows[i]->key == word[1])
            return table->rows[i]->arg != NULL;
    return false;
}

static void refuse_option(const char *verb, const OptionTable *table, const char *word, size_t length)
{
    const char *names[MAX_OPTIONS];
    for (int i = 0; i < table->count; i++)
        names[i] = table->rows[i]->name;
    char typed[64];
    snprintf(typed, sizeof typed, "%.*s", (int)length, word);
    const char *near = name_nearest(typed, names, (size_t)table->count);
    fprintf(stderr, "attar %s: no option is called `--%s`", verb, typed);
    if (near)
        fprintf(stderr, "; did you mean `--%s`?", near);
    fprintf(stderr, "\n`attar %s --help` lists them all\n", verb);
    exit(EXIT_USAGE);
}

static void check_options(const struct argp *argp, int argc, char **argv)
{
    static const struct argp_option of_argp[] = {{"help", '?', 0, 0, 0, 0}, {"usage", 1, 0, 0, 0, 0}};
    OptionTable table = {.rows = {&of_argp[0], &of_argp[1]}, .count = 2};
    collect(argp, &table);
    for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
        if (strncmp(argv[i], "--", 2)) {
            i += short_takes_next(&table, argv[i]);
            continue;
        }
        const char *word = argv[i] + 2;
        size_t length = strcspn(word, "=");
        const struct argp_option *o = option_named(&table, word, length);
        if (!o)
            refuse_option(argv[0], &table, word, length);
        else if (o->arg && !word[length])
            i++;
    }
}

void options_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    check_options(argp, argc, argv);
    Options *o = input;
    while (argp->children && argp->children[o->groups].argp)
        o->groups++;
    char name[64], *verb = argv[0];
    snprintf(name, sizeof name, "attar %s", verb);
    argv[0] = name;
    setenv("ARGP_HELP_FMT", "rmargin=118,no-dup-args-note", 0);
    argp_parse(argp, argc, argv, 0, NULL, input);
    argv[0] = verb;
}
