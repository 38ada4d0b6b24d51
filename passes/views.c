/* Views: views of views are one view, views of weights go into the weight's strides, and views or slices of what a
 * product feeds move up into the weight, so that between a product and what follows it nothing stands in the way.
 *
 *     slice(x W + b)  ->  x slice(W) + slice(b)        if slices are all that is read of it
 *     view(x W + b)   ->  x view(W) + view(b)          if the axes that change are columns of W */
#include <string.h>
#include "passes/views.h"

/* ---- what a view does to which axes ------------------------------------------------------------------------------ */

/* Sizes of two groups differ: whether the left one has to take in one more axis. */
static bool left_is_smaller(Extent left, Extent right)
{
    if (left.n != right.n)
        return left.n < right.n;
    return left.n ? left.factor[0] < right.factor[0] : left.base < right.base;
}

static bool take(Change *c, int *i, int *o)
{
    const Type *a = c->from, *b = c->to;
    Part g = {*i, 1, *o, 1, false};
    Extent left = a->axis[*i].size, right = b->axis[*o].size;
    g.same = extent_equal(left, right) && a->axis[*i].name == b->axis[*o].name;
    while (!extent_equal(left, right)) {
        bool grow = left_is_smaller(left, right);
        const Type *t = grow ? a : b;
        int at = grow ? *i + g.n_in : *o + g.n_out;
        Extent *size = grow ? &left : &right;
        if (at >= t->rank || !extent_mul(*size, t->axis[at].size, size))
            return false;
        *(grow ? &g.n_in : &g.n_out) += 1;
    }
    *i += g.n_in;
    *o += g.n_out;
    c->part[c->n++] = g;
    return true;
}

bool change_of_view(PassContext *px, const Node *view, Change *c)
{
    *c = (Change){.px = px, .view = view, .from = view->inputs[0]->type, .to = view->type};
    int i = 0, o = 0;
    while (i < c->from->rank && o < c->to->rank)
        if (!take(c, &i, &o))
            return false;
    return i == c->from->rank && o == c->to->rank;
}

static void change_of_slice(PassContext *px, const Node *view, Change *c)
{
    *c = (Change){.px = px, .view = view, .from = view->inputs[0]->type, .to = view->type};
    int axis = type_find(c->from, attr_name(view, ATTR_axis)), drop = c->from->rank - c->to->rank;
    for (int i = 0; i < c->from->rank; i++) {
        int out = drop && i > axis ? i - 1 : i;
        c->part[c->n++] = (Part){i, 1, out, i == axis && drop ? 0 : 1, i != axis};
    }
}

/* The type of another value after the change; NULL if it has only a part of a group, or has the axes in another
 * order. */
static const Type *changed_type(const Change *c, const Type *t)
{
    Type out = {.dtype = t->dtype};
    bool taken[MAX_RANK] = {false};
    for (int i = 0; i < t->rank; i++) {
        int at = type_find(c->from, t->axis[i].name), k = 0;
        if (taken[i])
            continue;
        while (at >= 0 && k < c->n && (c->part[k].same || at < c->part[k].in || at >= c->part[k].in + c->part[k].n_in))
            k++;
        if (at < 0 || k == c->n) {
            if (out.rank == MAX_RANK)
                return NULL;
            out.axis[out.rank++] = t->axis[i];
            continue;
        }
        const Part *g = &c->part[k];
        for (int j = 0; j < g->n_in; j++) {
            if (i + j >= t->rank || t->axis[i + j].name != c->from->axis[g->in + j].name)
                return NULL;
            taken[i + j] = true;
        }
        for (int j = 0; j < g->n_out; j++) {
            if (out.rank == MAX_RANK)
                return NULL;
            out.axis[out.rank++] = c->to->axis[g->out + j];
        }
    }
    for (int i = 0; i < out.rank; i++)
        if (type_find(&out, out.axis[i].name) != i)
            return NULL;
    return type_new(c->px->cx, out.dtype, out.rank, out.axis);
}

