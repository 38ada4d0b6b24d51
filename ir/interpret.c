/* The float64 interpreter: leaves, views, moves and repeats; arithmetic is in interpret_math.c, what goes along an axis
 * in order in interpret_order.c, kernels in interpret_kernel.c. */
#include "ir/interpret_inside.h"
#include "support/holes.h"

#include <string.h>
#include "support/checked.h"

int64_t extent_value(Extent e, const Graph *model, const int64_t *sizes)
{
    int64_t value = e.base, term;
    for (int i = 0; i < e.n; i++)
        for (int s = 0; s < model->n_symbols; s++)
            if (!strcmp(model->symbols[s]->name, e.symbol[i]->name) &&
                (!checked_imul(e.factor[i], sizes[s], &term) || !checked_iadd(value, term, &value)))
                return INT64_MIN; /* no size: whoever asks refuses negative ones */
    return value;
}

int64_t size_named(const Run *run, const char *name)
{
    for (int s = 0; s < run->model->n_symbols; s++)
        if (!strcmp(run->model->symbols[s]->name, name))
            return run->bind->sizes[s];
    return 0;
}

const Cache *cache_of(const Run *run, const Node *append)
{
    return graph_cache(run->model, attr_name(append, ATTR_cache));
}

static void bind_dims(const Run *run, const Type *type, Value *v)
{
    v->type = type;
    v->rank = type->rank;
    v->count = 1;
    for (int i = 0; i < type->rank; i++) {
        v->dims[i] = extent_value(type->axis[i].size, run->model, run->bind->sizes);
        v->count *= v->dims[i];
    }
}

Value *value_new(Run *run, const Type *type)
{
    Value *v = arena_alloc(run->work, sizeof *v);
    bind_dims(run, type, v);
    v->data = arena_array(run->work, (size_t)v->count, sizeof *v->data);
    return v;
}

Value *value_of(const Run *run, const Node *n)
{
    return run->values[n->id];
}

void value_steps(const Value *v, const Type *type, int64_t steps[MAX_RANK])
{
    for (int i = 0; i < MAX_RANK; i++)
        steps[i] = 0;
    int64_t step = 1;
    for (int i = v->rank - 1; i >= 0; i--) {
        int at = type_find(type, v->type->axis[i].name);
        if (at >= 0)
            steps[at] = step;
        step *= v->dims[i];
    }
}

/* ---- leaves ------------------------------------------------------------------------------------------------------ */

/* The tensor of this round, or those that are stacked, one after the other. */
static double *read_weight(Run *run, const char *key, int64_t stack, int64_t count)
{
    double *all = arena_array(run->work, (size_t)count, sizeof *all);
    for (int64_t i = 0, each = count / stack; i < stack; i++) {
        const char *name = hole_fill(run->work, key, run->layer, i);
        if (run->bind->weight && run->bind->weight(run->bind->weight_state, name, all + i * each, each))
            continue;
        diag_file_error(run->cx->diags, "E0490", NULL, name, "the interpreter cannot read the weight `%s`", name);
        run->failed = true;
        return NULL;
    }
    return all;
}

/* Every element times its gain. */
static void multiply_gain(Run *run, const Node *n, Value *out)
{
    int axis = type_find(n->type, attr_name(n, ATTR_axis));
    int64_t size = out->dims[axis], inner = 1;
    const double *gain = read_weight(run, attr_name(n, ATTR_gain), 1, size);
    double plus = attr_float(n, ATTR_plus, 0);
    for (int i = axis + 1; i < out->rank; i++)
        inner *= out->dims[i];
    for (int64_t i = 0; gain && i < out->count; i++)
        out->data[i] *= gain[i / inner % size] + plus;
}

