/* Softmax written out becomes softmax.
 *
 *     e / sum(e)          with e = exp(x), exp(x - max(x)), or either of them times a mask of 0 and 1
 *     e * (1 / sum(e))
 *     dot(e, v) / sum(e)  the division after the product with the values
 *     exp(x - l)          with l = log(sum(exp(x))), or m + log(sum(exp(x - m)))
 *
 * Equal in real arithmetic; a row of nothing but -inf gives zeros where the formula gives NaN. */
#include <math.h>
#include "passes/attention.h"
#include "passes/views.h"

static const char *only_axis(const Node *n)
{
    const Attr *over = node_attr(n, ATTR_over);
    return over && over->names.count == 1 ? over->names.items[0] : NULL;
}

/* A shift that is the same along the whole row and keeps the exponential in range: a maximum over the row. */
bool softmax_shifts(const Node *n, const char *axis)
{
    double c;
    if (type_find(n->type, axis) >= 0 || is_kept(n))
        return false;
    if (n->op == OP_maximum)
        return is_const(n->inputs[1], &c) && softmax_shifts(n->inputs[0], axis);
    if (n->op == OP_transpose)
        return softmax_shifts(n->inputs[0], axis);
    return n->op == OP_max && attr_has_name(n, ATTR_over, axis);
}

/* x of exp(x) or exp(x - shift); the exponential may stand before a view. */
static Node *exponent(PassContext *px, Node *e, const char *axis)
{
    if (e->op == OP_view && e->inputs[0]->op == OP_exp && !is_kept(e) && !is_kept(e->inputs[0]))
        return make_before(px, e, OP_view, e->type, 1, e->inputs[0]->inputs, e);
    if (e->op != OP_exp || is_kept(e))
        return NULL;
    Node *x = e->inputs[0];
    bool shifted = x->op == OP_sub && !is_kept(x) && softmax_shifts(x->inputs[1], axis);
    return shifted ? x->inputs[0] : x;
}

/* The mask m of a factor of 0 and 1: cast(m) or where(m, 1, 0). */
static Node *mask_of(const Node *n)
{
    double yes, no;
    if (is_kept(n))
        return NULL;
    if (n->op == OP_cast && n->inputs[0]->type->dtype == DT_BOOL)
        return n->inputs[0];
    bool choice = n->op == OP_where && is_const(n->inputs[1], &yes) && is_const(n->inputs[2], &no);
    return choice && yes == 1 && no == 0 ? n->inputs[0] : NULL;
}

/* e = exp(..), exp(..) * mask or where(mask, exp(..), 0): the exponent, and the mask if there is one. */
static Node *masked_exponent(PassContext *px, Node *e, const char *axis, Node **mask)
{
    double zero;
    *mask = NULL;
    if (is_kept(e))
        return NULL;
    for (int i = 0; e->op == OP_mul && i < 2; i++) {
        *mask = mask_of(e->inputs[1 - i]);
        Node *x = *mask ? exponent(px, e->inputs[i], axis) : NULL;
        if (x)
            return x;
    }
    if (e->op == OP_where && is_const(e->inputs[2], &zero) && zero == 0) {
        *mask = e->inputs[0];
        return exponent(px, e->inputs[1], axis);
    }
    *mask = NULL;
    return exponent(px, e, axis);
}

/* softmax over `axis` of x where the mask holds, in the order of `like`'s axes */
static Node *softmax_before(PassContext *px, Node *where, Node *x, Node *mask, const char *axis, const Node *like)
{
    if (mask) {
        Node *inputs[] = {mask, x, make_const(px, where, -INFINITY, x->type->dtype)};
        x = make_before(px, where, OP_where, NULL, 3, inputs, like);
    }
    Node *r = x ? make_over(px, where, OP_softmax, NULL, 1, &x, &axis, 1, like) : NULL;
    return r && type_same_axes(r->type, like->type) ? make_transposed(px, where, r, like->type) : NULL;
}

/* e / sum(e): the parts; NULL if `total` is not the sum of e. */
static Node *whole_of(PassContext *px, Node *e, const Node *total, const char **axis, Node **mask)
{
    while (total->op == OP_transpose && !is_kept(total))
        total = total->inputs[0];
    *axis = total->op == OP_sum && !is_kept(total) && below_transposes(total->inputs[0]) == below_transposes(e)
                ? only_axis(total)
                : NULL;
    return *axis ? masked_exponent(px, below_transposes(e), *axis, mask) : NULL;
}

static Node *said(PassContext *px, Node *n, Node *r)
{
    if (r)
        remark(px, REMARK_PASSED, REMARK_FUSED, n, "the formula is softmax");
    return r;
}

static Node *from_quotient(PassContext *px, Node *n, Node *e, const Node *total)
{
    const char *axis;
    Node *mask, *x = whole_of(px, e, total, &axis, &mask);
    return x ? said(px, n, softmax_before(px, n, x, mask, axis, n)) : NULL;
}

