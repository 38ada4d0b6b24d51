/* Operators that change axes and move nothing, or only copy: rearrange, split, merge, concat, slice, expand. */
#include "bind.h"

#include <string.h>

static bool unbound(Bind *b, Scope *s, const Expr *e)
{
    return e->kind == EXPR_NAME && !scope_find(s, e->text) && !scope_find(b->library_globals, e->text);
}

/* x with `axis` replaced by the dims; sizes have to multiply to the axis's. */
static Node *split_axis(Bind *b, Node *x, int axis, const Dim *const *dims, int n)
{
    Type t = {.dtype = x->type->dtype};
    Extent product = extent_const(1);
    for (int i = 0; i < x->type->rank; i++) {
        if (i != axis && !type_take(b, b->at, &t, x->type->axis[i].name, x->type->axis[i].size))
            return NULL;
        for (int k = 0; i == axis && k < n; k++) {
            if (!type_take(b, b->at, &t, dims[k]->axis, dims[k]->size))
                return NULL;
            if (!extent_mul(product, dims[k]->size, &product))
                product = extent_const(-1);
        }
    }
    if (extent_equal(product, x->type->axis[axis].size))
        return make_view(b, x, type_new(b->cx, t.dtype, t.rank, t.axis));
    Diag *d = bind_error(b, "E0306", b->at, "the axis `%s` of %s cannot be split into %s", x->type->axis[axis].name,
                         type_text(b, x->type), dims_print(b, dims, n));
    for (int k = 0; k < n; k++)
        diag_dim(b, d, dims[k]);
    return NULL;
}

static Node *merge_axes(Bind *b, Node *x, int first, int n, const char *name)
{
    Type t = {.dtype = x->type->dtype};
    Extent product = extent_const(1);
    for (int i = 0; i < x->type->rank; i++) {
        if (i >= first && i < first + n && !extent_mul(product, x->type->axis[i].size, &product)) {
            bind_error(b, "E0310", b->at, "two axes whose sizes are known at run time cannot be merged");
            return NULL;
        }
        if (i >= first && i < first + n - 1)
            continue;
        bool merged = i == first + n - 1;
        if (!type_take(b, b->at, &t, merged ? name : x->type->axis[i].name, merged ? product : x->type->axis[i].size))
            return NULL;
    }
    return make_view(b, x, type_new(b->cx, t.dtype, t.rank, t.axis));
}

/* ---- split, merge, unstack -------------------------------------------------------------------------------------- */

/* The parts of an axis: one of them may be a new name, whose size then follows. */
static bool part_dims(Bind *b, Call *c, const Expr *list, Extent whole, const Dim **dims)
{
    Extent known = extent_const(1), rest;
    int open = -1;
    for (int i = 0; i < list->n_items; i++) {
        const Dim **one;
        int n;
        if (open < 0 && unbound(b, c->scope, list->items[i])) {
            open = i;
            continue;
        }
        Term t = eval(b, c->scope, list->items[i]);
        if (!dims_of(b, &t, list->items[i], &one, &n))
            return false;
        dims[i] = one[0];
        if (n != 1 || !extent_mul(known, one[0]->size, &known))
            known = extent_const(0);
    }
    if (open < 0)
        return true;
    const Expr *e = list->items[open];
    if (!extent_is_const(known) || known.base <= 0 || !extent_div(whole, known.base, &rest)) {
        Diag *d = bind_error(b, "E0308", list->at, "the axis does not divide into %s", source_text(b, list->at));
        for (int i = 0; i < list->n_items; i++)
            if (i != open)
                diag_dim(b, d, dims[i]);
        return false;
    }
    dims[open] = dim_new(b, e->text, dim_fresh_axis(b, e->text, e, rest), rest, NULL);
    scope_set(b, c->scope, e->text, term_dim(dims[open]), e->at);
    return true;
}

/* split(x, H, [G, R]) */
static Term split_into_axes(Bind *b, Call *c, Node *x, const Expr *list)
{
    const Dim *dims[MAX_RANK];
    int axis;
    if (list->n_items > MAX_RANK || !arg_axis(b, c, 1, x->type, &axis))
        return term_poison();
    if (!part_dims(b, c, list, x->type->axis[axis].size, dims))
        return term_poison();
    return term_tensor(split_axis(b, x, axis, dims, list->n_items));
}

