/* fuse-map: chains of elementwise operators, row norms and lookups become one kernel each; what is done to a value
 * on its way into a cache is done by the append.
 *
 *     y = (x - mean x) * rsqrt(mean (x - mean x)^2 + eps) * w + b   ->   rowwise x, w, b
 *     append(rotate(k, cos, sin), layer)                            ->   append k, layer, cos, sin; the rotation inside
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
    bool appends = fuse_appends(px, model);
    if (appends)
        remove_dead(model);
    return fuse_groups(px, model) || appends;
}
