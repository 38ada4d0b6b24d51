/* Which keys a row reads: the conditions of attend's mask (ir/tile_class.h), each in the class that fits:
 *
 *     bounds    +-t + x < 0 with x the same for all keys (causal, window, lengths[b]), no t at all, or several of one
 *               direction joined by `or` (prefix | causal): the row's keys are a range, so keys outside cost nothing
 *               and keys inside need no comparison
 *     tests     everything else: asked of whole tiles first (attend_class.c), of every pair only where a tile does not
 *               know
 *
 * A condition that is not understood is a test: slower, never wrong. */
#include "codegen/attend_inside.h"

#include <math.h>

static bool has_axis(const Node *n, const char *axis)
{
    return type_find(n->type, axis) >= 0;
}

static bool is_int(const Node *n)
{
    return n->type->dtype == DT_I32 || n->type->dtype == DT_I64;
}

/* ---- whole-number expressions as +-t + terms + base ------------------------------------------------------------- */

enum { MAX_TERMS = 12 };
typedef struct Linear {
    int t; /* factor of the key's position */
    Extent base;
    int n;
    struct {
        const Node *node;
        int sign;
    } term[MAX_TERMS];
} Linear;

static bool linear_add(const Attend *a, const Node *n, int sign, Linear *l)
{
    Extent start = extent_const(0);
    const Attr *attr = node_attr(n, ATTR_start);
    if (!is_int(n))
        return false;
    if (n->op == OP_add || n->op == OP_sub)
        return linear_add(a, n->inputs[0], sign, l) && linear_add(a, n->inputs[1], n->op == OP_sub ? -sign : sign, l);
    if (n->op == OP_neg)
        return linear_add(a, n->inputs[0], -sign, l);
    if (n->op == OP_cast && is_int(n->inputs[0]))
        return linear_add(a, n->inputs[0], sign, l);
    if (n->op == OP_iota && n->type->rank == 1 && n->type->axis[0].name == a->key_axis) {
        l->t += sign;
        if (attr)
            start = attr->extent;
        return sign > 0 ? extent_add(l->base, start, &l->base) : extent_sub(l->base, start, &l->base);
    }
    if (n->op == OP_const) {
        double value = attr_float(n, ATTR_value, 0);
        if (fabs(value) > 1e15)
            return false;
        return extent_add(l->base, extent_const(sign * (int64_t)value), &l->base);
    }
    if (has_axis(n, a->key_axis) || l->n == MAX_TERMS)
        return false;
    l->term[l->n].node = n;
    l->term[l->n++].sign = sign;
    return true;
}

/* left - right of a comparison. True if t stands in it exactly once. */
static bool linear_of(const Attend *a, const Node *comparison, Linear *l)
{
    *l = (Linear){.base = extent_const(0)};
    return linear_add(a, comparison->inputs[0], 1, l) && linear_add(a, comparison->inputs[1], -1, l) &&
           (l->t == 1 || l->t == -1);
}

/* Where a condition bounds the keys of a row. A condition without t bounds either way: all keys or none. */
typedef enum Direction { NOT_BOUND, FROM_BELOW, FROM_ABOVE, EITHER_WAY } Direction;

static Direction direction_of(const Attend *a, const Node *n, bool negated)
{
    Linear l;
    if (!has_axis(n, a->key_axis))
        return EITHER_WAY;
    if (n->op == OP_not)
        return direction_of(a, n->inputs[0], !negated);
    if (n->op == OP_and || n->op == OP_or) {
        Direction x = direction_of(a, n->inputs[0], negated), y = direction_of(a, n->inputs[1], negated);
        return x == EITHER_WAY ? y : y == EITHER_WAY || x == y ? x : NOT_BOUND;
    }
    if ((n->op == OP_lt || n->op == OP_le) && linear_of(a, n, &l))
        return (l.t > 0) == negated ? FROM_BELOW : FROM_ABOVE;
    return NOT_BOUND;
}

/* t == x: from both sides. */
static bool is_point(const Attend *a, Condition c)
{
    Linear l;
    return c.node->op == (c.negated ? OP_ne : OP_eq) && linear_of(a, c.node, &l);
}

void attend_split_mask(Attend *a)
{
    Context *cx = a->k->e->cx;
    Mask mask = mask_of(cx, a->k->node);
    for (size_t i = 0; i < mask.conditions.count; i++) {
        Condition c = mask.conditions.items[i];
        bool bound = is_point(a, c) || direction_of(a, c.node, c.negated) != NOT_BOUND;
        condition_add(cx, bound ? &a->mask.bounds : &a->mask.tests, c);
    }
    a->mask.score = mask.score;
    const Node *core = a->second.choice ? a->second.choice : a->k->node->body->params[0];
    a->plain = mask.score == core;
    a->marks = !a->plain || a->mask.tests.count;
}

/* ---- leaves ----------------------------------------------------------------------------------------------------- */

