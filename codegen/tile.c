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

/* Of one accumulator. */
static GemmShape shape_of(const Node *gemm, int weight)
{
    const Node *w = gemm->inputs[1 + weight];
    GemmShape s = {.accumulators = 1, .rows = rows_of(gemm), .depth = 1, .columns = 1, .weight_bytes = (int)dtype_size(weight_storage(w))};
    for (int i = 0; i < w->type->rank; i++)
        *(attr_has_name(gemm, ATTR_over, w->type->axis[i].name) ? &s.depth : &s.columns) *= w->type->axis[i].size.base;
    return s;
}

int64_t gemm_columns(const Node *gemm, int weight) { return shape_of(gemm, weight).columns; }

static int count_of(const int *group, int n, int leader)
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += group[i] == leader;
    return count;
}

static bool is_stored(Context *cx, const Node *gemm, int weight)
{
    const Graph *body = gemm->body;
    bool *reads = arena_array(cx->arena, (size_t)graph_model(gemm->graph)->next_id, sizeof *reads);
    mark_readers(body, body->params[weight], reads);
    for (int r = 0; r < body->n_results; r++)
        if (reads[body->results[r].value->id] && kernel_get(gemm, r))
            return true;
    return false;
}

/* Alone in its results, which are stored, and of whole halves of vectors: of these a row of the panel is put together. */
static bool may_stand_beside(Emitter *e, const Node *gemm, const int *group, int n, int weight)
{
    const Node *w = gemm->inputs[1 + weight];
    int lanes = e->target->lanes, half = lanes > 1 ? lanes / 2 : 1;
    for (int k = 0; k < gemm_sides(gemm); k++)
        if (gemm_side_of(gemm, k) == weight)
            return false;
    return count_of(group, n, group[weight]) == 1 && w->op == OP_weight && weight_storage(w) == DT_F32 &&
           gemm_columns(gemm, weight) % half == 0 && !gemm_rotation(e->cx, gemm, weight) && is_stored(e->cx, gemm, weight);
}

void gemm_sets(Emitter *e, const Node *gemm, int *set)
{
    int n = (int)attr_int(gemm, ATTR_weights, 1), first = -1;
    int *group = arena_array(e->cx->arena, (size_t)n, sizeof *group);
    GemmShape all = {0};
    gemm_groups(e->cx, gemm, group);
    for (int i = 0; i < n; i++) {
        set[i] = group[i];
        if (n == 1 || !may_stand_beside(e, gemm, group, n, i))
            continue;
        GemmShape own = shape_of(gemm, i);
        own.rows = 0; /* a prompt and a step have the same panels */
        if (first >= 0 && tile_gains_beside(e->target, &all, &own)) {
            all.columns += own.columns;
            set[i] = first;
            continue;
        }
        all = own;
        first = i;
    }
}

static bool any_rotates(Context *cx, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat && any_rotates(cx, n->body))
            return true;
        for (int i = 0; n->op == OP_gemm && i < attr_int(n, ATTR_weights, 1); i++)
            if (gemm_rotation(cx, n, i))
                return true;
    }
    return false;
}

TileChoice gemm_tile(Emitter *e, const Node *gemm, int weight)
{
    int n = (int)attr_int(gemm, ATTR_weights, 1);
    int *group = arena_array(e->cx->arena, (size_t)n, sizeof *group), *set = arena_array(e->cx->arena, (size_t)n, sizeof *set);
    GemmShape s = shape_of(gemm, weight);
    gemm_groups(e->cx, gemm, group);
    gemm_sets(e, gemm, set);
    s.accumulators = count_of(group, n, group[weight]);
    bool beside = count_of(set, n, set[weight]) > s.accumulators;
    for (int i = 0; beside && i < n; i++)
        s.columns += i != weight && set[i] == set[weight] ? gemm_columns(gemm, i) : 0;
    TileChoice c = beside                                ? tile_beside(e->target, &s)
                   : gemm_rotation(e->cx, gemm, weight) ? tile_rotated(e->target, &s)
                                                        : tile_choose(e->options, &s);
    if (!e->rotates)
        e->rotates = any_rotates(e->cx, e->model) ? ROTATES : ROTATES_NOT;
    if (e->rotates == ROTATES)
        c = tile_alike(e->target, &c);
    c.gemm = gemm;
    return c;
}

int64_t gemm_panel(Emitter *e, const Node *gemm, int weight)
{
    TileChoice c = gemm_tile(e, gemm, weight);
    return c.how == TILE_BESIDE ? gemm_columns(gemm, weight) : (int64_t)c.tile.vectors * e->target->lanes;
}
