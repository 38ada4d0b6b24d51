/* Arithmetic operators: elementwise functions, reductions, products, lookups, rotations. */
#include "bind.h"

#include <math.h>
#include <string.h>

/* ---- element by element ----------------------------------------------------------------------------------------- */

static Term unary(Bind *b, Call *c, Op op, double (*fold)(double))
{
    Term t = arg_term(b, c, 0);
    double value;
    if (fold && term_is_number(&t, &value))
        return term_float(fold(value));
    Node *x = arg_float(b, c, 0);
    return x ? term_tensor(make_map(b, op, 1, &x)) : term_poison();
}

static double reciprocal_root(double x)
{
    return 1 / sqrt(x);
}

Term builtin_exp(Bind *b, Call *c)
{
    return unary(b, c, OP_exp, exp);
}
Term builtin_log(Bind *b, Call *c)
{
    return unary(b, c, OP_log, log);
}
Term builtin_sqrt(Bind *b, Call *c)
{
    return unary(b, c, OP_sqrt, sqrt);
}
Term builtin_rsqrt(Bind *b, Call *c)
{
    return unary(b, c, OP_rsqrt, reciprocal_root);
}
Term builtin_tanh(Bind *b, Call *c)
{
    return unary(b, c, OP_tanh, tanh);
}
Term builtin_erf(Bind *b, Call *c)
{
    return unary(b, c, OP_erf, erf);
}
Term builtin_sin(Bind *b, Call *c)
{
    return unary(b, c, OP_sin, sin);
}
Term builtin_cos(Bind *b, Call *c)
{
    return unary(b, c, OP_cos, cos);
}
/* Positions and whole numbers stay whole. */
static bool is_whole_tensor(const Term *t)
{
    return t->kind == TERM_RANGE || (t->kind == TERM_TENSOR && !dtype_is_float(t->node->type->dtype) &&
                                     t->node->type->dtype != DT_BOOL);
}

static Node *whole_arg(Bind *b, Call *c, int param)
{
    Node *x = arg_tensor(b, c, param);
    return x ? make_cast(b, x, DT_I32) : NULL;
}

Term builtin_abs(Bind *b, Call *c)
{
    Term t = arg_term(b, c, 0);
    if (!is_whole_tensor(&t))
        return unary(b, c, OP_abs, fabs);
    Node *x = whole_arg(b, c, 0);
    return x ? term_tensor(make_map(b, OP_abs, 1, &x)) : term_poison();
}

static Term extreme(Bind *b, Call *c, Op op, double (*fold)(double, double))
{
    Term t = arg_term(b, c, 0), u = arg_term(b, c, 1);
    double x, y;
    if (t.kind == TERM_SIZE && u.kind == TERM_SIZE && term_is_number(&t, &x) && term_is_number(&u, &y))
        return (x > y) == (op == OP_maximum) ? t : u;
    if (term_is_number(&t, &x) && term_is_number(&u, &y))
        return term_float(fold(x, y));
    int64_t number;
    bool whole = (is_whole_tensor(&t) && (is_whole_tensor(&u) || term_is_int(&u, &number))) ||
                 (is_whole_tensor(&u) && term_is_int(&t, &number));
    Node *in[2] = {whole ? whole_arg(b, c, 0) : arg_float(b, c, 0), whole ? whole_arg(b, c, 1) : arg_float(b, c, 1)};
    return in[0] && in[1] ? term_tensor(make_map(b, op, 2, in)) : term_poison();
}

Term builtin_maximum(Bind *b, Call *c)
{
    return extreme(b, c, OP_maximum, fmax);
}
Term builtin_minimum(Bind *b, Call *c)
{
    return extreme(b, c, OP_minimum, fmin);
}

Term builtin_where(Bind *b, Call *c)
{
    Term condition = arg_term(b, c, 0);
    if (condition.kind == TERM_BOOL)
        return arg_term(b, c, condition.flag ? 1 : 2);
    Node *in[3] = {arg_tensor(b, c, 0), arg_tensor(b, c, 1), arg_tensor(b, c, 2)};
    if (!in[0] || !in[1] || !in[2])
        return term_poison();
    if (in[0]->type->dtype != DT_BOOL) {
        bind_error(b, "E0202", arg_given(c, 0)->at, "the condition of `where` must be bool, not %s",
                   type_text(b, in[0]->type));
        return term_poison();
    }
    if (in[1]->type->dtype != in[2]->type->dtype) {
        in[1] = make_cast(b, in[1], DT_F32);
        in[2] = make_cast(b, in[2], DT_F32);
    }
    return term_tensor(make_map(b, OP_where, 3, in));
}

/* ---- reductions ------------------------------------------------------------------------------------------------- */

static bool check_mask(Bind *b, Call *c, const Node *x, const Node *mask)
{
    if (mask->type->dtype != DT_BOOL) {
        bind_error(b, "E0202", arg_given(c, 2)->at, "`where` of `%s` must be bool, not %s", c->name,
                   type_text(b, mask->type));
        return false;
    }
    for (int i = 0; i < mask->type->rank; i++) {
        if (type_find(x->type, mask->type->axis[i].name) >= 0)
            continue;
        Diag *d = bind_error(b, "E0304", arg_given(c, 2)->at, "the mask has the axis `%s`, the tensor has not",
                             mask->type->axis[i].name);
        diag_caret(d, "%s for %s", type_text(b, mask->type), type_text(b, x->type));
        return false;
    }
    return true;
}

/* How many elements the mask keeps: the sum of 1 and 0 over those axes that the mask has, times the sizes of the
 * others. */