/* One part of split(x, [(H, K), (G, K)]): its axes, and the one axis that it is cut out as. */
typedef struct Part {
    const Dim **dims;
    int n;
    const Dim *whole;
} Part;

static bool read_part(Bind *b, const Term *t, const Expr *written, Part *part)
{
    Extent size = extent_const(1);
    if (!dims_of(b, t, written, &part->dims, &part->n))
        return false;
    for (int i = 0; i < part->n; i++)
        if (!extent_mul(size, part->dims[i]->size, &size)) {
            bind_error(b, "E0310", b->at, "two axes whose sizes are known at run time cannot be cut out together");
            return false;
        }
    part->whole = part->n == 1 ? part->dims[0] : dim_anonymous(b, size, NULL);
    return true;
}

static Term part_of(Bind *b, Call *c, Node *x, Extent at, const Part *part)
{
    int axis = x->type->rank - 1;
    for (int i = 0; i < part->n; i++) {
        int own = type_find(x->type, part->dims[i]->axis);
        if (own < 0 || own == axis)
            continue;
        bind_error(b, "E0307", arg_given(c, 1)->at, "the result would have the axis `%s` twice", part->dims[i]->name);
        return term_poison();
    }
    Node *cut = make_slice(b, x, axis, part->whole->axis, at, part->whole->size);
    return term_tensor(part->n == 1 ? cut : split_axis(b, cut, axis, part->dims, part->n));
}

/* The parts of an axis that was written as a sum stand in the sum's order. */
static bool good_order(Bind *b, Call *c, const Axis *a, const Dim *const *dims, int n)
{
    const char *order = n < MAX_RANK ? advise_order(b, a->name, dims, n) : NULL;
    if (!order)
        return true;
    Diag *d = bind_error(b, "E0306", arg_given(c, 1)->at, "the axis `%s` has its parts in another order",
                         axis_written(b, a->name));
    diag_help(d, "write `%s`", order);
    return false;
}

/* split(x, [N, E]), split(x, [(H, K), (G, K)]): the last axis cut into parts */
static Term split_into_parts(Bind *b, Call *c, Node *x)
{
    Given *g = arg_given(c, 1);
    Term list = arg_term(b, c, 1);
    int n = list.kind == TERM_LIST ? list.n_items : 1, axis = x->type->rank - 1;
    bool listed = g->expr && g->expr->kind == EXPR_LIST && g->expr->n_items == n;
    Extent at = extent_const(0);
    if (list.kind == TERM_POISON)
        return list;
    Term *items = arena_array(b->cx->arena, (size_t)n + 1, sizeof *items);
    Part *parts = arena_array(b->cx->arena, (size_t)n + 1, sizeof *parts);
    const Dim **wholes = arena_array(b->cx->arena, (size_t)n + 1, sizeof *wholes);
    for (int i = 0; i < n && axis >= 0; i++) {
        const Term *t = list.kind == TERM_LIST ? &list.items[i] : &list;
        if (!read_part(b, t, listed ? g->expr->items[i] : g->expr, &parts[i]))
            return term_poison();
        wholes[i] = parts[i].whole;
        Extent end;
        items[i] = part_of(b, c, x, at, &parts[i]);
        if (items[i].kind == TERM_POISON || !extent_add(at, parts[i].whole->size, &end))
            return term_poison();
        at = end;
    }
    if (axis >= 0 && !good_order(b, c, &x->type->axis[axis], wholes, n))
        return term_poison();
    if (axis >= 0 && extent_equal(at, x->type->axis[axis].size))
        return (Term){.kind = TERM_LIST, .items = items, .n_items = n};
    Text words = text_new(b->cx->arena);
    for (int i = 0; i < n && axis >= 0; i++)
        text_add(&words, "%s%s", i ? ", " : "[", dims_print(b, parts[i].dims, parts[i].n));
    text_char(&words, ']');
    Diag *d = bind_error(b, "E0306", b->at, "the parts %s do not add up to the last axis of %s", words.data,
                         type_text(b, x->type));
    for (int i = 0; i < n && axis >= 0; i++)
        for (int k = 0; k < parts[i].n; k++)
            diag_dim(b, d, parts[i].dims[k]);
    advise_parts(b, d, x, wholes, axis < 0 ? 0 : n);
    return term_poison();
}

