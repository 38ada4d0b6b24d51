/* plan-memory: lifetimes become offsets in one arena.
 *
 * Every kernel result gets a buffer. A buffer is needed in spans of time: from the kernel that writes it to the last
 * one that reads it, through views too; a value read inside a repeat is needed to the repeat's end. What enters a
 * repeat, the carried value, what a round leaves and the repeat's result are one buffer; between the last reader of
 * the carried value and the kernel that writes the next one it is free for others. A choice and its two sides are one
 * buffer too: only one of the two is computed. A kernel that reads an input only
 * where it writes may write over it if it dies there, attend over its queries. Where a carried value cannot stay in place, or a result of the
 * model is not written by a kernel, a copy is put in. Results of the model are written straight into the caller's
 * memory. Threads that have rows of their own are not all at the same kernel: what one of them may still read is not
 * written by another (plan_offsets.c). */
#include "passes/plan.h"

#include <string.h>

enum { FOREVER = INT32_MAX };

/* ---- storage ----------------------------------------------------------------------------------------------------- */

static bool writes_memory(const Node *n)
{
    return op_info[n->op].class == CLASS_KERNEL || n->op == OP_dot || n->op == OP_concat || n->op == OP_topk ||
           n->op == OP_cumsum || n->op == OP_cummax;
}

/* The kernel that writes n, if n is a value of its own and no view. */
static Node *writer_of(const Node *n)
{
    Node *k = n->op == OP_get ? n->inputs[0] : (Node *)n;
    return n->type && writes_memory(k) ? k : NULL;
}

static bool is_repeat_result(const Node *n)
{
    return n->op == OP_repeat ? n->type != NULL : n->op == OP_get && n->inputs[0]->op == OP_repeat;
}

static bool has_buffer(const Node *n)
{
    return n->op == OP_carry || n->op == OP_choose || is_repeat_result(n) || writer_of(n);
}

/* Numbers the nodes in executable order. */
static void number(Memory *m, const Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        m->position[n->id] = m->n_positions++;
        if (n->op == OP_repeat)
            number(m, n->body);
        m->end[n->id] = n->op == OP_repeat ? m->n_positions++ : m->position[n->id];
    }
}

/* m->exchanges. Threads meet at such kernels at the latest; between two of them each may be ahead with its own rows. */
static void count_exchanges(Memory *m, const Graph *g)
{
    for (const Node *n = g->first; n; n = n->next) {
        m->exchanges[m->position[n->id]] += writes_memory(n) && !rows_alone(&m->rows, n);
        if (n->op == OP_repeat)
            count_exchanges(m, n->body);
    }
}

/* When `reader` is done with a value of the graph `home`: a reader in a repeat goes round until the repeat ends. */
static int done_at(const Memory *m, const Node *reader, const Graph *home)
{
    while (reader->graph != home)
        reader = reader->graph->owner;
    return m->end[reader->id];
}

/* m->last of every storage: the last position at which it is needed. */
static void find_last(Memory *m, const Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        if (m->last[n->id] < m->position[n->id])
            m->last[n->id] = m->position[n->id];
        for (int i = 0; i < n->n_inputs && op_info[n->op].class != CLASS_VIEW; i++) {
            const Node *s = storage_of(n->inputs[i]);
            bool plain_get = n->op == OP_get;
            int done = plain_get                                    ? 0
                       : s->graph == n->graph && n->op == OP_repeat ? m->position[n->id]
                                                                    : done_at(m, n, s->graph);
            if (done > m->last[s->id])
                m->last[s->id] = done;
        }
        if (n->op == OP_repeat)
            find_last(m, n->body);
    }
    for (int i = 0; i < g->n_results; i++) {
        const Node *s = storage_of(g->results[i].value);
        int done = !g->owner ? FOREVER : s->graph == g ? m->end[g->owner->id] : done_at(m, g->owner, s->graph);
        if (done > m->last[s->id])
            m->last[s->id] = done;
    }
}

/* ---- writing over an input --------------------------------------------------------------------------------------- */

static bool moves_elements(const Node *k)
{
    for (const Node *n = k->body->first; n; n = n->next)
        if (n->op == OP_rotate || n->op == OP_gather)
            return true;
    return false;
}

