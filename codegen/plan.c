/* The plan: how the weights are packed, and what the runtime has to know to call the entry. */
#include "codegen/emit.h"
#include "support/holes.h"

#include <string.h>

enum { ROWS_PAGE = 4096, ROWS_BYTES = 1 << 20 };        /* tables of fewer bytes are packed whole */

typedef struct PackState {
    Map known;                          /* description of an item -> its number + 1 */
    size_t capacity;
} PackState;

/* ---- weights ------------------------------------------------------------------------------------------------------------------------ */

static PackState *state_of(Emitter *e) {
    if (!e->pack) {
        e->pack = arena_alloc(e->cx->arena, sizeof *e->pack);
        e->pack->known = map_new(e->cx->arena);
    }
    return e->pack;
}

/* Rounds of the repeat that a weight with {i} in its key stands in. */
static int64_t layers_of(Emitter *e, const Node *weight, const char *key) {
    if (!hole_of_round(key))
        return 1;
    for (const Graph *g = weight->graph; g && g->owner; g = g->parent)
        if (g->owner->op == OP_repeat)
            return attr_int(g->owner, ATTR_count, 1);
    emit_fail(e, weight, "its key counts layers, but no repeat is around it");
    return 1;
}

/* Elements to step in the stored tensor for each axis of the type. */
static void stored_strides(const Node *weight, int64_t *out) {
    const Attr *strides = node_attr(weight, ATTR_strides);
    int64_t step = 1;
    for (int i = weight->type->rank - 1; i >= 0; i--) {
        out[i] = strides ? strides->ints.items[i] : step;
        step *= weight->type->axis[i].size.base;
    }
}

static void stored_shape(const Node *weight, PackItem *item) {
    const Attr *stored = node_attr(weight, ATTR_stored);
    item->stored_rank = stored ? stored->ints.count : weight->type->rank;
    for (int i = 0; i < item->stored_rank; i++)
        item->stored[i] = stored ? stored->ints.items[i] : weight->type->axis[i].size.base;
}

static const char *describe_item(Emitter *e, const PackItem *item) {
    Text t = text_new(e->cx->arena);
    text_add(&t, "%s x%lld %d %lld %lld:", item->key ? item->key : "", (long long)item->layers, (int)item->layout, (long long)item->panel,
             (long long)item->start);
    for (int i = 0; i < item->stored_rank; i++)
        text_add(&t, " %lld", (long long)item->stored[i]);
    for (int i = 0; i < item->n_rank; i++)
        text_add(&t, " n%lld/%lld", (long long)item->n[i].size, (long long)item->n[i].stride);
    for (int i = 0; i < item->k_rank; i++)
        text_add(&t, " k%lld/%lld", (long long)item->k[i].size, (long long)item->k[i].stride);
    if (item->gain)
        text_add(&t, " gain %s %d %a", item->gain, item->gain_dim, item->plus);
    if (item->factor != 0)
        text_add(&t, " factor %a", item->factor);
    if (item->dtype != DT_F32)
        text_add(&t, " %s", dtype_name(item->dtype));
    if (item->rounded)
        text_add(&t, " rounded");
    if (item->rows_by)
        text_add(&t, " rows by %d", item->rows_by);
    return t.data;
}

