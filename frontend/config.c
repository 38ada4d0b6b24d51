/* `config "config.json" { D = hidden_size; G = num_key_value_heads ?? H }`: names bound to keys of the
 * checkpoint's config.
 *
 * A name with a capital first letter is a size: a whole number from 1 to 2^31 - 1. Each binding remembers its
 * key, so that later messages can say where a size came from. */
#include "bind.h"

#include <ctype.h>
#include <string.h>

enum { SIZE_LARGEST = INT32_MAX };

const char *config_print(Bind *b, json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return "?";
    const char *copy = strlen(text) > 60 ? bind_print(b, "%.57s...", text) : bind_print(b, "%s", text);
    free(text);
    return copy;
}

static Term term_of_json(Bind *b, json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_INTEGER: return term_int(json_integer_value(value));
    case JSON_REAL: return term_float(json_real_value(value));
    case JSON_STRING: return term_text(name_of(b->cx->names, json_string_value(value)));
    case JSON_TRUE:
    case JSON_FALSE: return term_bool(json_is_true(value));
    case JSON_NULL: return (Term){.kind = TERM_ABSENT, .null = true};
    default: return (Term){.kind = TERM_JSON, .json = value};
    }
}

const char *config_name(const Bind *b, const Origin *o)
{
    return o && o->file ? o->file->path : b->config;
}

Term config_value(Bind *b, const ConfigFile *file, const char *path, json_t *value)
{
    Term t = value ? term_of_json(b, value) : (Term){.kind = TERM_ABSENT};
    if (t.kind == TERM_ABSENT) {
        t.key = path;
        t.file = file;
        return t;
    }
    Origin *o = bind_new(b, sizeof *o);
    *o = (Origin){.kind = ORIGIN_CONFIG, .name = path, .key = path, .file = file, .value = value, .at = b->at};
    t.origin = o;
    return t;
}

Term config_key(Bind *b, const ConfigFile *file, const char *key)
{
    if (!file->json)
        return term_poison(); /* reported by config_bind */
    return config_value(b, file, key, json_object_get(file->json, key));
}

static bool same_key(json_t *a, json_t *b, const char *key, const char *alias)
{
    json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    if (!x && alias)
        x = json_object_get(a, alias);
    if (!y)
        return true;
    return x && config_agree(x, y);
}

/* Objects agree if all that the second says, the first says too; `type` is the older spelling of `rope_type`. */
static bool objects_agree(json_t *a, json_t *b)
{
    const char *key;
    json_t *value;
    json_object_foreach(b, key, value)
    {
        const char *alias = !strcmp(key, "type") ? "rope_type" : !strcmp(key, "rope_type") ? "type" : NULL;
        if (!same_key(a, b, key, alias))
            return false;
    }
    return true;
}

bool config_agree(json_t *a, json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    if (json_is_object(a) && json_is_object(b))
        return objects_agree(a, b);
    return json_equal(a, b) == 1;
}

/* Does `key` have all the words of `other`, in their order? One word alone says too little. */
static bool has_words(const char *key, const char *other)
{
    if (!strchr(other, '_'))
        return false;
    while (*other) {
        size_t length = strcspn(other, "_"), own = strcspn(key, "_");
        if (!*key)
            return false;
        if (length == own && !strncmp(key, other, length))
            other += length + (other[length] == '_');
        key += own + (key[own] == '_');
    }
    return true;
}

static const char *nearest_key(Bind *b, const ConfigFile *file, const char *key)
{
    const char **keys = arena_array(b->cx->arena, json_object_size(file->json) + 1, sizeof *keys);
    size_t n = 0;
    const char *k;
    json_t *value;
    json_object_foreach(file->json, k, value) keys[n++] = k;
    const char *near = name_nearest(key, keys, n);
    for (size_t i = 0; i < n && !near; i++) /* rope_dim for qk_rope_head_dim: all words of one are in the other */
        if (has_words(keys[i], key) || has_words(key, keys[i]))
            near = keys[i];
    return near;
}

void config_refuse_absent(Bind *b, const Term *t, Span at)
{
    Diag *d;
    const ConfigFile *file = t->file ? t->file : &b->main;
    if (t->null)
        d = bind_error(b, "E0502", at, "`%s` is null in %s", t->key, file->path);
    else
        d = bind_error(b, "E0501", at, "%s has no `%s`", file->path, t->key);
    const char *near = t->null || strchr(t->key, '.') ? NULL : nearest_key(b, file, t->key);
    if (near) {
        diag_caret(d, "a similar key exists: `%s`", near);
        diag_help(d, "write `%s`, or say what its absence means: `%s ?? ...`", near, source_text(b, at));
        return;
    }
    diag_help(d, "%s %s, or say in the model file what its absence means: `%s ?? ...`",
              t->null ? "give it a value in" : "add it to", file->path, source_text(b, at));
}

/* ---- binding ---------------------------------------------------------------------------------------------------- */

static bool is_size_name(const char *name)
{
    return isupper((unsigned char)name[0]);
}

static Diag *refuse_size(Bind *b, const char *code, const Binding *bind, const Term *t, const char *why)
{
    const char *from = t->origin && t->origin->kind == ORIGIN_CONFIG ? t->origin->key : NULL;
    Diag *d =
        from ? bind_error(b, code, bind->value->at, "`%s` of %s is %s, but `%s` %s", from, config_name(b, t->origin), term_print(b, t),
                          bind->name.text, why)
             : bind_error(b, code, bind->value->at, "`%s` is %s, but it %s", bind->name.text, term_print(b, t), why);
    return d;
}

