/* Scores taken from one of two products, by a condition on positions:
 *
 *     where(c, scale * dot(q, k), scale * dot(q2, k2))
 *
 * as rotary positions that stop growing beyond a window are. Both products have the same axes and the same scale, and
 * nobody else reads the second one. Then the attend computes only the one that a tile of scores takes; otherwise the
 * second product stays outside, a matrix of queries by keys that the attend reads. */
#include <math.h>
#include "passes/attention.h"

static bool alike(const Type *a, const Type *b)
{
    return a->dtype == b->dtype && type_same_axes(a, b);
}

/* The product of a scaled score that `reader` alone reads, and its factor. */
static Node *product_below(Node *n, const Node *reader, double *scale)
{
    double factor;
    Node *value;
    *scale = 1;
    while (!is_score(n)) {
        if (is_kept(n) || only_reader(n) != reader)
            return NULL;
        reader = n;
        if (n->op == OP_transpose)
            value = n->inputs[0];
        else if (match_factor(n, &value, &factor))
            *scale *= factor;
        else
            return NULL;
        n = value;
    }
    return is_kept(n) || only_reader(n) != reader ? NULL : n;
}

static void take_second(Match *m, Node *choice, int side)
{
    double scale;
    Node *other = choice->inputs[3 - side], *product = product_below(other, choice, &scale);
    if (!product || product->graph != m->graph || fabs(scale - m->scale) > 1e-12 * fabs(m->scale))
        return;
    const Attr *over = node_attr(product, ATTR_over);
    int keys_first = type_find(product->inputs[0]->type, m->keys) >= 0;
    if (over->names.count != 1 || over->names.items[0] != m->head)
        return;
    Node *q = below_transposes(product->inputs[keys_first]), *k = below_transposes(product->inputs[!keys_first]);
    if (!alike(q->type, m->q->type) || !alike(k->type, m->k->type))
        return;
    m->other = other;
    m->q2 = q;
    m->k2 = k;
}

void match_find_second(Match *m)
{
    m->other = NULL;
    for (int i = 0; i < m->n_chain && !m->other; i++) {
        Node *n = m->chain[i];
        for (int side = 1; n->op == OP_where && side <= 2 && !m->other; side++)
            if (n->inputs[side] == m->core && only_reader(m->core) &&
                !match_in_chain(m, n->inputs[3 - side]) && !match_in_chain(m, n->inputs[0]))
                take_second(m, n, side);
    }
}