static void eval_weight(Run *run, const Node *n, Value *out)
{
    const Attr *stored = node_attr(n, ATTR_stored), *strides = node_attr(n, ATTR_strides);
    const Attr *start = node_attr(n, ATTR_start);
    int64_t count = stored ? 1 : out->count;
    for (int i = 0; stored && i < stored->ints.count; i++)
        count *= stored->ints.items[i];
    const double *all = read_weight(run, attr_name(n, ATTR_key), attr_int(n, ATTR_stack, 1), count);
    if (!all)
        return;
    int64_t steps[MAX_RANK] = {0}, step = 1;
    for (int i = out->rank - 1; i >= 0; i--) {
        steps[i] = strides ? strides->ints.items[i] : step;
        step *= out->dims[i];
    }
    copy_strided(out, all + (start ? start->extent.base : 0), steps);
    if (attr_name(n, ATTR_gain))
        multiply_gain(run, n, out);
    for (int64_t i = 0; node_attr(n, ATTR_factor) && i < out->count; i++)
        out->data[i] *= attr_float(n, ATTR_factor, 1);
    for (int64_t i = 0; attr_name(n, ATTR_rounded) && i < out->count; i++)
        out->data[i] = dtype_rounded(DT_BF16, out->data[i]);
}

static void eval_leaf(Run *run, const Node *n, Value *out)
{
    const Attr *table = node_attr(n, ATTR_table), *start = node_attr(n, ATTR_start), *size = node_attr(n, ATTR_size);
    int64_t first = start ? extent_value(start->extent, run->model, run->bind->sizes) : 0;
    switch (n->op) {
    case OP_const: out->data[0] = attr_float(n, ATTR_value, 0); break;
    case OP_extent: out->data[0] = (double)extent_value(size->extent, run->model, run->bind->sizes); break;
    case OP_index: out->data[0] = (double)run->layer; break;
    case OP_table: memcpy(out->data, table->floats.items, (size_t)out->count * sizeof *out->data); break;
    case OP_iota:
        for (int64_t i = 0; i < out->count; i++)
            out->data[i] = (double)(first + i);
        break;
    default: eval_weight(run, n, out); break;
    }
}

static void eval_input(Run *run, const Node *n, Value *out)
{
    int at = 0;
    while (run->model->params[at] != n)
        at++;
    for (int64_t i = 0; i < out->count; i++)
        out->data[i] = host_get(&run->bind->inputs[at], i);
}

/* ---- views and moves --------------------------------------------------------------------------------------------- */

static void eval_slice(Run *run, const Node *n, Value *out)
{
    const Value *in = value_of(run, n->inputs[0]);
    int axis = type_find(in->type, attr_name(n, ATTR_axis));
    const Attr *start = node_attr(n, ATTR_start);
    int64_t first = start ? extent_value(start->extent, run->model, run->bind->sizes) : 0, steps[MAX_RANK] = {0},
            step = 1;
    for (int i = in->rank - 1; i >= 0; i--) {
        if (i == axis)
            first *= step;
        if (out->rank == in->rank)
            steps[i] = step;
        else if (i != axis)
            steps[i < axis ? i : i - 1] = step;
        step *= in->dims[i];
    }
    copy_strided(out, in->data + first, steps);
}

static void eval_concat(Run *run, const Node *n, Value *out)
{
    int axis = type_find(out->type, attr_name(n, ATTR_axis));
    int64_t inner = 1, outer = 1, at = 0;
    for (int i = axis + 1; i < out->rank; i++)
        inner *= out->dims[i];
    for (int i = 0; i < axis; i++)
        outer *= out->dims[i];
    for (int k = 0; k < n->n_inputs; k++) {
        const Value *in = value_of(run, n->inputs[k]);
        int64_t rows = in->dims[axis] * inner;
        for (int64_t o = 0; o < outer; o++)
            memcpy(out->data + o * out->dims[axis] * inner + at, in->data + o * rows, (size_t)rows * sizeof *out->data);
        at += rows;
    }
}

static void eval_choose(Run *run, const Node *n, Value *out)
{
    const Value *in = value_of(run, n->inputs[choose_takes_few(n, run->bind->sizes) ? 0 : 1]);
    memcpy(out->data, in->data, (size_t)out->count * sizeof *out->data);
}

/* The row that an index names, or -1 and a diagnostic. */
static int64_t row_inside(Run *run, const Node *gather, double id, const char *axis, int64_t bound)
{
    if (id >= 0 && id < (double)bound)
        return (int64_t)id;
    diag_error(run->cx->diags, "E0610", gather->at, "index %.0f is outside the axis `%s`, which has %lld entries", id,
               axis, (long long)bound);
    run->failed = true;
    return -1;
}

