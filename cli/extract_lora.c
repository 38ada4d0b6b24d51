/* attar extract-lora: the difference of two checkpoints as a PEFT adapter, and what its rank leaves out. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "driver/extract.h"
#include "support/json.h"

typedef struct ExtractOptions {
    Options o;
    const char *base, *tuned, *folder;
    int64_t rank;
    bool turned, force;
} ExtractOptions;

static const char doc[] =
    "Writes what FINETUNED changed in BASE as a PEFT adapter (LoRA): the best one of its rank for every matrix, by a "
    "singular value decomposition.\n\n"
    "  attar extract-lora BASE FINETUNED --rank 16 -o ADAPTER\n"
    "  attar run models/llama.attar --weights BASE --lora ADAPTER ...\n\n"
    "BASE and FINETUNED are checkpoints of one model. Vectors that differ, and a table that a tied head reads too, are "
    "saved whole. The table says what is left out: exactly the singular values beyond the rank.";

static const struct argp_option options[] = {
    {"rank", 'r', "R", 0, "the adapter's rank", 0},
    {"output", 'o', "DIR", 0, "the adapter's folder", 0},
    {"fan-in-fan-out", 1, 0, 0, "matrices are stored [in, out]; known without it for GPT-2", 0},
    {"force", 2, 0, 0, "write over an adapter that the folder has", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    ExtractOptions *p = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &p->o); return 0;
    case 'r': p->rank = options_integer(state, "--rank", arg, 1, 1 << 16); return 0;
    case 'o': p->folder = arg; return 0;
    case 1: p->turned = true; return 0;
    case 2: p->force = true; return 0;
    case ARGP_KEY_ARG:
        if (p->tuned)
            argp_error(state, "two checkpoints: BASE and FINETUNED");
        *(p->base ? &p->tuned : &p->base) = arg;
        return 0;
    case ARGP_KEY_END:
        if (!p->tuned || !p->rank || !p->folder)
            argp_error(state, "needed are BASE, FINETUNED, --rank R and -o DIR");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {options, parse, "BASE FINETUNED", doc, groups, NULL, NULL};

/* What the base's config.json says of how matrices are stored and whether the head is the table of the embedding. */
static bool read_config(Tool *t, ExtractOptions *p, bool *tied)
{
    const char *path = arena_print(&t->c.arena, "%s/config.json", p->base);
    if (access(path, F_OK) != 0)
        return true;
    json_t *config = json_read_file(&t->c.diags, "E0590", path, 16 << 20, 32);
    if (!config)
        return false;
    const char *kind = json_string_value(json_object_get(config, "model_type"));
    p->turned |= kind && (!strcmp(kind, "gpt2") || !strcmp(kind, "openai-gpt"));
    json_t *says = json_object_get(config, "tie_word_embeddings");
    *tied = says ? json_is_true(says) : kind && !strcmp(kind, "gpt2"); /* GPT-2's is true unless it says otherwise */
    json_decref(config);
    return true;
}

static void print_sites(const Extraction *x)
{
    printf("%-52s %14s %5s %11s %12s %9s\n", "tensor", "shape", "rank", "difference", "left out", "relative");
    for (int i = 0; i < x->n_sites; i++) {
        const ExtractedSite *s = &x->sites[i];
        if (s->whole) {
            printf("%-52s %14s %5s %11.4g %12s\n", s->key, "", "", s->size, "saved whole");
            continue;
        }
        char shape[48];
        snprintf(shape, sizeof shape, "%lld x %lld", (long long)s->rows, (long long)s->cols);
        printf("%-52s %14s %5lld %11.4g %12.4g %9.2g\n", s->key, shape, (long long)s->rank, s->size, s->left,
               s->left / s->size);
    }
}

static void print_sum(const ExtractOptions *p, const Extraction *x)
{
    int pairs = 0, whole = 0;
    double written = 0;
    for (int i = 0; i < x->n_sites; i++) {
        pairs += !x->sites[i].whole;
        whole += x->sites[i].whole;
        written += x->sites[i].measured * x->sites[i].measured;
    }
    printf("\n%s: %d pair%s of rank %lld, %d tensor%s whole, %d equal\n", p->folder, pairs, pairs == 1 ? "" : "s",
           (long long)p->rank, whole, whole == 1 ? "" : "s", x->same);
    if (pairs)
        printf("Frobenius norm of the differences %.6g; left out %.6g (%.3g of it), measured with the factors in f32 %.6g\n",
               x->size, x->left, x->left / x->size, sqrt(written));
}

static bool extract(Tool *t, ExtractOptions *p)
{
    Context *cx = &t->c.cx;
    bool tied = false;
    const char *old = arena_print(&t->c.arena, "%s/adapter_model.safetensors", p->folder);
    if (!p->force && access(old, F_OK) == 0) {
        diag_help(diag_file_error(&t->c.diags, "E1011", old, NULL, "the file exists already"), "--force writes over it");
        return false;
    }
    if (!read_config(t, p, &tied))
        return false;
    Checkpoint *base = checkpoint_open(cx, p->base), *tuned = base ? checkpoint_open(cx, p->tuned) : NULL;
    Extraction x;
    bool good = tuned && extract_lora(cx, base, tuned, p->rank, p->turned, tied, &x) &&
                extract_write(cx, &x, p->turned, p->base, p->folder);
    if (good) {
        print_sites(&x);
        print_sum(p, &x);
    }
    if (tuned)
        checkpoint_close(tuned);
    if (base)
        checkpoint_close(base);
    return good;
}

int verb_extract_lora(int argc, char **argv)
{
    ExtractOptions p = {0};
    options_parse(&argp, argc, argv, &p);
    Tool t;
    tool_begin(&t, &p.o);
    return tool_end(&t, extract(&t, &p));
}