Term builtin_split(Bind *b, Call *c)
{
    Node *x = arg_tensor(b, c, 0);
    Given *parts = arg_given(c, 2);
    if (!x)
        return term_poison();
    if (!parts)
        return split_into_parts(b, c, x);
    bool list = parts->expr && (parts->expr->kind == EXPR_LIST || parts->expr->kind == EXPR_TUPLE);
    if (list)
        return split_into_axes(b, c, x, parts->expr);
    bind_error(b, "E0201", parts->at, "the parts of `split` are a list of axes: [G, R]");
    return term_poison();
}

Term builtin_merge(Bind *b, Call *c)
{
    const Dim **parts, **to;
    int n, one, first = 0;
    Node *x = arg_tensor(b, c, 0);
    if (!x || !arg_dims(b, c, 1, &parts, &n) || !arg_dims(b, c, 2, &to, &one))
        return term_poison();
    for (int i = 0; i < n; i++) {
        int at = axis_of(b, x->type, parts[i], arg_given(c, 1)->at, "the tensor given to `merge`");
        if (at < 0)
            return term_poison();
        if (i == 0)
            first = at;
        if (at == first + i)
            continue;
        Diag *d = bind_error(b, "E0306", arg_given(c, 1)->at, "`%s` and `%s` are not neighbours in this order in %s",
                             parts[i - 1]->name, parts[i]->name, type_text(b, x->type));
        diag_help(d, "`rearrange` puts axes into another order");
        return term_poison();
    }
    if (one != 1 || n == 0) {
        bind_error(b, "E0201", b->at, "`merge` makes one axis of several: merge(x, [G, R], H)");
        return term_poison();
    }
    Node *merged = merge_axes(b, x, first, n, to[0]->axis);
    if (!merged)
        return term_poison();
    int at = type_find(merged->type, to[0]->axis);
    if (extent_equal(merged->type->axis[at].size, to[0]->size))
        return term_tensor(merged);
    Diag *d =
        bind_error(b, "E0306", b->at, "%s merged do not have the size of `%s`", dims_print(b, parts, n), to[0]->name);
    for (int i = 0; i < n; i++)
        diag_dim(b, d, parts[i]);
    diag_dim(b, d, to[0]);
    return term_poison();
}

Term builtin_unstack(Bind *b, Call *c)
{
    int axis;
    Node *x = arg_tensor(b, c, 0);
    if (!x || !arg_axis(b, c, 1, x->type, &axis))
        return term_poison();
    Extent size = x->type->axis[axis].size;
    if (!extent_is_const(size) || size.base > 64) {
        bind_error(
            b, "E0310", arg_given(c, 1)->at,
            "`unstack` makes one tensor for each position: the axis needs a size of at most 64 known at compile time");
        return term_poison();
    }
    Term *items = arena_array(b->cx->arena, (size_t)size.base + 1, sizeof *items);
    for (int64_t i = 0; i < size.base; i++)
        items[i] = term_tensor(make_pick(b, x, axis, extent_const(i)));
    return (Term){.kind = TERM_LIST, .items = items, .n_items = (int)size.base};
}

/* ---- rearrange -------------------------------------------------------------------------------------------------- */

typedef struct Group {
    const Dim **dims;
    int n;
} Group;

static int read_groups(Bind *b, Call *c, int param, Group groups[MAX_RANK])
{
    Term t = arg_term(b, c, param);
    Given *g = arg_given(c, param);
    if (t.kind == TERM_POISON)
        return -1;
    if ((t.kind != TERM_LIST && t.kind != TERM_AXES) || (t.kind == TERM_LIST && t.n_items > MAX_RANK)) {
        bind_error(b, "E0201", g->at, "`rearrange` needs a list of axes, not %s", term_print(b, &t));
        return -1;
    }
    if (t.kind == TERM_AXES) {
        for (int i = 0; i < t.n_dims; i++)
            groups[i] = (Group){&t.dims[i], 1};
        return t.n_dims;
    }
    for (int i = 0; i < t.n_items; i++) {
        const Expr *e = g->expr && g->expr->n_items == t.n_items ? g->expr->items[i] : NULL;
        if (!dims_of(b, &t.items[i], e, &groups[i].dims, &groups[i].n))
            return -1;
    }
    return t.n_items;
}