static uint64_t add_item(Emitter *e, const Node *weight, PackItem *item, uint64_t *layer_stride) {
    PackState *p = state_of(e);
    Plan *plan = &e->plan;
    int64_t n = 1, k = 1, total = 0;
    bool fits = true;
    const char *name = item->data ? arena_print(e->cx->arena, "table %d", weight->id) : describe_item(e, item);
    uintptr_t known = (uintptr_t)map_get(&p->known, name);
    if (!known) {
        for (int i = 0; i < item->n_rank; i++)
            fits &= !__builtin_mul_overflow(n, item->n[i].size, &n);
        for (int i = 0; i < item->k_rank; i++)
            fits &= !__builtin_mul_overflow(k, item->k[i].size, &k);
        if (item->layout == PACK_PANELS)
            n = (n + item->panel - 1) / item->panel * item->panel;
        fits &= !__builtin_mul_overflow(n, k, &n) && !__builtin_mul_overflow(n, (int64_t)dtype_size(item->dtype), &n) && n < INT64_MAX - 63;
        n = (n + 63) / 64 * 64;
        fits &= !__builtin_mul_overflow(n, item->layers, &total) && !__builtin_add_overflow(total, (int64_t)plan->weight_bytes, &total) &&
                total < INT64_MAX - 2 * ROWS_PAGE;
        if (!fits) {
            emit_fail(e, weight, "its packed size is out of range");
            return 0;
        }
        item->bytes = (uint64_t)n;
        item->layer_stride = item->layers > 1 ? item->bytes : 0;
        item->offset = plan->weight_bytes;
        plan->weight_bytes = (uint64_t)total;
        if (item->rows_by) {            /* its pages are its own */
            item->offset = (item->offset + ROWS_PAGE - 1) / ROWS_PAGE * ROWS_PAGE;
            item->bytes = (item->bytes + ROWS_PAGE - 1) / ROWS_PAGE * ROWS_PAGE;
            plan->weight_bytes = item->offset + item->bytes;
        }
        plan->weights = arena_room(e->cx->arena, plan->weights, (size_t)plan->n_weights, &p->capacity, sizeof *plan->weights);
        plan->weights[plan->n_weights++] = *item;
        known = (uintptr_t)plan->n_weights;
        map_set(&p->known, name, (void *)known);
    }
    *layer_stride = plan->weights[known - 1].layer_stride;
    return plan->weights[known - 1].offset;
}

static bool constant_sizes(Emitter *e, const Node *weight) {
    for (int i = 0; i < weight->type->rank; i++)
        if (!extent_is_const(weight->type->axis[i].size)) {
            emit_fail(e, weight, "a weight has a size known only at run time");
            return false;
        }
    return true;
}

static PackItem new_item(Emitter *e, const Node *weight) {
    PackItem item = {.layers = 1};
    const Attr *start = node_attr(weight, ATTR_start);
    const char *key = attr_name(weight, ATTR_key);
    item.start = start ? start->extent.base : 0;
    if (!key)
        return item;
    item.layers = layers_of(e, weight, key);
    item.stack = attr_int(weight, ATTR_stack, 0);
    item.factor = attr_float(weight, ATTR_factor, 0);
    item.rounded = attr_name(weight, ATTR_rounded) != NULL;
    item.key = e->options->key ? e->options->key(e->options->key_state, key) : key;
    stored_shape(weight, &item);
    return item;
}

/* `dim` says which dimension of the item each axis of the type is: columns first, then contracted ones. */
static void plan_gain(Emitter *e, const Node *weight, const int *dim, PackItem *item) {
    const char *gain = attr_name(weight, ATTR_gain);
    if (!gain)
        return;
    item->gain = e->options->key ? e->options->key(e->options->key_state, gain) : gain;
    item->gain_dim = dim[type_find(weight->type, attr_name(weight, ATTR_axis))];
    item->plus = attr_float(weight, ATTR_plus, 0);
}

/* The model's input whose elements a kernel's body looks up in its parameter `table`, and does nothing else with it: 1 + its number, or 0. */
static int looked_up_by(Emitter *e, const Node *kernel, const Node *table) {
    const Graph *body = kernel->body;
    int by = 0;
    for (const Node *n = body->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++) {
            if (n->inputs[i] != table)
                continue;
            const Node *ids = NULL;
            for (int p = 0; n->op == OP_gather && i == 0 && p < body->n_params && p < kernel->n_inputs; p++)
                if (n->inputs[1] == body->params[p])
                    ids = kernel->inputs[p];
            while (ids && op_info[ids->op].class == CLASS_VIEW)
                ids = ids->inputs[0];
            if (!ids || ids->op != OP_input || ids->type->dtype != DT_I32 || !attr_has_name(n, ATTR_over, table->type->axis[0].name))
                return 0;
            for (int m = 0; m < e->model->n_params; m++)
                if (e->model->params[m] == ids && (!by || by == m + 1))
                    by = m + 1;
                else if (e->model->params[m] == ids)
                    return 0;
        }
    }
    for (int r = 0; r < body->n_results; r++)
        if (body->results[r].value == table)
            return 0;
    return by;
}