static void eval_gather(Run *run, const Node *n, Value *out)
{
    const Value *table = value_of(run, n->inputs[0]), *ids = value_of(run, n->inputs[1]);
    const char *axis = node_attr(n, ATTR_over)->names.items[0];
    int64_t steps[2][MAX_RANK], at[MAX_RANK] = {0}, offset[2] = {0}, step = 1, row_step = 0, bound = 0;
    value_steps(ids, out->type, steps[1]);
    memset(steps[0], 0, sizeof steps[0]);
    for (int i = table->rank - 1; i >= 0; i--) {
        if (table->type->axis[i].name == axis) { /* the indices may have an axis of this name: it is another one */
            row_step = step;
            bound = table->dims[i];
        } else {
            steps[0][type_find(out->type, table->type->axis[i].name)] = step;
        }
        step *= table->dims[i];
    }
    for (int64_t done = 0; done < out->count; done++) {
        int64_t row = row_inside(run, n, ids->data[offset[1]], axis, bound);
        if (row < 0)
            return;
        out->data[done] = table->data[offset[0] + row * row_step];
        for (int i = out->rank - 1; i >= 0; i--) {
            for (int k = 0; k < 2; k++)
                offset[k] += steps[k][i];
            if (++at[i] < out->dims[i])
                break;
            for (int k = 0; k < 2; k++)
                offset[k] -= steps[k][i] * out->dims[i];
            at[i] = 0;
        }
    }
}

static void eval_rotate(Run *run, const Node *n, Value *out)
{
    const Value *x = value_of(run, n->inputs[0]);
    const Value *tables[2] = {value_of(run, n->inputs[1]), value_of(run, n->inputs[2])};
    int64_t width = out->dims[out->rank - 1], pairs = tables[0]->dims[tables[0]->rank - 1],
            rows = width ? out->count / width : 0, at[MAX_RANK] = {0};
    bool interleave = attr_bool(n, ATTR_interleave, false);
    int64_t steps[2][MAX_RANK];
    for (int k = 0; k < 2; k++)
        value_steps(tables[k], out->type, steps[k]);
    for (int64_t r = 0; r < rows; r++) {
        int64_t offset[2] = {0, 0};
        for (int i = 0; i < out->rank - 1; i++)
            for (int k = 0; k < 2; k++)
                offset[k] += at[i] * steps[k][i];
        const double *in = x->data + r * width;
        double *to = out->data + r * width;
        for (int64_t i = 0; i < pairs; i++) {
            double c = tables[0]->data[offset[0] + i], s = tables[1]->data[offset[1] + i];
            int64_t first = interleave ? 2 * i : i, second = interleave ? 2 * i + 1 : i + pairs;
            to[first] = in[first] * c - in[second] * s;
            to[second] = in[second] * c + in[first] * s;
        }
        memcpy(to + 2 * pairs, in + 2 * pairs, (size_t)(width - 2 * pairs) * sizeof *to);
        for (int i = out->rank - 2; i >= 0 && ++at[i] == out->dims[i]; i--)
            at[i] = 0;
    }
}

/* Copies rows between the cache of one layer and a value whose growing axis is shorter. `first`: where in the cache
 * the value starts. */
static void move_rows(const Value *cache, int growing, int64_t layer, int64_t first, Value *value, bool store)
{
    int64_t inner = 1, outer = 1, capacity = cache->dims[growing + 1], rows = value->dims[growing];
    for (int i = growing + 1; i < value->rank; i++)
        inner *= value->dims[i];
    for (int i = 0; i < growing; i++)
        outer *= value->dims[i];
    for (int64_t o = 0; o < outer; o++) {
        double *in_cache = cache->data + (((layer * outer + o) * capacity) + first) * inner,
               *in_value = value->data + o * rows * inner;
        memcpy(store ? in_cache : in_value, store ? in_value : in_cache, (size_t)(rows * inner) * sizeof(double));
    }
}

int64_t cache_layer(Run *run, const Node *n, const Cache *cache, const Value *number)
{
    const Attr *start = node_attr(n, ATTR_start);
    double layer = number->data[0] + (start ? (double)start->extent.base : 0);
    if (layer >= 0 && layer < (double)cache->layers)
        return (int64_t)layer;
    diag_error(run->cx->diags, "E0610", n->at, "layer %.0f of the cache `%s`, which has %lld", layer, cache->name,
               (long long)cache->layers);
    run->failed = true;
    return -1;
}

