/* What is decided by the checkpoint's tensors and by entries of config.json for a module: stored and pattern. In a loop the
 * answer has to be the same for every round. */
#include "bind.h"
#include "support/holes.h"

#include <string.h>

/* The key of round i; a key without a hole is the same in all. */
static const char *key_of(Bind *b, const char *key, int64_t i)
{
    return hole_of_round(key) ? hole_fill(b->cx->arena, key, i, -1) : key;
}

static int64_t rounds_of(const Bind *b, const char *key)
{
    return hole_of_round(key) ? b->count : 1;
}

static Term differs(Bind *b, const char *what, const char *key, int64_t round)
{
    Diag *d = bind_error(b, "E0133", b->at, "%s differs from round to round: not the same for `%s` as for `%s`", what,
                         key_of(b, key, round), key_of(b, key, 0));
    diag_help(d, "`@unroll` in the line before the `repeat` writes its rounds out, and then they may differ");
    return term_poison();
}

static Term refuse_name(Bind *b, Call *c, int param, const Term *t)
{
    if (t->kind != TERM_POISON)
        diag_origin(
            b, bind_error(b, "E0201", arg_given(c, param)->at, "the name of a weight is a text, not %s", term_print(b, t)),
            t);
    return term_poison();
}

/* ---- stored ----------------------------------------------------------------------------------------------------- */

static bool in_checkpoint(const Bind *b, const char *key)
{
    int64_t low = 0, high = b->options->n_checkpoint;
    while (low < high) { /* sorted by name */
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(b->options->checkpoint[middle].name, key);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* Under its name in the model, or one of the other spellings. */
static bool has_tensor(Bind *b, const char *key)
{
    if (in_checkpoint(b, key))
        return true;
    for (int i = 0; i < b->keys.n; i++)
        if (in_checkpoint(b, keys_apply(b->cx, &b->keys.maps[i], key)))
            return true;
    return false;
}

Term builtin_stored(Bind *b, Call *c)
{
    Term name = arg_term(b, c, 0);
    if (name.kind != TERM_TEXT)
        return refuse_name(b, c, 0, &name);
    const char *key = path_join(b, name.text, arg_given(c, 0)->at, NULL);
    if (!key || !path_under(b, c, 1, &key))
        return term_poison();
    if (b->options->n_checkpoint < 0) {
        Diag *d = bind_error(b, "E0437", b->at, "the model asks whether the checkpoint has a tensor, and no checkpoint was given");
        diag_help(d, "give it with `--weights`");
        return term_poison();
    }
    bool first = has_tensor(b, key_of(b, key, 0));
    for (int64_t i = 1; i < rounds_of(b, key); i++)
        if (has_tensor(b, key_of(b, key, i)) != first)
            return differs(b, "whether the tensor is there", key, i);
    return term_bool(first);
}

/* ---- pattern ---------------------------------------------------------------------------------------------------- */

static bool ends_path(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    return n >= m && !strcmp(path + n - m, end) && (n == m || path[n - m - 1] == '.');
}

static const char *entry_for(json_t *entries, const char *path)
{
    const char *key;
    json_t *value;
    json_object_foreach(entries, key, value)
        if (ends_path(path, key))
            return key;
    return NULL;
}

/* Keys may be regular expressions where this comes from; only plain paths are understood. */
static bool plain_entries(Bind *b, Call *c, json_t *entries)
{
    const char *key;
    json_t *value;
    json_object_foreach(entries, key, value) {
        if (!strpbrk(key, "^$*+?()[]{}|\\"))
            continue;
        diag_help(bind_error(b, "E0503", arg_given(c, 0)->at, "the key `%s` is no plain path", key),
                  "write the path's last names, joined by dots");
        return false;
    }
    return true;
}

Term builtin_pattern(Bind *b, Call *c)
{
    Term entries = arg_term(b, c, 0), name = arg_term(b, c, 1);
    if (entries.kind == TERM_POISON)
        return entries;
    if (name.kind != TERM_TEXT)
        return refuse_name(b, c, 1, &name);
    const char *key = path_join(b, name.text, arg_given(c, 1)->at, NULL);
    if (!key)
        return term_poison();
    if (entries.kind == TERM_NONE)
        return (Term){.kind = TERM_ABSENT, .key = key};
    if (entries.kind != TERM_JSON || !json_is_object(entries.json)) {
        Diag *d = bind_error(b, origin_code(&entries, "E0201"), arg_given(c, 0)->at,
                             "entries by path are an object of config.json, not %s", term_print(b, &entries));
        diag_origin(b, d, &entries);
        return term_poison();
    }
    if (!plain_entries(b, c, entries.json))
        return term_poison();
    const char *found = entry_for(entries.json, key_of(b, key, 0));
    for (int64_t i = 1; i < rounds_of(b, key); i++) {
        const char *other = entry_for(entries.json, key_of(b, key, i));
        if (other != found && !(other && found && json_equal(json_object_get(entries.json, other), json_object_get(entries.json, found))))
            return differs(b, "the entry", key, i);
    }
    const Origin *o = entries.origin;
    const char *path = o ? bind_print(b, "%s.%s", o->key, found ? found : key) : key;
    return config_value(b, o ? o->file : NULL, path, found ? json_object_get(entries.json, found) : NULL);
}
