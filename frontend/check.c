/* The checkpoint's keys against the model's, both ways: which spelling fits, what is missing, what nobody reads.
 * Shapes are in check_shape.c. Everything is said once for all layers. */
#include "bind.h"

#include <ctype.h>
#include <string.h>

enum { LISTED = 8 };

static const char *key_in_file(Bind *b, const KeyMap *map, const WeightUse *w, int64_t layer)
{
    return keys_layer(b->cx, keys_apply(b->cx, map, w->key), w->layers == 1 && !strstr(w->key, "{i}") ? -1 : layer);
}

static int64_t layers_missing(Bind *b, const KeyMap *map, const WeightUse *w, const Map *tensors)
{
    int64_t missing = 0;
    for (int64_t i = 0; i < w->layers; i++)
        missing += !map_has(tensors, key_in_file(b, map, w, i));
    return missing;
}

/* The first spelling under which every key exists; if there is none, the one with the fewest missing. */
static const KeyMap *choose_spelling(Bind *b, const Map *tensors)
{
    const KeyMap *best = NULL;
    int64_t fewest = INT64_MAX;
    for (int m = -1; m < b->keys.n && fewest > 0; m++) {
        const KeyMap *map = m < 0 ? NULL : &b->keys.maps[m];
        int64_t missing = 0;
        for (int i = 0; i < b->n_weights; i++)
            missing += layers_missing(b, map, &b->weights[i], tensors);
        if (missing >= fewest)
            continue;
        fewest = missing;
        best = map;
    }
    return best;
}

/* ---- missing ---------------------------------------------------------------------------------------------------- */

/* A tensor of a similar name that nobody reads. */
static const char *nearest_unused(Bind *b, const char *key, const Map *tensors, const Map *used)
{
    const char **names = arena_array(b->cx->arena, tensors->count + 1, sizeof *names);
    size_t n = 0;
    for (size_t i = 0; i < tensors->count; i++)
        if (!map_has(used, tensors->entries[i].key))
            names[n++] = tensors->entries[i].key;
    return name_nearest(key, names, n);
}

/* The text before `key` in a tensor's name, if the checkpoint has the key under a prefix. */
static const char *prefix_of(Bind *b, const char *key, const Map *tensors)
{
    size_t length = strlen(key);
    for (size_t i = 0; i < tensors->count; i++) {
        const char *name = tensors->entries[i].key;
        size_t whole = strlen(name);
        if (whole > length + 1 && name[whole - length - 1] == '.' && !strcmp(name + whole - length, key))
            return bind_print(b, "%.*s", (int)(whole - length), name);
    }
    return NULL;
}

/* One cause for everything: the checkpoint's names have a prefix that the model's have not. */
static bool report_prefix(Bind *b, const KeyMap *map, const Map *tensors)
{
    const char *prefix = NULL;
    int n = 0;
    for (int i = 0; i < b->n_weights; i++) {
        const char *key = key_in_file(b, map, &b->weights[i], 0);
        if (map_has(tensors, key))
            continue;
        if (!prefix && !(prefix = prefix_of(b, key, tensors)))
            return false;
        if (!map_has(tensors, bind_print(b, "%s%s", prefix, key)))
            return false;
        n++;
    }
    if (n < 3)
        return false;
    const char *first = keys_apply(b->cx, map, b->weights[0].key);
    int head = (int)strcspn(first, ".");
    Diag *d =
        bind_error(b, "E0401", b->weights[0].at, "the checkpoint's names start with `%s`, the model's do not", prefix);
    diag_caret(d, "`%s` is `%s%s` in %s", first, prefix, first, b->options->checkpoint_path);
    diag_note(d, "%d weights of the model are there with this prefix", n);
    diag_help(d, "give the model the second spelling: names prefixed { \"%.*s\" => \"%s%.*s\"; ... }", head, first,
              prefix, head, first);
    return true;
}

typedef struct Missing {
    Diag *diag;
    int others;
    const char *names;
} Missing;

/* One error for a key with a similar tensor in the file; those without share one. */
static void report_missing(Bind *b, const KeyMap *map, const WeightUse *w, const Map *tensors, Map *used, Missing *all)
{
    int64_t missing = layers_missing(b, map, w, tensors), first = 0;
    if (!missing)
        return;
    while (map_has(tensors, key_in_file(b, map, w, first)))
        first++;
    const char *key = key_in_file(b, map, w, first),
               *shown = w->layers == missing && missing > 1 ? keys_apply(b->cx, map, w->key) : key;
    const char *near = nearest_unused(b, key, tensors, used);
    if (!near && all->diag) {
        if (all->others++ < LISTED)
            all->names = bind_print(b, "%s%s`%s`", all->names ? all->names : "", all->names ? ", " : "", shown);
        return;
    }
    Diag *d = bind_error(b, "E0401", w->at, "%s has no tensor `%s`", b->options->checkpoint_path, shown);
    diag_caret(d, "needs %s = %s", w->axes, shape_print(b, w->rank, w->stored));
    if (missing > 1)
        diag_note(d, "missing in %lld of %lld layers; shown once", (long long)missing, (long long)w->layers);
    if (!near) {
        all->diag = d;
        return;
    }
    diag_help(d, "the file has `%s`, which the model does not read", near);
    map_set(used, near, b);
}