static void eval_append(Run *run, const Node *n)
{
    const Cache *cache = cache_of(run, n);
    const Value *all = &run->bind->caches[cache - run->model->caches];
    Value *value = value_of(run, n->inputs[0]);
    int64_t layer = cache_layer(run, n, cache, value_of(run, n->inputs[1]));
    if (layer < 0)
        return;
    if (n->body) { /* something is done to the value on its way */
        Value **params = arena_array(run->work, (size_t)n->body->n_params + 1, sizeof *params);
        for (int i = 0, p = 0; i < n->n_inputs; i++)
            if (i != 1)
                params[p++] = value_of(run, n->inputs[i]);
        if (!eval_body(run, n->body, params, &value))
            return;
    }
    Value *out = value_new(run, n->type);
    move_rows(all, cache->growing, layer, size_named(run, "past"), value, true);
    move_rows(all, cache->growing, layer, 0, out, false);
    run->values[n->id] = out;
}

/* ---- regions ----------------------------------------------------------------------------------------------------- */

static void eval_all(Run *run, const Graph *g)
{
    for (const Node *n = g->first; n && !run->failed; n = n->next) {
        eval_node(run, n);
        if (run->failed || !run->bind->tap || g->level == LEVEL_BODY || !n->type)
            continue;
        run->bind->tap(run->bind->tap_state, n, run->round, run->values[n->id]);
    }
}

static Value copy_out(Arena *to, const Value *v)
{
    Value copy = *v;
    copy.data = arena_array(to, (size_t)v->count, sizeof *copy.data);
    memcpy(copy.data, v->data, (size_t)v->count * sizeof *copy.data);
    return copy;
}

/* Two arenas take turns: a round's values live while the next round reads its carried values. */
static void eval_repeat(Run *run, const Node *n)
{
    const Graph *body = n->body;
    int carried = body->n_results;
    int64_t count = attr_int(n, ATTR_count, 0), outer_layer = run->layer, outer_round = run->round;
    Arena *outer = run->work, rounds[2] = {*outer, *outer};
    for (int i = 0; i < 2; i++) {
        rounds[i].blocks = NULL;
        rounds[i].used = 0;
    }
    Value *now = arena_array(outer, (size_t)carried, sizeof *now);
    for (int i = 0; i < carried; i++)
        now[i] = *value_of(run, n->inputs[i]);
    for (int64_t layer = 0; layer < count && !run->failed; layer++) {
        run->layer = layer;
        run->round = (outer_round < 0 ? 0 : outer_round) * count + layer;
        run->work = &rounds[layer & 1];
        arena_free(run->work);
        Value *start = arena_array(run->work, (size_t)carried, sizeof *start);
        for (int i = 0; i < carried; i++) {
            start[i] = now[i];
            start[i].type = body->params[i + 1]->type;
            run->values[body->params[i + 1]->id] = &start[i];
        }
        eval_all(run, body);
        for (int i = 0; i < carried && !run->failed;
             i++) /* a value that only passed through may live in the arena freed next */
            now[i] = copy_out(run->work, value_of(run, body->results[i].value));
    }
    run->layer = outer_layer;
    run->round = outer_round;
    run->work = outer;
    for (int i = 0; i < carried && !run->failed; i++)
        now[i] = copy_out(outer, &now[i]);
    run->values[n->id] = now;
    arena_free(&rounds[0]);
    arena_free(&rounds[1]);
}

bool eval_body(Run *run, const Graph *body, Value *const *params, Value **results)
{
    for (int i = 0; i < body->n_params; i++)
        run->values[body->params[i]->id] = params[i];
    eval_all(run, body);
    for (int r = 0; r < body->n_results && !run->failed; r++)
        results[r] = value_of(run, body->results[r].value);
    return !run->failed;
}

/* ---- one node ---------------------------------------------------------------------------------------------------- */

static void eval_view(Run *run, const Node *n, Value *out)
{
    const Value *in = value_of(run, n->inputs[0]);
    int64_t steps[MAX_RANK];
    if (n->op == OP_slice) {
        eval_slice(run, n, out);
        return;
    }
    if (n->op == OP_view) {
        memcpy(out->data, in->data, (size_t)out->count * sizeof *out->data);
        return;
    }
    value_steps(in, out->type, steps);
    copy_strided(out, in->data, steps);
}