/* ---- moving a change up to the weight of a product --------------------------------------------------------------- */

/* The weight of dot(x, w), or NULL. */
static Node *weight_of(const Node *dot, Node **x)
{
    for (int i = 1; i >= 0; i--)
        if (dot->inputs[i]->op == OP_weight && !is_kept(dot->inputs[i])) {
            *x = dot->inputs[1 - i];
            return dot->inputs[i];
        }
    return NULL;
}

static bool touches(const Change *c, const Type *t, const Attr *except)
{
    for (int k = 0; k < c->n; k++)
        for (int i = 0; !c->part[k].same && i < c->part[k].n_in; i++) {
            const char *name = c->from->axis[c->part[k].in + i].name;
            if (type_find(t, name) >= 0)
                return true;
            for (int j = 0; except && j < except->names.count; j++)
                if (except->names.items[j] == name)
                    return true;
        }
    return false;
}

static Node *change_weight(const Change *c, Node *where, Node *w)
{
    const Type *to = changed_type(c, w->type);
    if (!to)
        return NULL;
    if (c->view->op == OP_slice) {
        const char *axis = attr_name(c->view, ATTR_axis);
        return type_find(w->type, axis) < 0 ? w : weight_sliced(c->px, where, w, c->view, to, axis);
    }
    Node view = *c->view;
    Change own;
    Node *inputs[] = {w};
    view.inputs = inputs;
    view.type = to;
    return change_of_view(c->px, &view, &own) ? weight_viewed(c->px, where, w, c->view, &own) : NULL;
}

/* Any value after the change, by a view of its own. */
static Node *change_plainly(const Change *c, Node *where, Node *n)
{
    const Type *to = changed_type(c, n->type);
    if (!to)
        return NULL;
    if (type_equal(to, n->type))
        return n;
    if (n->op == OP_weight) {
        Node *w = change_weight(c, where, n);
        if (w)
            return w;
    }
    Node *r = node_before(c->px->cx, where, c->view->op, to, 1, &n);
    inherit(r, c->view);
    attrs_copy(c->px->cx, r, c->view);
    return r;
}

static bool read_once_by(const Node *n, const Node *reader)
{
    return !is_kept(n) && only_reader(n) == reader;
}

/* Whether the change can move above n, down to the columns of a product. `free`: n has no other readers. */
static bool can_move(const Change *c, Node *n)
{
    Node *x = NULL;
    if (is_kept(n) || !changed_type(c, n->type))
        return false;
    if (n->op == OP_dot) {
        Node *w = weight_of(n, &x);
        return w && !touches(c, x->type, node_attr(n, ATTR_over)) && changed_type(c, w->type);
    }
    if (!is_map(n))
        return false;
    bool reaches = false;
    for (int i = 0; i < n->n_inputs; i++) {
        if (!changed_type(c, n->inputs[i]->type))
            return false;
        reaches |= read_once_by(n->inputs[i], n) && can_move(c, n->inputs[i]);
    }
    return reaches;
}

static Node *move(const Change *c, Node *where, Node *n);

static Node *move_above_dot(const Change *c, Node *where, Node *n)
{
    Node *x = NULL, *w = weight_of(n, &x);
    Node *fresh = change_weight(c, where, w);
    const Attr *over = node_attr(n, ATTR_over);
    if (!fresh)
        return NULL;
    Node *inputs[] = {n->inputs[0] == w ? fresh : n->inputs[0], n->inputs[1] == w ? fresh : n->inputs[1]};
    return make_over(c->px, where, OP_dot, changed_type(c, n->type), 2, inputs, over->names.items, over->names.count,
                     n);
}

