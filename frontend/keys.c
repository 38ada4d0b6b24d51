/* Keys: the names of tensors in a checkpoint, and the other spellings that `names` and `ignore` declare.
 *
 * A rule replaces a prefix of whole components: "model.layers.{i}" => "blk.{i}". {i} in a pattern matches a
 * number or {i}. */
#include "bind.h"

#include <ctype.h>
#include <string.h>

/* How much of the key the pattern covers, or 0. */
static size_t covered(const char *pattern, const char *key)
{
    const char *p = pattern, *k = key;
    while (*p) {
        if (!strncmp(p, "{i}", 3)) {
            if (!strncmp(k, "{i}", 3))
                k += 3;
            else if (!isdigit((unsigned char)*k))
                return 0;
            while (isdigit((unsigned char)*k))
                k++;
            p += 3;
        } else if (*p++ != *k++) {
            return 0;
        }
    }
    return *k == 0 || *k == '.' ? (size_t)(k - key) : 0;
}

bool keys_match(const char *pattern, const char *key)
{
    return covered(pattern, key) > 0;
}

const char *keys_apply(Context *cx, const KeyMap *map, const char *key)
{
    for (int i = 0; map && i < map->n; i++) {
        const KeyRule *r = &map->rules[i];
        size_t length = r->to ? covered(r->from, key) : 0;
        if (!length)
            continue;
        const char *rest = key + length;
        if (!*r->to && *rest == '.')
            rest++;
        return name_of(cx->names, arena_print(cx->arena, "%s%s", r->to, rest));
    }
    return key;
}

const char *keys_layer(Context *cx, const char *key, int64_t layer)
{
    const char *hole = layer < 0 ? NULL : strstr(key, "{i}");
    return hole ? arena_print(cx->arena, "%.*s%lld%s", (int)(hole - key), key, (long long)layer, hole + 3) : key;
}

const char *model_key(Context *cx, const Model *m, const char *key, int64_t layer)
{
    const KeyMap *map = NULL;
    for (int i = 0; m->spelling && i < m->keys.n; i++)
        if (!strcmp(m->keys.maps[i].name, m->spelling))
            map = &m->keys.maps[i];
    return keys_layer(cx, keys_apply(cx, map, key), layer);
}

/* ---- declarations ----------------------------------------------------------------------------------------------- */

static bool good_pattern(Bind *b, const char *pattern, Span at, bool may_be_empty)
{
    size_t length = strlen(pattern);
    bool good = length ? pattern[0] != '.' && pattern[length - 1] != '.' && !strstr(pattern, "..") : may_be_empty;
    for (const char *p = strchr(pattern, '{'); good && p; p = strchr(p + 1, '{'))
        good = !strncmp(p, "{i}", 3);
    if (!good) {
        Diag *d = bind_error(b, "E0129", at, "\"%s\" is not a path of a checkpoint", pattern);
        diag_help(d, "a path is made of names joined by dots; {i} stands for a number");
    }
    return good;
}

static void add_map(Bind *b, const Decl *d)
{
    KeyRule *rules = arena_array(b->cx->arena, (size_t)d->n_renames + 1, sizeof *rules);
    int n = 0;
    for (int i = 0; i < d->n_renames; i++) {
        const Rename *r = &d->renames[i];
        if (!good_pattern(b, r->from, r->from_at, false) || (r->to && !good_pattern(b, r->to, r->to_at, true)))
            continue;
        rules[n++] = (KeyRule){r->from, r->to, r->from_at};
    }
    KeyMaps *k = &b->keys;
    for (int i = 0; i < k->n; i++)
        if (!strcmp(k->maps[i].name, d->name.text))
            bind_error(b, "E0121", d->name.at, "two maps of names are called `%s`", d->name.text);
    k->maps = arena_grow(b->cx->arena, k->maps, (size_t)k->n, (size_t)k->n + 1, sizeof *k->maps);
    k->maps[k->n++] = (KeyMap){d->name.text, rules, n};
}

static void add_ignored(Bind *b, const Decl *d)
{
    KeyMaps *k = &b->keys;
    k->ignored = arena_grow(b->cx->arena, k->ignored, (size_t)k->n_ignored, (size_t)(k->n_ignored + d->n_renames) + 1,
                            sizeof *k->ignored);
    for (int i = 0; i < d->n_renames; i++)
        if (good_pattern(b, d->renames[i].from, d->renames[i].from_at, false))
            k->ignored[k->n_ignored++] = d->renames[i].from;
}

void keys_bind(Bind *b)
{
    for (int i = 0; i < b->file->n_decls; i++) {
        const Decl *d = &b->file->decls[i];
        if (d->kind == DECL_NAMES)
            add_map(b, d);
        if (d->kind == DECL_IGNORE)
            add_ignored(b, d);
    }
}
