/* How the accumulators of a gemm stand together, and which tile of rows and columns each group of them gets. */
#include "codegen/choose.h"
#include "codegen/emit.h"

/* Which nodes of the body depend on the parameter: flags by node id. */
static void mark_readers(const Graph *body, const Node *param, bool *reads) {
    for (const Node *n = body->first; n; n = n->next) {
        reads[n->id] = n == param;
        for (int i = 0; i < n->n_inputs; i++)
            reads[n->id] |= reads[n->inputs[i]->id];
    }
}

void gemm_groups(Context *cx, const Node *gemm, int *group) {
    int n = (int)attr_int(gemm, ATTR_weights, 1);
    const Graph *body = gemm->body;
    bool *reads = arena_array(cx->arena, (size_t)graph_model(gemm->graph)->next_id, sizeof *reads);
    int *first = arena_array(cx->arena, (size_t)body->n_results, sizeof *first);
    for (int r = 0; r < body->n_results; r++)
        first[r] = -1;
    for (int i = 0; i < n; i++) {
        group[i] = i;
        mark_readers(body, body->params[i], reads);
        for (int r = 0; r < body->n_results; r++) {
            if (!reads[body->results[r].value->id])
                continue;
            if (first[r] < 0)
                first[r] = i;
            int from = group[i], to = group[first[r]], low = from < to ? from : to;
            for (int j = 0; j <= i; j++)
                if (group[j] == from || group[j] == to)
                    group[j] = low;
        }
    }
}

const Node *gemm_rotation(Context *cx, const Node *gemm, int weight) {
    const Graph *body = gemm->body;
    bool *reads = arena_array(cx->arena, (size_t)graph_model(gemm->graph)->next_id, sizeof *reads);
    mark_readers(body, body->params[weight], reads);
    for (int r = 0; r < body->n_results; r++)
        if (body->results[r].value->op == OP_rotate && reads[body->results[r].value->id])
            return body->results[r].value;
    return NULL;
}

/* Rows that a model knows before it runs. */
static int64_t rows_of(const Node *gemm)
{
    const Type *x = gemm->inputs[0]->type;
    int64_t rows = 1;
    for (int i = 0; i < x->rank; i++) {
        if (attr_has_name(gemm, ATTR_over, x->axis[i].name))
            continue;
        if (!extent_is_const(x->axis[i].size))
            return 0;
        rows *= x->axis[i].size.base;
    }
    return rows;
}

TileChoice gemm_tile(Emitter *e, const Node *gemm, int weight)
{
    int n = (int)attr_int(gemm, ATTR_weights, 1);
    int *group = arena_array(e->cx->arena, (size_t)n, sizeof *group);
    const Node *w = gemm->inputs[1 + weight];
    GemmShape s = {.rows = rows_of(gemm), .depth = 1, .columns = 1, .weight_bytes = (int)dtype_size(weight_storage(w))};
    gemm_groups(e->cx, gemm, group);
    for (int i = 0; i < n; i++)
        s.accumulators += group[i] == group[weight];
    for (int i = 0; i < w->type->rank; i++)
        *(attr_has_name(gemm, ATTR_over, w->type->axis[i].name) ? &s.depth : &s.columns) *= w->type->axis[i].size.base;
    TileChoice c = gemm_rotation(e->cx, gemm, weight) ? tile_rotated(e->target, &s) : tile_choose(e->options, &s);
    c.gemm = gemm;
    return c;
}

int64_t gemm_panel(Emitter *e, const Node *gemm, int weight)
{
    return (int64_t)gemm_tile(e, gemm, weight).tile.vectors * e->target->lanes;
}
