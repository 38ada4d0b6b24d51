/* The rules of tile_class.h: from a condition to the test of a tile. A truth value is the interval [all, some] of 0
 * and 1, so conditions and whole numbers go one way. */
#include "ir/tile_class.h"

#include <math.h>

/* ---- the body of an attend, taken apart ------------------------------------------------------------------------- */

static bool is_minus_infinity(const Node *n)
{
    return n->op == OP_const && attr_float(n, ATTR_value, 0) == -INFINITY;
}

void condition_add(Context *cx, Conditions *list, Condition c)
{
    list->items = arena_room(cx->arena, list->items, list->count, &list->capacity, sizeof *list->items);
    list->items[list->count++] = c;
}

static void split(Context *cx, const Node *n, bool negated, Conditions *list)
{
    if (n->op == OP_not) {
        split(cx, n->inputs[0], !negated, list);
    } else if (n->op == (negated ? OP_or : OP_and)) { /* not (x or y) is not x and not y */
        split(cx, n->inputs[0], negated, list);
        split(cx, n->inputs[1], negated, list);
    } else {
        condition_add(cx, list, (Condition){n, negated});
    }
}

Mask mask_of(Context *cx, const Node *attend)
{
    Mask mask = {.score = attend->body->results[0].value};
    const Node *n = mask.score;
    while (n->op == OP_where && (is_minus_infinity(n->inputs[1]) || is_minus_infinity(n->inputs[2]))) {
        bool negated = !is_minus_infinity(n->inputs[2]);
        split(cx, n->inputs[0], negated, &mask.conditions);
        n = n->inputs[negated ? 2 : 1];
    }
    mask.score = n;
    return mask;
}

MaskSide mask_side(const Node *attend, const Node *n)
{
    const Type *q = attend->inputs[0]->type, *k = attend->inputs[1]->type;
    const char *head = node_attr(attend, ATTR_over)->names.items[0];
    bool keys = type_find(n->type, attr_name(attend, ATTR_keys)) >= 0, rows = false;
    for (int i = 0; i < q->rank; i++) {
        const char *axis = q->axis[i].name;
        rows |= axis != head && type_find(k, axis) < 0 && type_find(n->type, axis) >= 0;
    }
    return rows ? (keys ? SIDE_BOTH : SIDE_ROWS) : keys ? SIDE_KEYS : SIDE_TASK;
}

/* ---- ends: built with what is known at once calculated ---------------------------------------------------------- */

typedef struct Interval {
    const End *low, *high; /* NULL: not known */
} Interval;

typedef struct Builder {
    Context *cx;
    const Node *attend;
    TileTest *test;
} Builder;

static const int64_t WIDEST = INT64_C(1) << 60; /* a sum or difference of two such numbers still fits */

static const End *end_new(Builder *b, End e)
{
    End *out = arena_alloc(b->cx->arena, sizeof *out);
    if (e.least == e.most)
        e = (End){.op = END_CONST, .value = e.least, .least = e.least, .most = e.most};
    *out = e;
    return out;
}

static const End *end_const(Builder *b, int64_t value)
{
    return end_new(b, (End){.op = END_CONST, .least = value, .most = value});
}

static bool is_const(const End *e, int64_t value)
{
    return e->op == END_CONST && e->value == value;
}

static const End *end_sum(Builder *b, EndOp op, const End *x, const End *y)
{
    if (!x || !y)
        return NULL;
    bool sub = op == END_SUB;
    int64_t least = sub ? x->least - y->most : x->least + y->least;
    int64_t most = sub ? x->most - y->least : x->most + y->most;
    if (least < -WIDEST || most > WIDEST)
        return NULL;
    if (is_const(y, 0))
        return x;
    if (!sub && is_const(x, 0))
        return y;
    return end_new(b, (End){op, .in = {x, y}, .least = least, .most = most});
}

