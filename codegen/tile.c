/* Which tile a gemm computes at a time: rows of x times one panel of columns, its sums in registers.
 *
 * A tile of R rows and V vectors needs R * V sums, V weights and one element of x. Each step of the contracted axis loads V vectors and
 * R numbers for R * V multiply-adds; both loads have to hide behind the arithmetic, so R and V must not differ too much. */
#include "codegen/emit.h"

static const int vectors[] = {3, 4, 2, 1};              /* in the order of preference: 8x48, 6x64, 12x32 with 16 lanes and 32 registers */

/* Rows of a tile that many vectors wide: the sums, a row of weights and an element of x find registers. */
static int most_rows(const Target *t, int accumulators, int v) {
    int beside = (t->registers - 1) / (accumulators * v) - 1, sums = t->sums / (accumulators * v), rows = beside < sums ? beside : sums;
    return rows > 14 ? 14 : rows;
}

Tile gemm_tile(const Target *t, int accumulators, int64_t columns) {
    Tile best = {1, 1};
    double least = 1e30;
    for (int i = 0; i < 4; i++) {
        int v = vectors[i], rows = most_rows(t, accumulators, v);
        int64_t panel = (int64_t)v * t->lanes;
        if (rows < 1)
            continue;
        int sums = rows * v * accumulators;
        double loads = (double)(rows + v * accumulators) / sums, padding = (double)((columns + panel - 1) / panel * panel) / (double)columns;
        double cost = padding * (loads > 0.7 ? loads / 0.7 : 1) * (sums < 8 ? 8.0 / sums : 1);
        if (cost < least - 1e-9) {
            least = cost;
            best = (Tile){rows, v};
        }
    }
    return best;
}

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

Tile gemm_tile_rotated(const Target *t) { return (Tile){most_rows(t, 1, 2), 2}; }

int64_t gemm_panel(Emitter *e, const Node *gemm, int weight) {
    int n = (int)attr_int(gemm, ATTR_weights, 1), members = 0;
    int *group = arena_array(e->cx->arena, (size_t)n, sizeof *group);
    if (gemm_rotation(e->cx, gemm, weight))
        return 2 * e->target->lanes;
    gemm_groups(e->cx, gemm, group);
    for (int i = 0; i < n; i++)
        members += group[i] == group[weight];
    const Type *type = gemm->inputs[1 + weight]->type;
    int64_t columns = 1;
    for (int i = 0; i < type->rank; i++)
        if (!attr_has_name(gemm, ATTR_over, type->axis[i].name))
            columns *= type->axis[i].size.base;
    return (int64_t)gemm_tile(e->target, members, columns).vectors * e->target->lanes;
}
