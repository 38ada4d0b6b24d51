/* Axes: dims, their names in the IR, and how types read in messages. */
#include "bind.h"

#include <ctype.h>
#include <string.h>

const Dim *dim_new(Bind *b, const char *name, const char *axis, Extent size, const Origin *origin)
{
    Dim *d = bind_new(b, sizeof *d);
    *d = (Dim){name_of(b->cx->names, name), name_of(b->cx->names, axis), size, origin};
    AxisOwner *owner = map_get(&b->axis_owners, axis);
    if (owner && origin && !owner->origin)
        owner->origin = origin;
    return d;
}

const Origin *axis_origin(Bind *b, const char *axis)
{
    const AxisOwner *owner = map_get(&b->axis_owners, axis);
    return owner ? owner->origin : NULL;
}

const char *dim_fresh_axis(Bind *b, const char *base, const void *owner, Extent size)
{
    for (int number = 1;; number++) {
        const char *name = number == 1 ? base : bind_print(b, "%s%d", base, number);
        AxisOwner *known = map_get(&b->axis_owners, name);
        if (known && (known->owner != owner || !extent_equal(known->size, size)))
            continue;
        if (!known) {
            known = bind_new(b, sizeof *known);
            *known = (AxisOwner){owner, size, NULL};
            map_set(&b->axis_owners, name, known);
        }
        return name_of(b->cx->names, name);
    }
}

/* "N+E" -> "N_E"; a number becomes n3, so that every axis has an identifier for a name. */
static const char *identifier_of(Bind *b, Extent size, const char *text)
{
    Text out = text_new(b->cx->arena);
    if (extent_is_const(size) && (!text || isdigit((unsigned char)text[0]))) {
        text_add(&out, "n%lld", (long long)size.base);
        return out.data;
    }
    for (const char *p = text ? text : "n"; *p && out.length < 40; p++) {
        if (isalnum((unsigned char)*p))
            text_char(&out, *p);
        else if (out.length && out.data[out.length - 1] != '_')
            text_char(&out, '_');
    }
    while (out.length > 1 && out.data[out.length - 1] == '_')
        out.data[--out.length] = 0;
    if (!out.length || !isalpha((unsigned char)out.data[0]))
        return bind_print(b, "n%s", out.length ? out.data : "");
    return out.data;
}

const Dim *dim_anonymous(Bind *b, Extent size, const Expr *written)
{
    const char *text = written ? source_text(b, written->at) : NULL;
    const char *axis = dim_fresh_axis(b, identifier_of(b, size, text), NULL, size);
    return dim_new(b, text ? text : axis, axis, size, NULL);
}

static bool dim_of_term(Bind *b, const Term *t, const Expr *written, const Dim **out)
{
    if (t->kind == TERM_SIZE && !t->dim && extent_is_const(t->size) && t->size.base < 1) {
        bind_error(b, "E0310", written ? written->at : b->at, "an axis needs a size of at least 1, not %lld",
                   (long long)t->size.base);
        return false;
    }
    if (t->kind == TERM_SIZE) {
        *out = t->dim ? t->dim : dim_anonymous(b, t->size, written);
        return true;
    }
    if (t->kind != TERM_POISON) {
        Diag *d =
            bind_error(b, "E0201", written ? written->at : b->at, "an axis is needed here, not %s", term_print(b, t));
        diag_origin(b, d, t);
        if (t->kind == TERM_TEXT)
            diag_help(d, "an axis stands without quotes: `%s`", t->text);
    }
    return false;
}

bool dims_of(Bind *b, const Term *t, const Expr *written, const Dim ***dims, int *n)
{
    if (t->kind == TERM_AXES) {
        *dims = t->dims;
        *n = t->n_dims;
        return true;
    }
    if (t->kind != TERM_LIST) {
        *dims = arena_array(b->cx->arena, 1, sizeof **dims);
        *n = 1;
        return dim_of_term(b, t, written, &(*dims)[0]);
    }
    bool listed = written && written->kind == EXPR_LIST && written->n_items == t->n_items;
    *n = 0;
    size_t room = 0;
    *dims = NULL;
    for (int i = 0; i < t->n_items; i++) {
        const Dim **inner;
        int count;
        if (!dims_of(b, &t->items[i], listed ? written->items[i] : NULL, &inner, &count))
            return false;
        for (int k = 0; k < count; k++) {
            *dims = arena_room(b->cx->arena, *dims, (size_t)*n, &room, sizeof **dims);
            (*dims)[(*n)++] = inner[k];
        }
    }
    return true;
}

