/* plan-memory: lifetimes become offsets in one arena.
 *
 * Every kernel result gets a buffer that lives from the kernel that writes it to the last one that reads it, through views too; a value
 * read inside a repeat lives to the repeat's end. Buffers are joined where an elementwise kernel may write over an input that dies there,
 * and where a loop-carried value can stay in place: start, every round and the end share one buffer. Where it cannot, a copy is put in
 * and the plan is made again. Results of the model are written straight into the caller's memory. */
#include "passes/plan.h"

#include <string.h>

enum { FOREVER = INT32_MAX };

/* ---- copies ------------------------------------------------------------------------------------------------------------------------------ */

static Node *identity_at_end(PassContext *px, Graph *g, Node *value) {
    Node *last = g->last, *copy = copy_before(px, last, value);
    node_move_before(last, copy);
    return copy;
}

/* ---- buffers ------------------------------------------------------------------------------------------------------------------------------- */

static bool writes_memory(const Node *n) {
    return op_info[n->op].class == CLASS_KERNEL || n->op == OP_dot || n->op == OP_concat;
}

/* A value with a buffer of its own: written by a kernel. */
static bool is_written(const Node *n) {
    if (n->op == OP_get) return writes_memory(n->inputs[0]);
    return n->type && writes_memory(n);
}

static Buffer *add_buffer(Memory *m, Node *n, int first) {
    if (m->n == m->capacity) return NULL;
    Buffer *b = &m->buffers[m->n++];
    *b = (Buffer){.node = n, .first = first, .last = first, .output = -1};
    m->of[n->id] = b;
    return b;
}

/* The buffer below a value, through views and repeats; NULL for inputs, weights, caches and leaves. */
static Buffer *buffer_below(const Memory *m, const Node *n) {
    while (op_info[n->op].class == CLASS_VIEW) n = n->inputs[0];
    if (n->op == OP_repeat) n = n->body->params[1];
    else if (n->op == OP_get && n->inputs[0]->op == OP_repeat) n = n->inputs[0]->body->params[1 + attr_int(n, ATTR_index, 0)];
    return m->of[n->id];
}

/* Numbers the nodes in executable order and makes their buffers. A get's buffer starts where its kernel writes it. */
static void number(Memory *m, const Graph *g) {
    for (Node *n = g->first; n; n = n->next) {
        m->position[n->id] = m->n_positions++;
        if (n->op == OP_carry) add_buffer(m, n, m->position[n->id]);
        else if (is_written(n)) add_buffer(m, n, m->position[n->op == OP_get ? n->inputs[0]->id : n->id]);
        if (n->op == OP_repeat) number(m, n->body);
        m->end[n->id] = n->op == OP_repeat ? m->n_positions++ : m->position[n->id];
    }
}

/* A reader at `reader` needs the buffer until it is done; a reader in a repeat that the buffer's home encloses, until the repeat is. */
static void extend(const Memory *m, Buffer *b, const Node *reader) {
    const Graph *home = b->node->graph;
    while (reader && reader->graph != home) reader = reader->graph->owner;
    if (!reader) return;                /* a repeat's result, read after the loop: extend_after_loops */
    if (m->end[reader->id] > b->last) b->last = m->end[reader->id];
}

static void find_lifetimes(Memory *m, const Graph *g) {
    for (Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++) {
            Buffer *b = buffer_below(m, n->inputs[i]);
            if (b && op_info[n->op].class != CLASS_VIEW && n->op != OP_get) extend(m, b, n);
        }
        if (n->op == OP_repeat) find_lifetimes(m, n->body);
    }
    for (int i = 0; i < g->n_results; i++) {
        Buffer *b = buffer_below(m, g->results[i].value);
        if (b && b->node->graph == g) b->last = g->owner ? m->end[g->owner->id] : FOREVER;
    }
}

/* ---- joining ---------------------------------------------------------------------------------------------------------------------------------- */

/* Kernel k writes `result` element by element and reads input i at the same places only: the result may lie over it. */
static bool input_may_be_overwritten(const Node *k, int i, const Type *result) {
    const Node *in = k->inputs[i];
    if (k->op == OP_gemm ? i <= attr_int(k, ATTR_weights, 1) : k->op != OP_map && k->op != OP_rowwise) return false;
    if (attr_name(k, ATTR_layout) || k->body->n_results != 1) return false;
    while (in->op == OP_view) in = in->inputs[0];
    return op_info[in->op].class != CLASS_VIEW && type_equal(k->inputs[i]->type, result);
}

static bool reads_rotated(const Node *k) {
    for (const Node *n = k->body ? k->body->first : NULL; n; n = n->next)
        if (n->op == OP_rotate || n->op == OP_gather) return true;
    return false;
}

