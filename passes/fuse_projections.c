/* fuse-projections: products of one value with several weights become one gemm, so that the value is read once.
 *
 *     q = dot(x, Wq);  k = dot(x, Wk);  v = dot(x, Wv)   ->   q, k, v = gemm x, Wq, Wk, Wv
 *
 * They must sum over the same axes in the same order. The gemm stands where the first product stood; weights may
 * stand anywhere. */
#include "passes/inside.h"

static void remark_together(PassContext *px, const Node *gemm, int n)
{
    Text names = text_new(px->cx->arena);
    for (int j = 0; j < n; j++)
        text_add(&names, "%s%s", j == 0 ? "" : j == n - 1 ? " and " : ", ", word_of(gemm->body->params[j]));
    Remark *r = remark(px, REMARK_PASSED, REMARK_FUSED, gemm, "%s are one gemm over `%s`", names.data,
                       word_of(gemm->inputs[0]));
    double x = type_bytes(px, graph_model(gemm->graph), gemm->inputs[0]->type);
    r->bytes_before = x * n;
    r->bytes_after = x;
    for (int j = 1; j <= n; j++)
        r->flops += product_flops(px, gemm->inputs[0], gemm->inputs[j]);
}

static bool fuse_graph(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= fuse_graph(px, n->body);
        Product products[MAX_TOGETHER];
        int count = 1;
        if (!product_fits(n, &products[0]))
            continue;
        for (Node *m = n->next; m && count < MAX_TOGETHER; m = m->next)
            if (product_fits(m, &products[count]) && product_same_input(&products[0], &products[count]))
                count++;
        if (count == 1)
            continue;
        Node *before = n->prev;
        remark_together(px, gemm_build(px, n, products, count), count);
        next = before ? before->next : g->first;
        changed = true;
    }
    return changed;
}

bool pass_fuse_projections(PassContext *px, Graph *model)
{
    bool changed = fuse_graph(px, model);
    if (changed)
        remove_dead(model);
    return changed;
}