/* D / H that does not divide: say what D and H are. */
static void note_operands(Bind *b, Diag *d, Scope *s, const Expr *e)
{
    if (e->kind == EXPR_BINARY) {
        if (e->left->kind != EXPR_BINARY)
            note_operands(b, d, s, e->left);
        note_operands(b, d, s, e->right);
    }
    Var *v = e->kind == EXPR_NAME ? scope_find(s, e->text) : NULL;
    if (v)
        diag_origin(b, d, &v->term);
}

static bool size_fits(Bind *b, Scope *s, const Binding *bind, const Term *t)
{
    int64_t size;
    if (t->kind == TERM_FLOAT) {
        Diag *d = refuse_size(b, t->origin && t->origin->kind == ORIGIN_CONFIG ? "E0503" : "E0310", bind, t,
                              "is a size and must be a whole number");
        note_operands(b, d, s, bind->value);
        return false;
    }
    if (!term_is_int(t, &size)) {
        refuse_size(b, "E0503", bind, t, "is a size and must be a whole number");
        return false;
    }
    if (size < 1)
        refuse_size(b, "E0504", bind, t, "is a size and must be at least 1");
    else if (size > SIZE_LARGEST)
        refuse_size(b, "E0505", bind, t, "is a size and can be at most 2147483647");
    return size >= 1 && size <= SIZE_LARGEST;
}

static Origin *origin_of(Bind *b, const Binding *bind, const Term *t)
{
    Origin *o = bind_new(b, sizeof *o);
    if (t->origin && t->origin->kind <= ORIGIN_DEFAULT) {
        *o = *t->origin;
        o->name = bind->name.text;
        if (o->kind == ORIGIN_CONFIG)
            o->at = bind->name.at;
        return o;
    }
    *o = (Origin){.kind = ORIGIN_LET, .name = bind->name.text, .at = bind->value->at};
    return o;
}

/* What one `NAME = value` of config or let says. */
static Term binding_value(Bind *b, Scope *s, const Binding *bind)
{
    b->hint = bind->name.text;
    Term t = eval(b, s, bind->value);
    if (t.kind == TERM_ABSENT) {
        config_refuse_absent(b, &t, bind->value->at);
        t = term_poison();
    } else if (t.kind == TERM_TENSOR) {
        bind_error(b, "E0205", bind->value->at, "`%s` must be known at compile time, but this is a tensor",
                   bind->name.text);
        t = term_poison();
    }
    bool plain = t.kind != TERM_POISON && t.kind != TERM_FUNCTION && t.kind != TERM_AXES;
    if (plain && is_size_name(bind->name.text) && !size_fits(b, s, bind, &t))
        return term_poison();
    if (plain)
        t.origin = origin_of(b, bind, &t);
    if (t.kind == TERM_SIZE && extent_is_const(t.size)) {
        const char *axis = dim_fresh_axis(b, bind->name.text, bind, t.size);
        t.dim = dim_new(b, bind->name.text, axis, t.size, t.origin);
    }
    return t;
}

/* The file is there, or that it is not is said once, however many names ask. */
static void need_config(Bind *b, ConfigFile *file, Span at)
{
    const ModelOptions *o = b->options;
    int before = b->cx->diags->errors;
    if (file->asked)
        return;
    file->asked = true;
    if (file != &b->main && o->other_config) {
        const char *path = NULL;
        file->json = o->other_config(b->cx, o->state, file->name, &path);
        file->path = path ? path : file->name;
    }
    if (file->json || b->cx->diags->errors > before)
        return;
    Diag *d = bind_error(b, "E0508", at, "the model needs %s, and none was given", file->path);
    if (file == &b->main)
        diag_help(d, "`--config FILE`, or `--weights DIR` with a config.json in it");
    else
        diag_help(d, "`--weights DIR` with %s in it; --weights may be given several times", file->name);
}

void config_find(Bind *b, Var *v)
{
    const Binding *bind = v->later;
    const char *hint = b->hint;
    if (v->home->config)
        need_config(b, v->home->config, bind->name.at);
    v->later = NULL;
    v->home->order = v->order;
    v->term = binding_value(b, v->home, bind);
    v->home->order = 0; /* a function that was written here sees all names when it is called */
    b->hint = hint;
}

/* A file with several models may bind what only some of them use: there a value is found when it is asked for. */
static void bind_name(Bind *b, Scope *home, const Binding *bind, ConfigFile *config)
{
    const Var *old = map_get(&home->vars, bind->name.text);
    scope_fix(b, home, bind->name, term_poison());
    Var *v = map_get(&home->vars, bind->name.text);
    if (v == old)
        return;
    v->later = bind;
    v->home = scope_open(b, home);
    v->home->config = config;
    v->order = ++b->n_bindings;
    if (b->n_models <= 1 || home == b->library_globals)
        config_find(b, v);
}

static ConfigFile *file_of(Bind *b, const Decl *d)
{
    ConfigFile *file = !strcmp(d->path, "config.json") ? &b->main : map_get(&b->other_files, d->path);
    if (file)
        return file;
    file = bind_new(b, sizeof *file);
    *file = (ConfigFile){.name = d->path, .path = d->path};
    map_set(&b->other_files, d->path, file);
    return file;
}

void config_bind(Bind *b, const Decl *d)
{
    Scope *home = bind_in_library(b, d->at) ? b->library_globals : b->globals;
    ConfigFile *file = d->kind == DECL_CONFIG ? file_of(b, d) : NULL;
    if (file && b->n_models <= 1)
        need_config(b, file, d->at);
    for (int i = 0; i < d->n_bindings; i++)
        bind_name(b, home, &d->bindings[i], file);
}