/* False: something else is done with the weight, in this graph or one inside it. */
static bool only_looked_up(Emitter *e, const Graph *g, const Node *weight, int *by) {
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat && !only_looked_up(e, n->body, weight, by))
            return false;
        for (int i = 0; i < n->n_inputs; i++) {
            if (n->inputs[i] != weight)
                continue;
            bool body = n->body && n->op != OP_repeat && i < n->body->n_params;
            int found = body ? looked_up_by(e, n, n->body->params[i]) : 0;
            if (!found || (*by && *by != found))
                return false;
            *by = found;
        }
    }
    for (int r = 0; r < g->n_results; r++)
        if (g->results[r].value == weight)
            return false;
    return true;
}

/* The same for all kernels of a weight that stands in the model's own graph. */
static int rows_by(Emitter *e, const Node *weight) {
    int64_t bytes = 4;
    int by = 0;
    if (weight->op != OP_weight || weight->graph != e->model || weight->type->rank != 2)
        return 0;
    for (int i = 0; i < weight->type->rank; i++)
        if (__builtin_mul_overflow(bytes, weight->type->axis[i].size.base, &bytes))
            return 0;
    return bytes >= ROWS_BYTES && only_looked_up(e, e->model, weight, &by) ? by : 0;
}

uint64_t pack_plain(Emitter *e, const Node *weight, DType as, uint64_t *layer_stride) {
    int64_t strides[MAX_RANK];
    *layer_stride = 0;
    if (!constant_sizes(e, weight))
        return 0;
    if (weight->type->dtype != DT_F32) {
        emit_fail(e, weight, "packed weights and tables are f32");
        return 0;
    }
    PackItem item = new_item(e, weight);
    item.dtype = as;
    stored_strides(weight, strides);
    /* The last axis as the contracted one: the same order, and packing needs no entry for each element. */
    int rank = weight->type->rank, place[MAX_RANK];
    for (int i = 0; i < rank; i++) {
        place[i] = i;
        PackDim dim = {weight->type->axis[i].size.base, strides[i]};
        if (i + 1 < rank)
            item.n[item.n_rank++] = dim;
        else
            item.k[item.k_rank++] = dim;
    }
    plan_gain(e, weight, place, &item);
    item.rows_by = item.gain ? 0 : rows_by(e, weight);
    if (weight->op == OP_table) {
        const Attr *table = node_attr(weight, ATTR_table);
        float *data = arena_array(e->cx->arena, (size_t)table->floats.count, sizeof *data);
        for (int i = 0; i < table->floats.count; i++)
            data[i] = (float)table->floats.items[i];
        item.data = data;
        stored_shape(weight, &item);
    }
    return add_item(e, weight, &item, layer_stride);
}

/* Columns of an axis of pairs: so many lanes of first partners, then their second partners. */
static void add_pairs(const Emitter *e, PackItem *item, int64_t size, int64_t stride, bool interleave) {
    int64_t lanes = e->target->lanes, half = size / 2;
    PackDim dims[3] = {{half / lanes, lanes * stride}, {2, half * stride}, {lanes, stride}};
    if (interleave) {
        dims[0].stride = 2 * lanes * stride;
        dims[1].stride = stride;
        dims[2].stride = 2 * stride;
    }
    for (int i = 0; i < 3; i++)
        item->n[item->n_rank++] = dims[i];
}

static int last_column(const Node *weight, const Node *x) {
    int last = -1;
    for (int i = 0; i < weight->type->rank; i++)
        if (type_find(x->type, weight->type->axis[i].name) < 0)
            last = i;
    return last;
}