static Node *move(const Change *c, Node *where, Node *n)
{
    if (n->op == OP_dot)
        return move_above_dot(c, where, n);
    Node *inputs[3] = {NULL};
    for (int i = 0; i < n->n_inputs; i++) {
        bool deeper = can_move(c, n->inputs[i]) && only_reader(n->inputs[i]);
        inputs[i] = deeper ? move(c, where, n->inputs[i]) : change_plainly(c, where, n->inputs[i]);
        if (!inputs[i])
            return NULL;
    }
    Node *r = node_before(c->px->cx, where, n->op, NULL, n->n_inputs, inputs);
    inherit(r, n);
    attrs_copy(c->px->cx, r, n);
    const char *reason = NULL;
    r->type = infer_type(c->px->cx, r, type_with_dtype(c->px->cx, changed_type(c, n->type), n->type->dtype), &reason);
    return r->type ? r : NULL;
}

/* The view is gone: what stands in its place has its name. */
static Node *renamed(Node *moved, const Node *view)
{
    if (!moved)
        return NULL;
    moved->name = view->name;
    moved->at = view->at;
    moved->via = view->via;
    return moved;
}

static Node *move_view(PassContext *px, Node *n)
{
    Change c;
    Node *source = n->inputs[0];
    if ((source->op != OP_dot && !is_map(source)) || !read_once_by(source, n) || source->graph != n->graph)
        return NULL;
    if (!change_of_view(px, n, &c) || !can_move(&c, source))
        return NULL;
    return renamed(move(&c, n, source), n);
}

/* All that is read of `source` are slices along `axis` that together are no longer than it. */
static bool only_sliced(const Node *source, const char *axis)
{
    int64_t total = 0;
    if (read_as_result(source) || is_kept(source))
        return false;
    for (Node *m = source->next; m; m = m->next) {
        if (m->body && is_read_in(source, m->body))
            return false;
        for (int i = 0; i < m->n_inputs; i++) {
            if (m->inputs[i] != source)
                continue;
            if (m->op != OP_slice || attr_name(m, ATTR_axis) != axis)
                return false;
            int at = type_find(source->type, axis);
            bool drop = m->type->rank < source->type->rank;
            if (!drop && !extent_is_const(m->type->axis[at].size))
                return false;
            total += drop ? 1 : m->type->axis[at].size.base;
        }
    }
    Extent size = source->type->axis[type_find(source->type, axis)].size;
    return extent_is_const(size) && total <= size.base;
}

static Node *move_slice(PassContext *px, Node *n)
{
    Change c;
    Node *source = n->inputs[0];
    const Attr *start = node_attr(n, ATTR_start);
    if ((source->op != OP_dot && !is_map(source)) || source->graph != n->graph ||
        (start && !extent_is_const(start->extent)))
        return NULL;
    if (!only_sliced(source, attr_name(n, ATTR_axis)))
        return NULL;
    change_of_slice(px, n, &c);
    return can_move(&c, source) ? renamed(move(&c, n, source), n) : NULL;
}

/* ---- rules for single nodes -------------------------------------------------------------------------------------- */

/* iota cut into several axes: the position of each, times how far it steps. */
static Node *view_of_iota(PassContext *px, Node *n)
{
    Node *source = n->inputs[0], *sum = NULL;
    Extent step = extent_const(1);
    const Attr *start = node_attr(source, ATTR_start);
    if (start && !extent_equal(start->extent, extent_const(0)))
        return NULL;
    for (int i = n->type->rank - 1; i >= 0; i--) {
        Node *position = node_before(px->cx, n, OP_iota, type_new(px->cx, DT_I32, 1, &n->type->axis[i]), 0, NULL);
        inherit(position, n);
        if (i < n->type->rank - 1) {
            Node *scaled[] = {position, make_const(px, n, (double)step.base, DT_I32)};
            Node *both[] = {make_before(px, n, OP_mul, NULL, 2, scaled, n), sum};
            position = make_before(px, n, OP_add, NULL, 2, both, n);
        }
        sum = position;
        if (i > 0 && (!extent_is_const(n->type->axis[i].size) || !extent_mul(step, n->type->axis[i].size, &step)))
            return NULL;
    }
    return sum;
}

