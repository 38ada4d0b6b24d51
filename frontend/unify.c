/* Axis variables: a block's parameter types against the axes of the arguments.
 *
 * `k: [B, T, G, K]` called with f32[B, S, H, K]: T is bound to the caller's S and G to its H. In the IR the
 * block's value keeps the caller's names, unless another variable of the call has taken one: after q: [B, S, H,
 * K] has bound S and H, k is seen through a view as [B, T, G, K]. Results go back to the caller's names. */
#include "bind.h"

#include <string.h>

typedef struct Slot { /* one axis of a parameter's type */
    const Expr *written;
    const char *name; /* a variable that this axis binds */
    const char *base; /* how to call it in the IR if the caller's name is taken */
    const void *owner;
    const char *needed; /* the caller's axis it has to be; NULL: any */
    const Dim *dim;     /* already bound */
    bool literal;       /* a size without a name */
    Extent size;
    const Param *axes; /* a component of an axes parameter */
} Slot;

typedef struct Pattern {
    Slot slots[MAX_RANK];
    int n;
    bool star;
} Pattern;

static const BoundAxis *bound_axis(const Frame *f, const Dim *d)
{
    for (int i = 0; i < f->n_axes; i++)
        if (f->axes[i].dim == d)
            return &f->axes[i];
    return NULL;
}

static bool taken(const Frame *f, const char *outer)
{
    for (int i = 0; i < f->n_axes; i++)
        if (f->axes[i].outer == outer)
            return true;
    return false;
}

static void remember(Bind *b, Frame *f, const Dim *dim, const char *outer, const Param *p, const Given *g)
{
    Node *node = g->term.kind == TERM_TENSOR ? g->term.node : NULL;
    f->axes = arena_room(b->cx->arena, f->axes, (size_t)f->n_axes, &f->axes_room, sizeof *f->axes);
    f->axes[f->n_axes++] = (BoundAxis){dim, outer, p->name.text, g->at, node};
}

/* A variable of the call for the caller's axis. */
static const Dim *bind_axis(Bind *b, Frame *f, const char *name, const char *base, const void *owner, const Axis *a,
                            const Param *p, const Given *g)
{
    const char *axis = taken(f, a->name) ? dim_fresh_axis(b, base, owner, a->size) : a->name;
    const Origin *origin = axis_origin(b, a->name);
    const Dim *d = dim_new(b, name, axis, a->size, origin);
    remember(b, f, d, a->name, p, g);
    return d;
}

/* ---- reading a type --------------------------------------------------------------------------------------------- */

static const Param *axes_param(const Decl *decl, const char *name, int *index)
{
    for (int i = 0; i < decl->n_params; i++) {
        const Param *p = &decl->params[i];
        *index = i;
        if (p->name.text == name && p->type && !p->type->has_axes && p->type->dtype.text &&
            !strcmp(p->type->dtype.text, "axes"))
            return p;
    }
    return NULL;
}

static bool add_slot(Bind *b, Pattern *pattern, Slot slot)
{
    if (pattern->n == MAX_RANK) {
        bind_error(b, "E0302", slot.written->at, "a tensor has at most %d axes", MAX_RANK);
        return false;
    }
    pattern->slots[pattern->n++] = slot;
    return true;
}

static bool add_term(Bind *b, Pattern *pattern, const Expr *e, const Term *t)
{
    const Dim **dims;
    int n;
    if (t->kind == TERM_POISON)
        return false;
    if (t->kind == TERM_SIZE && !t->dim)
        return add_slot(b, pattern, (Slot){.written = e, .literal = true, .size = t->size});
    if (!dims_of(b, t, e, &dims, &n))
        return false;
    for (int i = 0; i < n; i++)
        if (!add_slot(b, pattern, (Slot){.written = e, .dim = dims[i]}))
            return false;
    return true;
}