uint64_t pack_panels(Emitter *e, const Node *weight, const Node *gemm, const Node *x, int64_t panel, const Node *rotation,
                     uint64_t *layer_stride) {
    int64_t strides[MAX_RANK];
    int place[MAX_RANK];
    *layer_stride = 0;
    if (weight->op != OP_weight && weight->op != OP_table) {
        emit_fail(e, gemm, "`%s` is not a weight", weight->name);
        return 0;
    }
    if (!constant_sizes(e, weight))
        return 0;
    if (rotation && (weight->type->rank + 2 > MAX_RANK || attr_name(weight, ATTR_axis) == weight->type->axis[last_column(weight, x)].name)) {
        emit_fail(e, gemm, "the columns of `%s` cannot be packed in pairs", weight->name);
        return 0;
    }
    PackItem item = new_item(e, weight);
    stored_strides(weight, strides);
    item.layout = PACK_PANELS;
    item.dtype = weight_storage(weight);
    item.panel = panel;
    int paired = rotation ? last_column(weight, x) : -1;
    for (int i = 0; i < weight->type->rank; i++) {
        if (type_find(x->type, weight->type->axis[i].name) >= 0)
            continue;
        place[i] = item.n_rank;
        if (i == paired)
            add_pairs(e, &item, weight->type->axis[i].size.base, strides[i], attr_bool(rotation, ATTR_interleave, false));
        else
            item.n[item.n_rank++] = (PackDim){weight->type->axis[i].size.base, strides[i]};
    }
    for (int i = 0; i < x->type->rank; i++) {
        int at = type_find(weight->type, x->type->axis[i].name);
        if (at < 0)
            continue;
        place[at] = item.n_rank + item.k_rank;
        item.k[item.k_rank++] = (PackDim){weight->type->axis[at].size.base, strides[at]};
    }
    plan_gain(e, weight, place, &item);
    if (weight->op == OP_table) {
        emit_fail(e, gemm, "`%s` is a table, not a tensor of the checkpoint", weight->name);
        return 0;
    }
    return add_item(e, weight, &item, layer_stride);
}

static bool same_tensor(const Node *a, const Node *b) {
    if (attr_name(a, ATTR_gain) || attr_name(b, ATTR_gain) || attr_float(a, ATTR_factor, 1) != attr_float(b, ATTR_factor, 1))
        return false;
    if ((attr_name(a, ATTR_rounded) != NULL) != (attr_name(b, ATTR_rounded) != NULL))
        return false;
    if (attr_name(a, ATTR_key) != attr_name(b, ATTR_key) && strcmp(attr_name(a, ATTR_key), attr_name(b, ATTR_key)) != 0)
        return false;
    const Attr *p = node_attr(a, ATTR_start), *q = node_attr(b, ATTR_start);
    int64_t s[MAX_RANK], t[MAX_RANK];
    if (a->type->rank != b->type->rank || (p ? p->extent.base : 0) != (q ? q->extent.base : 0))
        return false;
    stored_strides(a, s);
    stored_strides(b, t);
    for (int i = 0; i < a->type->rank; i++)
        if (s[i] != t[i] || !extent_equal(a->type->axis[i].size, b->type->axis[i].size))
            return false;
    return true;
}

static int64_t panel_in(Emitter *e, const Graph *g, const Node *weight, int looked_up, const Node **gemm, const Node **twin) {
    for (const Node *n = g->first; n; n = n->next) {
        int64_t panel = n->op == OP_repeat ? panel_in(e, n->body, weight, looked_up, gemm, twin) : 0;
        if (panel)
            return panel;
        for (int w = 0; n->op == OP_gemm && w < attr_int(n, ATTR_weights, 1); w++) {
            const Node *other = n->inputs[1 + w];
            if (gemm_rotation(e->cx, n, w) || other->op != OP_weight || !same_tensor(other, weight))
                continue;
            bool over_other = attr_has_name(n, ATTR_over, other->type->axis[1 - looked_up].name);
            if (!over_other || attr_has_name(n, ATTR_over, other->type->axis[looked_up].name))
                continue;
            *gemm = n;
            *twin = other;
            return gemm_panel(e, n, w);
        }
    }
    return 0;
}

int64_t gather_panel(Emitter *e, const Node *weight, const char *looked_up, const Node **gemm, const Node **twin) {
    if (weight->type->rank != 2 || !constant_sizes(e, weight))
        return 0;
    return panel_in(e, e->model, weight, type_find(weight->type, looked_up), gemm, twin);
}

/* ---- the entry ---------------------------------------------------------------------------------------------------------------------------- */

static PlanDim plan_dim(const Emitter *e, const Axis *axis) {
    PlanDim d = {.name = axis->name, .base = axis->size.base, .n = axis->size.n};
    for (int i = 0; i < d.n; i++) {
        d.factor[i] = axis->size.factor[i];
        for (int s = 0; s < e->model->n_symbols; s++)
            if (e->model->symbols[s] == axis->size.symbol[i])
                d.symbol[i] = s;
    }
    return d;
}

