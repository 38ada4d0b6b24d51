/* attar new: the model file to start from, for a checkpoint. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "driver/families.h"
#include "driver/skeleton.h"
#include "runtime/file.h"

typedef struct NewOptions {
    Options o;
    const char *name, *from, *file, *like;
    bool force;
} NewOptions;

static const char doc[] =
    "Writes the model file to start from: reads a checkpoint's config.json and the names of its tensors.\n\n"
    "  attar new Bert --from DIR                  writes Bert.attar\n"
    "  attar new Bert --from DIR -o encoder.attar\n"
    "  attar new Sentences --from DIR --like minilm\n\n"
    "For a family that attar knows, by the config's model_type and by every tensor, it is the family's file: it runs "
    "at once. "
    "For others it is a skeleton with every tensor placed, which `attar check` accepts and which says what was "
    "guessed.";

static const struct argp_option options[] = {
    {"from", 'f', "DIR", 0, "directory with config.json and the weights, or one .safetensors file", 0},
    {"output", 'o', "FILE", 0, "where to write it (NAME.attar); - for standard output", 0},
    {"like", 1, "FILE", 0, "take this model file of attar's own: bert, minilm, llama ...", 0},
    {"force", 2, 0, 0, "write over a file that exists", 0},
    {0},
};

/* A name of the language that may be a model's. */
static void check_name(struct argp_state *state, const char *name)
{
    bool good = isalpha((unsigned char)*name);
    for (const char *c = name; *c; c++)
        good = good && (isalnum((unsigned char)*c) || *c == '_');
    if (!good || strlen(name) > 60)
        argp_error(state, "a model's name is made of letters, digits and _, and begins with a letter: not `%s`", name);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    NewOptions *p = state->input;
    switch (key) {
    case ARGP_KEY_INIT: options_to_groups(state, &p->o); return 0;
    case 'f': p->from = arg; return 0;
    case 'o': p->file = arg; return 0;
    case 1: p->like = arg; return 0;
    case 2: p->force = true; return 0;
    case ARGP_KEY_ARG:
        if (p->name)
            argp_error(state, "one name at a time: `%s` and `%s`", p->name, arg);
        check_name(state, arg);
        p->name = arg;
        return 0;
    case ARGP_KEY_END:
        if (!p->name)
            argp_error(state, "what is the model called? attar new NAME --from DIR");
        if (!p->from)
            argp_error(state, "from which checkpoint? --from DIR");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_child groups[] = {{&output_group, 0, NULL, 0}, {0}};
static const struct argp argp = {options, parse, "NAME", doc, groups, NULL, NULL};

static bool save(Tool *t, const NewOptions *p, const char *path, const char *text)
{
    if (!strcmp(path, "-")) {
        fputs(text, stdout);
        return true;
    }
    if (!p->force && access(path, F_OK) == 0) {
        Diag *d = diag_file_error(&t->c.diags, "E1011", path, NULL, "the file exists already");
        diag_help(d, "-o FILE writes another one, --force writes over it");
        return false;
    }
    Writer w;
    writer_open(&t->c.cx, &w, path);
    writer_put(&w, text, strlen(text));
    return writer_close(&t->c.cx, &w);
}

static bool make(Tool *t, const NewOptions *p)
{
    Compilation *c = &t->c;
    ModelOptions loaded;
    if (!compile_checkpoint(c, &(CompileOptions){.weights = p->from}, &loaded))
        return false;
    if (!loaded.config) {
        diag_file_error(&c->diags, "E0444", p->from, NULL, "there is no config.json in this folder");
        return false;
    }
    Family family;
    if (!family_find(&c->cx, p->name, p->like, &loaded, &family))
        return false;
    const char *path = p->file ? p->file : arena_print(&c->arena, "%s.attar", p->name), *text = family.text;
    if (!text)
        text = skeleton_write(&c->cx, p->name, p->from, loaded.config, loaded.checkpoint, loaded.n_checkpoint);
    /* What is written has to pass the checks that it will meet. */
    if (!text || !family_fits(&c->cx, &c->diags, path, text, &loaded) || !save(t, p, path, text))
        return false;
    bool aside = !strcmp(path, "-");
    const char *shown = aside ? "FILE" : path;
    if (family.file)
        fprintf(aside ? stderr : stdout,
                "%s: %s of models/%s; every tensor is read. Next: attar check %s --weights %s\n", shown, family.model,
                family.file->name, shown, p->from);
    else
        fprintf(aside ? stderr : stdout,
                "%s: a skeleton, since no model file of attar reads this checkpoint; %lld tensors are placed. "
                "Next: fill in what it computes, then attar check %s --weights %s\n",
                shown, (long long)loaded.n_checkpoint, shown, p->from);
    return true;
}

int verb_new(int argc, char **argv)
{
    NewOptions p = {0};
    options_parse(&argp, argc, argv, &p);
    Tool t;
    tool_begin(&t, &p.o);
    return tool_end(&t, make(&t, &p));
}