/* A name in a type that nothing has bound yet: an axes parameter, or a variable of its own. */
static bool add_free(Bind *b, Frame *f, Pattern *pattern, const Expr *e)
{
    int index;
    const Param *p = axes_param(f->decl, e->text, &index);
    if (!p)
        return add_slot(b, pattern, (Slot){.written = e, .name = e->text, .base = e->text, .owner = e});
    const Given *g = f->given[index];
    if (!g)
        return add_slot(b, pattern, (Slot){.written = e, .name = e->text, .base = e->text, .owner = e, .axes = p});
    const Dim **dims;
    int n;
    if (!dims_of(b, &g->term, g->expr, &dims, &n))
        return false;
    for (int i = 0; i < n; i++) {
        Slot slot = {.written = e,
                     .name = dims[i]->name,
                     .base = dims[i]->axis,
                     .owner = (const char *)p + i,
                     .needed = dims[i]->axis,
                     .axes = p};
        if (!add_slot(b, pattern, slot))
            return false;
    }
    return true;
}

static bool read_pattern(Bind *b, Frame *f, Scope *local, const TypeExpr *type, Pattern *pattern)
{
    *pattern = (Pattern){.n = 0};
    for (int i = 0; i < type->n_axes; i++) {
        const Expr *e = type->axes[i];
        if (e->kind == EXPR_STAR) {
            if (i > 0) {
                bind_error(b, "E0302", e->at, "`*` stands for leading axes, so it comes first");
                return false;
            }
            pattern->star = true;
            continue;
        }
        bool free = e->kind == EXPR_NAME && !scope_find(local, e->text);
        Term t = free ? term_none() : eval(b, local, e);
        if (free ? !add_free(b, f, pattern, e) : !add_term(b, pattern, e, &t))
            return false;
    }
    return true;
}

/* ---- messages --------------------------------------------------------------------------------------------------- */

static const char *ordinal(int i, int n)
{
    static const char *const words[] = {"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"};
    return i == n - 1 ? "last" : words[i];
}

static void refuse_rank(Bind *b, const Frame *f, const Param *p, const Given *g, const Type *t)
{
    Diag *d = bind_error(b, "E0302", g->at, "`%s` needs `%s` as %s", f->decl->name.text, p->name.text,
                         type_expr_text(b, p->type));
    diag_caret(d, "this is %s", type_text(b, t));
    if (t->rank < p->type->n_axes && g->expr)
        diag_help(d, "a tuple of axes makes several of one: linear(x, \"name\", (H, K))");
    advise_arguments(b, d, f->decl, p, g->expr);
}

static void note_axis(Bind *b, Diag *d, const char *axis, Extent size)
{
    Term t = term_size(size);
    const char *note = origin_note(b, axis, term_print(b, &t), axis_origin(b, axis));
    if (note && extent_is_const(size))
        diag_note(d, "%s", note);
}

typedef struct Side {
    const char *param;
    Span at;
    const Node *node;
    const char *axis;
    Extent size;
} Side;

static void suggest_axis(Bind *b, Diag *d, const Side *suspect, const Side *other)
{
    if (axis_origin(b, other->axis))
        note_axis(b, d, other->axis, other->size);
    advise_axis(b, d, suspect->node, suspect->axis, other->axis);
}

/* One name of the block stands for two axes, since an argument lacks an axis or has one too many. */
static bool refuse_shifted(Bind *b, const Frame *f, const Side *now, const Side *before, const char *name)
{
    int from_end = before->node->type->rank - type_find(before->node->type, before->axis);
    Diag *d = bind_error(b, "E0301", before->at, "the axis `%s` of `%s` would be `%s` in `%s` and `%s` in `%s`", name,
                         f->decl->name.text, before->axis, before->param, now->axis, now->param);
    for (int i = 0; i < f->decl->n_params; i++)
        if (f->decl->params[i].name.text == before->param)
            diag_caret(d, "%s, for %s", type_text(b, before->node->type), type_expr_text(b, f->decl->params[i].type));
    if (now->at.source == before->at.source && now->at.begin != before->at.begin)
        diag_label(d, now->at, "%s", type_text(b, now->node->type));
    advise_rank(b, d, before->node, before->at, now->axis, from_end);
    return false;
}

