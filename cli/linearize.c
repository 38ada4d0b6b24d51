/* attar linearize --study: what approximations of attention would cost each layer and head, and save, so that a person can choose. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "driver/study_run.h"
#include "runtime/file.h"
#include "support/linearize.h"

typedef struct LinearizeOptions {
    Options o;
    bool study, no_text;
    const char *page;
    int64_t sizes[2][STUDY_SETTINGS]; /* features, codes */
    int n_sizes[2];
    int64_t block, length, seed;
    double max_err;
} LinearizeOptions;

static const char doc[] =
    "Measures what approximations of attention would cost each layer and head of a model, and what they would save.\n\n"
    "  attar linearize models/llama.attar --weights models/austen --calibrate models/austen/held.txt --study\n"
    "  attar linearize models/llama.attar --weights models/austen --calibrate models/austen/held.txt --study --html study.html\n\n"
    "The calibration file holds inputs of the model (.safetensors, by name); for models of text whose tokens are bytes it may be a text. The last "
    "lines are what is recommended, as options for `attar run`, `attar emit` and the others, and as an annotation for the model file. Nothing is "
    "changed.";

enum { KEY_STUDY = 2000, KEY_HTML, KEY_FEATURES, KEY_CODES, KEY_BLOCK, KEY_LENGTH, KEY_MAX_ERR, KEY_STUDY_SEED, KEY_NO_TEXT };

static const struct argp_option options[] = {
    {"study", KEY_STUDY, 0, 0, "the whole table: kinds, sizes, layers", 0},
    {"html", KEY_HTML, "FILE", 0, "write it as a page with charts too", 0},
    {"features", KEY_FEATURES, "N,N,..", 0, "numbers of random features to try (64,128,256,512)", 0},
    {"codes", KEY_CODES, "N,N,..", 0, "sizes of codebooks to try (64,128,256)", 0},
    {"block", KEY_BLOCK, "N", 0, "positions in a block of recent keys, which stay exact beside codes (64)", 0},
    {"length", KEY_LENGTH, "N", 0, "positions at which costs are compared (the most that the model takes)", 0},
    {"max-err", KEY_MAX_ERR, "X", 0, "largest error of the output that is recommended (0.1)", 0},
    {"seed", KEY_STUDY_SEED, "N", 0, "seed of features and codebooks (0)", 0},
    {"no-text", KEY_NO_TEXT, 0, 0, "do not count bits a token of the text, which takes a build for each set of layers", 0},
    {0},
};

static void take_sizes(struct argp_state *state, LinearizeOptions *l, bool codes, const char *option, char *text)
{
    l->n_sizes[codes] = 0;
    for (char *part = strtok(text, ","); part; part = strtok(NULL, ",")) {
        if (l->n_sizes[0] + l->n_sizes[1] == STUDY_SETTINGS)
            argp_error(state, "at most %d sizes are tried at once", STUDY_SETTINGS);
        l->sizes[codes][l->n_sizes[codes]++] = options_integer(state, option, part, 1, LINEARIZE_MOST);
    }
}

static void check(struct argp_state *state, const LinearizeOptions *l)
{
    if (!l->study)
        argp_error(state, "what to do? --study measures; `attar run --linearize SPEC` and the like approximate");
    if (!l->o.compile.calibrate)
        argp_error(state, "on what to measure? --calibrate FILE with inputs of the model");
    if (l->o.n_linearize)
        argp_error(state, "a study tries every size by itself: --features, --codes and --block say which, not --linearize");
    if (!l->n_sizes[0] && !l->n_sizes[1])
        argp_error(state, "nothing to try: --features and --codes are both empty");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    LinearizeOptions *l = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &l->o); return 0;
    case KEY_STUDY: l->study = true; return 0;
    case KEY_NO_TEXT: l->no_text = true; return 0;
    case KEY_HTML: l->page = arg; return 0;
    case KEY_FEATURES: take_sizes(state, l, false, "--features", arg); return 0;
    case KEY_CODES: take_sizes(state, l, true, "--codes", arg); return 0;
    case KEY_BLOCK: l->block = options_integer(state, "--block", arg, 1, INT32_MAX); return 0;
    case KEY_LENGTH: l->length = options_integer(state, "--length", arg, 16, 1 << 24); return 0;
    case KEY_MAX_ERR: l->max_err = options_real(state, "--max-err", arg, 0, 1e6); return 0;
    case KEY_STUDY_SEED: l->seed = options_integer(state, "--seed", arg, 0, INT64_MAX); return 0;
    case ARGP_KEY_END: check(state, l); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&model_group, 0, NULL, 0},
                                           {&threads_group, 0, NULL, 0},
                                           {&build_group, 0, NULL, 0},
                                           {&output_group, 0, NULL, 0},
                                           {0}};
static const struct argp argp = {options, parse, "MODEL", doc, groups, NULL, NULL};

static void say(void *state, const char *what)
{
    (void)state;
    tool_note("%s", what);
}

static bool study(Tool *t, const LinearizeOptions *l)
{
    Compilation *c = &t->c;
    CompileOptions o = l->o.compile;
    o.threads = tool_threads(&l->o);
    if (!compile_load(c, &o))
        return false;
    Study s;
    study_begin(&s, &c->cx);
    s.seed = l->seed;
    s.length = l->length;
    s.max_err = l->max_err;
    for (int codes = 0; codes < 2; codes++)
        for (int i = 0; i < l->n_sizes[codes]; i++)
            study_setting(&s, codes, l->sizes[codes][i], l->block);
    if (!study_run(&s, c, &o, &(StudySteps){.say = say, .no_text = l->no_text}))
        return false;
    Text text = text_new(&c->arena), page = text_new(&c->arena);
    study_print(&s, &text);
    fputs(text.data, stdout);
    if (!l->page)
        return true;
    study_page(&s, &page);
    Writer w;
    writer_open(&c->cx, &w, l->page);
    writer_put(&w, page.data, page.length);
    return writer_close(&c->cx, &w);
}

int verb_linearize(int argc, char **argv)
{
    LinearizeOptions l = {.sizes = {{64, 128, 256, 512}, {64, 128, 256}}, .n_sizes = {4, 3}, .block = 64, .max_err = 0.1};
    options_parse(&argp, argc, argv, &l);
    Tool t;
    tool_begin(&t, &l.o);
    return tool_end(&t, study(&t, &l));
}
