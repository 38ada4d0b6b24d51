/* Families: which of the model files in the binary a checkpoint is written in. */
#include <string.h>

#include "driver/families.h"
#include "support/holes.h"
#include "support/text.h"

static const struct {
    const char *type, *file;
} families[] = {
#define FAMILY(type, file) {type, file},
#include "driver/families.def"
#undef FAMILY
};

/* Is the file named after this type? deberta-v2, deberta_v2 -> deberta_v2.attar */
static bool named_after(const char *file, const char *type)
{
    size_t length = strlen(type);
    for (size_t i = 0; i < length; i++)
        if (file[i] != type[i] && !(strchr("-_", type[i]) && file[i] && strchr("-_", file[i])))
            return false;
    return !strcmp(file + length, ".attar");
}

static bool has_row(const char *file, const char *type)
{
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i].type, type) && !strcmp(families[i].file, file))
            return true;
    return false;
}

/* ---- one model of a file ----------------------------------------------------------------------------------------- */

/* Begin of the comment lines that end just above a declaration. */
static size_t with_comment(const char *text, size_t begin)
{
    while (begin > 0) {
        size_t line = begin - 1;
        while (line > 0 && text[line - 1] != '\n')
            line--;
        if (text[line] != '#' || text[begin - 1] != '\n')
            break;
        begin = line;
    }
    return begin;
}

static const ModelFile *file_named(const char *name)
{
    for (int i = 0; i < n_model_files; i++)
        if (!strcmp(model_files[i].name, name))
            return &model_files[i];
    return NULL;
}

/* A model file's tree; mistakes in our own files are for the tests to find. */
static const File *parse(Context *cx, const ModelFile *f)
{
    Diags own = {.arena = cx->arena};
    Context quiet = {.arena = cx->arena, .diags = &own, .names = cx->names};
    Source *source = arena_alloc(cx->arena, sizeof *source); /* the tree points into it */
    *source = (Source){f->name, f->text, f->size};
    return parse_file(&quiet, source);
}

/* The file's text with one model, or none, under the name, if one is given; what it uses stands where it is used. */
static void add_text(Context *cx, const ModelFile *f, const File *file, const char *model, const char *name, Map *used,
                     Text *out)
{
    size_t at = 0;
    for (int i = 0; i < file->n_decls; i++) {
        const Decl *d = &file->decls[i];
        const ModelFile *other = d->kind == DECL_USE ? file_named(d->path) : NULL;
        if (d->kind == DECL_MODEL && model && d->name.text == model) {
            text_put(out, f->text + at, d->name.at.begin - at);
            text_add(out, "%s", name ? name : model);
            at = d->name.at.end;
        } else if (d->kind == DECL_MODEL || other) {
            size_t begin = other ? d->at.begin : with_comment(f->text, d->at.begin);
            text_put(out, f->text + at, begin - at);
            at = d->at.end + (f->text[d->at.end] == '\n');
            if (other && !map_has(used, other->name)) {
                map_set(used, other->name, out);
                add_text(cx, other, parse(cx, other), NULL, NULL, used, out);
            }
        }
    }
    text_put(out, f->text + at, f->size - at);
}

static const char *model_alone(Context *cx, const ModelFile *f, const File *file, const Decl *model, const char *name)
{
    Text out = text_new(cx->arena);
    Map used = map_new(cx->arena);
    add_text(cx, f, file, model->name.text, name, &used, &out);
    return out.data;
}

/* How many tensors of the checkpoint a model reads. */
static int64_t count_read(const Graph *g, int64_t rounds, Map *seen)
{
    int64_t count = 0;
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat)
            count += count_read(n->body, attr_int(n, ATTR_count, 1), seen);
        const char *key = n->op == OP_weight ? attr_name(n, ATTR_key) : NULL;
        if (!key || map_has(seen, key))
            continue;
        map_set(seen, key, seen);
        int64_t stack = attr_int(n, ATTR_stack, 0);
        count += (hole_of_round(key) ? rounds : 1) * (stack ? stack : 1);
    }
    return count;
}

static bool load(Context *cx, Diags *diags, const char *path, const char *text, const ModelOptions *options, Model *out)
{
    Diags own = {.arena = cx->arena};
    Context quiet = {.arena = cx->arena, .diags = diags ? diags : &own, .names = cx->names};
    Source *source = arena_alloc(cx->arena, sizeof *source); /* diagnostics point into it */
    *source = (Source){path, text, strlen(text)};
    return model_load(&quiet, source, options, out);
}

bool family_fits(Context *cx, Diags *diags, const char *path, const char *text, const ModelOptions *options)
{
    Model model;
    return load(cx, diags, path, text, options, &model);
}

/* The models of the file that the checkpoint fits; the one that reads more than *most of it becomes the family.
 * `why`: where errors go, or NULL. */
static bool try_file(Context *cx, Diags *why, const ModelFile *f, const char *name, const ModelOptions *options,
                     int64_t *most, Family *out)
{
    const File *file = parse(cx, f);
    bool found = false;
    for (int i = 0; i < file->n_decls; i++) {
        const Decl *d = &file->decls[i];
        Model model;
        if (d->kind != DECL_MODEL || !load(cx, why, f->name, model_alone(cx, f, file, d, NULL), options, &model))
            continue;
        Map seen = map_new(cx->arena);
        int64_t read = count_read(model.graph, 1, &seen);
        found = true;
        if (read <= *most)
            continue;
        *most = read;
        *out = (Family){f, d->name.text, model_alone(cx, f, file, d, name)};
    }
    return found;
}

/* ---- choosing ---------------------------------------------------------------------------------------------------- */

static bool find_like(Context *cx, const char *name, const char *like, const ModelOptions *options, Family *out)
{
    const char **names = arena_array(cx->arena, (size_t)n_model_files + 1, sizeof *names);
    int64_t most = -1;
    size_t length = strlen(like) > 6 && !strcmp(like + strlen(like) - 6, ".attar") ? strlen(like) - 6 : strlen(like);
    for (int i = 0; i < n_model_files; i++) {
        const ModelFile *f = &model_files[i];
        names[i] = arena_copy(cx->arena, f->name, strlen(f->name) - 6);
        if (strlen(names[i]) == length && !strncmp(f->name, like, length))
            return try_file(cx, cx->diags, f, name, options, &most, out);
    }
    Diag *d = diag_file_error(cx->diags, "E0100", like, NULL, "no model file of that name comes with attar");
    const char *near = name_nearest(like, names, (size_t)n_model_files);
    Text all = text_new(cx->arena);
    for (int i = 0; i < n_model_files; i++)
        text_add(&all, "%s%s", i ? ", " : "", names[i]);
    diag_note(d, "there are: %s", all.data);
    if (near)
        diag_help(d, "did you mean `%s`?", near);
    return false;
}

bool family_find(Context *cx, const char *name, const char *like, const ModelOptions *options, Family *out)
{
    *out = (Family){0};
    if (like)
        return find_like(cx, name, like, options, out);
    const char *type = json_string_value(json_object_get(options->config, "model_type"));
    int64_t most = 0;
    for (int i = 0; type && i < n_model_files; i++)
        if (named_after(model_files[i].name, type) || has_row(model_files[i].name, type))
            try_file(cx, NULL, &model_files[i], name, options, &most, out);
    return true;
}
