/* Costs: floating-point operations and bytes of a node, from its types and concrete sizes.
 *
 * A product counts 2 flops for each pair it sums, everything else 1 for each element of its result. Bytes: every
 * input is read once and every result written once; a lookup reads the rows it returns, a weight its view. What
 * stays in a cache between kernels still counts. Of a choice only the side that is computed counts. */
#include <string.h>
#include "ir/interpret.h"
#include "passes/inside.h"

static double count_of(const Graph *model, const Type *t, const int64_t *sizes)
{
    double count = 1;
    for (int i = 0; i < t->rank; i++)
        count *= (double)extent_value(t->axis[i].size, model, sizes);
    return count;
}

double bytes_at(const Graph *model, const Type *t, const int64_t *sizes)
{
    return count_of(model, t, sizes) * (double)dtype_size(t->dtype);
}

static double contracted(const Node *n, const Node *side, const int64_t *sizes)
{
    const Graph *model = graph_model(n->graph);
    const Attr *over = node_attr(n, ATTR_over);
    double count = 1;
    for (int i = 0; over && i < over->names.count; i++) {
        int at = type_find(side->type, over->names.items[i]);
        if (at >= 0)
            count *= (double)extent_value(side->type->axis[at].size, model, sizes);
    }
    return count;
}

/* ---- flops ------------------------------------------------------------------------------------------------------- */

static double body_flops(const Node *kernel, const int64_t *sizes)
{
    const Graph *model = graph_model(kernel->graph);
    double flops = 0;
    for (const Node *n = kernel->body->first; n; n = n->next) {
        switch (op_info[n->op].class) {
        case CLASS_MAP: flops += (n->op == OP_rotate ? 3 : 1) * count_of(model, n->type, sizes); break;
        case CLASS_REDUCE: flops += count_of(model, n->inputs[0]->type, sizes); break;
        case CLASS_ROW: flops += 4 * count_of(model, n->type, sizes); break;
        default: break;
        }
    }
    return flops;
}

/* The size of the axis that only the values have. */
static double own_size(const Node *attend, const int64_t *sizes)
{
    const Type *v = attend->inputs[2]->type;
    double own = 1;
    for (int i = 0; i < v->rank; i++)
        if (type_find(attend->body->params[0]->type, v->axis[i].name) < 0)
            own *= (double)extent_value(v->axis[i].size, graph_model(attend->graph), sizes);
    return own;
}

static double attend_flops(const Node *n, const int64_t *sizes)
{
    /* where the body takes one of two products, only that one is computed but for the tiles in between */
    double scores = count_of(graph_model(n->graph), n->body->params[0]->type, sizes);
    return scores * (2 * contracted(n, n->inputs[0], sizes) + 2 * own_size(n, sizes) + 5) + body_flops(n, sizes);
}

/* What a product of the side sums over. */
static double side_depth(const Node *n, int k, const int64_t *sizes)
{
    const Type *x = n->inputs[gemm_side(n, k)]->type, *w = n->inputs[gemm_side(n, k) + 1]->type;
    double depth = 1;
    for (int i = 0; i < w->rank; i++)
        if (type_find(x, w->axis[i].name) >= 0)
            depth *= (double)extent_value(w->axis[i].size, graph_model(n->graph), sizes);
    return depth;
}

