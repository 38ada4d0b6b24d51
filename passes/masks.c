/* Masks in one spelling: numbers that are one constant where a mask holds and another where it does not are
 * `where(mask, a, b)`, arithmetic on them is done at compile time, and what comes out as 0 and -inf is a mask again.
 *
 *     (1 - keep) * c,   log(keep),   a * b of two masks,   keep > 0.5,   min(mask1, mask2) ...
 *
 * In the scores the mask goes last and the masked value stands second: where(m, s, -inf). All rules are exact; a step
 * that would give NaN (0 * inf) is left as it stands. */
#include <math.h>
#include "passes/inside.h"

typedef struct Choice { /* yes where the mask holds, no elsewhere */
    Node *mask;
    double yes, no;
} Choice;

/* n as a choice between two numbers: where(m, a, b), or a mask cast to a number. */
static bool is_choice(const Node *n, Choice *c)
{
    if (n->op == OP_cast && n->inputs[0]->type->dtype == DT_BOOL && !is_kept(n)) {
        *c = (Choice){n->inputs[0], 1, 0};
        return true;
    }
    *c = (Choice){.mask = n->inputs ? n->inputs[0] : NULL};
    return n->op == OP_where && !is_kept(n) && is_const(n->inputs[1], &c->yes) && is_const(n->inputs[2], &c->no);
}

static Node *three(PassContext *px, Node *n, Node *condition, Node *a, Node *b)
{
    Node *inputs[] = {condition, a, b};
    return make_before(px, n, OP_where, NULL, 3, inputs, n);
}

static Node *inverted(PassContext *px, Node *n, Node *mask)
{
    return make_before(px, n, OP_not, NULL, 1, &mask, n);
}

static Node *masked(PassContext *px, Node *n, Node *mask, Node *score)
{
    Node *inputs[] = {mask, score, make_const(px, n, -INFINITY, score->type->dtype)};
    Node *r = make_before(px, n, OP_where, NULL, 3, inputs, n);
    return r && type_same_axes(r->type, n->type) ? make_transposed(px, n, r, n->type) : NULL;
}

/* The choice as a node of n's type: the mask itself where n is bool. */
static Node *choose(PassContext *px, Node *n, Node *mask, double yes, double no)
{
    if (!mask || !type_same_axes(mask->type, n->type))
        return NULL;
    if (n->type->dtype == DT_BOOL) {
        if ((yes != 0) == (no != 0))
            return NULL;
        return make_transposed(px, n, yes != 0 ? mask : inverted(px, n, mask), n->type);
    }
    Node *inputs[] = {mask, make_const(px, n, yes, n->type->dtype), make_const(px, n, no, n->type->dtype)};
    Node *r = make_before(px, n, OP_where, NULL, 3, inputs, n);
    return r ? make_transposed(px, n, r, n->type) : NULL;
}

/* ---- arithmetic on choices --------------------------------------------------------------------------------------- */

static double applied(Op op, double a, double b)
{
    switch (op) {
    case OP_add: return a + b;
    case OP_sub: return a - b;
    case OP_mul: return a * b;
    case OP_div: return b != 0 ? a / b : NAN;
    case OP_minimum: return fmin(a, b);
    case OP_maximum: return fmax(a, b);
    case OP_lt: return a < b;
    case OP_le: return a <= b;
    case OP_eq: return a == b;
    case OP_ne: return a != b;
    case OP_neg: return -a;
    case OP_log: return a >= 0 ? log(a) : NAN;
    case OP_exp: return exp(a);
    case OP_not: return a == 0;
    default: return NAN;
    }
}

/* Numbers that f32 and i32 hold exactly come out as they would at run time. */
static bool is_exact(const Node *n, double x)
{
    if (isnan(x))
        return false;
    return dtype_is_float(n->type->dtype) ? isinf(x) || (double)(float)x == x || n->type->dtype == DT_F64
                                          : fabs(x) < 1e9 && x == floor(x);
}

static Node *chosen(PassContext *px, Node *n, Node *mask, double yes, double no)
{
    return is_exact(n, yes) && is_exact(n, no) ? choose(px, n, mask, yes, no) : NULL;
}

/* f(where(m, a, b), c) -> where(m, f(a, c), f(b, c)) */
static Node *with_number(PassContext *px, Node *n)
{
    Choice c;
    double number = 0;
    if (n->n_inputs == 1 && n->op != OP_not && is_choice(n->inputs[0], &c)) {
        if (n->op == OP_cast)
            return chosen(px, n, c.mask, n->type->dtype == DT_BOOL ? c.yes != 0 : c.yes,
                          n->type->dtype == DT_BOOL ? c.no != 0 : c.no);
        return chosen(px, n, c.mask, applied(n->op, c.yes, 0), applied(n->op, c.no, 0));
    }
    for (int i = 0; n->n_inputs == 2 && i < 2; i++) {
        if (!is_choice(n->inputs[i], &c) || !is_const(n->inputs[1 - i], &number))
            continue;
        double yes = i ? applied(n->op, number, c.yes) : applied(n->op, c.yes, number);
        double no = i ? applied(n->op, number, c.no) : applied(n->op, c.no, number);
        return chosen(px, n, c.mask, yes, no);
    }
    return NULL;
}

/* Two choices whose result depends on both masks, or on either: 0/1 products, sums of 0 and -inf, min and max. */
static Node *with_choice(PassContext *px, Node *n)
{
    Choice a, b;
    if (n->n_inputs != 2 || !is_choice(n->inputs[0], &a) || !is_choice(n->inputs[1], &b))
        return NULL;
    double both = applied(n->op, a.yes, b.yes), first = applied(n->op, a.yes, b.no),
           second = applied(n->op, a.no, b.yes), none = applied(n->op, a.no, b.no);
    if (isnan(both) || isnan(first) || isnan(second) || isnan(none))
        return NULL;
    if (first == none && second == none)
        return chosen(px, n, make_two(px, n, OP_and, a.mask, b.mask), both, none);
    if (first == both && second == both)
        return chosen(px, n, make_two(px, n, OP_or, a.mask, b.mask), both, none);
    return NULL;
}

