/* weight("q_proj.weight", [(H, K), D]): a tensor of the checkpoint. Its key is the path of the scopes around plus
 * the name; each item of the list is one stored dimension, which the model may see as several axes, or as none: a
 * written 1 is a stored dimension of one element, such as the channel of a depthwise filter. */
#include "bind.h"
#include "support/checked.h"
#include "support/holes.h"

#include <string.h>

const char *frame_outer(const Frame *f, const Dim *d)
{
    for (int i = 0; f && i < f->n_axes; i++)
        if (f->axes[i].dim == d)
            return f->axes[i].outer;
    return d->name;
}

const char *frame_other_order(const Frame *f)
{
    for (int i = 0; f && i < f->decl->n_params; i++) {
        const Param *p = &f->decl->params[i];
        if (strcmp(p->name.text, "order") != 0 || !p->value || p->value->kind != EXPR_TEXT)
            continue;
        const Given *g = f->given[i];
        const char *order = g && g->term.kind == TERM_TEXT ? g->term.text : p->value->text;
        return strcmp(order, "in,out") != 0 ? "in,out" : "out,in";
    }
    return NULL;
}

static const char *axis_text(Bind *b, const Dim *d)
{
    const char *name = frame_outer(b->frame, d);
    Axis a = {name, d->size};
    return axis_is_number(&a) ? bind_print(b, "%lld", (long long)d->size.base) : name;
}

static const char *axes_print(Bind *b, const WeightUse *w)
{
    Text out = text_new(b->cx->arena);
    text_char(&out, '[');
    for (int i = w->stack ? 1 : 0; i < w->rank; i++) {
        text_add(&out, "%s", i > (w->stack ? 1 : 0) ? ", " : "");
        for (int k = 0; k < w->n_dims[i]; k++)
            text_add(&out, "%s%s", k ? "*" : "", axis_text(b, w->dims[i][k]));
        if (!w->n_dims[i])
            text_char(&out, '1');
    }
    text_char(&out, ']');
    return out.data;
}

const char *shape_print(Bind *b, int rank, const int64_t *sizes)
{
    Text out = text_new(b->cx->arena);
    text_char(&out, '[');
    for (int i = 0; i < rank; i++)
        text_add(&out, "%s%lld", i ? ", " : "", (long long)sizes[i]);
    text_char(&out, ']');
    return out.data;
}

/* The stored dimensions: items of the list. */
static bool read_dims(Bind *b, Call *c, WeightUse *w)
{
    Term t = arg_term(b, c, 1);
    const Given *g = arg_given(c, 1);
    if (t.kind == TERM_POISON)
        return false;
    if (t.kind != TERM_LIST || t.n_items > MAX_RANK) {
        bind_error(b, "E0201", g->at,
                   "the axes of a weight are a list, one item for each stored dimension: [(H, K), D]");
        return false;
    }
    w->rank = t.n_items;
    for (int i = 0; i < t.n_items; i++) {
        const Expr *e = g->expr && g->expr->kind == EXPR_LIST ? g->expr->items[i] : NULL;
        bool one = e && e->kind == EXPR_NUMBER && !e->is_float && e->integer == 1;
        w->n_dims[i] = 0;
        if (i == 0 && e && e->kind == EXPR_NAME)
            w->first = e->text;
        if (!one && !dims_of(b, &t.items[i], e, &w->dims[i], &w->n_dims[i]))
            return false;
    }
    return true;
}

int64_t weight_tensors(const WeightUse *w)
{
    return w->layers * (w->stack ? w->stack : 1);
}

const char *weight_key(Bind *b, const KeyMap *map, const WeightUse *w, int64_t number)
{
    int64_t stack = w->stack ? w->stack : 1;
    return hole_fill(b->cx->arena, keys_apply(b->cx, map, w->key), number / stack, number % stack);
}

WeightUse weight_single(const WeightUse *w)
{
    WeightUse one = *w;
    if (!w->stack)
        return one;
    one.rank--;
    one.stack = 0;
    for (int i = 0; i < one.rank; i++) {
        one.n_dims[i] = w->n_dims[i + 1];
        one.dims[i] = w->dims[i + 1];
        one.stored[i] = w->stored[i + 1];
    }
    return one;
}

static const char *shape_of(Bind *b, const WeightUse *w)
{
    WeightUse one = weight_single(w);
    return shape_print(b, one.rank, one.stored);
}

static bool read_sizes(Bind *b, WeightUse *w, Type *t)
{
    *t = (Type){.dtype = DT_F32};
    int64_t count = 1;
    for (int i = 0; i < w->rank; i++) {
        w->stored[i] = 1;
        for (int k = 0; k < w->n_dims[i]; k++) {
            const Dim *d = w->dims[i][k];
            if (!extent_is_const(d->size)) {
                bind_error(b, "E0310", w->at,
                           "a weight cannot have the axis `%s`, whose size is known only at run time",
                           frame_outer(b->frame, d));
                return false;
            }
            if (!checked_imul(w->stored[i], d->size.base, &w->stored[i]) ||
                !checked_imul(count, d->size.base, &count) || count > INT64_MAX / 8) {
                bind_error(b, "E0310", w->at, "the weight %s is too large", w->axes);
                return false;
            }
            if (!type_take(b, b->at, t, d->axis, d->size))
                return false;
        }
    }
    return true;
}

