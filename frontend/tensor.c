/* Making nodes: every node of a model comes through `emit`, which gives it its place in the text, its name and
 * its scope. */
#include "bind.h"

bool spend(Bind *b, int64_t count, Span at)
{
    int64_t all;
    bool fits = !__builtin_mul_overflow(count, b->rounds, &all) && !__builtin_add_overflow(b->operations, all, &b->operations);
    if ((fits && b->operations <= BUDGET_OPERATIONS) || b->exhausted)
        return !b->exhausted;
    b->exhausted = true;
    Diag *d = diag_error(b->cx->diags, "E0210", at, "the model needs more than %d operations", BUDGET_OPERATIONS);
    if (b->loop.source)
        diag_caret(d, "this text runs %lld times", (long long)b->rounds);
    return false;
}

Node *emit(Bind *b, Op op, const Type *t, int n, Node *const *inputs)
{
    Node *node = node_new(b->cx, b->graph, op, t, n, inputs);
    bool library = bind_in_library(b, b->at);
    node->at = library ? b->site : b->at;
    if (library)
        node->via = b->at;
    node->name = b->hint;
    node->scope = b->path[0] ? b->path : NULL;
    spend(b, 1, b->loop.source ? b->loop : node->at);
    return node;
}

Node *make_view(Bind *b, Node *x, const Type *t)
{
    for (;;) {
        if (type_equal(x->type, t))
            return x;
        if (x->op != OP_view || attr_bool(x, ATTR_keep, false))
            return emit(b, OP_view, t, 1, &x);
        x = x->inputs[0];
    }
}

Node *make_rename(Bind *b, Node *x, int axis, const char *name)
{
    Type t = *x->type;
    t.axis[axis].name = name;
    return make_view(b, x, type_new(b->cx, t.dtype, t.rank, t.axis));
}

Node *make_transpose(Bind *b, Node *x, const int *order)
{
    Type t = *x->type;
    bool same = true;
    for (int i = 0; i < t.rank; i++) {
        t.axis[i] = x->type->axis[order[i]];
        same = same && order[i] == i;
    }
    return same ? x : emit(b, OP_transpose, type_new(b->cx, t.dtype, t.rank, t.axis), 1, &x);
}

Node *make_cast(Bind *b, Node *x, DType to)
{
    if (x->type->dtype == to)
        return x;
    return emit(b, OP_cast, type_with_dtype(b->cx, x->type, to), 1, &x);
}

Node *make_number(Bind *b, double value, DType dtype)
{
    Node *n = emit(b, OP_const, type_new(b->cx, dtype, 0, NULL), 0, NULL);
    attr_set_float(b->cx, n, ATTR_value, value);
    return n;
}

Node *make_slice(Bind *b, Node *x, int axis, const char *name, Extent start, Extent size)
{
    const char *old = x->type->axis[axis].name;
    if (extent_equal(start, extent_const(0)) && extent_equal(size, x->type->axis[axis].size))
        return old == name ? x : make_rename(b, x, axis, name);
    Type t = *x->type;
    t.axis[axis] = (Axis){name, size};
    Node *n = emit(b, OP_slice, type_new(b->cx, t.dtype, t.rank, t.axis), 1, &x);
    attr_set_extent(b->cx, n, ATTR_start, start);
    attr_set_name(b->cx, n, ATTR_axis, old);
    return n;
}

Node *make_pick(Bind *b, Node *x, int axis, Extent at)
{
    Axis rest[MAX_RANK];
    int n = 0;
    for (int i = 0; i < x->type->rank; i++)
        if (i != axis)
            rest[n++] = x->type->axis[i];
    Node *node = emit(b, OP_slice, type_new(b->cx, x->type->dtype, n, rest), 1, &x);
    attr_set_extent(b->cx, node, ATTR_start, at);
    attr_set_name(b->cx, node, ATTR_axis, x->type->axis[axis].name);
    return node;
}

/* Adds y's axis to t unless it is there: then `other`, which has brought it, must agree about its size. */
static bool take_aligned(Bind *b, Type *t, const Type *y, const Type *other, const Axis *axis)
{
    int at = type_find(t, axis->name);
    if (at < 0)
        return type_take(b, b->at, t, axis->name, axis->size);
    if (extent_equal(t->axis[at].size, axis->size))
        return true;
    Diag *d = bind_error(b, "E0304", b->at, "the axis `%s` has two sizes here", axis->name);
    diag_caret(d, "one operand is %s, another %s", type_text(b, other), type_text(b, y));
    return false;
}