/* Two arguments of one call disagree. The one that a cache has checked before is not to blame. */
static bool refuse_pair(Bind *b, const Frame *f, const Side *now, const Side *before, bool last, const char *place,
                        const Param *p, const Given *g)
{
    const Cache *cache = advise_cache(now->node);
    bool first = cache && !advise_cache(before->node);
    const Side *suspect = first ? before : now, *other = first ? now : before;
    Diag *d = bind_error(b, "E0301", suspect->at, "`%s` needs `%s` and `%s` to share %s axis", f->decl->name.text,
                         before->param, now->param, last ? "their last" : bind_print(b, "the %s", place));
    diag_caret(d, "%s", type_text(b, suspect->node->type));
    if (other->at.source == suspect->at.source && other->at.begin != suspect->at.begin)
        diag_label(d, other->at, "%s", type_text(b, other->node->type));
    Axis a = {suspect->axis, suspect->size};
    advise_mark(b, d, suspect->node, &a, bind_print(b, "`%s`", suspect->param));
    if (first)
        diag_note(d, "`%s` was checked against the cache `%s` on line %d, so `%s` is the likelier culprit", now->param,
                  cache->name, span_start(cache->at).line, before->param);
    if (extent_equal(now->size, before->size))
        diag_note(d, "both sizes are the same now, but axes with different names never match");
    suggest_axis(b, d, suspect, other);
    advise_arguments(b, d, f->decl, p, g->expr);
    return false;
}

/* The argument has another axis where the slot is bound already: by another argument, or by config and let. */
static bool refuse_axis(Bind *b, const Frame *f, const Param *p, const Given *g, Node *x, int at, const Dim *bound)
{
    const Axis *a = &x->type->axis[at];
    const BoundAxis *by = bound_axis(f, bound);
    const char *needed = by ? by->outer : bound->axis, *place = ordinal(at, x->type->rank);
    if (by && by->node && strcmp(by->param, p->name.text) != 0) {
        Side now = {p->name.text, g->at, x, a->name, a->size},
             before = {by->param, by->arg, by->node, by->outer, bound->size};
        int own = type_find(by->node->type, by->outer);
        const Param *other = g->expr && g->expr->kind == EXPR_NAME ? decl_param(f->decl, g->expr->text) : NULL;
        bool mixed = other && other != p; /* meant for another parameter */
        if (!mixed && own >= 0 && by->node->type->rank - own != x->type->rank - at)
            return refuse_shifted(b, f, &now, &before, bound->name);
        return refuse_pair(b, f, &now, &before, at == x->type->rank - 1, place, p, g);
    }
    Diag *d = bind_error(b, "E0301", g->at, "`%s` needs `%s` as %s", f->decl->name.text, p->name.text,
                         type_expr_text(b, p->type));
    diag_caret(d, "the %s axis of %s is `%s`, not `%s`", place, type_text(b, x->type), a->name, needed);
    advise_mark(b, d, x, a, bind_print(b, "`%s`", p->name.text));
    note_axis(b, d, a->name, a->size);
    note_axis(b, d, needed, bound->size);
    if (extent_equal(a->size, bound->size))
        diag_note(d, "both sizes are the same now, but axes with different names never match");
    advise_axis(b, d, x, a->name, needed);
    advise_arguments(b, d, f->decl, p, g->expr);
    return false;
}

