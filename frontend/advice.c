/* Advice: what would mend an error about axes. Everything proposed is computed from the types at hand: the text that
 * gave a tensor its axis, the axis that another one needs in its place, the call that leaves an axis out. */
#include "bind.h"

#include <stdlib.h>
#include <string.h>

static const char *list_axes(Bind *b, const Type *t, const bool *which)
{
    Text out = text_new(b->cx->arena);
    int n = 0;
    for (int i = 0; i < t->rank; i++)
        if (which[i])
            text_add(&out, "%s%s", n++ ? ", " : "", t->axis[i].name);
    return out.data;
}

/* Where the model file gives x this axis. */
static bool marked(Bind *b, const Node *x, const char *axis, Span *at)
{
    return x && axis_marked(b, x, axis, at) && !bind_in_library(b, *at);
}

void advise_mark(Bind *b, Diag *d, const Node *x, const Axis *a, const char *who)
{
    Span at;
    if (!marked(b, x, a->name, &at) || (at.source == d->at.source && at.begin == d->at.begin))
        return;
    if (extent_is_const(a->size))
        diag_label(d, at, "%s gets the axis `%s` = %lld here", who, a->name, (long long)a->size.base);
    else
        diag_label(d, at, "%s gets the axis `%s` here", who, a->name);
}

/* The axes that one argument gave, with two of them exchanged: "(H, K)" for (K, H). */
static const char *exchanged(Bind *b, const Node *x, int has, int needs)
{
    Text out = text_new(b->cx->arena);
    Span at, other;
    if (!marked(b, x, x->type->axis[has].name, &at) || !marked(b, x, x->type->axis[needs].name, &other) ||
        span_start(at).line != span_start(other).line)
        return NULL;
    for (int i = 0; i < x->type->rank; i++) {
        int from = i == has ? needs : i == needs ? has : i;
        if (marked(b, x, x->type->axis[i].name, &other) && span_start(at).line == span_start(other).line)
            text_add(&out, "%s%s", out.length ? ", " : "(", x->type->axis[from].name);
    }
    text_char(&out, ')');
    return out.data;
}

bool advise_axis(Bind *b, Diag *d, const Node *x, const char *has, const char *needs)
{
    Span at;
    int here = type_find(x->type, has), there = type_find(x->type, needs);
    if (here < 0 || !marked(b, x, has, &at))
        return false;
    int line = span_start(at).line;
    const char *pair = there >= 0 ? exchanged(b, x, here, there) : NULL;
    const char *text = source_text(b, at);
    size_t length = strlen(text), tail = strlen(has);
    int front = length > tail && !strcmp(text + length - tail, has) ? (int)(length - tail) : 0; /* 0..P */
    if (pair)
        diag_help(d, "did you mean `%s` on line %d?", pair, line);
    else
        diag_help(d, "did you mean `%.*s%s` in place of `%s` on line %d?", front, text, needs, text, line);
    return true;
}

/* Was the wrong one of two axes reduced on the way to x? */
static bool advise_reduction(Diag *d, const Node *x, const char *has, const char *needs)
{
    for (int steps = 0; x && steps < 16; steps++) {
        const Node *from = NULL;
        for (int i = 0; i < x->n_inputs && !from; i++)
            if (x->inputs[i]->type && type_find(x->inputs[i]->type, has) >= 0)
                from = x->inputs[i];
        if (from && type_find(from->type, needs) >= 0) {
            diag_help(d, "did you mean `over=%s`? `%s` is reduced, and `%s` stays", has, needs, has);
            return true;
        }
        x = from;
    }
    return false;
}

/* ---- results ---------------------------------------------------------------------------------------------------- */