static const AttendAxis *find_axis(const Attend *a, const char *name)
{
    for (int i = 0; i < a->n_batch; i++)
        if (a->batch[i].name == name)
            return &a->batch[i];
    for (int i = 0; i < a->n_rows; i++)
        if (a->row[i].name == name)
            return &a->row[i];
    return NULL;
}

const char *attend_address(Attend *a, const Access *x, const char *t)
{
    const char *names[2 * MAX_RANK + 1], *vars[2 * MAX_RANK + 1];
    int n = 0;
    for (int i = 0; i < a->n_batch; i++, n++) {
        names[n] = a->batch[i].name;
        vars[n] = a->batch[i].var;
    }
    for (int i = 0; i < a->n_rows; i++, n++) {
        names[n] = a->row[i].name;
        vars[n] = a->row[i].var;
    }
    names[n] = a->key_axis;
    vars[n++] = t;
    return kernel_address(a->k, x, n, names, vars);
}

/* A vector of keys from t on, of which `count` exist; load_part makes the difference between all and some itself. */
static Operand load_keys(Attend *a, DType dtype, const char *from, const char *count)
{
    Operand part = load_vector(a->k, dtype, from, count);
    if (dtype == DT_F32)
        return part;
    const char *all = load_vector(a->k, dtype, from, NULL).text;
    return operand_of(arena_print(a->k->e->cx->arena, "%s >= LANES ? %s : %s", count, all, part.text), BINDS_CONDITION,
                      true, dtype);
}

static Operand extra(Attend *a, const Node *param)
{
    Kernel *k = a->k;
    Access x;
    int64_t index = attr_int(param, ATTR_index, 0), step;
    if (!kernel_read(k, k->node->inputs[index + 2], &x))
        return operand_of("0", BINDS_ALL, false, param->type->dtype);
    const AccessAxis *keys = access_axis(&x, a->key_axis);
    if (!keys || !keys->stride.factor)
        return load_scalar(k, x.dtype, attend_address(a, &x, NULL));
    const char *count = arena_print(k->e->cx->arena, "%s - t", a->positions);
    if (stride_is_const(keys->stride, &step) && step == 1)
        return load_keys(a, x.dtype, attend_address(a, &x, "t"), count);
    return load_apart(k, x.dtype, attend_address(a, &x, "t"), kernel_stride(k, keys->stride), count);
}

static Operand iota(Attend *a, const Node *n)
{
    Arena *arena = a->k->e->cx->arena;
    const char *axis = n->type->axis[0].name;
    const AttendAxis *row = find_axis(a, axis);
    const Attr *attr = node_attr(n, ATTR_start);
    bool zero = !attr || (extent_is_const(attr->extent) && attr->extent.base == 0);
    const char *var = axis == a->key_axis ? "t" : row ? row->var : NULL;
    if (!var) {
        emit_fail(a->k->e, a->k->node, "its body counts along `%s`, which the scores do not have", axis);
        return operand_of("0", BINDS_ALL, false, DT_I32);
    }
    const char *at = zero ? var : arena_print(arena, "(%s + %s)", kernel_size(a->k, attr->extent), var);
    if (axis == a->key_axis)
        return operand_of(arena_print(arena, "count_from((int)%s)", at), BINDS_ALL, true, DT_I32);
    return operand_of(arena_print(arena, "(int)%s", at), BINDS_UNARY, false, DT_I32);
}

static Operand leaf(void *state, const Node *n)
{
    Attend *a = state;
    if (n->op == OP_param)
        return attr_int(n, ATTR_index, 0) == 0 ? operand_of("x", BINDS_ALL, true, DT_F32) : extra(a, n);
    if (n->op == OP_iota && n->type->rank == 1)
        return iota(a, n);
    return (Operand){0};
}

BodyPrinter attend_printer(Attend *a)
{
    BodyPrinter b = {.k = a->k, .out = &a->k->body, .indent = a->k->indent, .leaf = leaf, .state = a};
    if (a->second.choice)
        body_define(&b, a->second.choice, operand_of("x", BINDS_ALL, true, DT_F32));
    return b;
}

/* ---- conditions as text ----------------------------------------------------------------------------------------- */

const char *attend_condition(Attend *a, BodyPrinter *b)
{
    Context *cx = a->k->e->cx;
    const Conditions *c = &a->mask.tests;
    Text t = text_new(cx->arena);
    for (size_t i = 0; i < c->count; i++) {
        Operand o = operand_vector(a->k, attend_value(a, b, c->items[i].node));
        const char *sign = c->items[i].negated ? mask_not(a->k->e->target) : "";
        text_add(&t, "%s%s%s", i ? " & " : "", sign, operand_text(cx, o, BINDS_UNARY));
    }
    return t.data;
}