static PlanTensor plan_tensor(const Emitter *e, const char *name, const Type *type) {
    PlanTensor t = {.name = name, .dtype = type->dtype, .rank = type->rank, .growing = -1};
    for (int i = 0; i < type->rank; i++)
        t.dims[i] = plan_dim(e, &type->axis[i]);
    return t;
}

static PlanTensor plan_cache(Emitter *e, const Cache *c) {
    PlanTensor t = plan_tensor(e, c->name, c->type);
    int64_t bytes = (int64_t)dtype_size(c->type->dtype);
    t.layers = c->layers;
    t.growing = c->growing;
    for (int i = 0; i < c->type->rank; i++) {
        Extent size = c->type->axis[i].size;
        int64_t count = size.base, round = c->panels && i == c->growing ? KEY_PANEL : 1;
        if (!extent_is_const(size)) {
            if (i)
                emit_fail(e, e->model->first, "the cache `%s` has a run-time size that is not its first axis", c->name);
            continue;
        }
        if (count > INT64_MAX - round || __builtin_mul_overflow(bytes, (count + round - 1) / round * round, &bytes))
            emit_fail(e, e->model->first, "the size of the cache `%s` is out of range", c->name);
    }
    t.bytes_per_row = (uint64_t)bytes;
    return t;
}

void plan_describe(Emitter *e) {
    const Graph *m = e->model;
    Arena *a = e->cx->arena;
    Plan *p = &e->plan;
    p->name = e->prefix;
    p->n_symbols = m->n_symbols;
    p->symbols = arena_array(a, (size_t)m->n_symbols + 1, sizeof *p->symbols);
    for (int i = 0; i < m->n_symbols; i++) {
        bool past = m->n_caches && !strcmp(m->symbols[i]->name, "past");
        p->symbols[i] = (PlanSymbol){m->symbols[i]->name, m->symbols[i]->low, m->symbols[i]->high, past};
    }
    p->inputs = arena_array(a, (size_t)m->n_params + 1, sizeof *p->inputs);
    for (int i = 0; i < m->n_params; i++) {
        p->inputs[i] = plan_tensor(e, m->params[i]->name, m->params[i]->type);
        p->inputs[i].in_place = p->inputs[i].dtype == DT_F32; /* indices are checked before, flags become 0 and 1: copies of them */
    }
    p->n_inputs = m->n_params;
    p->outputs = arena_array(a, (size_t)m->n_results + 1, sizeof *p->outputs);
    for (int i = 0; i < m->n_results; i++)
        p->outputs[p->n_outputs++] = plan_tensor(e, m->results[i].name, m->results[i].value->type);
    p->caches = arena_array(a, (size_t)m->n_caches + 1, sizeof *p->caches);
    for (int i = 0; i < m->n_caches; i++)
        p->caches[p->n_caches++] = plan_cache(e, &m->caches[i]);
}

static void add_slots(Plan *p, SlotKind kind, int n) {
    for (int i = 0; i < n; i++)
        p->slots[p->n_slots++] = (Slot){kind, i};
}

void plan_finish(Emitter *e) {
    Plan *p = &e->plan;
    p->weight_bytes += 64;              /* readable bytes after the last one */
    p->slots = arena_array(e->cx->arena, (size_t)(p->n_inputs + p->n_outputs + p->n_caches + p->n_symbols + 9), sizeof *p->slots);
    add_slots(p, SLOT_INPUT, p->n_inputs);
    add_slots(p, SLOT_OUTPUT, p->n_outputs);
    add_slots(p, SLOT_CACHE, p->n_caches);
    add_slots(p, SLOT_SIZE, p->n_symbols);
    add_slots(p, SLOT_WEIGHTS, 1);
    add_slots(p, SLOT_ARENA, 1);
    add_slots(p, SLOT_THREADS, 1);
    add_slots(p, SLOT_MEET, 1);
    add_slots(p, SLOT_FAULT, 1);
    add_slots(p, SLOT_TAP, e->options->taps);
    add_slots(p, SLOT_TAP_STATE, e->options->taps);
    add_slots(p, SLOT_TIMES, e->options->timing);
    add_slots(p, SLOT_CLOCK, e->options->timing);
}
