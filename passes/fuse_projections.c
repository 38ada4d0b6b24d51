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

enum { LONGEST_WAY = 16 };
typedef struct Beside { /* from dot(x, a) to what is added: elementwise operators, then products with weights */
    Node *way[LONGEST_WAY];
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

static bool is_added(const Node *product, const Product *first)
{
    const Node *sum = only_reader(product);
    return sum && sum->op == OP_add && adds_to_product(sum->inputs[sum->inputs[0] == product], first, 0);
}

/* All that reads the value are products with weights that are added to products of x. */
static bool ends_in_sums(Node *value, const Product *first, Beside *out)
{
    Product next[MAX_TOGETHER];
    int n;
    if (product_readers(value, next, &n) || !n || out->n + n > LONGEST_WAY)
        return false;
    for (int i = 0; i < n; i++) {
        if (!is_added(next[i].dot, first))
            return false;
        out->way[out->n++] = next[i].dot;
    }
    return true;
}

static bool leads_beside(const Product *p, const Product *first, Beside *out)
{
    Node *value = p->dot;
    *out = (Beside){.n = 0};
    while (out->n < LONGEST_WAY && !is_kept(value)) {
        if (ends_in_sums(value, first, out))
            return true;
        Node *reader = only_reader(value);
        if (!reader || reader->graph != value->graph || !is_map(reader) || !type_equal(reader->type, value->type))
            return false;
        for (int i = 0; i < reader->n_inputs; i++)
            if (reader->inputs[i] != value && !is_near_leaf(reader->inputs[i], first->dot))
                return false;
        out->way[out->n++] = value = reader;
    }
    return false;
}

static bool has_gemm(const Node *n, int depth)
{
    const Node *value = below_transposes((Node *)(uintptr_t)n);
    if (value->op == OP_get)
        value = value->inputs[0];
    return value->op == OP_gemm ||
           (value->op == OP_add && depth < 8 && (has_gemm(value->inputs[0], depth + 1) || has_gemm(value->inputs[1], depth + 1)));
}

/* The second half of a low-rank path, added to a gemm: each goes on in the accumulators of its own (fuse-side), so that
 * several of one value are not together. */
static bool stands_alone(const Product *p)
{
    const Node *sum = only_reader(p->dot);
    double depth = 1, columns = 1;
    for (int i = 0; i < p->w->type->rank; i++) {
        const Axis *axis = &p->w->type->axis[i];
        *(attr_has_name(p->dot, ATTR_over, axis->name) ? &depth : &columns) *= (double)extent_high(axis->size);
    }
    return depth < columns && sum && sum->op == OP_add && has_gemm(sum->inputs[sum->inputs[0] == p->dot], 0);
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
    remark(px, REMARK_PASSED, REMARK_FUSED, gemm, "%s ahead of what is added to",
           n > 1 ? "low-rank products are one gemm," : "a low-rank product stands");
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
        if (!product_fits(n, &products[0]) || stands_alone(&products[0]))
            continue;
        for (Node *m = n->next; m && count < MAX_TOGETHER; m = m->next)
            if (product_fits(m, &products[count]) && product_same_input(&products[0], &products[count]) &&
                !stands_alone(&products[count]))
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