void advise_result(Bind *b, Diag *d, const Node *x, const Type *wanted)
{
    const Type *t = x->type;
    bool extra[MAX_RANK] = {false}, missing[MAX_RANK] = {false};
    int n_extra = 0, n_missing = 0, one = -1, other = -1;
    for (int i = 0; i < t->rank; i++)
        if (type_find(wanted, t->axis[i].name) < 0) {
            extra[i] = true;
            n_extra++;
            one = i;
        }
    for (int i = 0; i < wanted->rank; i++)
        if (type_find(t, wanted->axis[i].name) < 0) {
            missing[i] = true;
            n_missing++;
            other = i;
        }
    if (!n_extra && !n_missing && t->dtype != wanted->dtype)
        diag_help(d, "`as %s` converts it", dtype_name(wanted->dtype));
    else if (!n_extra && !n_missing)
        diag_help(d, "`rearrange` puts axes into another order");
    else if (n_extra == 1 && n_missing == 1) {
        advise_mark(b, d, x, &t->axis[one], "it");
        const char *has = t->axis[one].name, *needs = wanted->axis[other].name;
        if (!advise_axis(b, d, x, has, needs) && !advise_reduction(d, x, has, needs))
            diag_help(d, "it needs the axis `%s` in place of `%s`", wanted->axis[other].name, t->axis[one].name);
    } else if (n_extra == 1 && !n_missing) {
        const char *axis = t->axis[one].name;
        diag_help(d, "`slice(x, %s, 0)` is its first position along `%s`, `mean(x, over=%s)` the mean of all", axis,
                  axis, axis);
    } else if (n_missing == 1 && n_extra) {
        const char *axes = list_axes(b, t, extra), *axis = wanted->axis[other].name;
        diag_help(d, "`linear(x, \"name\", %s, in=(%s))` or `merge(x, [%s], %s)` makes the axis `%s` of these", axis,
                  axes, axes, axis, axis);
    } else if (n_missing && !n_extra)
        diag_help(d, "`expand(x, %s)` repeats it along a new axis", list_axes(b, wanted, missing));
}

void advise_results(Diag *d, const Decl *decl)
{
    if (decl->n_results > 1)
        diag_help(d, "write `return` with %d values, or another list of types after `->`", decl->n_results);
    else
        diag_help(d, "several results are declared in parentheses: `-> (a: [B, S, D], b: [B, D])`");
}

/* An argument that has the name of another parameter than the one it was given for. */
void advise_arguments(Bind *b, Diag *d, const Decl *decl, const Param *p, const Expr *e)
{
    const Param *other = e && e->kind == EXPR_NAME ? decl_param(decl, e->text) : NULL;
    if (!other || other == p)
        return;
    Text names = text_new(b->cx->arena);
    for (int i = 0; i < decl->n_params; i++)
        text_add(&names, "%s%s", i ? ", " : "", decl->params[i].name.text);
    diag_help(d, "the parameters of `%s` are `%s`, in this order", decl->name.text, names.data);
}

/* ---- tensors side by side ---------------------------------------------------------------------------------------- */

/* The type with `1` after the axis at `at`, as many as are missing: "[B, S, 1, E]". */
static const char *with_ones(Bind *b, const Type *t, int at, int ones)
{
    Text out = text_new(b->cx->arena);
    for (int i = 0; i < t->rank; i++) {
        text_add(&out, "%s%s", i ? ", " : "[", t->axis[i].name);
        for (int k = 0; i == at && k < ones; k++)
            text_add(&out, ", 1");
    }
    text_char(&out, ']');
    return out.data;
}

void advise_rank(Bind *b, Diag *d, const Node *x, Span at, const char *axis, int from_end)
{
    int position = type_find(x->type, axis);
    if (position >= 0 && x->type->rank - position < from_end)
        diag_help(d, "`%s as %s` adds %s of size 1", source_text(b, at),
                  with_ones(b, x->type, position, from_end - (x->type->rank - position)),
                  from_end - (x->type->rank - position) == 1 ? "an axis" : "axes");
}

static bool is_one(const Axis *a)
{
    return extent_is_const(a->size) && a->size.base == 1;
}

void advise_beside(Bind *b, Diag *d, const Type *x, const Type *first, int free, Span at)
{
    Text axes = text_new(b->cx->arena);
    int ones = 0, expanded = -1;
    for (int i = 0; i < x->rank; i++) {
        bool one = is_one(&x->axis[i]);
        ones += one;
        if (!one)
            text_add(&axes, "%s%s", axes.length ? ", " : "", x->axis[i].name);
        if (one && x->rank == first->rank && i != free)
            expanded = i;
    }
    if (ones && x->rank - ones == first->rank)
        diag_help(d, "`%s as [%s]` leaves out the axis of size 1", source_text(b, at), axes.data);
    else if (expanded >= 0)
        diag_help(d, "`expand(%s, %s)` repeats it along `%s`", source_text(b, at), first->axis[expanded].name,
                  first->axis[expanded].name);
}

