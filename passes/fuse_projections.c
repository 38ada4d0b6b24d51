/* fuse-projections: products of one value with several weights become one gemm, so that the value is read once.
 *
 *     q = dot(x, Wq);  k = dot(x, Wk);  v = dot(x, Wv)   ->   q, k, v = gemm x, Wq, Wk, Wv
 *
 * They must sum over the same axes in the same order. The gemm stands where the first product stood; weights may
 * stand anywhere.
 *
 * A product that only leads to another one beside these is not one of them, as theirs would have to wait for it:
 *
 *     q = dot(x, Wq) + dot(dot(x, Aq), Bq)       Aq with the A of k and v is a gemm of its own, before; then its way to
 *                                                the sum, so that what is added is there when q, k and v are made */
#include "passes/inside.h"

/* ---- products that only lead to one beside the others -------------------------------------------------------------- */

typedef struct Beside { /* the way from dot(x, a) to what is added: elementwise operators, then a product with a weight */
    Node *way[4];
    int n;
} Beside;

static bool is_near_leaf(const Node *o, const Node *first)
{
    return o->graph != first->graph || o->op == OP_weight || o->op == OP_table || is_inline_leaf(o) ||
           stands_before(o, first);
}

/* A product of x is what is added to, perhaps in a sum with more. */
static bool adds_to_product(const Node *n, const Product *first, int depth)
{
    Product p;
    Node *value = below_transposes((Node *)(uintptr_t)n);
    if (product_fits(value, &p))
        return product_same_input(first, &p);
    return value->op == OP_add && depth < 8 &&
           (adds_to_product(value->inputs[0], first, depth + 1) || adds_to_product(value->inputs[1], first, depth + 1));
}

static bool leads_beside(const Product *p, const Product *first, Beside *out)
{
    Node *value = p->dot;
    *out = (Beside){.n = 0};
    while (out->n < 4) {
        Node *reader = is_kept(value) ? NULL : only_reader(value);
        Product next;
        if (!reader || reader->graph != value->graph)
            return false;
        out->way[out->n++] = reader;
        for (int i = 0; i < reader->n_inputs; i++)
            if (reader->inputs[i] != value && !is_near_leaf(reader->inputs[i], first->dot))
                return false;
        if (product_fits(reader, &next)) {
            Node *sum = only_reader(reader);
            return next.x == value && sum && sum->op == OP_add &&
                   adds_to_product(sum->inputs[sum->inputs[0] == reader], first, 0);
        }
        if (!is_map(reader) || !type_equal(reader->type, value->type))
            return false;
        value = reader;
    }
    return false;
}

static void move_up(Node *n, Node *where)
{
    for (int i = 0; i < n->n_inputs; i++) {
        Node *o = n->inputs[i];
        bool leaf = o->op == OP_weight || o->op == OP_table || is_inline_leaf(o);
        if (leaf && o->graph == where->graph && !stands_before(o, where))
            node_move_before(o, where);
    }
    if (!stands_before(n, where))
        node_move_before(n, where);
}

static void remark_beside(PassContext *px, const Node *gemm, int n)
{
    remark(px, REMARK_PASSED, REMARK_FUSED, gemm, "%s, ahead of the product%s that their own products are added to",
           n > 1 ? "low-rank products are one gemm" : "a low-rank product stands", n > 1 ? "s" : "");
}

/* Takes the products out that lead beside others; those stay in `products`. */
static int set_apart(PassContext *px, Product *products, int count)
{
    Product low[MAX_TOGETHER];
    Beside beside[MAX_TOGETHER];
    int n_low = 0, rest = 0;
    const Product first = products[0];
    for (int i = 0; i < count; i++)
        if (leads_beside(&products[i], &first, &beside[n_low]))
            low[n_low++] = products[i];
        else
            products[rest++] = products[i];
    if (!n_low || !rest)
        return count;
    Node *where = products[0].dot;
    for (int i = 0; i < n_low; i++) {
        move_up(low[i].dot, where);
        for (int k = 0; k < beside[i].n; k++)
            move_up(beside[i].way[k], where);
    }
    remark_beside(px, gemm_build(px, low[0].dot, low, n_low), n_low);
    return rest;
}

/* ---- the pass ------------------------------------------------------------------------------------------------------ */

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
        int apart = count - set_apart(px, products, count);
        count -= apart;
        if (count > 1)
            remark_together(px, gemm_build(px, products[0].dot, products, count), count);
        if (count == 1 && !apart)
            continue;
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
