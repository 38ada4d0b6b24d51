/* Operators that go along one axis in order: running sums and maxima, the largest elements. */
#include "bind.h"

/* ---- cumsum, cummax --------------------------------------------------------------------------------------------- */

static Term scan(Bind *b, Call *c, Op op)
{
    bool reverse, exclusive;
    int axis;
    Term t = arg_term(b, c, 0);
    bool whole = t.kind == TERM_RANGE || (t.kind == TERM_TENSOR && (t.node->type->dtype == DT_I32 || t.node->type->dtype == DT_I64));
    Node *x = whole ? arg_tensor(b, c, 0) : arg_float(b, c, 0);
    if (!x || !arg_axis(b, c, 1, x->type, &axis) || !arg_flag(b, c, 2, false, &reverse) ||
        !arg_flag(b, c, 3, false, &exclusive))
        return term_poison();
    x = make_cast(b, x, whole ? DT_I32 : DT_F32);
    Node *n = emit(b, op, x->type, 1, &x);
    attr_set_names(b->cx, n, ATTR_over, &x->type->axis[axis].name, 1);
    if (reverse)
        attr_set_bool(b->cx, n, ATTR_reverse, true);
    if (exclusive)
        attr_set_bool(b->cx, n, ATTR_exclusive, true);
    return term_tensor(n);
}

Term builtin_cumsum(Bind *b, Call *c)
{
    return scan(b, c, OP_cumsum);
}
Term builtin_cummax(Bind *b, Call *c)
{
    return scan(b, c, OP_cummax);
}

/* ---- topk, argmax ----------------------------------------------------------------------------------------------- */

/* The `k` largest along an axis: their positions, on an axis in its place. */
static Node *make_topk(Bind *b, Node *x, int axis, const Dim *k)
{
    Type t = {.dtype = DT_I32};
    for (int i = 0; i < x->type->rank; i++)
        if (!type_take(b, b->at, &t, i == axis ? k->axis : x->type->axis[i].name, i == axis ? k->size : x->type->axis[i].size))
            return NULL;
    Node *n = emit(b, OP_topk, type_new(b->cx, t.dtype, t.rank, t.axis), 1, &x);
    attr_set_names(b->cx, n, ATTR_over, &x->type->axis[axis].name, 1);
    attr_set_name(b->cx, n, ATTR_axis, k->axis);
    return n;
}

static Node *ordered_arg(Bind *b, Call *c, int over, int *axis)
{
    Node *x = arg_float(b, c, 0);
    return x && arg_axis(b, c, over, x->type, axis) ? x : NULL;
}

/* Are there k elements, whatever the run-time sizes are? */
static bool has_so_many(Bind *b, Call *c, const Type *t, int axis, const Dim *k)
{
    Extent spare;
    if (extent_low(k->size) >= 1 && extent_sub(t->axis[axis].size, k->size, &spare) && extent_low(spare) >= 0)
        return true;
    Diag *d = bind_error(b, "E0310", arg_given(c, 1)->at, "the axis `%s` of %s need not have `k` positions, or `k` may be 0",
                         t->axis[axis].name, type_text(b, t));
    diag_dim(b, d, k);
    diag_help(d, "`assert` can say what the sizes are");
    return false;
}

Term builtin_topk(Bind *b, Call *c)
{
    const Dim **k;
    int axis, n;
    Node *x = ordered_arg(b, c, 2, &axis);
    if (!x || !arg_dims(b, c, 1, &k, &n))
        return term_poison();
    if (n != 1) {
        bind_error(b, "E0201", arg_given(c, 1)->at, "`k` of `topk` is one number, which is the size of the new axis");
        return term_poison();
    }
    if (!has_so_many(b, c, x->type, axis, k[0]))
        return term_poison();
    Node *positions = make_topk(b, x, axis, k[0]);
    Node *values = positions ? make_gather(b, x, positions, axis) : NULL;
    return values ? term_list(b, (Term[]){term_tensor(values), term_tensor(positions)}, 2) : term_poison();
}

Term builtin_argmax(Bind *b, Call *c)
{
    int axis;
    Node *x = ordered_arg(b, c, 1, &axis);
    if (!x)
        return term_poison();
    Node *first = make_topk(b, x, axis, dim_anonymous(b, extent_const(1), NULL));
    return first ? term_tensor(make_pick(b, first, axis, extent_const(0))) : term_poison();
}
