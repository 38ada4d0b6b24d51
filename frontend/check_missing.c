/* Weights that the checkpoint has not. One wrong name, such as a scope's, is missed by many weights: those that the
 * same change of names would mend share one error, at the text that gives the name. */
#include "bind.h"
#include "support/holes.h"

#include <string.h>

enum { LISTED = 8 };

typedef struct Change {         /* of a key: before + from + after is in the model, before + to + after in the file */
    const char *before, *from, *to;
    int after;                  /* components */
} Change;

typedef struct Gap { /* what one error says */
    const char *group;
    const WeightUse *first;
    const char *shown, *near;   /* a missing key; a tensor of the file that nobody reads, or NULL */
    int64_t missing;            /* in how many layers */
    Change change;
    bool changed;               /* near is the key after the change */
    int n;                      /* weights */
    const char *others;
} Gap;

typedef struct Missing {
    Bind *b;
    const KeyMap *map;
    const Map *tensors;
    Map *used;
    const char **patterns;      /* of the tensors */
    Map unused;                 /* "h.{i}.attn.bias": the first tensor of that kind */
    Gap *gaps;
    int n;
    size_t room;
} Missing;

/* "h.3.attn.bias" -> "h.{i}.attn.bias": the same tensor of every layer is listed once. */
const char *keys_pattern(Context *cx, const char *name)
{
    for (const char *p = name; (p = strchr(p, '.')); p++) {
        size_t digits = strspn(p + 1, "0123456789");
        if (digits && p[1 + digits] == '.')
            return arena_print(cx->arena, "%.*s{i}%s", (int)(p + 1 - name), name, p + 1 + digits);
    }
    return name;
}

/* ---- what differs ----------------------------------------------------------------------------------------------- */

static int components(const char *text)
{
    int n = *text != 0;
    while ((text = strchr(text, '.')))
        text++, n++;
    return n;
}

/* Whole components alike at the front and at the back; what is left between. */
static Change difference(Bind *b, const char *a, const char *z)
{
    size_t na = strlen(a), nz = strlen(z), front = 0, back = 0, spare = na < nz ? na : nz;
    for (size_t i = 0; i < spare && a[i] == z[i]; i++)
        if (a[i] == '.')
            front = i + 1;
    for (size_t i = 1; i + front <= spare && a[na - i] == z[nz - i]; i++)
        if ((i == na || a[na - i - 1] == '.') && (i == nz || z[nz - i - 1] == '.'))
            back = i;
    int from = (int)(na - back - front), to = (int)(nz - back - front);
    from -= from > 0 && back; /* the dot before what is alike again */
    to -= to > 0 && back;
    return (Change){bind_print(b, "%.*s", (int)front, a), bind_print(b, "%.*s", from, a + front),
                    bind_print(b, "%.*s", to, z + front), components(a + na - back)};
}

static bool is_small(const Change *c)
{
    int from = components(c->from), to = components(c->to);
    return c->after && ((from <= 1 && to <= 1) || !from || !to);
}

static bool has_shape(const WeightUse *w, const HostTensor *t)
{
    WeightUse one = weight_single(w);
    return t->rank == one.rank && !memcmp(t->dims, one.stored, sizeof *t->dims * (size_t)t->rank);
}

/* A tensor that nobody reads, of the shape that is needed, whose name differs in one place only. */
static const char *nearest_by_place(Missing *m, const WeightUse *w, const char *key, Change *change)
{
    const char **names = arena_array(m->b->cx->arena, m->unused.count + 1, sizeof *names), *found = NULL;
    size_t n = 0;
    for (size_t i = 0; i < m->unused.count; i++) {
        const char *pattern = m->unused.entries[i].key;
        const HostTensor *t = m->unused.entries[i].value;
        Change c = difference(m->b, key, pattern);
        if (!t || map_has(m->used, t->name) || !has_shape(w, t) || !is_small(&c))
            continue;
        found = pattern;
        names[n++] = pattern;
    }
    if (!found)
        return NULL;
    const char *near = n > 1 ? name_nearest(key, names, n) : found;
    if (near)
        *change = difference(m->b, key, near);
    return near;
}

static const char *nearest_by_letters(Missing *m, const char *key)
{
    const char **names = arena_array(m->b->cx->arena, m->tensors->count + 1, sizeof *names);
    size_t n = 0;
    for (size_t i = 0; i < m->tensors->count; i++)
        if (!map_has(m->used, m->tensors->entries[i].key))
            names[n++] = m->tensors->entries[i].key;
    return name_nearest(key, names, n);
}

/* ---- groups ----------------------------------------------------------------------------------------------------- */

static Gap *gap_of(Missing *m, const char *group)
{
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->gaps[i].group, group))
            return &m->gaps[i];
    m->gaps = arena_room(m->b->cx->arena, m->gaps, (size_t)m->n, &m->room, sizeof *m->gaps);
    m->gaps[m->n] = (Gap){.group = group};
    return &m->gaps[m->n++];
}