/* The buffer of a dying input that k's result may take over, or NULL. Every input of k that lies in that buffer has to allow it. */
static Buffer *overwritable(const Memory *m, const Node *k) {
    if (!k->type || !k->body || reads_rotated(k)) return NULL;
    for (int i = 0; i < k->n_inputs; i++) {
        Buffer *b = buffer_below(m, k->inputs[i]);
        if (!b || b->node->graph != k->graph || buffer_root(b)->last != m->position[k->id] || buffer_root(b)->output >= 0) continue;
        bool all = true;
        for (int j = 0; j < k->n_inputs; j++) {
            Buffer *other = buffer_below(m, k->inputs[j]);
            if (other && buffer_root(other) == buffer_root(b)) all &= input_may_be_overwritten(k, j, k->type);
        }
        if (all) return buffer_root(b);
    }
    return NULL;
}

/* `b` continues where `into` ends. Carried buffers stand for the whole loop; while a body is walked, `last` is what its content is needed for. */
static void join(Buffer *b, Buffer *into) {
    b->same = into;
    if (b->last > into->last) into->last = b->last;
}

/* What enters a repeat is joined with the carried buffer and with nothing else. */
static bool enters_repeat(const Node *n) {
    for (const Node *r = n->next; r && n->uses == 1; r = r->next)
        for (int i = 0; r->op == OP_repeat && i < r->n_inputs; i++)
            if (r->inputs[i] == n) return true;
    return false;
}

/* What a round leaves may be written over the value it carried, not over another one; a result of the model lies in the caller's memory. */
static bool may_join(const Memory *m, const Node *n, const Buffer *into) {
    const Graph *g = n->graph;
    for (int i = 0; i < g->n_results; i++)
        if (g->results[i].value == n && (!g->owner || into != m->of[g->params[i + 1]->id])) return false;
    return !enters_repeat(n);
}

static void join_in_place(Memory *m, const Graph *g) {
    for (Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat) join_in_place(m, n->body);
        Buffer *b = m->of[n->id];
        if (!b || n->op == OP_get || n->op == OP_carry || b->same) continue;
        Buffer *into = overwritable(m, n);
        if (into && into != b && may_join(m, n, into)) join(b, into);
    }
}

/* ---- loop-carried values --------------------------------------------------------------------------------------------------------------------------- */

/* The value that a round leaves is, or can be written, in the carried buffer. Otherwise a copy at the end of the body is needed. */
static bool stays_in_place(Memory *m, const Node *repeat, int i) {
    const Graph *body = repeat->body;
    Node *yield = body->results[i].value;
    Buffer *carried = m->of[body->params[i + 1]->id], *b = buffer_below(m, yield);
    if (!b || op_info[yield->op].class == CLASS_VIEW) return false;
    if (buffer_root(b) == carried) return yield == body->params[i + 1] || is_written(yield);
    if (b->node != yield || yield->graph != body || !is_written(yield) || buffer_root(b) != b) return false;
    for (int k = 0; k < body->n_results; k++)
        if (k != i && buffer_below(m, body->results[k].value) == b) return false;
    if (carried->last >= b->first) return false;
    b->same = carried;
    return true;
}

/* A carried buffer starts as the buffer of the value that enters, if nothing else reads that value. */
static bool enters_in_place(Memory *m, const Node *repeat, int i) {
    Node *start = repeat->inputs[i];
    Buffer *b = m->of[start->id], *carried = m->of[repeat->body->params[i + 1]->id];
    if (!b || b->same || start->graph != repeat->graph || start->uses != 1 || start->op == OP_carry) return false;
    for (int k = 0; k < m->n; k++)
        if (m->buffers[k].same == b) return false;
    b->same = carried;
    if (b->first < carried->first) carried->first = b->first;
    return true;
}

/* Places the carried values of every repeat; true if a copy had to be put in, so that the plan starts anew. */
static bool carry_values(Memory *m, Graph *g) {
    for (Node *n = g->first; n; n = n->next) {
        if (n->op != OP_repeat) continue;
        if (carry_values(m, n->body)) return true;
        for (int i = 0; i < n->body->n_results; i++)
            if (!stays_in_place(m, n, i)) {
                n->body->results[i].value = identity_at_end(m->px, n->body, n->body->results[i].value);
                return true;
            }
        for (int i = 0; i < n->n_inputs; i++)
            if (!enters_in_place(m, n, i)) {
                n->inputs[i] = copy_before(m->px, n, n->inputs[i]);
                return true;
            }
    }
    return false;
}

/* After the bodies are settled: a carried buffer is alive for the whole loop, and after it as long as the repeat's result is read. */
static void widen_carried(Memory *m, const Graph *g) {
    for (Node *n = g->first; n; n = n->next) {
        if (n->op != OP_repeat) continue;
        widen_carried(m, n->body);
        for (int i = 1; i < n->body->n_params; i++) {
            Buffer *b = m->of[n->body->params[i]->id];
            if (m->end[n->id] > b->last) b->last = m->end[n->id];
            if (m->position[n->id] < b->first) b->first = m->position[n->id];
        }
    }
}