static int flatten(Bind *b, Call *c, int param, const Group *groups, int n, const Dim *flat[MAX_RANK])
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < groups[i].n; k++) {
            if (count == MAX_RANK) {
                bind_error(b, "E0302", arg_given(c, param)->at, "a tensor has at most %d axes", MAX_RANK);
                return -1;
            }
            flat[count++] = groups[i].dims[k];
        }
    }
    return count;
}

/* x seen with the axes of `from`, tuples split. */
static Node *flat_view(Bind *b, Call *c, Node *x, const Group *groups, int n)
{
    if (n != x->type->rank) {
        Diag *d = bind_error(b, "E0302", arg_given(c, 1)->at, "`from` has %d axes", n);
        diag_caret(d, "the tensor is %s", type_text(b, x->type));
        return NULL;
    }
    for (int i = n - 1; i >= 0 && x; i--) {
        bool same = groups[i].n == 1 && groups[i].dims[0]->axis == x->type->axis[i].name;
        if (same)
            continue;
        if (groups[i].n == 1) {
            axis_of(b, x->type, groups[i].dims[0], arg_given(c, 1)->at, "the tensor given to `rearrange`");
            if (type_find(x->type, groups[i].dims[0]->axis) < 0)
                return NULL;
            Diag *d =
                bind_error(b, "E0305", arg_given(c, 1)->at, "`from` has the axes in another order than the tensor");
            diag_caret(d, "the tensor is %s", type_text(b, x->type));
            return NULL;
        }
        x = split_axis(b, x, i, groups[i].dims, groups[i].n);
    }
    return x;
}

static const char *merged_name(Bind *b, const Group *g)
{
    Text name = text_new(b->cx->arena);
    Extent size = extent_const(1);
    for (int k = 0; k < g->n; k++) {
        text_add(&name, "%s%s", k ? "_" : "", g->dims[k]->axis);
        if (!extent_mul(size, g->dims[k]->size, &size))
            size = extent_const(0);
    }
    return dim_fresh_axis(b, name.data, NULL, size);
}

Term builtin_rearrange(Bind *b, Call *c)
{
    Group from[MAX_RANK], to[MAX_RANK];
    const Dim *flat[MAX_RANK];
    int order[MAX_RANK];
    Node *x = arg_tensor(b, c, 0);
    if (!x)
        return term_poison();
    int n_from = read_groups(b, c, 1, from), n_to = n_from < 0 ? -1 : read_groups(b, c, 2, to);
    if (n_to < 0 || !(x = flat_view(b, c, x, from, n_from)))
        return term_poison();
    int n = flatten(b, c, 2, to, n_to, flat);
    if (n < 0)
        return term_poison();
    for (int i = 0; i < n; i++)
        if ((order[i] = axis_of(b, x->type, flat[i], arg_given(c, 2)->at, "the tensor given to `rearrange`")) < 0)
            return term_poison();
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++)
            if (order[i] == order[k])
                n = -1;
    if (n != x->type->rank) {
        bind_error(b, "E0305", arg_given(c, 2)->at, "`to` must have each axis of `from` once");
        return term_poison();
    }
    x = make_transpose(b, x, order);
    for (int i = 0; i < n_to && x; i++)
        if (to[i].n > 1)
            x = merge_axes(b, x, i, to[i].n, merged_name(b, &to[i]));
    return term_tensor(x);
}

/* ---- concat, halves, join --------------------------------------------------------------------------------------- */

static Node *emit_concat(Bind *b, Node *const *in, int n, int axis, const char *name, Extent size)
{
    Type t = *in[0]->type;
    t.axis[axis] = (Axis){name, size};
    Node *node = emit(b, OP_concat, type_new(b->cx, t.dtype, t.rank, t.axis), n, in);
    attr_set_name(b->cx, node, ATTR_axis, name);
    return node;
}