/* The result lies as the input does: attend's values stand where the head axis of its queries did. */
static bool lies_alike(const Node *k, int input)
{
    const Type *in = k->inputs[input]->type, *out = k->type;
    if (k->op != OP_attend)
        return type_equal(in, out);
    bool alike = input == 0 && in->dtype == out->dtype && in->rank == out->rank;
    for (int i = 0; alike && i < in->rank; i++)
        alike = extent_equal(in->axis[i].size, out->axis[i].size) && (i == in->rank - 1 || in->axis[i].name == out->axis[i].name);
    return alike && in->axis[in->rank - 1].name == node_attr(k, ATTR_over)->names.items[0];
}

/* Kernel k reads `storage` only at the element it writes, or, attend, at the row of q: before it writes it, and no other row needs it. */
static bool may_overwrite(const Node *k, const Node *storage)
{
    bool by_element = k->op == OP_map || k->op == OP_rowwise || k->op == OP_gemm || k->op == OP_attend;
    if (!by_element || !k->type || attr_name(k, ATTR_layout) || attr_name(storage, ATTR_layout) || moves_elements(k))
        return false;
    for (int i = 0; i < k->n_inputs; i++) {
        const Node *in = k->inputs[i];
        if (storage_of(in) != storage)
            continue;
        if (k->op == OP_gemm && (i <= attr_int(k, ATTR_weights, 1) || i >= gemm_side(k, 0)))
            return false;
        if (!is_whole_view(in) || !lies_alike(k, i))
            return false;
    }
    return true;
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static Node *copy_at_end(PassContext *px, Graph *g, Node *value)
{
    Node *last = g->last, *copy = copy_before(px, last, value);
    node_move_before(last, copy);
    return copy;
}

/* What a round leaves is a value of its own, written by a kernel of the body; or the carried value unchanged. */
static bool leaves_own_value(const Graph *body, int i)
{
    const Node *left = body->results[i].value;
    if (left == body->params[i + 1])
        return true;
    for (int k = 0; k < i; k++)
        if (body->results[k].value == left)
            return false;
    return writer_of(left) && left->graph == body;
}

/* And it is written when the value that was carried has been read for the last time. */
static bool leaves_in_place(const Memory *m, const Graph *body, int i)
{
    const Node *left = body->results[i].value, *carry = body->params[i + 1];
    if (left == carry)
        return true;
    int read = m->last[carry->id], written = m->position[writer_of(left)->id];
    return read < written || (read == written && may_overwrite(writer_of(left), carry));
}

/* What enters is written by a kernel and read by nobody else. */
static bool enters_in_place(const Node *repeat, int i)
{
    const Node *start = repeat->inputs[i];
    return writer_of(start) && start->graph == repeat->graph && start->uses == 1;
}

static bool copy_carried(Memory *m, Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        if (n->op != OP_repeat)
            continue;
        if (copy_carried(m, n->body))
            return true;
        for (int i = 0; i < n->n_inputs; i++) {
            Result *left = &n->body->results[i];
            if (!enters_in_place(n, i))
                n->inputs[i] = copy_before(m->px, n, n->inputs[i]);
            else if (!leaves_own_value(n->body, i))
                left->value = copy_at_end(m->px, n->body, left->value);
            else
                continue;
            return true;
        }
        for (int i = 0; i < n->n_inputs; i++) {
            if (leaves_in_place(m, n->body, i))
                continue;
            n->body->results[i].value = copy_at_end(m->px, n->body, n->body->results[i].value);
            return true;
        }
    }
    return false;
}

static bool enters_repeat(const Node *n)
{
    for (const Node *r = n->next; r; r = r->next)
        for (int i = 0; r->op == OP_repeat && i < r->n_inputs; i++)
            if (r->inputs[i] == n)
                return true;
    return false;
}

static bool copy_results(Memory *m)
{
    Graph *g = m->model;
    for (int i = 0; i < g->n_results; i++) {
        Node *value = g->results[i].value;
        const Node *lies = storage_of(value); /* a result with other axes may be written as it lies */
        bool own = is_whole_view(value) && writer_of(lies) && lies->graph == g && !enters_repeat(lies) &&
                   !attr_name(lies, ATTR_layout);
        for (int k = 0; k < i; k++)
            own &= storage_of(g->results[k].value) != lies;
        if (own)
            continue;
        g->results[i].value = copy_at_end(m->px, g, value);
        return true;
    }
    return false;
}

