/* Scope paths: names of a checkpoint joined by dots, with holes. {i}, {i+1}, {2*i+1} are numbers made of the loop's index;
 * in the name of a weight {E} may name its first axis, along which one tensor each is stacked. */
#include "bind.h"
#include "support/holes.h"

#include <ctype.h>
#include <string.h>

enum { LARGEST = 1000000000 };

typedef struct Inside { /* of one hole */
    const char *at, *end;
} Inside;

static void skip_spaces(Inside *h)
{
    while (h->at < h->end && *h->at == ' ')
        h->at++;
}

static bool take_sign(Inside *h, char sign)
{
    skip_spaces(h);
    if (h->at >= h->end || *h->at != sign)
        return false;
    h->at++;
    return true;
}

static bool take_number(Inside *h, int64_t *out)
{
    skip_spaces(h);
    const char *begin = h->at;
    for (*out = 0; h->at < h->end && isdigit((unsigned char)*h->at); h->at++)
        if (*out <= LARGEST)
            *out = *out * 10 + (*h->at - '0');
    return h->at > begin && *out <= LARGEST;
}

/* A name, and whether it is `name`. */
static bool take_name(Inside *h, const char *name, bool *same)
{
    skip_spaces(h);
    const char *begin = h->at;
    while (h->at < h->end && (isalnum((unsigned char)*h->at) || *h->at == '_'))
        h->at++;
    size_t length = (size_t)(h->at - begin);
    *same = name && strlen(name) == length && !strncmp(begin, name, length);
    return length && !isdigit((unsigned char)*begin);
}

/* 3, i, 2*i or i*2 */
static bool take_term(Inside *h, const char *index, int sign, int64_t *factor, int64_t *offset)
{
    int64_t number;
    bool same;
    if (take_number(h, &number)) {
        if (!take_sign(h, '*')) {
            *offset += sign * number;
            return true;
        }
        if (!take_name(h, index, &same) || !same)
            return false;
    } else {
        number = 1;
        if (!take_name(h, index, &same) || !same || (take_sign(h, '*') && !take_number(h, &number)))
            return false;
    }
    *factor += sign * number;
    return true;
}

static bool read_affine(Inside h, const char *index, int64_t *factor, int64_t *offset)
{
    int sign = 1;
    *factor = *offset = 0;
    for (int terms = 0; terms < 8; terms++) {
        if (!take_term(&h, index, sign, factor, offset))
            return false;
        skip_spaces(&h);
        if (h.at == h.end)
            return true;
        sign = *h.at == '+' ? 1 : -1;
        if (*h.at != '+' && *h.at != '-')
            return false;
        h.at++;
    }
    return false;
}

/* Is the hole a single name? */
static bool only_name(Inside h, const char *name)
{
    bool same;
    return take_name(&h, name, &same) && h.at == h.end && (same || !name);
}

static Diag *refuse(Bind *b, Span at, const char *format, const Inside *h)
{
    Diag *d = bind_error(b, "E0129", at, format, (int)(h->end - h->at), h->at);
    if (b->index)
        diag_help(d, "the index of this loop is `{%s}`", b->index);
    return d;
}

/* The numbers of all rounds have to be names of tensors. */
static bool put_round(Bind *b, Span at, Text *out, const Inside *h, int64_t factor, int64_t offset)
{
    int64_t first = offset + factor * b->first;
    if (factor < 1 || first < 0 || first > LARGEST || factor > LARGEST) {
        Diag *d = refuse(b, at, "`{%.*s}` is no number of a tensor in every round", h);
        diag_note(d, "in the first round it is %lld, and in each one after it %+lld", (long long)first, (long long)factor);
        return false;
    }
    if (b->unrolled)
        text_add(out, "%lld", (long long)first);
    else
        text_add(out, "%s", hole_print(b->cx->arena, factor, first));
    return true;
}