static bool fits_beside(Bind *b, const Type *first, const Type *t, int axis, Span at)
{
    bool same = first->rank == t->rank && first->dtype == t->dtype;
    for (int i = 0; same && i < t->rank; i++)
        same =
            i == axis || (first->axis[i].name == t->axis[i].name && extent_equal(first->axis[i].size, t->axis[i].size));
    if (same)
        return true;
    Diag *d = bind_error(b, "E0304", at, "only the joined axis may differ in `concat`");
    diag_caret(d, "%s after %s", type_text(b, t), type_text(b, first));
    advise_beside(b, d, t, first, axis, at);
    return false;
}

Term builtin_concat(Bind *b, Call *c)
{
    Node *in[16];
    int n = 0, axis = -1;
    Extent total = extent_const(0);
    Text name = text_new(b->cx->arena);
    for (int i = 0; i < c->n_given; i++) {
        if (c->given[i].name)
            continue;
        Term t = given_term(b, c, &c->given[i]);
        Node *x = tensor_of(b, &t, DT_F32, "an argument of `concat`");
        if (!x || n == 16)
            return n == 16 ? (bind_error(b, "E0124", c->at, "`concat` takes at most 16 tensors"), term_poison())
                           : term_poison();
        in[n++] = x;
        if (n == 1 && !arg_axis(b, c, 0, x->type, &axis))
            return term_poison();
        if (!fits_beside(b, in[0]->type, x->type, axis, c->given[i].at))
            return term_poison();
        text_add(&name, "%s%s", n > 1 ? "_" : "", x->type->axis[axis].name);
        if (!extent_add(total, x->type->axis[axis].size, &total))
            return term_poison();
    }
    if (n == 0) {
        bind_error(b, "E0124", c->at, "`concat` needs tensors");
        return term_poison();
    }
    const Dim **to;
    int one;
    if (!arg_given(c, 1))
        return term_tensor(emit_concat(b, in, n, axis, dim_fresh_axis(b, name.data, NULL, total), total));
    if (!arg_dims(b, c, 1, &to, &one))
        return term_poison();
    if (one == 1 && extent_equal(to[0]->size, total))
        return term_tensor(emit_concat(b, in, n, axis, to[0]->axis, total));
    Diag *d =
        bind_error(b, "E0306", arg_given(c, 1)->at, "the tensors do not add up to the axis %s", dims_print(b, to, one));
    diag_dim(b, d, to[0]);
    return term_poison();
}

Term builtin_halves(Bind *b, Call *c)
{
    bool interleave;
    Extent half;
    Node *x = arg_tensor(b, c, 0);
    if (!x || !arg_flag(b, c, 1, false, &interleave))
        return term_poison();
    int axis = x->type->rank - 1;
    if (axis < 0 || !extent_div(x->type->axis[axis].size, 2, &half)) {
        bind_error(b, "E0308", arg_given(c, 0)->at, "the last axis of %s has no halves", type_text(b, x->type));
        return term_poison();
    }
    const char *name = dim_fresh_axis(b, bind_print(b, "%s_2", x->type->axis[axis].name), NULL, half);
    const Dim *pair = dim_anonymous(b, extent_const(2), NULL), part = {name, name, half, NULL};
    Term items[2];
    if (interleave && !(x = split_axis(b, x, axis, (const Dim *[]){&part, pair}, 2)))
        return term_poison();
    for (int i = 0; i < 2; i++) {
        Extent at = extent_const(0);
        if (i && !interleave)
            at = half;
        items[i] = term_tensor(interleave ? make_pick(b, x, axis + 1, extent_const(i))
                                          : make_slice(b, x, axis, name, at, half));
    }
    return term_list(b, items, 2);
}

