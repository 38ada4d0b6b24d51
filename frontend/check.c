/* The checkpoint's keys against the model's, both ways: which spelling fits, what is missing, what nobody reads.
 * Shapes are in check_shape.c. Everything is said once for all layers. */
#include "bind.h"
#include "support/holes.h"

#include <ctype.h>
#include <string.h>

enum { LISTED = 8 };

int64_t keys_missing(Bind *b, const KeyMap *map, const WeightUse *w, const Map *tensors)
{
    int64_t missing = 0;
    for (int64_t i = 0; i < weight_tensors(w); i++)
        missing += !map_has(tensors, weight_key(b, map, w, i));
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
            missing += keys_missing(b, map, &b->weights[i], tensors);
        if (missing >= fewest)
            continue;
        fewest = missing;
        best = map;
    }
    return best;
}

/* ---- missing ---------------------------------------------------------------------------------------------------- */

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
        const char *key = weight_key(b, map, &b->weights[i], 0);
        if (map_has(tensors, key))
            continue;
        if (b->weights[i].loop.source && !hole_of_round(b->weights[i].key))
            return false; /* a loop without names of rounds */
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

/* A bias whose weight the model reads: the operator that reads it was told not to, or cannot. */
static void report_biases(Bind *b, const KeyMap *map, const Map *tensors, Map *used)
{
    Diag *d = NULL;
    const WeightUse *first = NULL;
    const char *others = NULL;
    int n = 0;
    for (int i = 0; i < b->n_weights; i++) {
        const WeightUse *w = &b->weights[i];
        const char *key = weight_key(b, map, w, 0);
        size_t length = strlen(key);
        if (!w->op || length < 8 || strcmp(key + length - 7, ".weight") != 0)
            continue;
        const char *bias = bind_print(b, "%.*s.bias", (int)length - 7, key);
        if (!map_has(tensors, bias) || map_has(used, bias) || ignored(b, map, bias))
            continue;
        const char *shown = keys_pattern(b->cx, bias);
        for (int64_t k = 0; k < weight_tensors(w); k++) {
            key = weight_key(b, map, w, k);
            map_set(used, bind_print(b, "%.*s.bias", (int)strlen(key) - 7, key), b);
        }
        if (n++ > 0) {
            if (n <= LISTED + 1)
                others = bind_print(b, "%s%s`%s`", others ? others : "", others ? ", " : "", shown);
            continue;
        }
        first = w;
        d = bind_error(b, "E0402", w->at, "`%s` is in %s, but the model does not read it", shown,
                       b->options->checkpoint_path);
        diag_caret(d, "reads the weight alone");
    }
    if (!d)
        return;
    if (others)
        diag_note(d, "neither does it read %s%s", others,
                  n > LISTED + 1 ? bind_print(b, " and %d more", n - LISTED - 1) : "");
    const char *name = first->op->name.text;
    if (!decl_param(first->op, "bias"))
        diag_help(d, "`%s` has no bias; `layernorm` has", name);
    else if (others)
        diag_help(d, "`default %s(bias=true)` reads them all", name);
    else
        diag_help(d, "`bias=true` reads it");
}

/* What `ignore` would have to say: the path that all names begin with, or else the names themselves. */
static const char *to_ignore(Bind *b, const KeyMap *map, const Map *groups)
{
    const char *first = groups->entries[0].key;
    size_t common = strlen(first);
    for (size_t i = 1; i < groups->count; i++) {
        size_t k = 0;
        while (k < common && groups->entries[i].key[k] == first[k])
            k++;
        common = k;
    }
    while (groups->count > 1 && common > 0 && first[common] != '.')
        common--;
    const char *path = bind_print(b, "%.*s", (int)common, first);
    bool free = common > 0;
    for (int i = 0; i < b->n_weights && free; i++)
        free = !keys_match(path, keys_apply(b->cx, map, b->weights[i].key));
    if (free)
        return bind_print(b, "\"%s\"", path);
    Text out = text_new(b->cx->arena);
    for (size_t i = 0; i < groups->count && i < LISTED; i++)
        text_add(&out, "%s\"%s\"", i ? ", " : "", groups->entries[i].key);
    text_add(&out, "%s", groups->count > LISTED ? ", ..." : "");
    return out.data;
}

/* "h.3.experts.17.bias" -> "h.{i}.experts.{i}.bias": the same tensor of every layer is listed once. */
static const char *without_numbers(Bind *b, const char *name)
{
    Text out = text_new(b->cx->arena);
    for (const char *p = name; *p;) {
        size_t digits = p > name && p[-1] == '.' ? strspn(p, "0123456789") : 0;
        if (digits && p[digits] == '.')
            text_add(&out, "{i}");
        else
            text_put(&out, p, digits = digits ? digits : 1);
        p += digits;
    }
    return out.data;
}

static void report_extra(Bind *b, const KeyMap *map, const Map *tensors, const Map *used)
{
    Map groups = map_new(b->cx->arena);
    int64_t n = 0;
    for (size_t i = 0; i < tensors->count; i++) {
        const char *name = tensors->entries[i].key;
        if (map_has(used, name) || ignored(b, map, name))
            continue;
        const char *group = without_numbers(b, name);
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
        diag_help(d, "`--allow-extra` reads the rest anyway; `ignore %s` in the model file makes it permanent",
                  to_ignore(b, map, &groups));
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

/* Takes the diagnostics after `last` off the list. */
static void cut_after(Diags *d, Diag *last, int errors, int warnings)
{
    *(last ? &last->next : &d->first) = NULL;
    d->last = last;
    d->errors = errors;
    d->warnings = warnings;
}

void check_cause(Bind *b, Diag *last)
{
    const ModelOptions *o = b->options;
    Diags *all = b->cx->diags, shapes = {.arena = b->cx->arena};
    const Diag *error = last ? last->next : all->first;
    if (o->n_checkpoint < 0 || all->errors != b->errors_before + 1 || error->level != DIAG_ERROR ||
        (strncmp(error->code, "E03", 3) != 0 && strcmp(error->code, "E0221") != 0))
        return;
    Map tensors = map_new(b->cx->arena);
    for (int64_t i = 0; i < o->n_checkpoint; i++)
        map_set(&tensors, o->checkpoint[i].name, (void *)(uintptr_t)&o->checkpoint[i]);
    b->n_weights = b->weights_before;
    const KeyMap *map = choose_spelling(b, &tensors);
    b->cx->diags = &shapes;
    check_shapes(b, map, &tensors);
    b->cx->diags = all;
    Diag *cause = shapes.first;
    if (!cause || cause->at.source != error->at.source || span_start(cause->at).line >= span_start(error->at).line)
        return;
    cut_after(all, last, b->errors_before, all->warnings);
    cut_after(&shapes, cause, 1, 0);
    cause->owner = all;
    *(last ? &last->next : &all->first) = cause;
    all->last = cause;
    all->errors++;
}

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
        for (int64_t k = 0; k < weight_tensors(w); k++)
            map_set(&used, weight_key(b, map, w, k), b);
    }
    check_missing(b, map, &tensors, &used);
    check_shapes(b, map, &tensors);
    if (!o->allow_extra)
        report_biases(b, map, &tensors, &used);
    report_extra(b, map, &tensors, &used);
    return b->cx->diags->errors == before;
}