static void use_all(Missing *m, const char *pattern)
{
    for (size_t i = 0; i < m->tensors->count; i++) {
        const char *name = m->tensors->entries[i].key;
        if (!strcmp(m->patterns[i], pattern))
            map_set(m->used, name, m->b);
    }
}

/* {i+1} and {2*i} as {i}, which the names of tensors have for their first number. */
static const char *round_holes(Bind *b, const char *key)
{
    Text out = text_new(b->cx->arena);
    Hole h;
    for (; hole_next(key, &h); key = h.end) {
        text_put(&out, key, (size_t)(h.begin - key));
        if (h.round)
            text_add(&out, "{i}");
        else
            text_put(&out, h.begin, (size_t)(h.end - h.begin));
    }
    text_add(&out, "%s", key);
    return out.data;
}

static void add_missing(Missing *m, const WeightUse *w)
{
    Bind *b = m->b;
    int64_t missing = keys_missing(b, m->map, w, m->tensors), first = 0;
    if (!missing)
        return;
    while (map_has(m->tensors, weight_key(b, m->map, w, first)))
        first++;
    const char *key = weight_key(b, m->map, w, first), *pattern = round_holes(b, keys_apply(b->cx, m->map, w->key));
    bool all = missing == weight_tensors(w);
    Change change = {0};
    const char *place = all && !w->stack ? nearest_by_place(m, w, pattern, &change) : NULL,
               *near = place ? ((const HostTensor *)map_get(&m->unused, place))->name : nearest_by_letters(m, key);
    size_t length = strlen(key);
    bool bias = length > 5 && !strcmp(key + length - 5, ".bias") &&
                map_has(m->tensors, bind_print(b, "%.*s.weight", (int)length - 5, key));
    Gap *gap = gap_of(m, place  ? bind_print(b, "%s|%s|%s", change.before, change.from, change.to)
                         : near ? bind_print(b, "=%s", key)
                         : bias ? "bias"
                                : "");
    const char *shown = all && missing > 1 ? keys_apply(b->cx, m->map, w->key) : key;
    if (place)
        use_all(m, place);
    else if (near)
        map_set(m->used, near, b);
    if (gap->n++) {
        if (gap->n - 1 <= LISTED)
            gap->others = bind_print(b, "%s%s`%s`", gap->others ? gap->others : "", gap->others ? ", " : "", shown);
        return;
    }
    gap->first = w;
    gap->shown = shown;
    gap->near = near;
    gap->missing = missing;
    gap->change = change;
    gap->changed = place != NULL;
}

/* ---- where the name is written ---------------------------------------------------------------------------------- */

/* The string that gives the last of the first n components of the weight's key; false if that is in std.attar. */
static bool written_at(const Bind *b, const WeightUse *w, int n, Span *at)
{
    for (size_t length = strcspn(w->key, "."); n > 0; length += 1 + strcspn(w->key + length + 1, ".")) {
        const Span *mark = --n > 0 ? NULL : map_get_n(&b->path_marks, w->key, length);
        if (mark) {
            *at = *mark;
            return !bind_in_library(b, *at);
        }
        if (!w->key[length])
            return false;
        n += n == 0;
    }
    return false;
}

static void help_near(Diag *d, const Gap *g, const char *what)
{
    diag_help(d, "%sthe file has `%s`, which the model does not read", what, g->near);
}

/* "encoder.block" lacks ".{i}", or a whole loop lacks its path. */
static bool place_hole(Bind *b, const Gap *g, Diag *d)
{
    const Change *c = &g->change;
    const WeightUse *w = g->first;
    size_t length = strlen(c->to);
    if (*c->from || !w->loop.source || length < 3 || strcmp(c->to + length - 3, "{i}") != 0)
        return false;
    Span at;
    int before = components(w->key) - c->after;
    if (before && written_at(b, w, before, &at) && at.begin >= w->loop.begin) {
        const char *text = source_text(b, at);
        d->at = at;
        diag_caret(d, "the file has `.%s` after this", c->to);
        help_near(d, g, bind_print(b, "write `%.*s.%s\"`: ", (int)strlen(text) - 1, text, c->to));
    } else {
        const char *text = source_text(b, w->loop);
        size_t end = strlen(text);
        while (end && text[end - 1] == ' ')
            end--;
        d->at = w->loop;
        diag_caret(d, "the weights of all rounds have the same names");
        help_near(d, g, bind_print(b, "write `%.*s at \"%s\"`: ", (int)end, text, c->to));
    }
    return true;
}

/* A scope is missing: that of the block which reads the weights. */
static bool place_scope(Bind *b, const Gap *g, Diag *d)
{
    const WeightUse *w = g->first;
    if (*g->change.from || !w->block || !w->block->caller || components(g->change.to) != 1)
        return false;
    d->at = w->block->name_at;
    diag_caret(d, "reads its weights without a scope");
    help_near(d, g, bind_print(b, "write `\"%s\"::%s(...)`: ", g->change.to, w->block->decl->name.text));
    return true;
}

static void caret_shape(Bind *b, Diag *d, const WeightUse *w)
{
    WeightUse one = weight_single(w);
    diag_caret(d, "needs %s = %s", w->axes, shape_print(b, one.rank, one.stored));
}