Term builtin_join(Bind *b, Call *c)
{
    bool interleave;
    const Dim **to;
    int n;
    Node *in[2] = {arg_tensor(b, c, 0), arg_tensor(b, c, 1)};
    if (!in[0] || !in[1] || !arg_dims(b, c, 2, &to, &n) || !arg_flag(b, c, 3, false, &interleave))
        return term_poison();
    int axis = in[0]->type->rank - 1;
    Extent twice;
    if (axis < 0 || !type_equal(in[0]->type, in[1]->type) || n != 1 ||
        !extent_scale(in[0]->type->axis[axis].size, 2, &twice) || !extent_equal(twice, to[0]->size)) {
        Diag *d = bind_error(b, "E0306", b->at, "`join` needs two tensors of one type whose last axis is half of %s",
                             dims_print(b, to, n));
        diag_caret(d, "%s and %s", type_text(b, in[0]->type), type_text(b, in[1]->type));
        return term_poison();
    }
    if (!interleave)
        return term_tensor(emit_concat(b, in, 2, axis, to[0]->axis, twice));
    const Dim *one = dim_anonymous(b, extent_const(1), NULL), *pair = dim_anonymous(b, extent_const(2), NULL);
    const Axis *last = &in[0]->type->axis[axis];
    const Dim half = {last->name, last->name, last->size, NULL};
    for (int i = 0; i < 2; i++)
        if (!(in[i] = split_axis(b, in[i], axis, (const Dim *[]){&half, one}, 2)))
            return term_poison();
    Node *pairs = emit_concat(b, in, 2, axis + 1, pair->axis, extent_const(2));
    return term_tensor(merge_axes(b, pairs, axis, 2, to[0]->axis));
}

/* ---- slice, take, expand ---------------------------------------------------------------------------------------------- */

Term builtin_slice(Bind *b, Call *c)
{
    int axis;
    int64_t at;
    Node *x = arg_tensor(b, c, 0);
    if (!x || !arg_axis(b, c, 1, x->type, &axis))
        return term_poison();
    Term t = arg_term(b, c, 2);
    if (t.kind == TERM_POISON)
        return t;
    Extent size = x->type->axis[axis].size, end;
    if (term_is_int(&t, &at) && at >= 0 && at < extent_low(size))
        return term_tensor(make_pick(b, x, axis, t.size));
    if (t.kind == TERM_RANGE && extent_add(t.range.start, t.range.length, &end) && extent_low(t.range.start) >= 0 &&
        extent_high(end) <= extent_high(size)) {
        const char *name = t.range.along ? t.range.along->axis : dim_anonymous(b, t.range.length, NULL)->axis;
        int other = type_find(x->type, name);
        if (other < 0 || other == axis)
            return term_tensor(make_slice(b, x, axis, name, t.range.start, t.range.length));
    }
    Diag *d = bind_error(b, "E0306", arg_given(c, 2)->at, "these are not positions of the axis `%s` of %s",
                         x->type->axis[axis].name, type_text(b, x->type));
    diag_note(d, "positions are a whole number from 0, or a range a..b with b at most the size of the axis");
    return term_poison();
}

/* With or without a batch axis, the positions of a mask are those of the last axis. */
Term builtin_take(Bind *b, Call *c)
{
    Node *x = arg_tensor(b, c, 0);
    if (!x)
        return term_poison();
    Term t = arg_term(b, c, 1);
    if (t.kind == TERM_POISON)
        return t;
    if (x->type->rank == 0) {
        bind_error(b, "E0302", arg_given(c, 0)->at, "`take` needs a tensor with an axis, not %s", type_text(b, x->type));
        return term_poison();
    }
    return term_tensor(index_axis(b, x, x->type->rank - 1, &t, arg_given(c, 1)->at));
}

Term builtin_expand(Bind *b, Call *c)
{
    const Dim **to;
    int n, at = -1;
    Node *x = arg_tensor(b, c, 0);
    if (!x || !arg_dims(b, c, 1, &to, &n))
        return term_poison();
    if (n != 1) {
        bind_error(b, "E0201", arg_given(c, 1)->at, "`expand` repeats along one new axis");
        return term_poison();
    }
    const Dim *one = dim_anonymous(b, extent_const(1), NULL);
    at = type_find(x->type, one->axis);
    if (at >= 0)
        x = make_pick(b, x, at, extent_const(0));
    Type t = {.dtype = x->type->dtype};
    for (int i = 0; i <= x->type->rank; i++) {
        if (i == (at < 0 ? 0 : at) && !type_take(b, arg_given(c, 1)->at, &t, to[0]->axis, to[0]->size))
            return term_poison();
        if (i < x->type->rank && !type_take(b, b->at, &t, x->type->axis[i].name, x->type->axis[i].size))
            return term_poison();
    }
    Node *node = emit(b, OP_expand, type_new(b->cx, t.dtype, t.rank, t.axis), 1, &x);
    attr_set_name(b->cx, node, ATTR_axis, to[0]->axis);
    return term_tensor(node);
}