/* Weights of a softmax that are 0 are those of masked keys: what they would be multiplied by is not read. */
static bool is_weights(const Node *n, const Attr *over)
{
    while (n->op == OP_transpose)
        n = n->inputs[0];
    return n->op == OP_softmax && attr_has_name(n, ATTR_over, over->names.items[0]);
}

static void eval_product(Run *run, const Node *n, const Attr *over, Value *out)
{
    bool second = is_weights(n->inputs[1], over), skip = second || is_weights(n->inputs[0], over);
    eval_dot(run, value_of(run, n->inputs[second]), value_of(run, n->inputs[!second]), over->names.items,
             over->names.count, skip, out);
}

static void eval_value(Run *run, const Node *n, Value *out)
{
    switch (n->op) {
    case OP_input: eval_input(run, n, out); return;
    case OP_concat: eval_concat(run, n, out); return;
    case OP_choose: eval_choose(run, n, out); return;
    case OP_gather: eval_gather(run, n, out); return;
    case OP_topk: eval_topk(run, n, out); return;
    case OP_cumsum:
    case OP_cummax: eval_scan(run, n, out); return;
    case OP_rotate: eval_rotate(run, n, out); return;
    case OP_softmax:
        eval_softmax(run, value_of(run, n->inputs[0]), node_attr(n, ATTR_over)->names.items[0], out);
        return;
    default: break;
    }
    const Attr *over = node_attr(n, ATTR_over);
    switch (op_info[n->op].class) {
    case CLASS_LEAF: eval_leaf(run, n, out); return;
    case CLASS_MAP: eval_map(run, n, out); return;
    case CLASS_REDUCE: eval_reduce(run, n, out); return;
    case CLASS_VIEW: eval_view(run, n, out); return;
    default: eval_product(run, n, over, out);
    }
}

void eval_node(Run *run, const Node *n)
{
    switch (n->op) {
    case OP_carry:
    case OP_param: return; /* bound by whoever evaluates the body */
    case OP_get: run->values[n->id] = &run->values[n->inputs[0]->id][attr_int(n, ATTR_index, 0)]; return;
    case OP_repeat: eval_repeat(run, n); return;
    case OP_append: eval_append(run, n); return;
    default: break;
    }
    if (op_info[n->op].class == CLASS_KERNEL) {
        eval_kernel(run, n);
        return;
    }
    Value *out = value_new(run, n->type);
    run->values[n->id] = out;
    eval_value(run, n, out);
}

static int largest_id(const Graph *g)
{
    int most = 0;
    for (const Node *n = g->first; n; n = n->next) {
        int inside = n->body ? largest_id(n->body) : 0;
        most = n->id > most ? n->id : most;
        most = inside > most ? inside : most;
    }
    return most;
}

Value *interpret(Context *cx, const Graph *model, const Bindings *b, Arena *work)
{
    Run run = {.cx = cx, .model = model, .bind = b, .work = work, .layer = -1, .round = -1};
    run.values = arena_array(work, (size_t)largest_id(model) + 1, sizeof *run.values);
    if (check_sizes(&run, model))
        eval_all(&run, model);
    if (run.failed)
        return NULL;
    Value *results = arena_array(work, (size_t)model->n_results, sizeof *results);
    for (int r = 0; r < model->n_results; r++)
        results[r] = *value_of(&run, model->results[r].value);
    return results;
}

Value *interpret_caches(const Graph *model, const int64_t *sizes, Arena *arena)
{
    Value *caches = arena_array(arena, (size_t)model->n_caches + 1, sizeof *caches);
    for (int c = 0; c < model->n_caches; c++) {
        const Type *t = model->caches[c].type;
        Value *v = &caches[c];
        *v = (Value){
            .type = t, .rank = t->rank + 1, .dims = {model->caches[c].layers}, .count = model->caches[c].layers};
        for (int i = 0; i < t->rank; i++)
            v->count *= v->dims[i + 1] = extent_value(t->axis[i].size, model, sizes);
        v->data = arena_array(arena, (size_t)v->count, sizeof *v->data);
    }
    return caches;
}