/* Both views cut or join the same axes into the same. */
static bool same_change(const Change *a, const Change *b)
{
    for (int i = 0; i < a->n; i++) {
        const Part *p = &a->part[i];
        bool found = p->same;
        for (int k = 0; k < b->n && !found; k++) {
            const Part *q = &b->part[k];
            found = p->n_in == q->n_in && p->n_out == q->n_out;
            for (int j = 0; found && j < p->n_in; j++)
                found = a->from->axis[p->in + j].name == b->from->axis[q->in + j].name;
            for (int j = 0; found && j < p->n_out; j++)
                found = a->to->axis[p->out + j].name == b->to->axis[q->out + j].name;
        }
        if (!found)
            return false;
    }
    return true;
}

/* softmax(x) in e's axes for e and the sum of it; both may be seen through the same view. */
static Node *weights_of(PassContext *px, Node *n, Node *e, Node *total, const char **axis)
{
    Node *mask, *x = whole_of(px, e, total, axis, &mask);
    Change of_e, of_total;
    if (x)
        return softmax_before(px, n, x, mask, *axis, e);
    total = below_transposes(total);
    if (e->op != OP_view || total->op != OP_view || is_kept(e) || is_kept(total) || !change_of_view(px, e, &of_e) ||
        !change_of_view(px, total, &of_total) || !same_change(&of_e, &of_total) || !same_change(&of_total, &of_e))
        return NULL;
    x = whole_of(px, e->inputs[0], total->inputs[0], axis, &mask);
    Node *p = x ? softmax_before(px, n, x, mask, *axis, e->inputs[0]) : NULL;
    return p ? make_before(px, n, OP_view, e->type, 1, &p, e) : NULL;
}

/* dot(e, v) / sum(e) -> dot(softmax(x), v) */
static Node *divided_late(PassContext *px, Node *n)
{
    Node *dot = below_transposes(n->inputs[0]);
    if (dot->op != OP_dot || is_kept(dot) || !only_reader(dot) || !only_axis(dot))
        return NULL;
    for (int i = 0; i < 2; i++) {
        const char *axis = NULL;
        Node *p = weights_of(px, n, dot->inputs[i], n->inputs[1], &axis), *inputs[2];
        if (!p || axis != only_axis(dot) || type_find(dot->inputs[1 - i]->type, axis) < 0)
            continue;
        inputs[i] = said(px, n, p);
        inputs[1 - i] = dot->inputs[1 - i];
        return make_over(px, n, OP_dot, n->type, 2, inputs, &axis, 1, n);
    }
    return NULL;
}

/* exp(x - (log(sum(exp(x - m))) + m)), with or without m */
static Node *from_log_sum(PassContext *px, Node *n)
{
    Node *difference = n->inputs[0];
    if (difference->op != OP_sub || is_kept(difference))
        return NULL;
    Node *x = difference->inputs[0], *l = below_transposes(difference->inputs[1]), *shift = NULL;
    for (int i = 0; l->op == OP_add && i < 2; i++)
        if (below_transposes(l->inputs[i])->op == OP_log) {
            shift = l->inputs[1 - i];
            l = below_transposes(l->inputs[i]);
        }
    Node *total = l->op == OP_log && !is_kept(l) ? below_transposes(l->inputs[0]) : NULL;
    const char *axis = total && total->op == OP_sum && !is_kept(total) ? only_axis(total) : NULL;
    Node *e = axis ? below_transposes(total->inputs[0]) : NULL;
    if (!e || e->op != OP_exp || is_kept(e))
        return NULL;
    Node *inner = e->inputs[0];
    bool plain = !shift && inner == x;
    bool shifted = shift && softmax_shifts(shift, axis) && inner->op == OP_sub && inner->inputs[0] == x &&
                   below_transposes(inner->inputs[1]) == below_transposes(shift);
    return plain || shifted ? said(px, n, softmax_before(px, n, x, NULL, axis, n)) : NULL;
}

Node *simplify_softmax(PassContext *px, Node *n)
{
    double one;
    if (n->type->dtype != DT_F32)
        return NULL;
    if (n->op == OP_exp)
        return from_log_sum(px, n);
    if (n->op == OP_div) {
        Node *r = from_quotient(px, n, n->inputs[0], n->inputs[1]);
        return r ? r : divided_late(px, n);
    }
    for (int i = 0; n->op == OP_mul && i < 2; i++) {
        Node *share = below_transposes(n->inputs[1 - i]);
        if (share->op == OP_div && is_const(share->inputs[0], &one) && one == 1 && !is_kept(share)) {
            Node *r = from_quotient(px, n, n->inputs[i], share->inputs[1]);
            if (r)
                return r;
        }
    }
    return NULL;
}