const char *dims_print(Bind *b, const Dim *const *dims, int n)
{
    Text out = text_new(b->cx->arena);
    if (n != 1)
        text_char(&out, '(');
    for (int i = 0; i < n; i++)
        text_add(&out, "%s%s", i ? ", " : "", dims[i]->name);
    if (n != 1)
        text_char(&out, ')');
    return out.data;
}

const char *axis_written(Bind *b, const char *axis)
{
    if (!strchr(axis, '_') || scope_find(b->globals, axis))
        return axis;
    Text out = text_new(b->cx->arena);
    for (const char *p = axis; *p;) {
        size_t length = strcspn(p, "_");
        if (!scope_find(b->globals, bind_print(b, "%.*s", (int)length, p)))
            return axis;
        text_add(&out, "%s%.*s", out.length ? " + " : "", (int)length, p);
        p += length + (p[length] == '_');
    }
    return out.data;
}

bool axis_is_number(const Axis *a)
{
    return a->name[0] == 'n' && isdigit((unsigned char)a->name[1]) && extent_is_const(a->size);
}

const char *type_text(Bind *b, const Type *t)
{
    Text out = text_new(b->cx->arena);
    text_add(&out, "%s", dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++) {
        const Axis *a = &t->axis[i];
        text_add(&out, "%s", i ? ", " : "[");
        if (axis_is_number(a))
            text_add(&out, "%lld", (long long)a->size.base);
        else if (extent_is_const(a->size))
            text_add(&out, "%s=%lld", a->name, (long long)a->size.base);
        else
            text_add(&out, "%s", a->name);
    }
    if (t->rank)
        text_char(&out, ']');
    return out.data;
}

const char *source_text(Bind *b, Span at)
{
    if (!at.source || at.end <= at.begin)
        return "?";
    char *copy = arena_copy(b->cx->arena, at.source->text + at.begin, at.end - at.begin);
    size_t to = 0;
    for (char *p = copy; *p; p++) { /* one line, however it was written */
        if (!isspace((unsigned char)*p))
            copy[to++] = *p;
        else if (to && copy[to - 1] != ' ')
            copy[to++] = ' ';
    }
    copy[to] = 0;
    return to <= 60 ? copy : bind_print(b, "%.57s...", copy);
}

const char *type_expr_text(Bind *b, const TypeExpr *t)
{
    return source_text(b, t->at);
}

int axis_of(Bind *b, const Type *t, const Dim *d, Span at, const char *what)
{
    int axis = type_find(t, d->axis);
    if (axis >= 0)
        return axis;
    Diag *e = bind_error(b, "E0305", at, "%s has no axis `%s`", what, d->name);
    diag_caret(e, "it is %s", type_text(b, t));
    Text own = text_new(b->cx->arena);
    for (int i = 0; i < t->rank; i++)
        text_add(&own, "%s`%s`", !i ? "" : i + 1 < t->rank ? ", " : " and ", t->axis[i].name);
    diag_help(e, t->rank ? "its axes are %s" : "it has no axes", own.data);
    for (int i = 0; i < t->rank; i++) {
        if (!extent_equal(t->axis[i].size, d->size))
            continue;
        diag_note(e, "its axis `%s` has the same size, but axes with different names never match", t->axis[i].name);
        break;
    }
    return -1;
}

bool type_take(Bind *b, Span at, Type *t, const char *axis, Extent size)
{
    if (type_find(t, axis) >= 0) {
        Diag *d = bind_error(b, "E0307", at, "the result would have the axis `%s` twice", axis);
        diag_help(d, "`as` gives an axis another name; `over=` and `in=` say which axes are summed");
        return false;
    }
    if (t->rank == MAX_RANK) {
        bind_error(b, "E0302", at, "the result would have more than %d axes", MAX_RANK);
        return false;
    }
    t->axis[t->rank++] = (Axis){axis, size};
    return true;
}

/* ---- marks: which text gave a tensor its axis ------------------------------------------------------------------- */

void axis_mark(Bind *b, const Node *node, const char *axis, Span at)
{
    AxisMark *m = bind_new(b, sizeof *m);
    *m = (AxisMark){node, axis, at};
    map_set(&b->marks, bind_print(b, "%d %s", node->id, axis), m);
}

bool axis_marked(Bind *b, const Node *node, const char *axis, Span *at)
{
    for (int steps = 0; node && steps < 32; steps++) {
        const AxisMark *m = map_get(&b->marks, bind_print(b, "%d %s", node->id, axis));
        if (m) {
            *at = m->at;
            return true;
        }
        const Node *from = NULL;
        for (int i = 0; i < node->n_inputs && !from; i++)
            if (node->inputs[i]->type && type_find(node->inputs[i]->type, axis) >= 0)
                from = node->inputs[i];
        node = from;
    }
    return false;
}