static bool place_name(Bind *b, const Gap *g, Diag *d)
{
    Span at;
    const Change *c = &g->change;
    if (!*c->from)
        return false;
    if (written_at(b, g->first, components(g->first->key) - c->after, &at))
        d->at = at;
    else
        caret_shape(b, d, g->first);
    size_t end = strlen(c->before), begin = end ? end - 1 : 0;
    while (begin > 0 && c->before[begin - 1] != '.')
        begin--;
    bool number = strspn(c->from, "0123456789") == strlen(c->from);
    const char *name = bind_print(b, "%.*s", number ? (int)(end - begin) : 0, c->before + begin); /* layer.2, not 2 */
    if (*c->to)
        help_near(d, g, bind_print(b, "write `%s%s` in place of `%s%s`: ", name, c->to, name, c->from));
    else
        help_near(d, g, bind_print(b, "leave out `%s`: ", c->from));
    return true;
}

/* ---- errors ----------------------------------------------------------------------------------------------------- */

/* A head that the file has not is often the table of the tokens. */
static bool help_tied(Missing *m, const Gap *g, Diag *d)
{
    Bind *b = m->b;
    for (int i = 0; i < b->n_weights; i++) {
        const WeightUse *w = &b->weights[i];
        bool same = w->rank == 2 && g->first->rank == 2 && !strcmp(w->axes, g->first->axes);
        size_t length = strlen(w->key);
        if (!same || keys_missing(b, m->map, w, m->tensors) || w->layers != 1 || length < 8)
            continue;
        diag_help(d, "a head that is tied to the table of tokens reads `\"%.*s\"`, which has these axes too",
                  (int)length - 7, w->key);
        return true;
    }
    return false;
}

static void report_gap(Missing *m, const Gap *g)
{
    Bind *b = m->b;
    const WeightUse *w = g->first;
    const char *path = b->options->checkpoint_path;
    bool scope = g->changed && g->n > 1 && *g->change.from;
    const char *more = g->n > LISTED + 1 ? bind_print(b, " and %d more", g->n - LISTED - 1) : "";
    Diag *d = bind_error(b, "E0401", w->at, scope ? "%s has nothing named `%s`" : "%s has no tensor `%s`", path,
                         scope ? bind_print(b, "%s%s", g->change.before, g->change.from) : g->shown);
    if (scope)
        diag_note(d, "%d weights of the model are missing, first `%s`", g->n, g->shown);
    else if (g->changed && g->n > 1)
        diag_note(d, "%d weights of the model are missing", g->n);
    else if (g->missing > 1)
        diag_note(d, "missing in %lld of %lld %s; shown once", (long long)g->missing, (long long)weight_tensors(w),
                  w->stack ? "tensors" : "layers");
    if (!g->changed && g->others)
        diag_note(d, "also missing: %s%s", g->others, more);
    if (!g->changed || (!place_hole(b, g, d) && !place_scope(b, g, d) && !place_name(b, g, d))) {
        caret_shape(b, d, w);
        if (g->near)
            help_near(d, g, "");
    }
    bool norm = w->op && !strcmp(w->op->name.text, "layernorm");
    const Decl *defaults = w->op ? map_get(&b->defaults, w->op->name.text) : NULL;
    if (!strcmp(g->group, "bias") && g->n > 1 && defaults) {
        diag_label(d, defaults->at, "the defaults of `%s`", defaults->name.text);
        diag_help(d, "`bias=false` there reads the weights alone");
    } else if (!strcmp(g->group, "bias"))
        diag_help(d, "`bias=false` reads the weight alone%s", norm ? "; an RMS norm, `rmsnorm`, has no bias" : "");
    else if (!g->near && (g->n > 1 || !help_tied(m, g, d)))
        diag_help(d, "what only some checkpoints have stands in an `if` on a key of config.json");
}

static bool seen_before(const Bind *b, int index)
{
    for (int i = 0; i < index; i++)
        if (b->weights[i].key == b->weights[index].key && b->weights[i].layers >= b->weights[index].layers)
            return true;
    return false;
}

void check_missing(Bind *b, const KeyMap *map, const Map *tensors, Map *used)
{
    Missing m = {.b = b, .map = map, .tensors = tensors, .used = used, .unused = map_new(b->cx->arena)};
    m.patterns = arena_array(b->cx->arena, tensors->count + 1, sizeof *m.patterns);
    for (size_t i = 0; i < tensors->count; i++) {
        const char *name = tensors->entries[i].key;
        m.patterns[i] = keys_pattern(b->cx, name);
        if (!map_has(used, name) && !map_has(&m.unused, m.patterns[i]))
            map_set(&m.unused, m.patterns[i], tensors->entries[i].value);
    }
    for (int i = 0; i < b->n_weights; i++)
        if (!seen_before(b, i))
            add_missing(&m, &b->weights[i]);
    for (int i = 0; i < m.n; i++)
        report_gap(&m, &m.gaps[i]);
}