static Node *simplify_reshape(PassContext *px, Node *n)
{
    Node *source = n->inputs[0];
    Change c;
    if (type_equal(n->type, source->type))
        return source;
    if (source->op == OP_view && !is_kept(source))
        return make_before(px, n, OP_view, n->type, 1, source->inputs, n);
    if (source->op == OP_iota && n->type->rank == 1) {
        Node *r = node_before(px->cx, n, OP_iota, n->type, 0, NULL);
        attrs_copy(px->cx, r, source);
        return r;
    }
    if (source->op == OP_iota && source->type->dtype == DT_I32)
        return view_of_iota(px, n);
    if (source->op == OP_weight)
        return change_of_view(px, n, &c) ? weight_viewed(px, n, source, n, &c) : NULL;
    return move_view(px, n);
}

static Node *simplify_transpose(PassContext *px, Node *n)
{
    Node *source = n->inputs[0];
    if (type_equal(n->type, source->type))
        return source;
    if (source->op == OP_transpose && !is_kept(source))
        return make_before(px, n, OP_transpose, n->type, 1, source->inputs, n);
    if (source->op == OP_weight)
        return weight_transposed(px, n);
    if (source->op != OP_dot || !read_once_by(source, n) || source->graph != n->graph)
        return NULL;
    const Attr *over = node_attr(source, ATTR_over);
    return make_over(px, n, OP_dot, n->type, 2, source->inputs, over->names.items, over->names.count, source);
}

static Node *slice_of_iota(PassContext *px, Node *n)
{
    const Attr *start = node_attr(n, ATTR_start), *inner = node_attr(n->inputs[0], ATTR_start);
    Extent first = extent_const(0);
    if (n->type->rank != 1)
        return NULL;
    if (start && !extent_add(first, start->extent, &first))
        return NULL;
    if (inner && !extent_add(first, inner->extent, &first))
        return NULL;
    Node *r = node_before(px->cx, n, OP_iota, n->type, 0, NULL);
    attr_set_extent(px->cx, r, ATTR_start, first);
    return r;
}

static Node *slice_of_slice(PassContext *px, Node *n)
{
    Node *inner = n->inputs[0];
    const char *axis = attr_name(inner, ATTR_axis);
    int at = type_find(inner->inputs[0]->type, axis);
    const Attr *a = node_attr(n, ATTR_start), *b = node_attr(inner, ATTR_start);
    Extent first = a ? a->extent : extent_const(0);
    if (is_kept(inner) || inner->type->rank != inner->inputs[0]->type->rank ||
        inner->type->axis[at].name != attr_name(n, ATTR_axis))
        return NULL;
    if (b && !extent_add(first, b->extent, &first))
        return NULL;
    Node *r = node_before(px->cx, n, OP_slice, n->type, 1, inner->inputs);
    attr_set_extent(px->cx, r, ATTR_start, first);
    attr_set_name(px->cx, r, ATTR_axis, axis);
    return r;
}

/* slice(view(x)) that only takes away an axis of size 1 is a view of x. */
static bool drops_one(const Node *slice)
{
    const Type *from = slice->inputs[0]->type;
    int at = type_find(from, attr_name(slice, ATTR_axis));
    return slice->type->rank < from->rank && extent_equal(from->axis[at].size, extent_const(1));
}

static Node *simplify_slice(PassContext *px, Node *n)
{
    Node *source = n->inputs[0];
    if (type_equal(n->type, source->type))
        return source;
    if (source->op == OP_view && !is_kept(source) && drops_one(n))
        return make_before(px, n, OP_view, n->type, 1, source->inputs, n);
    if (source->op == OP_weight)
        return weight_sliced(px, n, source, n, n->type, attr_name(n, ATTR_axis));
    if (source->op == OP_iota)
        return slice_of_iota(px, n);
    if (source->op == OP_slice) {
        Node *r = slice_of_slice(px, n);
        if (r)
            return r;
    }
    return move_slice(px, n);
}

