/* fuse-map: chains of elementwise operators, row norms and lookups become one kernel each; what is done to a value
 * on its way into a cache is done by the append.
 *
 *     y = (x - mean x) * rsqrt(mean (x - mean x)^2 + eps) * w + b   ->   rowwise x, w, b
 *     append(rotate(k, cos, sin), layer)                            ->   append k, layer, cos, sin; the rotation inside
 *     dot(x, gather(w, ids)) over w's last axis                     ->   rowwise w, ids, x: the rows are never copied
 *
 * Groups grow from the last value upwards; see region.c for what may come in. */
#include "passes/inside.h"

static void remark_group(PassContext *px, const Group *g, const Node *kernel)
{
    Graph *model = graph_model(kernel->graph);
    double between = 0;
    for (int i = 0; i < g->n_members; i++)
        between += 2 * type_bytes(px, model, g->members[i]->type);
    for (int r = 0; r < g->n_results; r++)
        between -= 2 * type_bytes(px, model, g->results[r]->type);
    Remark *r =
        remark(px, REMARK_PASSED, REMARK_FUSED, kernel->type ? kernel : g->root, "%d operators are one %s kernel%s",
               g->n_members, op_info[g->kind].name, g->n_results > 1 ? " with several results" : "");
    r->bytes_before = between;
}

static Node *fuse_group(PassContext *px, Node *root)
{
    Group g;
    if (!group_absorbs(root) || !group_start(px, root, &g))
        return NULL;
    group_grow(&g);
    if (g.n_members == 1)
        return NULL;
    Node *kernel = group_build(&g);
    remark_group(px, &g, kernel);
    return kernel;
}

/* ---- appends ----------------------------------------------------------------------------------------------------- */

static bool fuse_append(PassContext *px, Node *append)
{
    Group g;
    Node *value = append->inputs[0];
    if (append->body || value->graph != append->graph || is_kept(value) || only_reader(value) != append ||
        !group_start(px, value, &g) || g.kind != OP_map)
        return false;
    group_grow(&g);
    if (g.kind != OP_map || g.n_results > 1 || value->n_inputs == 0)
        return false;
    Node *fused = group_build_append(&g, append);
    if (!fused)
        return false;
    Remark *r = remark(px, REMARK_PASSED, REMARK_FUSED, fused, "%s written straight into the cache",
                       value->op == OP_rotate ? "the rotated value is" : "the value is");
    r->bytes_before = 2 * type_bytes(px, graph_model(append->graph), value->type);
    node_replace(append, fused);
    node_remove(append);
    return true;
}

static bool fuse_appends(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->last, *before; n; n = before) {
        before = n->prev;
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= fuse_appends(px, n->body);
        if (n->op == OP_append)
            changed |= fuse_append(px, n);
    }
    return changed;
}

/* ---- products with looked-up rows ------------------------------------------------------------------------------------ */

/* Rows of a weight, as of the experts that a token chooses, that lie packed along what the product sums over. */
static bool are_packed_rows(const Node *rows, const Node *reader)
{
    if (rows->op != OP_gather || is_kept(rows) || rows->inputs[0]->op != OP_weight || only_reader(rows) != reader)
        return false;
    const Attr *over = node_attr(reader, ATTR_over);
    return over->names.count == 1 && over->names.items[0] == rows->type->axis[rows->type->rank - 1].name;
}

/* As a sum of products the lookup can be part of the kernel. */
static bool sum_of_products(PassContext *px, Node *n)
{
    int side = are_packed_rows(n->inputs[0], n) ? 0 : 1;
    if (!are_packed_rows(n->inputs[side], n))
        return false;
    const Attr *over = node_attr(n, ATTR_over);
    Node *product = make_two(px, n, OP_mul, n->inputs[side], n->inputs[1 - side]),
         *sum = make_over(px, n, OP_sum, NULL, 1, &product, over->names.items, 1, n);
    if (is_kept(n))
        attr_set_bool(px->cx, sum, ATTR_keep, true);
    node_replace(n, make_transposed(px, n, sum, n->type));
    return true;
}

static bool unfold_products(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->first; n; n = n->next) {
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= unfold_products(px, n->body);
        if (n->op == OP_dot)
            changed |= sum_of_products(px, n);
    }
    return changed;
}

static bool fuse_groups(PassContext *px, Graph *g)
{
    bool changed = false;
    for (Node *n = g->last; n; n = n->prev) {
        if (n->body && n->body->level != LEVEL_BODY)
            changed |= fuse_groups(px, n->body);
        Node *kernel = n->uses > 0 ? fuse_group(px, n) : NULL;
        if (!kernel)
            continue;
        remove_dead(graph_model(g));
        n = kernel;
        changed = true;
    }
    return changed;
}

bool pass_fuse_map(PassContext *px, Graph *model)
{
    bool changed = unfold_products(px, model);
    changed |= fuse_appends(px, model);
    if (changed)
        remove_dead(model);
    return fuse_groups(px, model) || changed;
}