/* in=(H, N): the axes that the call names are not the last ones of the tensor. */
static void refuse_named(Bind *b, const Frame *f, const Param *p, Node *x, const Pattern *pattern, const Slot *slot)
{
    int n = 0, index = 0;
    Text last = text_new(b->cx->arena);
    for (int i = 0; i < pattern->n; i++)
        n += pattern->slots[i].axes == slot->axes;
    for (int i = x->type->rank - n; i < x->type->rank; i++)
        text_add(&last, "%s%s", last.length ? ", " : "", x->type->axis[i].name);
    axes_param(f->decl, slot->axes->name.text, &index);
    Diag *d = bind_error(b, "E0301", f->given[index]->at, "`%s` of `%s` must be the last axes of `%s`",
                         slot->axes->name.text, f->decl->name.text, p->name.text);
    diag_caret(d, "`%s` is %s", p->name.text, type_text(b, x->type));
    diag_help(d, n == 1 ? "write `%s=%s`" : "write `%s=(%s)`", slot->axes->name.text, last.data);
}

/* ---- matching --------------------------------------------------------------------------------------------------- */

/* One axis: gives the name it has inside the block, or NULL after an error. */
static const char *match_slot(Bind *b, Frame *f, Scope *local, const Param *p, const Given *g, Node *x, int at,
                              const Pattern *pattern, Slot *slot)
{
    const Axis *a = &x->type->axis[at];
    if (slot->dim) {
        const BoundAxis *by = bound_axis(f, slot->dim);
        if (a->name != (by ? by->outer : slot->dim->axis))
            return refuse_axis(b, f, p, g, x, at, slot->dim), NULL;
        if (!by)
            remember(b, f, slot->dim, a->name, p, g);
        return slot->dim->axis;
    }
    if (slot->literal) {
        const Dim *d = dim_anonymous(b, slot->size, slot->written);
        if (extent_equal(a->size, slot->size))
            return d->axis;
        return refuse_axis(b, f, p, g, x, at, d), NULL;
    }
    if (slot->needed && slot->needed != a->name)
        return refuse_named(b, f, p, x, pattern, slot), NULL;
    const Var *known = slot->axes ? NULL : map_get(&local->vars, slot->name); /* [S, S]: the second meets the first */
    if (known) {
        bind_error(b, "E0309", slot->written->at, "the axis `%s` stands twice in one type", slot->name);
        return NULL;
    }
    slot->dim = bind_axis(b, f, slot->axes ? a->name : slot->name, slot->base, slot->owner, a, p, g);
    if (!slot->axes)
        scope_set(b, local, slot->name, term_dim(slot->dim), slot->written->at);
    return slot->dim->axis;
}

/* The leading axes: the same ones wherever `*` stands. */
static bool match_star(Bind *b, Frame *f, const Param *p, const Given *g, const Type *t, int lead, Type *inside)
{
    if (f->has_star && f->n_star != lead) {
        refuse_rank(b, f, p, g, t);
        return false;
    }
    if (!f->has_star)
        f->star = arena_array(b->cx->arena, (size_t)lead + 1, sizeof *f->star);
    for (int i = 0; i < lead; i++) {
        if (!f->has_star)
            f->star[i] = bind_axis(b, f, t->axis[i].name, t->axis[i].name, (const char *)p + i, &t->axis[i], p, g);
        const BoundAxis *by = bound_axis(f, f->star[i]);
        if (by && by->outer != t->axis[i].name) {
            Diag *d = bind_error(b, "E0301", g->at, "`%s` needs `%s` and `%s` to share their leading axes",
                                 f->decl->name.text, by->param, p->name.text);
            diag_caret(d, "this is %s", type_text(b, t));
            return false;
        }
        inside->axis[i] = (Axis){f->star[i]->axis, t->axis[i].size};
    }
    f->n_star = lead;
    f->has_star = true;
    return true;
}