/* ---- buffers ----------------------------------------------------------------------------------------------------- */

static Buffer *buffer_of(const Memory *m, const Node *n)
{
    return m->of[n->id] ? buffer_root(m->of[n->id]) : NULL;
}

static void make_buffers(Memory *m, const Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        if (has_buffer(n)) {
            const Node *writer = writer_of(n);
            int first = n->op == OP_carry ? m->position[g->owner->id]
                        : writer          ? m->position[writer->id]
                                          : m->end[n->op == OP_get ? n->inputs[0]->id : n->id];
            Buffer *b = &m->buffers[m->n++];
            *b = (Buffer){.node = n, .output = -1};
            b->need = arena_array(m->px->cx->arena, 1, sizeof *b->need);
            b->need[b->n++] = (Need){first, m->last[n->id] > first ? m->last[n->id] : first, writer, n};
            m->of[n->id] = b;
        }
        if (n->op == OP_repeat)
            make_buffers(m, n->body);
    }
}

static void join(Memory *m, Buffer *b, Buffer *into)
{
    if (b == into)
        return;
    into->need =
        arena_grow(m->px->cx->arena, into->need, (size_t)into->n, (size_t)(into->n + b->n), sizeof *into->need);
    for (int i = 0; i < b->n; i++)
        into->need[into->n++] = b->need[i];
    b->same = into;
}

static void join_carried(Memory *m, const Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        if (is_repeat_result(n)) {
            const Node *repeat = n->op == OP_get ? n->inputs[0] : n;
            int i = n->op == OP_get ? (int)attr_int(n, ATTR_index, 0) : 0;
            join(m, buffer_of(m, n), buffer_of(m, repeat->body->params[i + 1]));
        }
        if (n->op != OP_repeat)
            continue;
        join_carried(m, n->body);
        for (int i = 0; i < n->n_inputs; i++) {
            Buffer *carried = buffer_of(m, n->body->params[i + 1]);
            join(m, buffer_of(m, n->inputs[i]), carried);
            join(m, buffer_of(m, n->body->results[i].value), carried);
        }
    }
}

/* Each side of a choice writes the choice's own buffer, where it is a value of its own that nobody else reads. */
static void join_chosen(Memory *m, const Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat)
            join_chosen(m, n->body);
        for (int i = 0; n->op == OP_choose && i < 2; i++) {
            const Node *in = n->inputs[i];
            if (writer_of(in) && in->graph == g && in->uses == 1 && !attr_name(in, ATTR_layout))
                join(m, buffer_of(m, in), buffer_of(m, n));
        }
    }
}

/* Not at the same time; or b is written where a is read for the last time, by a kernel that may write over it. */
static bool follows(const Need *a, const Need *b)
{
    return a->last < b->first ||
           (a->last == b->first && a->first < b->first && b->writer && may_overwrite(b->writer, a->value));
}

static bool can_join(const Buffer *a, const Buffer *b)
{
    for (int i = 0; i < a->n; i++)
        for (int k = 0; k < b->n; k++)
            if (!follows(&a->need[i], &b->need[k]) && !follows(&b->need[k], &a->need[i]))
                return false;
    return true;
}