static double flops_of(const Node *n, const int64_t *sizes)
{
    const Graph *model = graph_model(n->graph);
    double flops = 0;
    switch (n->op) {
    case OP_dot: return 2 * contracted(n, n->inputs[0], sizes) * count_of(model, n->type, sizes);
    case OP_attend: return attend_flops(n, sizes);
    case OP_linear_attend:
    case OP_codebook_attend: return linear_flops(n, sizes);
    case OP_gemm:
        for (int j = 0; j < attr_int(n, ATTR_weights, 1); j++)
            flops += 2 * contracted(n, n->inputs[0], sizes) * count_of(model, n->body->params[j]->type, sizes);
        for (int k = 0; k < gemm_sides(n); k++)
            flops += 2 * side_depth(n, k, sizes) * count_of(model, n->body->params[gemm_side_of(n, k)]->type, sizes);
        return flops + body_flops(n, sizes);
    case OP_append: return n->body ? body_flops(n, sizes) : 0;
    case OP_map:
    case OP_rowwise:
    case OP_reduce: return body_flops(n, sizes);
    default: break;
    }
    if (op_info[n->op].class == CLASS_MAP)
        return count_of(model, n->type, sizes);
    if (op_info[n->op].class == CLASS_REDUCE || n->op == OP_topk)
        return count_of(model, n->inputs[0]->type, sizes);
    if (n->op == OP_cumsum || n->op == OP_cummax)
        return count_of(model, n->type, sizes);
    return op_info[n->op].class == CLASS_ROW ? 4 * count_of(model, n->type, sizes) : 0;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

/* Products and lookups read a weight in the type that the checkpoint has, everything else in f32. */
static double stored_part(const Node *weight)
{
    return weight->type ? (double)dtype_size(weight_storage(weight)) / (double)dtype_size(DT_F32) : 1;
}

/* Bytes that `n` reads of its input i: only the rows looked up if a gather is all that reads it. */
static double read_bytes(const Node *n, int i, const int64_t *sizes)
{
    const Graph *model = graph_model(n->graph);
    if (is_inline_leaf(n->inputs[i]) || n->inputs[i]->op == OP_index)
        return 0; /* a number in the code */
    if (n->op == OP_gather && i == 0)
        return bytes_at(model, n->type, sizes) * stored_part(n->inputs[0]);
    bool direct = n->op == OP_map || n->op == OP_rowwise || n->op == OP_reduce;
    if (direct && n->body) {
        double rows = 0;
        for (const Node *m = n->body->first; m; m = m->next) {
            if (m->op == OP_gather && m->inputs[0] == n->body->params[i])
                rows += bytes_at(model, m->type, sizes);
            else
                for (int k = 0; k < m->n_inputs; k++)
                    if (m->inputs[k] == n->body->params[i])
                        return bytes_at(model, n->inputs[i]->type, sizes);
        }
        if (rows > 0)
            return rows * stored_part(n->inputs[i]);
    }
    double part = n->op == OP_gemm || n->op == OP_dot ? stored_part(n->inputs[i]) : 1;
    return bytes_at(model, n->inputs[i]->type, sizes) * part;
}

static bool moves_nothing(const Node *n)
{
    OpClass class = op_info[n->op].class;
    return class == CLASS_LEAF || class == CLASS_VIEW || n->op == OP_get || n->op == OP_choose;
}

static double written_bytes(const Node *n, const int64_t *sizes)
{
    const Graph *model = graph_model(n->graph);
    double bytes = 0;
    if (n->op == OP_append)
        return bytes_at(model, n->body ? n->body->results[0].value->type : n->inputs[0]->type, sizes);
    if (n->type)
        return bytes_at(model, n->type, sizes);
    if (n->op == OP_attend) /* a row of values and one number for each query */
        return bytes_at(model, n->inputs[0]->type, sizes) / contracted(n, n->inputs[0], sizes) *
               (own_size(n, sizes) + 1);
    for (int i = 0; n->body && i < n->body->n_results; i++)
        bytes += bytes_at(model, n->body->results[i].value->type, sizes);
    return bytes;
}

static Cost sum_of(const Graph *g, const int64_t *sizes)
{
    Cost sum = {0};
    Arena arena = {0};
    const Chooser *of = choosers_of(&arena, g);
    for (const Node *n = g->first; n; n = n->next) {
        const Chooser side = of[n->id];
        if (side.choose && choose_takes_few(side.choose, sizes) != side.few)
            continue;
        Cost c = node_cost(n, sizes);
        sum.flops += c.flops;
        sum.bytes_read += c.bytes_read;
        sum.bytes_written += c.bytes_written;
        sum.bytes_of_weights += c.bytes_of_weights;
    }
    arena_free(&arena);
    return sum;
}

static bool is_constant(const Node *n)
{
    while (op_info[n->op].class == CLASS_VIEW && n->n_inputs)
        n = n->inputs[0];
    return n->op == OP_weight || n->op == OP_table;
}

Cost node_cost(const Node *n, const int64_t *sizes)
{
    Cost cost = {0};
    if (n->op == OP_repeat) {
        double times = (double)attr_int(n, ATTR_count, 0);
        cost = sum_of(n->body, sizes);
        return (Cost){cost.flops * times, cost.bytes_read * times, cost.bytes_written * times,
                      cost.bytes_of_weights * times};
    }
    if (moves_nothing(n))
        return cost;
    cost.flops = flops_of(n, sizes);
    for (int i = 0; i < n->n_inputs; i++) {
        double bytes = read_bytes(n, i, sizes);
        cost.bytes_read += bytes;
        if (is_constant(n->inputs[i]))
            cost.bytes_of_weights += bytes;
    }
    cost.bytes_read += state_bytes(n, sizes);
    cost.bytes_written = written_bytes(n, sizes) + state_bytes(n, sizes);
    return cost;
}

Cost graph_cost(const Graph *model, const int64_t *sizes)
{
    return sum_of(model, sizes);
}

/* ---- the arena --------------------------------------------------------------------------------------------------- */

enum { ARENA_SPARE = 64 }; /* readable bytes after the last buffer */

int64_t plan_arena_bytes(const Graph *model, const int64_t *sizes, int64_t *lower_bound)
{
    int64_t bytes = ARENA_SPARE, least = 0;
    for (int i = 0; i < model->n_regions; i++) {
        const Region *r = &model->regions[i];
        int64_t units = 1;
        for (int k = 0; k < r->n; k++) {
            int64_t size = extent_value(r->unit[k], model, sizes), round = r->round[k] > 1 ? r->round[k] : 1;
            units *= (size + round - 1) / round * round;
        }
        bytes += r->peak * units;
        least += r->lower_bound * units;
    }
    if (lower_bound)
        *lower_bound = least;
    return bytes;
}

/* ---- estimates for remarks --------------------------------------------------------------------------------------- */

enum { USUAL_LENGTH = 128 };

/* The batch is the first axis of the caches, or else of the first input. */
static const Symbol *batch_of(const Graph *model)
{
    const Type *t = model->n_caches ? model->caches[0].type : model->n_params ? model->params[0]->type : NULL;
    bool alone = t && t->rank && t->axis[0].size.n == 1 && t->axis[0].size.base == 0 && t->axis[0].size.factor[0] == 1;
    return alone ? t->axis[0].size.symbol[0] : NULL;
}

void usual_sizes(const Remarks *remarks, const Graph *model, int64_t *sizes)
{
    for (int i = 0; i < model->n_symbols; i++) {
        const Symbol *s = model->symbols[i];
        int64_t size = !strcmp(s->name, "past") ? 0 : s == batch_of(model) ? 1 : USUAL_LENGTH;
        sizes[i] = size < s->low ? s->low : size > s->high ? s->high : size;
        for (int k = 0; k < remarks->n_asked; k++)
            if (!strcmp(remarks->asked[k].name, s->name))
                sizes[i] = remarks->asked[k].value;
    }
}

static int64_t *sizes_for(PassContext *px, const Graph *model)
{
    int64_t *sizes = arena_array(px->cx->arena, (size_t)model->n_symbols + 1, sizeof *sizes);
    usual_sizes(px->remarks, model, sizes);
    return sizes;
}

double type_bytes(PassContext *px, const Graph *model, const Type *t)
{
    return bytes_at(model, t, sizes_for(px, model));
}

double usual_bytes(PassContext *px, const Graph *model, const Type *t)
{
    int64_t *sizes = arena_array(px->cx->arena, (size_t)model->n_symbols + 1, sizeof *sizes);
    usual_sizes(&(Remarks){0}, model, sizes);
    return bytes_at(model, t, sizes);
}

double product_flops(PassContext *px, const Node *a, const Node *b)
{
    const Graph *model = graph_model(a->graph);
    const int64_t *sizes = sizes_for(px, model);
    double flops = 2 * count_of(model, a->type, sizes);
    for (int i = 0; i < b->type->rank; i++)
        if (type_find(a->type, b->type->axis[i].name) < 0)
            flops *= (double)extent_value(b->type->axis[i].size, model, sizes);
    return flops;
}
