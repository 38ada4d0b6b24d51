/* Keys: the names of tensors in a checkpoint, and the other spellings that `names` and `ignore` declare.
 *
 * A rule replaces a prefix of whole components: "model.layers.{i}" => "blk.{i}". {i} in a pattern matches a
 * number or {i}. */
#include "bind.h"
#include "support/holes.h"

#include <ctype.h>
#include <string.h>

enum { MOST_HOLES = 8 };

typedef struct Matched { /* what the pattern's {i} stand for in the key */
    const char *begin[MOST_HOLES];
    int length[MOST_HOLES];
    int n;
} Matched;

/* How much of the key the pattern covers, or 0. */
static size_t covered(const char *pattern, const char *key, Matched *m)
{
    const char *p = pattern, *k = key;
    m->n = 0;
    while (*p) {
        if (!strncmp(p, "{i}", 3)) {
            const char *begin = k;
            if (*k == '{')
                k += strcspn(k, "}") + 1;
            else if (!isdigit((unsigned char)*k))
                return 0;
            while (isdigit((unsigned char)*k))
                k++;
            if (m->n < MOST_HOLES) {
                m->begin[m->n] = begin;
                m->length[m->n++] = (int)(k - begin);
            }
            p += 3;
        } else if (*p++ != *k++) {
            return 0;
        }
    }
    return *k == 0 || *k == '.' ? (size_t)(k - key) : 0;
}

bool keys_match(const char *pattern, const char *key)
{
    Matched m;
    return covered(pattern, key, &m) > 0;
}

const char *keys_apply(Context *cx, const KeyMap *map, const char *key)
{
    for (int i = 0; map && i < map->n; i++) {
        const KeyRule *r = &map->rules[i];
        Matched m;
        size_t length = r->to ? covered(r->from, key, &m) : 0;
        if (!length)
            continue;
        Text out = text_new(cx->arena);
        const char *to = r->to, *rest = key + length;
        for (int k = 0; k < m.n && strstr(to, "{i}"); k++) {
            const char *hole = strstr(to, "{i}");
            text_add(&out, "%.*s%.*s", (int)(hole - to), to, m.length[k], m.begin[k]);
            to = hole + 3;
        }
        text_add(&out, "%s%s", to, !*r->to && *rest == '.' ? rest + 1 : rest);
        return name_of(cx->names, out.data);
    }
    return key;
}

const char *model_key(Context *cx, const Model *m, const char *key, int64_t layer)
{
    const KeyMap *map = NULL;
    for (int i = 0; m->spelling && i < m->keys.n; i++)
        if (!strcmp(m->keys.maps[i].name, m->spelling))
            map = &m->keys.maps[i];
    return hole_fill(cx->arena, keys_apply(cx, map, key), layer, -1);
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

static int count_numbers(const char *pattern)
{
    int n = 0;
    for (const char *p = pattern; (p = strstr(p, "{i}")) != NULL; p += 3)
        n++;
    return n;
}

static void add_map(Bind *b, const Decl *d)
{
    KeyRule *rules = arena_array(b->cx->arena, (size_t)d->n_renames + 1, sizeof *rules);
    int n = 0;
    for (int i = 0; i < d->n_renames; i++) {
        const Rename *r = &d->renames[i];
        if (!good_pattern(b, r->from, r->from_at, false) || (r->to && !good_pattern(b, r->to, r->to_at, true)))
            continue;
        if (r->to && count_numbers(r->to) != count_numbers(r->from)) {
            Diag *e = bind_error(b, "E0129", r->to_at, "%d number%s cannot take the place of %d", count_numbers(r->to),
                                 count_numbers(r->to) == 1 ? "" : "s", count_numbers(r->from));
            diag_label(e, r->from_at, "every `{i}` here has one there, in the same order");
            continue;
        }
        rules[n++] = (KeyRule){r->from, r->to, r->from_at};
    }
    KeyMaps *k = &b->keys;
    for (int i = 0; i < k->n; i++)
        if (!strcmp(k->maps[i].name, d->name.text))
            diag_label(bind_error(b, "E0121", d->name.at, "two maps of names are called `%s`", d->name.text), k->maps[i].at,
                       "the first one");
    k->maps = arena_grow(b->cx->arena, k->maps, (size_t)k->n, (size_t)k->n + 1, sizeof *k->maps);
    k->maps[k->n++] = (KeyMap){d->name.text, rules, n, d->name.at};
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