void advise_names(Bind *b, Diag *d, const Node *x, const Type *other, Span at)
{
    const Type *t = x->type;
    bool used[MAX_RANK] = {false}, good = at.source != NULL;
    Text names = text_new(b->cx->arena);
    for (int i = 0; i < t->rank && good; i++) {
        const char *name = t->axis[i].name;
        int k = 0;
        if (type_find(other, name) < 0) {
            while (k < other->rank && (used[k] || type_find(t, other->axis[k].name) >= 0 ||
                                       !extent_equal(other->axis[k].size, t->axis[i].size)))
                k++;
            good = k < other->rank;
            if (good)
                used[k] = true;
            name = good ? other->axis[k].name : name;
        }
        text_add(&names, "%s%s", i ? ", " : "", name);
    }
    if (good)
        diag_help(d, "`%s as [%s]` gives axes of these sizes the names of the others", source_text(b, at), names.data);
    else
        diag_help(d, "`as` gives axes other names; `expand` repeats a tensor along a new axis");
}

/* ---- masks ------------------------------------------------------------------------------------------------------ */

void advise_mask(Bind *b, Diag *d, const Term *t, Span at)
{
    const char *text = source_text(b, at);
    if (t->kind == TERM_TENSOR && t->node->type->dtype == DT_BOOL)
        diag_help(d, "`padding(%s)` is the mask that leaves out the keys for which it is false", text);
    else if (t->kind == TERM_SIZE || t->kind == TERM_NONE)
        diag_help(d, "`window(%s)` is the mask of that many keys; of none it is all of them", text);
    else
        diag_help(d, "masks are `causal`, `window(n)`, `padding(keep)` or functions such as `fn(i, j) => j <= i`");
}

/* ---- element types ---------------------------------------------------------------------------------------------- */

void advise_dtype(Bind *b, Diag *d, const Node *x, DType wanted)
{
    if (x->op == OP_input && !bind_in_library(b, x->at)) {
        diag_label(d, x->at, "`%s` is declared as %s here", x->name, dtype_name(x->type->dtype));
        diag_help(d, "declare it as `%s: %s`", x->name, dtype_name(wanted));
    } else if (wanted == DT_BOOL)
        diag_help(d, "compare it: `x != 0`");
    else if (wanted == DT_I32 && dtype_is_float(x->type->dtype))
        diag_help(d, "`as i32` rounds towards zero");
    else
        diag_help(d, "`as %s` converts it", dtype_name(wanted));
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

void advise_number(Diag *d, const Term *t)
{
    char *end = NULL;
    if (t->kind == TERM_TEXT && (strtod(t->text, &end), end != t->text) && !*end)
        diag_help(d, "a number stands without quotes: `%s`", t->text);
}

/* ---- parts of an axis ------------------------------------------------------------------------------------------- */

const char *advise_order(Bind *b, const char *axis, const Dim *const *dims, int n)
{
    bool used[MAX_RANK] = {false}, same = true;
    Text order = text_new(b->cx->arena);
    for (int count = 0; count < n; count++) {
        int i = 0;
        size_t length = 0;
        for (; i < n; i++) {
            length = strlen(dims[i]->axis);
            if (!used[i] && !strncmp(axis, dims[i]->axis, length) && axis[length] == (count + 1 < n ? '_' : 0))
                break;
        }
        if (i == n)
            return NULL;
        used[i] = true;
        same = same && i == count;
        axis += length + 1;
        text_add(&order, "%s%s", count ? ", " : "[", dims[i]->name);
    }
    text_char(&order, ']');
    return same ? NULL : order.data;
}

void advise_parts(Bind *b, Diag *d, const Node *x, const Dim *const *dims, int n)
{
    Text sum = text_new(b->cx->arena);
    bool named = true;
    for (int i = 0; i < n; i++) {
        named = named && dims[i]->origin;
        text_add(&sum, "%s%s", i ? " + " : "", dims[i]->name);
    }
    if (x->type->rank && n > 1 && named) {
        advise_mark(b, d, x, &x->type->axis[x->type->rank - 1], "the tensor");
        diag_help(d, "an axis of `%s` has these parts", sum.data);
    }
}

/* ---- caches ----------------------------------------------------------------------------------------------------- */

const Cache *advise_cache(const Node *x)
{
    for (int steps = 0; x && steps < 8; steps++) {
        if (x->op == OP_append) {
            const Graph *model = graph_model(x->graph);
            for (int i = 0; i < model->n_caches; i++)
                if (!strcmp(model->caches[i].name, attr_name(x, ATTR_cache)))
                    return &model->caches[i];
        }
        x = x->n_inputs ? x->inputs[0] : NULL;
    }
    return NULL;
}