Node *make_gather(Bind *b, Node *table, Node *ids, int axis)
{
    Type t = *ids->type;
    t.dtype = table->type->dtype;
    for (int i = 0; i < table->type->rank; i++)
        if (i != axis && !take_aligned(b, &t, table->type, ids->type, &table->type->axis[i]))
            return NULL;
    Node *n =
        emit(b, OP_gather, type_new(b->cx, t.dtype, t.rank, t.axis), 2, (Node *[]){table, make_cast(b, ids, DT_I32)});
    attr_set_names(b->cx, n, ATTR_over, &table->type->axis[axis].name, 1);
    return n;
}

Node *make_reduce(Bind *b, Op op, Node *x, const bool *over)
{
    const char *names[MAX_RANK];
    Axis axes[MAX_RANK];
    int n = 0, kept = 0;
    for (int i = 0; i < x->type->rank; i++) {
        if (over[i])
            names[n++] = x->type->axis[i].name;
        if (!over[i] || op == OP_softmax)
            axes[kept++] = x->type->axis[i];
    }
    Node *node = emit(b, op, type_new(b->cx, x->type->dtype, kept, axes), 1, &x);
    attr_set_names(b->cx, node, ATTR_over, names, n);
    return node;
}

/* Adds y's axes to t: the same name must have the same size. */
static bool align(Bind *b, Type *t, const Type *y)
{
    for (int i = 0; i < y->rank; i++)
        if (!take_aligned(b, t, y, t, &y->axis[i]))
            return false;
    return true;
}

Node *make_map(Bind *b, Op op, int n, Node *const *inputs)
{
    Type t = {.dtype = op_info[op].flags & OPF_COMPARE ? DT_BOOL : inputs[n - 1]->type->dtype};
    int first = op == OP_where ? 1 : 0; /* the condition's axes come last: the value keeps its order */
    for (int i = 0; i < n; i++)
        if (!align(b, &t, inputs[(first + i) % n]->type))
            return NULL;
    return emit(b, op, type_new(b->cx, t.dtype, t.rank, t.axis), n, inputs);
}

Node *make_dot(Bind *b, Node *x, Node *y, const char *const *over, int n_over)
{
    Type all = {.dtype = x->type->dtype}, t = {.dtype = x->type->dtype};
    if (!align(b, &all, x->type) || !align(b, &all, y->type))
        return NULL;
    for (int i = 0; i < all.rank; i++) {
        bool summed = false;
        for (int k = 0; k < n_over; k++)
            summed = summed || over[k] == all.axis[i].name;
        if (!summed)
            t.axis[t.rank++] = all.axis[i];
    }
    Node *node = emit(b, OP_dot, type_new(b->cx, t.dtype, t.rank, t.axis), 2, (Node *[]){x, y});
    attr_set_names(b->cx, node, ATTR_over, over, n_over);
    return node;
}

/* ---- terms as tensors ------------------------------------------------------------------------------------------- */

static Node *range_tensor(Bind *b, const Term *t)
{
    const char *axis = t->range.along ? t->range.along->axis : dim_anonymous(b, t->range.length, NULL)->axis;
    Axis a = {axis, t->range.length};
    Node *n = emit(b, OP_iota, type_new(b->cx, DT_I32, 1, &a), 0, NULL);
    if (!extent_equal(t->range.start, extent_const(0)))
        attr_set_extent(b->cx, n, ATTR_start, t->range.start);
    return n;
}

static Node *size_tensor(Bind *b, Extent size, DType like)
{
    DType dtype = like == DT_I32 || like == DT_I64 ? like : DT_F32;
    if (extent_is_const(size))
        return make_number(b, (double)size.base, dtype);
    Node *n = emit(b, OP_extent, type_new(b->cx, DT_F32, 0, NULL), 0, NULL);
    attr_set_extent(b->cx, n, ATTR_size, size);
    return make_cast(b, n, dtype);
}

Node *tensor_of(Bind *b, const Term *t, DType like, const char *what)
{
    switch (t->kind) {
    case TERM_POISON: return NULL;
    case TERM_TENSOR: return t->node;
    case TERM_RANGE: return range_tensor(b, t);
    case TERM_SIZE: return size_tensor(b, t->size, like);
    case TERM_FLOAT: return make_number(b, t->real, DT_F32);
    case TERM_BOOL: return make_number(b, t->flag, DT_BOOL);
    default: break;
    }
    if (t->kind == TERM_ABSENT) {
        config_refuse_absent(b, t, b->at);
        return NULL;
    }
    if (!origin_blame(b, t))
        return NULL;
    Diag *d = bind_error(b, origin_code(t, "E0201"), b->at, "%s must be a tensor or a number, not %s", what,
                         term_print(b, t));
    diag_origin(b, d, t);
    return NULL;
}