/* {E}: one tensor for each position of the first axis. */
static bool put_stack(Bind *b, Span at, Text *out, const Inside *h, WeightUse *w)
{
    const char *name = arena_copy(b->cx->arena, h->at, (size_t)(h->end - h->at));
    const Dim *d = w->rank && w->n_dims[0] == 1 ? w->dims[0][0] : NULL;
    if (w->stack) {
        bind_error(b, "E0129", at, "tensors are stacked along one axis only, and `{%s}` is a second hole", name);
        return false;
    }
    if (!d || (strcmp(d->name, name) != 0 && !(w->first && !strcmp(w->first, name)))) {
        Diag *e = bind_error(b, "E0131", at, "the axis `%s` is not the first one of this weight", name);
        diag_help(e, "one tensor for each position of `%s` is stacked along the first axis: [%s, ...]", name, name);
        return false;
    }
    if (!extent_is_const(d->size)) {
        diag_dim(b, bind_error(b, "E0131", at, "tensors cannot be stacked along `%s`, whose size is known only at run time", name), d);
        return false;
    }
    if (!strcmp(d->name, "i")) {
        bind_error(b, "E0131", at, "an axis called `i` cannot be that of a hole: {i} is the index of a loop in every key");
        return false;
    }
    w->stack = d->size.base;
    text_add(out, "{%s}", d->name); /* in a block the caller's */
    return true;
}

static bool names_axis(const WeightUse *w, const Inside *h)
{
    if (w && w->first && only_name(*h, w->first))
        return true;
    for (int i = 0; w && i < w->rank; i++)
        for (int k = 0; k < w->n_dims[i]; k++)
            if (only_name(*h, w->dims[i][k]->name))
                return true;
    return false;
}

static bool put_hole(Bind *b, Span at, Text *out, const Inside *h, WeightUse *w)
{
    int64_t factor, offset;
    if (b->index && read_affine(*h, b->index, &factor, &offset) && factor)
        return put_round(b, at, out, h, factor, offset);
    if (names_axis(w, h))
        return put_stack(b, at, out, h, w);
    Diag *d = refuse(b, at, "no loop around this path counts `%.*s`", h);
    if (w && only_name(*h, NULL))
        diag_help(d, "a hole of a weight may also name its first axis, along which tensors are stacked");
    return false;
}

/* The path with its holes as keys have them; NULL after an error. */
static const char *plain_path(Bind *b, const char *path, Span at, WeightUse *w)
{
    Text out = text_new(b->cx->arena);
    const char *p = path;
    for (const char *open; (open = strchr(p, '{')) != NULL;) {
        Inside h = {open + 1, strchr(open, '}')};
        text_put(&out, p, (size_t)(open - p));
        if (!h.end) {
            bind_error(b, "E0129", at, "`{` without `}` in a path");
            return NULL;
        }
        if (!put_hole(b, at, &out, &h, w))
            return NULL;
        p = h.end + 1;
    }
    text_add(&out, "%s", p);
    return out.data;
}

const char *path_join(Bind *b, const char *path, Span at, WeightUse *w)
{
    size_t length = strlen(path);
    if (!length || path[0] == '.' || path[length - 1] == '.' || strstr(path, "..")) {
        bind_error(b, "E0129", at, "a path is made of names joined by dots");
        return NULL;
    }
    path = plain_path(b, path, at, w);
    if (!path)
        return NULL;
    if (hole_of_round(path) && hole_of_round(b->path) && b->nesting > 1) {
        bind_error(b, "E0129", at, "the path \"%s\" around this one has a loop index already", b->path);
        return NULL;
    }
    path = name_of(b->cx->names, b->path[0] ? bind_print(b, "%s.%s", b->path, path) : path);
    if (!map_has(&b->path_marks, path)) {
        Span *mark = bind_new(b, sizeof *mark);
        *mark = at;
        map_set(&b->path_marks, path, mark);
    }
    return path;
}