/* Axes parameters that the type has just bound become names of the block. */
static void set_axes(Bind *b, Scope *local, const Pattern *pattern)
{
    for (int i = 0; i < pattern->n; i++) {
        const Param *p = pattern->slots[i].axes;
        if (!p || (i > 0 && pattern->slots[i - 1].axes == p))
            continue;
        Term t = {.kind = TERM_AXES, .dims = arena_array(b->cx->arena, MAX_RANK, sizeof *t.dims)};
        for (int k = i; k < pattern->n && pattern->slots[k].axes == p; k++)
            t.dims[t.n_dims++] = pattern->slots[k].dim;
        scope_set(b, local, p->name.text, t, p->name.at);
    }
}

/* A range of positions gets its axis from the type. */
static bool match_range(const Frame *f, const Pattern *pattern, Term *value)
{
    const Slot *slot = &pattern->slots[0];
    if (pattern->n != 1 || pattern->star || !slot->dim || !extent_equal(slot->dim->size, value->range.length))
        return false;
    const BoundAxis *by = bound_axis(f, slot->dim);
    if (value->range.along && value->range.along->axis != (by ? by->outer : slot->dim->axis))
        return false;
    value->range.along = slot->dim;
    return true;
}

static bool dtype_fits(Bind *b, const Frame *f, const Param *p, const Given *g, const Node *x)
{
    DType dtype;
    const Ident *written = &p->type->dtype;
    if (!written->text)
        return true;
    if (!dtype_from_name(written->text, &dtype)) {
        bind_error(b, "E0202", written->at, "no type is named `%s`", written->text);
        return false;
    }
    if (dtype == x->type->dtype)
        return true;
    Diag *d = bind_error(b, "E0202", g->at, "`%s` needs `%s` as %s", f->decl->name.text, p->name.text,
                         type_expr_text(b, p->type));
    diag_caret(d, "this is %s", type_text(b, x->type));
    advise_dtype(b, d, x, dtype);
    advise_arguments(b, d, f->decl, p, g->expr);
    return false;
}

bool unify(Bind *b, Frame *f, Scope *local, const Param *p, const Given *g, Term *value)
{
    Pattern pattern;
    if (!read_pattern(b, f, local, p->type, &pattern))
        return false;
    if (value->kind == TERM_RANGE && match_range(f, &pattern, value))
        return true;
    Node *x = tensor_of(b, value, DT_F32, bind_print(b, "`%s` of `%s`", p->name.text, f->decl->name.text));
    if (!x || !dtype_fits(b, f, p, g, x))
        return false;
    Type inside = *x->type;
    int lead = x->type->rank - pattern.n;
    if (lead < 0 || (lead > 0 && !pattern.star)) {
        refuse_rank(b, f, p, g, x->type);
        return false;
    }
    if (pattern.star && !match_star(b, f, p, g, x->type, lead, &inside))
        return false;
    for (int i = 0; i < pattern.n; i++) {
        const char *name = match_slot(b, f, local, p, g, x, lead + i, &pattern, &pattern.slots[i]);
        if (!name)
            return false;
        inside.axis[lead + i].name = name;
    }
    set_axes(b, local, &pattern);
    *value = term_tensor(make_view(b, x, type_new(b->cx, inside.dtype, inside.rank, inside.axis)));
    return true;
}

/* Does a type of the block name the parameter? */
static bool in_types(const Decl *decl, const char *name)
{
    for (int i = 0; i < decl->n_params + decl->n_results; i++) {
        const TypeExpr *t = i < decl->n_params ? decl->params[i].type : decl->results[i - decl->n_params].type;
        for (int k = 0; t && k < t->n_axes; k++)
            if (t->axes[k]->kind == EXPR_NAME && t->axes[k]->text == name)
                return true;
    }
    return false;
}

/* The variable that an argument's axis has got before, or NULL. */
static const Dim *dim_inside(const Frame *f, const char *outer)
{
    for (int i = 0; i < f->n_axes; i++)
        if (f->axes[i].outer == outer)
            return f->axes[i].dim;
    return NULL;
}