static void join_in_place(Memory *m, const Graph *g)
{
    for (Node *k = g->first; k; k = k->next) {
        if (k->op == OP_repeat)
            join_in_place(m, k->body);
        for (int i = 0; writer_of(k) == k && k->body && i < k->n_inputs; i++) {
            const Node *s = storage_of(k->inputs[i]);
            Buffer *over = buffer_of(m, s), *b = buffer_of(m, k);
            if (!over || over == b || over->output >= 0 || b->output >= 0 || !lies_alike(k, i))
                continue;
            if (may_overwrite(k, s) && can_join(over, b))
                join(m, b, over);
        }
    }
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

static int cache_index(const Graph *model, const Node *append)
{
    int i = 0;
    while (i < model->n_caches && strcmp(model->caches[i].name, attr_name(append, ATTR_cache)))
        i++;
    return i;
}

static Place buffer_place(Buffer *b)
{
    b = buffer_root(b);
    if (b->output >= 0)
        return (Place){.kind = PLACE_OUTPUT, .index = b->output};
    return (Place){.kind = PLACE_ARENA, .region = b->region, .offset = b->offset};
}

static Place place_of(const Memory *m, const Node *n)
{
    Buffer *b = buffer_of(m, n);
    if (op_info[n->op].class == CLASS_VIEW)
        return (Place){.kind = PLACE_VIEW};
    if (n->type && b)
        return buffer_place(b);
    switch (n->op) {
    case OP_weight:
    case OP_table: return (Place){.kind = PLACE_WEIGHT};
    case OP_append: return (Place){.kind = PLACE_CACHE, .index = cache_index(m->model, n)};
    case OP_const:
    case OP_iota:
    case OP_extent:
    case OP_index: return (Place){.kind = PLACE_INLINE};
    default: return (Place){.kind = PLACE_NONE};
    }
}

static void set_places(const Memory *m, Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        n->place = place_of(m, n);
        if (n->op == OP_repeat)
            set_places(m, n->body);
    }
    for (int i = 0; i < g->n_params; i++)
        if (g->params[i]->op == OP_input)
            g->params[i]->place = (Place){.kind = PLACE_INPUT, .index = i};
}

static int count_all(const Graph *g)
{
    int count = 0;
    for (const Node *n = g->first; n; n = n->next)
        count += 1 + (n->op == OP_repeat ? count_all(n->body) : 0);
    return count;
}

static void find_lifetimes(PassContext *px, Graph *model, Memory *m)
{
    Arena *arena = px->cx->arena;
    size_t ids = (size_t)model->next_id + 1;
    graph_count_uses(model);
    *m = (Memory){.px = px, .model = model};
    m->buffers = arena_array(arena, (size_t)count_all(model) + 1, sizeof *m->buffers);
    m->of = arena_array(arena, ids, sizeof *m->of);
    m->position = arena_array(arena, ids, sizeof *m->position);
    m->end = arena_array(arena, ids, sizeof *m->end);
    m->last = arena_array(arena, ids, sizeof *m->last);
    number(m, model);
    find_last(m, model);
}

static void remark_regions(PassContext *px, const Graph *model)
{
    int64_t *sizes = arena_array(px->cx->arena, (size_t)model->n_symbols + 1, sizeof *sizes), least = 0;
    usual_sizes(px->remarks, model, sizes);
    int64_t bytes = plan_arena_bytes(model, sizes, &least);
    Text at = text_new(px->cx->arena);
    for (int i = 0; i < model->n_symbols; i++)
        text_add(&at, "%s%s=%lld", i ? " " : " at ", model->symbols[i]->name, (long long)sizes[i]);
    remark(px, REMARK_ANALYSIS, REMARK_ALIAS, NULL, "the arena is %lld bytes%s; no plan needs less than %lld",
           (long long)bytes, at.data, (long long)least);
}

bool pass_plan_memory(PassContext *px, Graph *model)
{
    Memory m;
    do
        find_lifetimes(px, model, &m);
    while (copy_carried(&m, model) || copy_results(&m));
    make_buffers(&m, model);
    join_chosen(&m, model);
    join_carried(&m, model);
    for (int i = 0; i < model->n_results; i++)
        buffer_of(&m, storage_of(model->results[i].value))->output = i;
    join_in_place(&m, model);
    model->regions = NULL;
    model->n_regions = 0;
    m.rows = rows_of_model(model);
    m.exchanges = arena_array(px->cx->arena, (size_t)m.n_positions + 1, sizeof *m.exchanges);
    count_exchanges(&m, model);
    for (int i = 1; i < m.n_positions; i++)
        m.exchanges[i] += m.exchanges[i - 1];
    if (!place_buffers(&m)) {
        diag_error(px->cx->diags, "E1003", (Span){0},
                   "a value has more than four axes of run-time size, or is larger than the address space");
        return true;
    }
    set_places(&m, model);
    remark_regions(px, model);
    return true;
}