/* The number, as a ptrdiff_t, that t is compared with: -+(terms + base) + add. */
static const char *bound_text(Attend *a, BodyPrinter *b, const Linear *l, int add)
{
    Context *cx = a->k->e->cx;
    Extent base = l->base;
    Text t = text_new(cx->arena);
    int turn = -l->t;                         /* t + x < 0: t < -x; -t + x < 0: t > x */
    for (int want = 1; want >= -1; want -= 2) /* what is added comes first */
        for (int i = 0; i < l->n; i++) {
            const Node *n = l->term[i].node;
            if (l->term[i].sign * turn != want)
                continue;
            Operand o = body_value(b, n);
            const char *cast = n->op == OP_iota ? "" : "(ptrdiff_t)";
            const char *text = operand_text(cx, o, *cast ? BINDS_UNARY : want > 0 ? BINDS_SUM : BINDS_PRODUCT);
            if (o.vector)
                text = arena_print(cx->arena, "%s%s", operand_text(cx, o, BINDS_ALL), lane_of(a->k->e->target, "[0]"));
            text_add(&t, "%s%s%s", want < 0 ? (t.length ? " - " : "-") : t.length ? " + " : "", cast, text);
        }
    if ((turn < 0 && !extent_scale(base, -1, &base)) || !extent_add(base, extent_const(add), &base))
        emit_fail(a->k->e, a->k->node, "a bound of its mask is too large");
    if (!t.length)
        return kernel_size(a->k, base);
    if (base.n || base.base > 0)
        text_add(&t, " + %s", kernel_size(a->k, base));
    else if (base.base < 0)
        text_add(&t, " - %lld", -(long long)base.base);
    return t.data;
}

/* The first key (from below) or the one after the last (from above) that a comparison lets through. */
static const char *comparison_text(Attend *a, BodyPrinter *b, Condition c, bool above)
{
    Linear l;
    linear_of(a, c.node, &l);
    bool equal = c.node->op == OP_eq || c.node->op == OP_ne, or_equal = c.node->op == OP_le;
    if (!equal && c.negated) { /* not (x < 0) is -x <= 0 */
        l.t = -l.t;
        extent_scale(l.base, -1, &l.base);
        for (int i = 0; i < l.n; i++)
            l.term[i].sign = -l.term[i].sign;
        or_equal = !or_equal;
    }
    return bound_text(a, b, &l, (equal || or_equal) == above);
}

/* The same for any condition that bounds in this direction. */
static const char *limit_text(Attend *a, BodyPrinter *b, Condition c, bool above)
{
    Context *cx = a->k->e->cx;
    const Node *n = c.node;
    if (!has_axis(n, a->key_axis)) {
        Operand o = body_value(b, n);
        const char *text = operand_text(cx, o, o.vector ? BINDS_ALL : BINDS_EQUAL), *lane = o.vector ? lane_of(a->k->e->target, "[0]") : "";
        return arena_print(cx->arena, "%s%s ? %s", text, lane, above == c.negated ? "0 : keys" : "keys : 0");
    }
    if (n->op == OP_not)
        return limit_text(a, b, (Condition){n->inputs[0], !c.negated}, above);
    if (n->op != OP_and && n->op != OP_or)
        return comparison_text(a, b, c, above);
    const char *x = limit_text(a, b, (Condition){n->inputs[0], c.negated}, above);
    const char *y = limit_text(a, b, (Condition){n->inputs[1], c.negated}, above);
    bool either = (n->op == OP_or) != c.negated; /* either of two: the wider range */
    return arena_print(cx->arena, "%s(%s, %s)", either == above ? "larger" : "lesser", x, y);
}

/* Bounds are arithmetic on positions, so the iotas of rows stand in them as they are, without a cast to int. */
static Operand bound_leaf(void *state, const Node *n)
{
    Attend *a = state;
    const AttendAxis *row = n->op == OP_iota && n->type->rank == 1 ? find_axis(a, n->type->axis[0].name) : NULL;
    const Attr *attr = node_attr(n, ATTR_start);
    if (!row)
        return leaf(state, n);
    if (!attr || (extent_is_const(attr->extent) && attr->extent.base == 0))
        return operand_of(row->var, BINDS_ALL, false, DT_I32);
    return operand_of(arena_print(a->k->e->cx->arena, "%s + %s", kernel_size(a->k, attr->extent), row->var), BINDS_SUM,
                      false, DT_I32);
}

BodyPrinter attend_row_printer(Attend *a)
{
    BodyPrinter b = attend_printer(a);
    b.leaf = bound_leaf;
    b.positions = true;
    return b;
}

void attend_emit_bounds(Attend *a, BodyPrinter *b)
{
    for (size_t i = 0; i < a->mask.bounds.count; i++) {
        Condition c = a->mask.bounds.items[i];
        bool point = has_axis(c.node, a->key_axis) && is_point(a, c);
        Direction d = point ? EITHER_WAY : direction_of(a, c.node, c.negated);
        if (point || d == FROM_BELOW)
            put_line(a->k, "from = larger(from, %s);", limit_text(a, b, c, false));
        if (point || d != FROM_BELOW)
            put_line(a->k, "to = lesser(to, %s);", limit_text(a, b, c, true));
    }
}