/* f(transpose(x)) -> f(x) where f goes by the names of axes and gives the same type. */
static Node *transposed_inputs(PassContext *px, Node *n)
{
    OpClass class = op_info[n->op].class;
    bool by_name = (class == CLASS_MAP && n->op != OP_rotate) || class == CLASS_CONTRACT || class == CLASS_REDUCE ||
                   class == CLASS_ROW;
    for (int i = 0; by_name && i < n->n_inputs; i++) {
        Node *old = n->inputs[i];
        if (below_transposes(old) == old)
            continue;
        const char *reason = NULL;
        n->inputs[i] = below_transposes(old);
        const Type *t = infer_type(px->cx, n, n->type, &reason);
        if (t && type_equal(t, n->type))
            return n;
        n->inputs[i] = old;
    }
    return NULL;
}

/* tanh(view(x)) -> view(tanh(x)): what follows a product stands beside it, the view behind. */
static Node *view_behind(PassContext *px, Node *n)
{
    Node *view = NULL, *inputs[3] = {NULL};
    for (int i = 0; i < n->n_inputs; i++) {
        if (n->inputs[i]->type->rank == 0)
            continue;
        if (view || n->inputs[i]->op != OP_view)
            return NULL;
        view = n->inputs[i];
    }
    if (!view || !is_map(n) || view->graph != n->graph || !read_once_by(view, n))
        return NULL;
    for (int i = 0; i < n->n_inputs; i++)
        inputs[i] = n->inputs[i] == view ? view->inputs[0] : n->inputs[i];
    Node *inner = node_before(px->cx, n, n->op, NULL, n->n_inputs, inputs);
    const char *reason = NULL;
    inherit(inner, n);
    attrs_copy(px->cx, inner, n);
    inner->type = infer_type(px->cx, inner, type_with_dtype(px->cx, view->inputs[0]->type, n->type->dtype), &reason);
    return make_before(px, n, OP_view, n->type, 1, &inner, n);
}

/* f(a, expand(b)) -> f(a, b) where a has the new axis: axes meet by name, so b repeats along it anyway. */
static Node *without_expand(PassContext *px, Node *n)
{
    const Attr *over = node_attr(n, ATTR_over);
    Node *inputs[3] = {NULL};
    for (int i = 0; i < n->n_inputs && (is_map(n) || n->op == OP_dot); i++) {
        Node *base = below_transposes(n->inputs[i]);
        const char *axis = base->op == OP_expand && !is_kept(base) ? attr_name(base, ATTR_axis) : NULL;
        bool repeats = false;
        for (int k = 0; axis && k < n->n_inputs; k++)
            repeats |= k != i && type_find(n->inputs[k]->type, axis) >= 0;
        if (!repeats || (over && attr_has_name(n, ATTR_over, axis)))
            continue;
        for (int k = 0; k < n->n_inputs; k++)
            inputs[k] = k == i ? base->inputs[0] : n->inputs[k];
        Node *r = node_before(px->cx, n, n->op, NULL, n->n_inputs, inputs);
        const char *reason = NULL;
        inherit(r, n);
        attrs_copy(px->cx, r, n);
        r->type = infer_type(px->cx, r, n->type, &reason);
        if (r->type)
            return make_transposed(px, n, r, n->type);
        node_remove(r);
    }
    return NULL;
}

Node *simplify_view(PassContext *px, Node *n)
{
    Node *plain = without_expand(px, n);
    if (plain)
        return plain;
    if (is_map(n)) {
        Node *r = view_behind(px, n);
        if (r)
            return r;
    }
    switch (n->op) {
    case OP_view: return simplify_reshape(px, n);
    case OP_transpose: return simplify_transpose(px, n);
    case OP_slice: return simplify_slice(px, n);
    default: return transposed_inputs(px, n);
    }
}
