/* The logarithm of the sum of the exponentials of the scores, beside their softmax: attend's second result.
 *
 *     log(sum(exp(s)))
 *     log(sum(exp(s - m))) + m      with m = max(s), or the larger of that and a constant
 *
 * Equal in real arithmetic; a row of nothing but -inf gives -inf where the formula may give NaN. */
#include "passes/attention.h"

bool match_in_lse(const Match *m, const Node *n)
{
    for (int i = 0; i < m->n_lse; i++)
        if (m->lse[i] == n)
            return true;
    return false;
}

/* Adds n and what it is made of down to the scores; false if something does not belong to the formula. */
static bool collect(Match *m, Node *n)
{
    double c;
    if (match_in_lse(m, n) || match_in_chain(m, n) || n == m->score || is_const(n, &c))
        return true;
    if (m->n_lse == MAX_LSE || is_kept(n) || n->graph != m->graph)
        return false;
    m->lse[m->n_lse++] = n;
    for (int i = 0; i < n->n_inputs; i++)
        if (!collect(m, n->inputs[i]))
            return false;
    return true;
}

/* The scores x of log(sum(exp(x))) or, with a shift, log(sum(exp(x - shift))). */
static Node *summed(const Match *m, Node *log, Node *shift)
{
    Node *total = log->op == OP_log ? below_transposes(log->inputs[0]) : NULL;
    const Attr *over = total && total->op == OP_sum ? node_attr(total, ATTR_over) : NULL;
    if (!over || over->names.count != 1 || over->names.items[0] != m->keys)
        return NULL;
    Node *e = below_transposes(total->inputs[0]), *x = e->op == OP_exp ? below_transposes(e->inputs[0]) : NULL;
    if (!x || !shift)
        return x;
    bool shifted = x->op == OP_sub && below_transposes(x->inputs[1]) == below_transposes(shift);
    return shifted && softmax_shifts(shift, m->keys) ? below_transposes(x->inputs[0]) : NULL;
}

static bool is_log_sum(const Match *m, Node *n)
{
    const Node *scores = below_transposes(m->softmax->inputs[0]);
    if (n->op == OP_log)
        return summed(m, n, NULL) == scores;
    for (int i = 0; n->op == OP_add && i < 2; i++)
        if (summed(m, below_transposes(n->inputs[i]), n->inputs[1 - i]) == scores)
            return true;
    return false;
}

int match_lse_uses(const Match *m, const Node *n)
{
    int count = 0;
    for (int k = 0; k < m->n_lse; k++)
        for (int j = 0; j < m->lse[k]->n_inputs; j++)
            count += m->lse[k]->inputs[j] == n;
    return count;
}

/* Nobody else reads what it is made of. */
static bool is_closed(const Match *m)
{
    for (int i = 1; i < m->n_lse; i++)
        if (match_lse_uses(m, m->lse[i]) != m->lse[i]->uses)
            return false;
    return true;
}

void match_find_lse(Match *m)
{
    m->n_lse = 0;
    for (Node *n = m->graph->first; n; n = n->next) {
        if (!is_log_sum(m, n))
            continue;
        if (collect(m, n) && is_closed(m))
            return;
        m->n_lse = 0;
    }
}