/* An axes parameter that no type names, such as `over: axes`, picks axes of the tensors that came before it. */
bool unify_axes(Bind *b, Frame *f, Scope *local, const Param *p, const Given *g)
{
    bool picks = !in_types(f->decl, p->name.text);
    const Dim **dims;
    Term t = {.kind = TERM_AXES};
    if (map_has(&local->vars, p->name.text))
        return true; /* bound by a type before */
    if (!dims_of(b, &g->term, g->expr, &dims, &t.n_dims))
        return false;
    t.dims = arena_array(b->cx->arena, (size_t)t.n_dims + 1, sizeof *t.dims);
    for (int i = 0; i < t.n_dims; i++) {
        for (int k = 0; k < i; k++) {
            if (dims[k]->axis != dims[i]->axis)
                continue;
            bind_error(b, "E0307", g->at, "the axis `%s` stands twice here", dims[i]->name);
            return false;
        }
        Axis a = {dims[i]->axis, dims[i]->size};
        t.dims[i] = picks ? dim_inside(f, a.name) : NULL;
        if (!t.dims[i])
            t.dims[i] = bind_axis(b, f, dims[i]->name, dims[i]->axis, (const char *)p + i, &a, p, g);
    }
    scope_set(b, local, p->name.text, t, g->at);
    return true;
}

/* ---- results ---------------------------------------------------------------------------------------------------- */

/* The declared axes with their names inside and outside the block. */
static bool result_type(Bind *b, Frame *f, Scope *local, const TypeExpr *declared, Type *inside, Type *outside)
{
    Pattern pattern;
    *inside = *outside = (Type){.rank = 0};
    if (!read_pattern(b, f, local, declared, &pattern))
        return false;
    int lead = pattern.star ? f->n_star : 0;
    for (int i = 0; i < lead + pattern.n; i++) {
        const Slot *slot = i < lead ? NULL : &pattern.slots[i - lead];
        if (slot && slot->name) {
            bind_error(b, "E0120", slot->written->at, "no axis is named `%s` here", slot->name);
            return false;
        }
        const Dim *d = i < lead ? f->star[i] : slot->literal ? dim_anonymous(b, slot->size, slot->written) : slot->dim;
        const BoundAxis *by = bound_axis(f, d);
        if (!type_take(b, f->call, inside, d->axis, d->size) ||
            !type_take(b, f->call, outside, by ? by->outer : d->axis, d->size))
            return false;
    }
    return true;
}

static Term refuse_result(Bind *b, const Frame *f, const TypeExpr *declared, const Node *x, const Type *wanted, Span at)
{
    Diag *d = bind_error(b, "E0303", at, "`%s` promises %s, but returns %s", f->decl->name.text,
                         type_expr_text(b, declared), type_text(b, x->type));
    diag_label(d, declared->at, "promised here");
    advise_result(b, d, x, wanted);
    return term_poison();
}

Term unify_result(Bind *b, Frame *f, Scope *local, const TypeExpr *declared, Term value, Span at)
{
    Type inside, outside;
    DType dtype;
    if (value.kind != TERM_TENSOR && value.kind != TERM_RANGE && !declared->has_axes && !declared->dtype.text)
        return value;
    Node *x = tensor_of(b, &value, DT_F32, "a result");
    if (!x || !result_type(b, f, local, declared, &inside, &outside))
        return term_poison();
    inside.dtype = outside.dtype = x->type->dtype;
    bool other = declared->dtype.text && (!dtype_from_name(declared->dtype.text, &dtype) || dtype != x->type->dtype);
    if (other)
        inside.dtype = declared->dtype.text && dtype_from_name(declared->dtype.text, &dtype) ? dtype : x->type->dtype;
    if (other || !type_equal(x->type, &inside))
        return refuse_result(b, f, declared, x, &inside, at);
    return term_tensor(make_view(b, x, type_new(b->cx, outside.dtype, outside.rank, outside.axis)));
}