/* ---- masks on scores --------------------------------------------------------------------------------------------- */

/* where(m, s, -inf) of which nobody else reads */
static bool is_masked_score(const Node *n, const Node *reader)
{
    return n->op == OP_where && is_masked(n->inputs[2]) && !is_masked(n->inputs[1]) && !is_kept(n) &&
           only_reader(n) == reader && n->graph == reader->graph;
}

/* where(m, s, -inf) * c -> where(m, s * c, -inf) for c > 0, and the same for a sum: masks go last. */
static Node *mask_last(PassContext *px, Node *n)
{
    double c = 1;
    if (n->op == OP_mul || n->op == OP_div) {
        if (!is_const(n->inputs[1], &c) || !(c > 0) || isinf(c) || !is_masked_score(n->inputs[0], n))
            return NULL;
    } else if (n->op != OP_add && n->op != OP_sub) {
        return NULL;
    }
    for (int i = 0; i < (n->op == OP_add ? 2 : 1); i++) {
        Node *m = n->inputs[i], *other = n->inputs[1 - i];
        bool mask_too = other->op == OP_where && (is_masked(other->inputs[1]) || is_masked(other->inputs[2]));
        if (!is_masked_score(m, n) || mask_too)
            continue;
        Node *score = i ? make_two(px, n, n->op, other, m->inputs[1]) : make_two(px, n, n->op, m->inputs[1], other);
        return score ? masked(px, n, m->inputs[0], score) : NULL;
    }
    return NULL;
}

/* where(m, -inf, s) -> where(!m, s, -inf) */
static Node *mask_second(PassContext *px, Node *n)
{
    if (n->op != OP_where || !is_masked(n->inputs[1]) || is_masked(n->inputs[2]))
        return NULL;
    return masked(px, n, inverted(px, n, n->inputs[0]), n->inputs[2]);
}

static bool is_zero(const Node *n)
{
    double c;
    return is_const(n, &c) && c == 0;
}

/* s + where(m, 0, -inf) -> where(m, s, -inf);   s + where(m, -inf, 0) -> where(m, -inf, s) */
static Node *additive_mask(PassContext *px, Node *n)
{
    for (int i = 0; i < 2; i++) {
        Node *m = n->inputs[i], *s = n->inputs[1 - i];
        if (m->op != OP_where || is_kept(m))
            continue;
        if (is_zero(m->inputs[1]) && is_masked(m->inputs[2]))
            return three(px, n, m->inputs[0], s, m->inputs[2]);
        if (is_zero(m->inputs[2]) && is_masked(m->inputs[1]))
            return three(px, n, m->inputs[0], m->inputs[1], s);
    }
    return NULL;
}

/* where(m, where(k, s, -inf), -inf) -> where(m & k, s, -inf) */
static Node *nested_mask(PassContext *px, Node *n)
{
    Node *inner = n->inputs[1];
    if (inner->op != OP_where || is_kept(inner) || !is_masked(n->inputs[2]) || !is_masked(inner->inputs[2]))
        return NULL;
    Node *both = make_two(px, n, OP_and, n->inputs[0], inner->inputs[0]);
    return both ? three(px, n, both, inner->inputs[1], n->inputs[2]) : NULL;
}

/* ---- masks of masks ---------------------------------------------------------------------------------------------- */

/* where(a, b, false) -> a & b;   where(a, true, b) -> a | b;   !(x < y) -> y <= x for whole numbers */
static Node *of_masks(PassContext *px, Node *n)
{
    double c;
    if (n->op == OP_where && n->type->dtype == DT_BOOL) {
        Node *r = is_const(n->inputs[2], &c) && c == 0   ? make_two(px, n, OP_and, n->inputs[0], n->inputs[1])
                  : is_const(n->inputs[1], &c) && c != 0 ? make_two(px, n, OP_or, n->inputs[0], n->inputs[2])
                                                         : NULL;
        return r && type_same_axes(r->type, n->type) ? make_transposed(px, n, r, n->type) : NULL;
    }
    if (n->op != OP_not || is_kept(n->inputs[0]))
        return NULL;
    Node *m = n->inputs[0];
    bool whole = (m->op == OP_lt || m->op == OP_le) && !dtype_is_float(m->inputs[0]->type->dtype);
    Op turned = m->op == OP_lt ? OP_le : m->op == OP_le ? OP_lt : m->op == OP_eq ? OP_ne : OP_eq;
    if (!whole && m->op != OP_eq && m->op != OP_ne)
        return NULL;
    Node *r = make_two(px, n, turned, m->inputs[whole], m->inputs[!whole]);
    return r ? make_transposed(px, n, r, n->type) : NULL;
}

Node *simplify_mask(PassContext *px, Node *n)
{
    if (op_info[n->op].class != CLASS_MAP || n->op == OP_rotate)
        return NULL;
    Node *r = of_masks(px, n);
    if (!r && n->op != OP_where)
        r = with_number(px, n);
    if (!r)
        r = with_choice(px, n);
    if (!r)
        r = mask_second(px, n);
    if (!r && n->op == OP_where)
        r = nested_mask(px, n);
    if (!r && n->op == OP_add && dtype_is_float(n->type->dtype))
        r = additive_mask(px, n);
    return r ? r : mask_last(px, n);
}