static const End *end_times(Builder *b, const End *x, int64_t factor)
{
    int64_t first, second;
    if (!x || __builtin_mul_overflow(x->least, factor, &first) || __builtin_mul_overflow(x->most, factor, &second))
        return NULL;
    int64_t least = first < second ? first : second, most = first < second ? second : first;
    if (least < -WIDEST || most > WIDEST)
        return NULL;
    if (factor == 1)
        return x;
    return end_new(b, (End){END_MUL, .in = {x, end_const(b, factor)}, .least = least, .most = most});
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static const End *end_div(Builder *b, const End *x, int64_t by)
{
    if (by == 1)
        return x;
    End e = {END_DIV, .in = {x, end_const(b, by)}, .least = floor_div(x->least, by), .most = floor_div(x->most, by)};
    return end_new(b, e);
}

static const End *end_mod(Builder *b, const End *x, int64_t by)
{
    if (x->least >= 0 && x->most < by)
        return x;
    return end_new(b, (End){END_MOD, .in = {x, end_const(b, by)}, .least = 0, .most = by - 1});
}

static const End *end_limit(Builder *b, EndOp op, const End *x, const End *y)
{
    bool min = op == END_MIN;
    if (x == y || (min ? x->most <= y->least : x->least >= y->most))
        return x;
    if (min ? y->most <= x->least : y->least >= x->most)
        return y;
    int64_t least = (x->least < y->least) == min ? x->least : y->least;
    int64_t most = (x->most < y->most) == min ? x->most : y->most;
    return end_new(b, (End){op, .in = {x, y}, .least = least, .most = most});
}

/* x < y or x <= y. */
static const End *end_less(Builder *b, EndOp op, const End *x, const End *y)
{
    int64_t slack = op == END_LE;
    if (x->most < y->least + slack)
        return end_const(b, 1);
    if (x->least >= y->most + slack || x == y)
        return end_const(b, x == y && slack);
    return end_new(b, (End){op, .in = {x, y}, .most = 1});
}

static const End *end_equal(Builder *b, const End *x, const End *y)
{
    if (x == y || (x->op == END_CONST && y->op == END_CONST && x->value == y->value))
        return end_const(b, 1);
    if (x->most < y->least || y->most < x->least)
        return end_const(b, 0);
    return end_new(b, (End){END_EQ, .in = {x, y}, .most = 1});
}

static const End *end_not(Builder *b, const End *x)
{
    if (x->op == END_NOT)
        return x->in[0];
    if (x->op == END_LT || x->op == END_LE) /* not (x < y) is y <= x */
        return end_less(b, x->op == END_LT ? END_LE : END_LT, x->in[1], x->in[0]);
    return end_new(b, (End){END_NOT, .in = {x}, .least = 1 - x->most, .most = 1 - x->least});
}

static const End *end_both(Builder *b, EndOp op, const End *x, const End *y)
{
    int64_t decides = op == END_OR;
    if (is_const(x, decides) || is_const(y, 1 - decides) || x == y)
        return x;
    if (is_const(y, decides) || is_const(x, 1 - decides))
        return y;
    return end_new(b, (End){op, .in = {x, y}, .most = 1});
}

static const End *end_if(Builder *b, const End *when, const End *x, const End *y)
{
    if (when->op == END_CONST || x == y)
        return when->op == END_CONST && !when->value ? y : x;
    int64_t least = x->least < y->least ? x->least : y->least, most = x->most > y->most ? x->most : y->most;
    return end_new(b, (End){END_IF, .in = {when, x, y}, .least = least, .most = most});
}

/* ---- leaves ----------------------------------------------------------------------------------------------------- */

static Extent start_of(const Node *iota)
{
    const Attr *start = node_attr(iota, ATTR_start);
    return start ? start->extent : extent_const(0);
}

static bool same_leaf(const Node *a, const Node *b)
{
    return a == b || (a->op == OP_iota && b->op == OP_iota && a->type->axis[0].name == b->type->axis[0].name &&
                      extent_equal(start_of(a), start_of(b)));
}

static Interval leaf(Builder *b, const Node *n, MaskSide side)
{
    TileTest *t = b->test;
    size_t at = 0;
    while (at < t->n_leaves && !same_leaf(t->leaves[at].node, n))
        at++;
    if (at == t->n_leaves) {
        t->leaves = arena_room(b->cx->arena, t->leaves, t->n_leaves, &t->capacity, sizeof *t->leaves);
        t->leaves[t->n_leaves++] = (TileLeaf){.node = n, .side = side, .data = n->op != OP_iota};
    }
    End low = {END_LEAF, .value = (int64_t)at, .least = INT32_MIN, .most = INT32_MAX};
    if (n->type->dtype == DT_BOOL) {
        low.least = 0;
        low.most = 1;
    } else if (n->op == OP_iota) {
        low.least = extent_low(start_of(n));
        low.most = extent_high(start_of(n)) + extent_high(n->type->axis[0].size) - 1;
    }
    End high = low;
    high.high = side != SIDE_TASK;
    return (Interval){end_new(b, low), end_new(b, high)};
}

/* Reads something else than positions: only looking at the elements says where it lies. */
static bool reads_data(const Node *n)
{
    if (n->op == OP_param || n->type->dtype == DT_F32 || op_info[n->op].class == CLASS_MOVE)
        return true;
    for (int i = 0; i < n->n_inputs; i++)
        if (reads_data(n->inputs[i]))
            return true;
    return false;
}

static bool reads_score(const Node *n)
{
    const Node *attend = n->graph->owner;
    if (n->op == OP_param)
        return n == attend->body->params[0] ||
               (attr_bool(attend, ATTR_second, false) && n == attend->body->params[attend->body->n_params - 1]);
    for (int i = 0; i < n->n_inputs; i++)
        if (reads_score(n->inputs[i]))
            return true;
    return false;
}

/* ---- the rules -------------------------------------------------------------------------------------------------- */

static Interval interval(Builder *b, const Node *n);

static Interval truth(const End *all, const End *some)
{
    return (Interval){all, some};
}

static bool known(Interval x)
{
    return x.low && x.high;
}

static Interval not_known(Builder *b, const Node *n)
{
    if (n->type->dtype == DT_BOOL)
        return truth(end_const(b, 0), end_const(b, 1));
    return (Interval){NULL, NULL};
}

static Interval compare(Builder *b, Op op, Interval x, Interval y)
{
    EndOp less = op == OP_lt ? END_LT : END_LE;
    if (op == OP_lt || op == OP_le)
        return truth(end_less(b, less, x.high, y.low), end_less(b, less, x.low, y.high));
    /* Equal for all pairs: both are the same one number. For some: the intervals meet. */
    const End *all = end_both(b, END_AND, end_equal(b, x.low, y.high), end_equal(b, x.high, y.low));
    const End *some =
        end_both(b, END_AND, end_less(b, END_LE, x.low, y.high), end_less(b, END_LE, y.low, x.high));
    return op == OP_eq ? truth(all, some) : truth(end_not(b, some), end_not(b, all));
}

/* Division and remainder by a constant, rounding down. */
static Interval divide(Builder *b, const Node *n, Interval x, Interval y)
{
    int64_t by = y.low->op == END_CONST ? y.low->value : 0;
    if (by <= 0)
        return not_known(b, n);
    Interval parts = {end_div(b, x.low, by), end_div(b, x.high, by)};
    if (n->op == OP_div)
        return parts;
    const End *one = end_equal(b, parts.low, parts.high); /* no multiple of `by` inside: the remainders ascend */
    return (Interval){end_if(b, one, end_mod(b, x.low, by), end_const(b, 0)),
                      end_if(b, one, end_mod(b, x.high, by), end_const(b, by - 1))};
}

static Interval multiply(Builder *b, const Node *n, Interval x, Interval y)
{
    if (x.low->op == END_CONST) {
        Interval other = x;
        x = y;
        y = other;
    }
    if (y.low->op != END_CONST)
        return not_known(b, n);
    int64_t factor = y.low->value;
    return (Interval){end_times(b, factor < 0 ? x.high : x.low, factor),
                      end_times(b, factor < 0 ? x.low : x.high, factor)};
}

static Interval negative(Builder *b, Interval x)
{
    const End *zero = end_const(b, 0);
    return (Interval){end_sum(b, END_SUB, zero, x.high), end_sum(b, END_SUB, zero, x.low)};
}

static Interval magnitude(Builder *b, const Node *n, Interval x)
{
    Interval other = negative(b, x);
    if (!known(other))
        return not_known(b, n);
    const End *zero = end_const(b, 0);
    return (Interval){end_limit(b, END_MAX, end_limit(b, END_MAX, x.low, other.low), zero),
                      end_limit(b, END_MAX, x.high, other.high)};
}

static Interval choose(Builder *b, Interval when, Interval x, Interval y)
{
    if (is_const(when.low, 1))
        return x;
    if (is_const(when.high, 0))
        return y;
    const End *low = end_limit(b, END_MIN, x.low, y.low), *high = end_limit(b, END_MAX, x.high, y.high);
    return (Interval){end_if(b, when.low, x.low, end_if(b, when.high, low, y.low)),
                      end_if(b, when.low, x.high, end_if(b, when.high, high, y.high))};
}

static Interval convert(Builder *b, const Node *n, Interval x)
{
    if (n->type->dtype != DT_BOOL || n->inputs[0]->type->dtype == DT_BOOL)
        return x;
    Interval zero = {end_const(b, 0), end_const(b, 0)};
    return compare(b, OP_ne, x, zero);
}

/* Low end with low end, high end with high end. */
static Interval pair(Builder *b, const End *(*join)(Builder *, EndOp, const End *, const End *), EndOp op, Interval x,
                     Interval y)
{
    return (Interval){join(b, op, x.low, y.low), join(b, op, x.high, y.high)};
}

static Interval operation(Builder *b, const Node *n, const Interval *in)
{
    switch (n->op) {
    case OP_add: return pair(b, end_sum, END_ADD, in[0], in[1]);
    case OP_sub: return pair(b, end_sum, END_SUB, in[0], (Interval){in[1].high, in[1].low});
    case OP_mul: return multiply(b, n, in[0], in[1]);
    case OP_div:
    case OP_mod: return divide(b, n, in[0], in[1]);
    case OP_neg: return negative(b, in[0]);
    case OP_abs: return magnitude(b, n, in[0]);
    case OP_minimum: return pair(b, end_limit, END_MIN, in[0], in[1]);
    case OP_maximum: return pair(b, end_limit, END_MAX, in[0], in[1]);
    case OP_lt:
    case OP_le:
    case OP_eq:
    case OP_ne: return compare(b, n->op, in[0], in[1]);
    case OP_and: return pair(b, end_both, END_AND, in[0], in[1]);
    case OP_or: return pair(b, end_both, END_OR, in[0], in[1]);
    case OP_not: return truth(end_not(b, in[0].high), end_not(b, in[0].low));
    case OP_where: return choose(b, in[0], in[1], in[2]);
    case OP_cast: return convert(b, n, in[0]);
    default: return not_known(b, n);
    }
}

/* From the inputs' intervals, or nothing. */
static Interval by_rule(Builder *b, const Node *n)
{
    Interval in[3], none = {NULL, NULL};
    if (op_info[n->op].class != CLASS_MAP || n->n_inputs > 3)
        return none;
    for (int i = 0; i < n->n_inputs; i++) {
        in[i] = interval(b, n->inputs[i]);
        if (!known(in[i]))
            return none;
    }
    return operation(b, n, in);
}

/* A value of one side is a leaf if it reads memory, and if the rules do not know it. */
static Interval interval(Builder *b, const Node *n)
{
    MaskSide side = mask_side(b->attend, n);
    if (n->type->dtype != DT_I32 && n->type->dtype != DT_I64 && n->type->dtype != DT_BOOL)
        return not_known(b, n);
    if (n->op == OP_const) {
        double value = attr_float(n, ATTR_value, 0);
        const End *e = fabs(value) < (double)WIDEST ? end_const(b, (int64_t)value) : NULL;
        return (Interval){e, e};
    }
    bool one_side = side != SIDE_BOTH && !reads_score(n);
    if (one_side && (n->op == OP_iota || reads_data(n)))
        return leaf(b, n, side);
    Interval x = by_rule(b, n);
    return known(x) ? x : one_side ? leaf(b, n, side) : not_known(b, n);
}

/* ---- the whole mask --------------------------------------------------------------------------------------------- */

static void note_uses(TileTest *t, const End *e)
{
    if (e->op == END_LEAF && e->high)
        t->leaves[e->value].high = true;
    else if (e->op == END_LEAF)
        t->leaves[e->value].low = true;
    for (int i = 0; i < 3 && e->in[i]; i++)
        note_uses(t, e->in[i]);
}

TileTest tile_test(Context *cx, const Node *attend, const Conditions *conditions)
{
    TileTest test = {0};
    Builder b = {cx, attend, &test};
    test.some = test.all = end_const(&b, 1);
    for (size_t i = 0; i < conditions->count; i++) {
        Interval x = interval(&b, conditions->items[i].node);
        if (conditions->items[i].negated)
            x = truth(end_not(&b, x.high), end_not(&b, x.low));
        test.some = end_both(&b, END_AND, test.some, x.high);
        test.all = end_both(&b, END_AND, test.all, x.low);
    }
    note_uses(&test, test.some);
    note_uses(&test, test.all);
    return test;
}

static int64_t value_of(const End *e, const int64_t *low, const int64_t *high)
{
    int64_t x = e->in[0] ? value_of(e->in[0], low, high) : e->value;
    if (e->op == END_IF)
        return value_of(e->in[x ? 1 : 2], low, high);
    int64_t y = e->in[1] ? value_of(e->in[1], low, high) : 0;
    switch (e->op) {
    case END_LEAF: return (e->high ? high : low)[e->value];
    case END_ADD: return x + y;
    case END_SUB: return x - y;
    case END_MUL: return x * y;
    case END_DIV: return floor_div(x, y);
    case END_MOD: return x - floor_div(x, y) * y;
    case END_MIN: return x < y ? x : y;
    case END_MAX: return x > y ? x : y;
    case END_LT: return x < y;
    case END_LE: return x <= y;
    case END_EQ: return x == y;
    case END_AND: return x & y;
    case END_OR: return x | y;
    case END_NOT: return !x;
    default: return x;
    }
}

TileClass tile_class(const TileTest *test, const int64_t *low, const int64_t *high)
{
    if (!value_of(test->some, low, high))
        return TILE_EMPTY;
    return value_of(test->all, low, high) ? TILE_FULL : TILE_PARTIAL;
}
