/* Masks that write a large negative number where -inf is meant: where(m, s, -1e9), s + where(m, 0, -1e4).
 *
 * They are equal to -inf only if every row sees a key and the masked weight, exp(number - largest score), is exactly 0.
 * Both are proved here or not assumed:
 *
 *     sees a key    the mask holds for the key at the query's own position, or for the first key, and these exist
 *     exactly 0     the score is bounded, as by a soft cap, and the number lies far enough below the bound
 *
 * Where the proof fails the number stays, the result is the one that was written, and a remark says which step failed. */
#include <math.h>
#include "passes/attention.h"

static const double underflow = 800; /* exp(-800) is 0 in float64 too */
static const double least_mask = 1e3;

/* ---- bounds of a score ------------------------------------------------------------------------------------------- */

typedef struct Bounds {
    double low, high;
} Bounds;

enum { MAX_DEPTH = 12 }; /* formulas deeper than this are not looked into */

static Bounds bounds_of(const Node *n, int depth);

static Bounds product(Bounds a, Bounds b)
{
    double p[] = {a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high};
    Bounds r = {p[0], p[0]};
    for (int i = 0; i < 4; i++) {
        if (isnan(p[i])) /* 0 * inf: unknown */
            return (Bounds){-INFINITY, INFINITY};
        r.low = fmin(r.low, p[i]);
        r.high = fmax(r.high, p[i]);
    }
    return r;
}

static Bounds of_two(const Node *n, int depth)
{
    Bounds a = bounds_of(n->inputs[0], depth), b = bounds_of(n->inputs[1], depth);
    double c;
    switch (n->op) {
    case OP_add: return (Bounds){a.low + b.low, a.high + b.high};
    case OP_sub: return (Bounds){a.low - b.high, a.high - b.low};
    case OP_mul: return product(a, b);
    case OP_div: return is_const(n->inputs[1], &c) && c != 0 ? product(a, (Bounds){1 / c, 1 / c})
                                                            : (Bounds){-INFINITY, INFINITY};
    case OP_minimum: return (Bounds){fmin(a.low, b.low), fmin(a.high, b.high)};
    case OP_maximum: return (Bounds){fmax(a.low, b.low), fmax(a.high, b.high)};
    default: return (Bounds){-INFINITY, INFINITY};
    }
}

static Bounds bounds_of(const Node *n, int depth)
{
    double c;
    if (is_const(n, &c))
        return (Bounds){c, c};
    if (depth++ == MAX_DEPTH)
        return (Bounds){-INFINITY, INFINITY};
    switch (n->op) {
    case OP_tanh:
    case OP_erf:
    case OP_sin:
    case OP_cos: return (Bounds){-1, 1};
    case OP_sigmoid: return (Bounds){0, 1};
    case OP_transpose: return bounds_of(n->inputs[0], depth);
    case OP_neg: {
        Bounds a = bounds_of(n->inputs[0], depth);
        return (Bounds){-a.high, -a.low};
    }
    default: return n->n_inputs == 2 && is_map(n) ? of_two(n, depth) : (Bounds){-INFINITY, INFINITY};
    }
}

/* ---- does every row see a key ------------------------------------------------------------------------------------ */

typedef struct Sight { /* the positions that a mask compares */
    const char *keys;
    const Axis *row; /* the queries' axis */
    Extent row_start, key_start;
    bool found_row, found_key, clear;
    bool own; /* asked about the key at the query's own position; otherwise about the first */
} Sight;

static void find_positions(Sight *s, NodeSet *seen, const Node *n)
{
    if (!nodeset_add(seen, n))
        return;
    if (n->op == OP_iota) {
        const Attr *start = node_attr(n, ATTR_start);
        Extent first = start ? start->extent : extent_const(0);
        bool key = n->type->axis[0].name == s->keys, *found = key ? &s->found_key : &s->found_row;
        Extent *from = key ? &s->key_start : &s->row_start;
        s->clear &= !*found || (extent_equal(*from, first) && (key || n->type->axis[0].name == s->row->name));
        *found = true;
        *from = first;
        if (!key)
            s->row = &n->type->axis[0];
    }
    for (int i = 0; i < n->n_inputs; i++)
        find_positions(s, seen, n->inputs[i]);
}

/* n as factor * the query's position + number; false: something else. */
static bool linear(const Sight *s, const Node *n, int depth, double *factor, double *number)
{
    double f, c;
    if (depth++ == MAX_DEPTH)
        return false;
    if (n->op == OP_iota) {
        bool first_key = n->type->axis[0].name == s->keys && !s->own;
        *factor = !first_key;
        *number = first_key ? (double)s->key_start.base : 0;
        return !first_key || extent_is_const(s->key_start);
    }
    if (is_const(n, number)) {
        *factor = 0;
        return true;
    }
    if (n->op == OP_cast || n->op == OP_transpose)
        return linear(s, n->inputs[0], depth, factor, number);
    if ((n->op != OP_add && n->op != OP_sub) || !linear(s, n->inputs[0], depth, factor, number) ||
        !linear(s, n->inputs[1], depth, &f, &c))
        return false;
    double sign = n->op == OP_add ? 1 : -1;
    *factor += sign * f;
    *number += sign * c;
    return true;
}