static bool same_as_before(Bind *b, const WeightUse *w)
{
    for (int i = 0; i < b->n_weights; i++) {
        const WeightUse *old = &b->weights[i];
        if (old->key != w->key)
            continue;
        if (old->rank == w->rank && old->stack == w->stack && !memcmp(old->stored, w->stored, sizeof(int64_t) * (size_t)w->rank))
            return true;
        Diag *d = bind_error(b, "E0406", w->at, "`%s` is read with two shapes", w->key);
        diag_caret(d, "here as %s = %s", w->axes, shape_of(b, w));
        diag_label(d, old->at, "here as %s = %s", old->axes, shape_of(b, old));
        const char *order = frame_other_order(b->frame);
        if (order && old->rank == 2 && w->rank == 2 && old->stored[0] == w->stored[1] && old->stored[1] == w->stored[0])
            diag_help(d, "`order=\"%s\"` reads it as %s", order, old->axes);
        return false;
    }
    return true;
}

static bool merged(const WeightUse *w)
{
    for (int i = 0; i < w->rank; i++)
        if (w->n_dims[i] != 1)
            return true;
    return false;
}

/* The last two components without a hole, as a name for the value: query.weight. */
static const char *short_name(Bind *b, const char *key)
{
    int dots = 0;
    const char *p = key + strlen(key);
    while (p > key && (p[-1] != '.' || ++dots < 2))
        p--;
    const char *hole = strrchr(p, '}');
    if (hole)
        p = hole + (hole[1] == '.' ? 2 : 1);
    return name_of(b->cx->names, *p ? p : "weight");
}

/* Who reads it: the operator that the model file calls, and the block of the model file that calls it. */
static void set_readers(const Bind *b, WeightUse *w)
{
    const Frame *f = b->frame;
    for (; f && f->library; f = f->caller) {
        w->op = f->decl;
        w->frame = f;
    }
    w->block = f && f->caller ? f : NULL;
    w->loop = b->loop;
}

bool path_under(Bind *b, Call *c, int param, const char **key)
{
    const Given *g = arg_given(c, param);
    Term under = arg_term(b, c, param);
    if (under.kind == TERM_NONE || under.kind == TERM_POISON)
        return under.kind == TERM_NONE;
    if (under.kind != TERM_TEXT) {
        Diag *d = bind_error(b, "E0201", g->at, "what stands before a path is a text, not %s", term_print(b, &under));
        diag_origin(b, d, &under);
        return false;
    }
    size_t length = strlen(under.text);
    if (!length || under.text[0] == '.' || under.text[length - 1] == '.' || strpbrk(under.text, "{}") || strstr(under.text, "..")) {
        bind_error(b, "E0129", g->at, "a path is made of names joined by dots, and what stands before one has no holes");
        return false;
    }
    *key = name_of(b->cx->names, bind_print(b, "%s.%s", under.text, *key));
    return true;
}

Term builtin_weight(Bind *b, Call *c)
{
    Term name = arg_term(b, c, 0);
    WeightUse w = {.at = bind_site(b), .layers = 1};
    Type t;
    if (name.kind != TERM_TEXT) {
        if (name.kind != TERM_POISON)
            diag_origin(b,
                        bind_error(b, "E0201", arg_given(c, 0)->at, "the name of a weight is a text, not %s",
                                   term_print(b, &name)),
                        &name);
        return term_poison();
    }
    if (!read_dims(b, c, &w) || !(w.key = path_join(b, name.text, arg_given(c, 0)->at, &w)) || !path_under(b, c, 2, &w.key))
        return term_poison();
    w.axes = axes_print(b, &w);
    if (!read_sizes(b, &w, &t) || !same_as_before(b, &w))
        return term_poison();
    if (hole_of_round(w.key)) {
        w.layers = b->count;
        if (b->nesting > 1) {
            bind_error(b, "E0129", w.at, "`%s` stands in a loop inside a loop: weights are stacked by one loop only",
                       w.key);
            return term_poison();
        }
    }
    set_readers(b, &w);
    w.node = emit(b, OP_weight, type_new(b->cx, t.dtype, t.rank, t.axis), 0, NULL);
    w.node->name = short_name(b, w.key);
    attr_set_name(b->cx, w.node, ATTR_key, w.key);
    if (w.stack)
        attr_set_int(b->cx, w.node, ATTR_stack, w.stack);
    if (merged(&w))
        attr_set_ints(b->cx, w.node, ATTR_stored, w.stored, w.rank);
    b->weights = arena_room(b->cx->arena, b->weights, (size_t)b->n_weights, &b->weights_room, sizeof *b->weights);
    b->weights[b->n_weights++] = w;
    return term_tensor(w.node);
}