static bool seen_before(const Bind *b, int index)
{
    for (int i = 0; i < index; i++)
        if (b->weights[i].key == b->weights[index].key)
            return true;
    return false;
}

/* ---- extra ------------------------------------------------------------------------------------------------------ */

static bool ignored(Bind *b, const KeyMap *map, const char *name)
{
    for (int i = 0; i < b->keys.n_ignored; i++)
        if (keys_match(b->keys.ignored[i], name) || keys_match(keys_apply(b->cx, map, b->keys.ignored[i]), name))
            return true;
    for (int i = 0; map && i < map->n; i++)
        if (!map->rules[i].to && keys_match(map->rules[i].from, name))
            return true;
    return false;
}

/* "h.3.attn.bias" -> "h.{i}.attn.bias": the same tensor of every layer is listed once. */
static const char *without_number(Bind *b, const char *name)
{
    for (const char *p = name; (p = strchr(p, '.')); p++) {
        size_t digits = strspn(p + 1, "0123456789");
        if (digits && p[1 + digits] == '.')
            return bind_print(b, "%.*s{i}%s", (int)(p + 1 - name), name, p + 1 + digits);
    }
    return name;
}

static void report_extra(Bind *b, const KeyMap *map, const Map *tensors, const Map *used)
{
    Map groups = map_new(b->cx->arena);
    int64_t n = 0;
    for (size_t i = 0; i < tensors->count; i++) {
        const char *name = tensors->entries[i].key;
        if (map_has(used, name) || ignored(b, map, name))
            continue;
        const char *group = without_number(b, name);
        map_set(&groups, group, (void *)((uintptr_t)map_get(&groups, group) + 1));
        n++;
    }
    if (!n)
        return;
    const char *format = "%lld tensor%s of the checkpoint %s not read by the model",
               *path = b->options->checkpoint_path;
    bool one = n == 1;
    Diag *d = b->options->allow_extra ? diag_file_warning(b->cx->diags, "W0402", path, NULL, format, (long long)n,
                                                          one ? "" : "s", one ? "is" : "are")
                                      : diag_file_error(b->cx->diags, "E0402", path, NULL, format, (long long)n,
                                                        one ? "" : "s", one ? "is" : "are");
    for (size_t i = 0; i < groups.count && i < LISTED; i++) {
        uintptr_t times = (uintptr_t)groups.entries[i].value;
        if (times > 1)
            diag_note(d, "`%s`, %zu times", groups.entries[i].key, (size_t)times);
        else
            diag_note(d, "`%s`", groups.entries[i].key);
    }
    if (groups.count > LISTED)
        diag_note(d, "and %zu more names", groups.count - LISTED);
    if (!b->options->allow_extra)
        diag_help(d, "`--allow-extra` reads the rest anyway; `ignore \"%s\"` in the model file makes it permanent",
                  groups.entries[0].key);
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

bool check_weights(Bind *b, Model *out)
{
    const ModelOptions *o = b->options;
    int before = b->cx->diags->errors;
    if (o->n_checkpoint < 0)
        return true;
    Map tensors = map_new(b->cx->arena), used = map_new(b->cx->arena);
    for (int64_t i = 0; i < o->n_checkpoint; i++)
        map_set(&tensors, o->checkpoint[i].name, (void *)(uintptr_t)&o->checkpoint[i]);
    const KeyMap *map = choose_spelling(b, &tensors);
    out->spelling = map ? map->name : NULL;
    if (report_prefix(b, map, &tensors))
        return false;
    for (int i = 0; i < b->n_weights; i++) {
        const WeightUse *w = &b->weights[i];
        for (int64_t k = 0; k < w->layers; k++)
            map_set(&used, key_in_file(b, map, w, k), b);
    }
    Missing missing = {0};
    for (int i = 0; i < b->n_weights; i++)
        if (!seen_before(b, i))
            report_missing(b, map, &b->weights[i], &tensors, &used, &missing);
    if (missing.others)
        diag_note(missing.diag, "also missing: %s%s", missing.names,
                  missing.others > LISTED ? bind_print(b, " and %d more", missing.others - LISTED) : "");
    check_shapes(b, map, &tensors);
    report_extra(b, map, &tensors, &used);
    return b->cx->diags->errors == before;
}
