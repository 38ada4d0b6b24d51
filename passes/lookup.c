/* Lookups whose row numbers are positions: gather(x, 0..H) is x, and gather(x, (0..G) * R + (0..R)) is x with the axis
 * cut into [G, R]. Nothing has to be looked up. */
#include "passes/inside.h"

typedef struct Digits { /* sum of factor * position */
    int n;
    Axis axis[MAX_RANK];
    int64_t factor[MAX_RANK];
} Digits;

static bool add_digit(Digits *d, Axis axis, int64_t factor)
{
    if (d->n == MAX_RANK || !extent_is_const(axis.size))
        return false;
    int at = d->n++;
    for (; at > 0 && d->factor[at - 1] < factor; at--) { /* largest factor first */
        d->axis[at] = d->axis[at - 1];
        d->factor[at] = d->factor[at - 1];
    }
    d->axis[at] = axis;
    d->factor[at] = factor;
    return true;
}

static bool collect_digits(Digits *d, const Node *n, int64_t factor)
{
    double c;
    const Attr *start = node_attr(n, ATTR_start);
    if (n->op == OP_iota)
        return (!start || extent_equal(start->extent, extent_const(0))) && add_digit(d, n->type->axis[0], factor);
    if (n->op == OP_transpose)
        return collect_digits(d, n->inputs[0], factor);
    if (n->op == OP_add)
        return collect_digits(d, n->inputs[0], factor) && collect_digits(d, n->inputs[1], factor);
    return n->op == OP_mul && is_const(n->inputs[1], &c) && c >= 1 && c < INT32_MAX && factor == 1 &&
           collect_digits(d, n->inputs[0], (int64_t)c);
}

/* The digits count every position of the axis once, in order. */
static bool counts_all(const Digits *d, Axis whole)
{
    int64_t step = 1;
    for (int i = d->n - 1; i >= 0; i--) {
        if (d->factor[i] != step)
            return false;
        step *= d->axis[i].size.base;
    }
    return extent_is_const(whole.size) && whole.size.base == step;
}

Node *simplify_lookup(PassContext *px, Node *n)
{
    Digits d = {0};
    Type cut = {.dtype = n->type->dtype};
    if (n->op != OP_gather || n->inputs[1]->type->rank == 0 || !collect_digits(&d, n->inputs[1], 1))
        return NULL;
    Node *table = n->inputs[0];
    int at = type_find(table->type, node_attr(n, ATTR_over)->names.items[0]);
    if (!counts_all(&d, table->type->axis[at]) || table->type->rank + d.n - 1 > MAX_RANK)
        return NULL;
    for (int i = 0; i < table->type->rank; i++)
        for (int k = 0; k < (i == at ? d.n : 1); k++)
            cut.axis[cut.rank++] = i == at ? d.axis[k] : table->type->axis[i];
    Node *view = type_equal(&cut, table->type)
                     ? table
                     : make_before(px, n, OP_view, type_new(px->cx, cut.dtype, cut.rank, cut.axis), 1, &table, n);
    return view ? make_transposed(px, n, view, n->type) : NULL;
}