static int comparison_holds(const Sight *s, const Node *n)
{
    double f, c, g, d, least = (double)extent_low(s->row_start);
    if (!linear(s, n->inputs[0], 0, &f, &c) || !linear(s, n->inputs[1], 0, &g, &d))
        return -1;
    double slope = g - f, gap = d - c + slope * least; /* right - left at the first query; it grows with the slope */
    bool order = n->op == OP_lt || n->op == OP_le, above = n->op == OP_lt ? gap > 0 : gap >= 0;
    if (order)
        return above && slope >= 0 ? 1 : !above && slope <= 0 ? 0 : -1;
    return slope != 0 ? -1 : (gap == 0) == (n->op == OP_eq);
}

/* 1: the mask holds for that key of every query, 0: it does not, -1: not known. */
static int holds(const Sight *s, const Node *n, int depth)
{
    int a, b, decides = n->op == OP_or;
    if (depth++ == MAX_DEPTH)
        return -1;
    switch (n->op) {
    case OP_const: return attr_float(n, ATTR_value, 0) != 0;
    case OP_not: a = holds(s, n->inputs[0], depth); return a < 0 ? a : !a;
    case OP_transpose: return holds(s, n->inputs[0], depth);
    case OP_and:
    case OP_or:
        a = holds(s, n->inputs[0], depth);
        b = holds(s, n->inputs[1], depth);
        return a == decides || b == decides ? decides : a < 0 || b < 0 ? -1 : !decides;
    case OP_lt:
    case OP_le:
    case OP_eq:
    case OP_ne: return comparison_holds(s, n);
    default: return -1;
    }
}

static bool every_row_sees(PassContext *px, const Node *mask, const char *keys, Extent key_size)
{
    Sight s = {.keys = keys, .clear = true};
    Extent shift, end, rest;
    NodeSet seen = nodeset_new(px);
    find_positions(&s, &seen, mask);
    if (!s.found_row || !s.found_key || !s.clear)
        return false;
    if (extent_low(key_size) >= 1 && holds(&s, mask, 0) == 1)
        return true;
    /* the query at position i + row_start is the key i + shift: it must exist for every i */
    s.own = true;
    return extent_sub(s.row_start, s.key_start, &shift) && extent_low(shift) >= 0 &&
           extent_add(shift, s.row->size, &end) && extent_sub(key_size, end, &rest) && extent_low(rest) >= 0 &&
           holds(&s, mask, 0) == 1;
}

/* ---- the mask ---------------------------------------------------------------------------------------------------- */

typedef struct Finite {
    Node *mask, *score;
    double number;
    bool added; /* number + score instead of number alone */
} Finite;

static bool is_number(const Node *n, double *c)
{
    return is_const(n, c) && *c <= -least_mask && isfinite(*c);
}

static bool find_finite(Node *n, Finite *f)
{
    double zero;
    *f = (Finite){0};
    if (n->op == OP_where && !is_kept(n) && is_number(n->inputs[2], &f->number)) {
        f->mask = n->inputs[0];
        f->score = n->inputs[1];
        return true;
    }
    for (int i = 0; n->op == OP_add && !is_kept(n) && i < 2; i++) {
        Node *w = below_transposes(n->inputs[i]);
        if (w->op != OP_where || !is_const(w->inputs[1], &zero) || zero != 0 || !is_number(w->inputs[2], &f->number))
            continue;
        *f = (Finite){w->inputs[0], n->inputs[1 - i], f->number, true};
        return true;
    }
    return false;
}

bool prove_mask(PassContext *px, Node *softmax)
{
    Node *n = below_transposes(softmax->inputs[0]);
    Finite f;
    const char *keys = node_attr(softmax, ATTR_over)->names.items[0];
    if (!find_finite(n, &f))
        return false;
    Bounds b = bounds_of(f.score, 0);
    double reach = f.added ? b.high : 0;
    bool vanishes = f.number + reach - b.low < -underflow;
    bool sees = every_row_sees(px, f.mask, keys, softmax->type->axis[type_find(softmax->type, keys)].size);
    if (vanishes && sees && only_reader(n)) {
        Node *inputs[] = {f.mask, f.score, make_const(px, n, -INFINITY, n->type->dtype)};
        Node *r = make_before(px, n, OP_where, NULL, 3, inputs, n);
        r = r && type_same_axes(r->type, n->type) ? make_transposed(px, n, r, n->type) : NULL;
        if (!r)
            return false;
        remark(px, REMARK_PASSED, REMARK_FUSED, n,
               "masked scores of %g are -inf: every row sees a key and scores lie in [%g, %g]", f.number, b.low,
               b.high);
        node_replace(n, r);
        node_remove(n);
        return true;
    }
    Remark *r = remark(px, REMARK_MISSED, REMARK_MASK_NOT_SEPARABLE, n,
                       "masked keys get %g, not -inf, and keep a weight, since %s: no tile is skipped", f.number,
                       !sees                           ? "a row may see no key at all"
                       : isinf(b.low) || isinf(b.high) ? "the scores have no bound"
                                                       : "the scores may come near to it");
    r->evidence = f.mask->at;
    r->help = "write -inf where the mask does not hold";
    return false;
}