static Node *count_kept(Bind *b, Node *x, Node *mask, const bool *over)
{
    bool over_mask[MAX_RANK] = {false}, any = false;
    Extent others = extent_const(1);
    for (int i = 0; i < x->type->rank; i++) {
        int at = type_find(mask->type, x->type->axis[i].name);
        if (at >= 0)
            over_mask[at] = over[i];
        any = any || (at >= 0 && over[i]);
        if (over[i] && at < 0 && !extent_mul(others, x->type->axis[i].size, &others)) {
            bind_error(b, "E0310", b->at, "the mean over several axes of unknown size needs a mask with those axes");
            return NULL;
        }
    }
    Node *n = make_cast(b, mask, DT_F32);
    if (any)
        n = make_reduce(b, OP_sum, n, over_mask);
    if (extent_equal(others, extent_const(1)))
        return n;
    Term t = term_size(others);
    Node *in[2] = {n, tensor_of(b, &t, DT_F32, "a size")};
    return make_map(b, OP_mul, 2, in);
}

static Node *masked(Bind *b, Node *mask, Node *x, double otherwise)
{
    Node *in[3] = {mask, x, make_number(b, otherwise, DT_F32)};
    return make_map(b, OP_where, 3, in);
}

static Term reduce(Bind *b, Call *c, Op op)
{
    bool over[MAX_RANK];
    Node *x = arg_float(b, c, 0);
    if (!x || !arg_over(b, c, 1, x->type, over))
        return term_poison();
    Term where = arg_term(b, c, 2);
    if (where.kind == TERM_NONE)
        return term_tensor(make_reduce(b, op, x, over));
    Node *mask = arg_tensor(b, c, 2);
    if (!mask || !check_mask(b, c, x, mask))
        return term_poison();
    Node *kept = masked(b, mask, x, op == OP_max ? -INFINITY : 0);
    if (!kept)
        return term_poison();
    Node *total = make_reduce(b, op == OP_mean ? OP_sum : op, kept, over);
    if (op != OP_mean)
        return term_tensor(total);
    Node *count = count_kept(b, x, mask, over);
    if (!count)
        return term_poison();
    Node *least = make_map(b, OP_maximum, 2, (Node *[]){count, make_number(b, 1, DT_F32)}); /* nothing kept: 0 / 1 */
    return least ? term_tensor(make_map(b, OP_div, 2, (Node *[]){total, least})) : term_poison();
}

Term builtin_sum(Bind *b, Call *c)
{
    return reduce(b, c, OP_sum);
}
Term builtin_mean(Bind *b, Call *c)
{
    return reduce(b, c, OP_mean);
}
Term builtin_max(Bind *b, Call *c)
{
    return reduce(b, c, OP_max);
}

Term builtin_softmax(Bind *b, Call *c)
{
    bool over[MAX_RANK] = {false};
    int axis;
    Node *x = arg_float(b, c, 0);
    if (!x || !arg_axis(b, c, 1, x->type, &axis))
        return term_poison();
    over[axis] = true;
    return term_tensor(make_reduce(b, OP_softmax, x, over));
}

/* ---- products --------------------------------------------------------------------------------------------------- */

Term builtin_dot(Bind *b, Call *c)
{
    const char *over[MAX_RANK];
    const Dim **dims;
    int n;
    Node *x = arg_float(b, c, 0), *y = arg_float(b, c, 1);
    if (!x || !y || !arg_dims_in(b, c, 2, x->type, &dims, &n))
        return term_poison();
    for (int i = 0; i < n; i++) {
        Span at = arg_given(c, 2)->at;
        if (axis_of(b, x->type, dims[i], at, "the first tensor given to `dot`") < 0)
            return term_poison();
        if (axis_of(b, y->type, dims[i], at, "the second tensor given to `dot`") < 0)
            return term_poison();
        over[i] = dims[i]->axis;
    }
    return term_tensor(make_dot(b, x, y, over, n));
}

Term builtin_gather(Bind *b, Call *c)
{
    Node *table = arg_tensor(b, c, 0), *ids = arg_tensor(b, c, 1);
    int axis = 0;
    if (!table || !ids || (arg_given(c, 2) && !arg_axis(b, c, 2, table->type, &axis)))
        return term_poison();
    if (ids->type->dtype == DT_I32 || ids->type->dtype == DT_I64)
        return term_tensor(make_gather(b, table, ids, axis));
    Diag *d = bind_error(b, "E0202", arg_given(c, 1)->at, "`%s` looks rows up by whole numbers, not by %s", c->name,
                         type_text(b, ids->type));
    advise_dtype(b, d, ids, DT_I32);
    return term_poison();
}

Term builtin_rotate(Bind *b, Call *c)
{
    bool interleave;
    Node *in[3] = {arg_float(b, c, 0), arg_float(b, c, 1), arg_float(b, c, 2)};
    if (!in[0] || !in[1] || !in[2] || !arg_flag(b, c, 3, false, &interleave))
        return term_poison();
    Node probe = {.op = OP_rotate, .inputs = in, .n_inputs = 3, .graph = b->graph};
    const char *reason = NULL;
    if (!infer_type(b->cx, &probe, NULL, &reason)) {
        bind_error(b, "E0306", b->at, "%s", reason ? reason : "these tensors cannot be rotated");
        return term_poison();
    }
    Node *n = emit(b, OP_rotate, in[0]->type, 3, in);
    if (interleave)
        attr_set_bool(b->cx, n, ATTR_interleave, true);
    return term_tensor(n);
}