static void extend_after_loops(Memory *m, const Graph *g) {
    for (Node *n = g->first; n; n = n->next) {
        for (int i = 0; i < n->n_inputs; i++) {
            Buffer *b = buffer_below(m, n->inputs[i]);
            const Node *reader = n;
            if (!b || b->node->op != OP_carry || b->node->graph == g || op_info[n->op].class == CLASS_VIEW) continue;
            while (reader->graph != b->node->graph->owner->graph && reader->graph->owner) reader = reader->graph->owner;
            if (reader != b->node->graph->owner && m->end[reader->id] > b->last) b->last = m->end[reader->id];
        }
        if (n->op == OP_repeat) extend_after_loops(m, n->body);
    }
}

/* ---- results of the model ------------------------------------------------------------------------------------------------------------------------------ */

/* Each result lies in the caller's memory from the start if a kernel of the model writes it; otherwise a copy is put in (true). */
static bool place_outputs(Memory *m) {
    Graph *g = m->model;
    for (int i = 0; i < g->n_results; i++) {
        Node *value = g->results[i].value;
        Buffer *b = m->of[value->id];
        bool direct = b && value->graph == g && is_written(value) && buffer_root(b)->node->op != OP_carry && buffer_root(b)->output < 0;
        if (!direct) {
            g->results[i].value = identity_at_end(m->px, g, value);
            return true;
        }
        buffer_root(b)->output = i;
    }
    return false;
}

/* ---- places -------------------------------------------------------------------------------------------------------------------------------------------------- */

static int cache_index(const Graph *model, const Node *append) {
    int i = 0;
    while (i < model->n_caches && strcmp(model->caches[i].name, attr_name(append, ATTR_cache))) i++;
    return i;
}

static Place buffer_place(Buffer *b) {
    b = buffer_root(b);
    if (b->output >= 0) return (Place){.kind = PLACE_OUTPUT, .index = b->output};
    return (Place){.kind = PLACE_ARENA, .region = b->region, .offset = b->offset};
}

static Place place_of(const Memory *m, const Node *n) {
    Buffer *b = op_info[n->op].class == CLASS_VIEW ? NULL : buffer_below(m, n);
    if (op_info[n->op].class == CLASS_VIEW) return (Place){.kind = PLACE_VIEW};
    if (n->type && b) return buffer_place(b);
    switch (n->op) {
    case OP_weight: case OP_table: return (Place){.kind = PLACE_WEIGHT};
    case OP_append: return (Place){.kind = PLACE_CACHE, .index = cache_index(m->model, n)};
    case OP_const: case OP_iota: case OP_extent: case OP_index: return (Place){.kind = PLACE_INLINE};
    default: return (Place){.kind = PLACE_NONE};
    }
}

static void set_places(const Memory *m, Graph *g) {
    for (Node *n = g->first; n; n = n->next) {
        n->place = place_of(m, n);
        if (n->op == OP_repeat) set_places(m, n->body);
    }
    for (int i = 0; i < g->n_params; i++)
        if (g->params[i]->op == OP_input) g->params[i]->place = (Place){.kind = PLACE_INPUT, .index = i};
}

static int count_all(const Graph *g) {
    int count = 0;
    for (const Node *n = g->first; n; n = n->next) count += 1 + (n->op == OP_repeat ? count_all(n->body) : 0);
    return count;
}

/* One attempt; false if a copy was put in and lifetimes have to be found again. */
static bool plan(PassContext *px, Graph *model, Memory *m) {
    Arena *arena = px->cx->arena;
    graph_count_uses(model);
    *m = (Memory){.px = px, .model = model, .capacity = count_all(model) + 1};
    m->buffers = arena_array(arena, (size_t)m->capacity, sizeof *m->buffers);
    m->of = arena_array(arena, (size_t)model->next_id + 1, sizeof *m->of);
    m->position = arena_array(arena, (size_t)model->next_id + 1, sizeof *m->position);
    m->end = arena_array(arena, (size_t)model->next_id + 1, sizeof *m->end);
    number(m, model);
    find_lifetimes(m, model);
    join_in_place(m, model);
    if (carry_values(m, model)) return false;
    widen_carried(m, model);
    extend_after_loops(m, model);
    return !place_outputs(m);
}

bool pass_plan_memory(PassContext *px, Graph *model) {
    Memory m;
    while (!plan(px, model, &m)) continue;
    model->regions = NULL;
    model->n_regions = 0;
    if (!place_buffers(&m)) {
        diag_error(px->cx->diags, "E1003", (Span){0}, "a value has more than four axes of run-time size, or is larger than the address space");
        return true;
    }
    set_places(&m, model);
    for (int r = 0; r < model->n_regions; r++) {
        Text unit = text_new(px->cx->arena);
        for (int i = 0; i < model->regions[r].n; i++) {
            text_add(&unit, i ? " * " : " per ");
            extent_print(model->regions[r].unit[i], &unit);
        }
        remark(px, REMARK_ANALYSIS, REMARK_ALIAS, NULL, "region %d of the arena: %lld bytes%s, at least %lld would be needed", r, (long long)model->regions[r].peak,
               unit.data, (long long)model->regions[r].lower_bound);
    }
    return true;
}
