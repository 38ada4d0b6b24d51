/* Repeats whose rounds are linearized differently: one repeat for each run of equal rounds, in order.
 *
 *     repeat 12  ->  repeat 2 (rounds 0, 1); repeat 4 (2 .. 5); repeat 6 (6 .. 11)
 *
 * The copies count from 0, so keys of weights and uses of the round number are moved by the first round of the run. A cache
 * written in this repeat alone, with the round as its layer, becomes one for each run: what a run keeps may then change
 * without the others. */
#include <string.h>

#include "passes/linearize_inside.h"
#include "support/holes.h"

typedef struct Run { /* rounds [first, first + count) of a repeat, and the copy being made of it */
    PassContext *px;
    Node *loop, *copy;
    int64_t first, count;
    Node **to; /* by id of the old node */
    int n_to;
    Node *moved; /* the round of the loaded model: index + first */
    const char **cache; /* by number: the run's own cache, or NULL */
} Run;

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static Node *copied(const Run *r, Node *old)
{
    return old->id < r->n_to && r->to[old->id] ? r->to[old->id] : old;
}

static const char *moved_key(Run *r, const char *key)
{
    Arena *a = r->px->cx->arena;
    Text out = text_new(a);
    Hole h;
    const char *p = key;
    for (; hole_next(p, &h); p = h.end)
        text_add(&out, "%.*s%s", (int)(h.begin - p), p,
                 h.round ? hole_print(a, h.factor, h.offset + h.factor * r->first)
                         : arena_copy(a, h.begin, (size_t)(h.end - h.begin)));
    text_add(&out, "%s", p);
    return name_of(r->px->cx->names, out.data);
}

static void move_keys(Run *r, Node *n)
{
    static const AttrId keys[] = {ATTR_key, ATTR_gain};
    for (int i = 0; i < 2; i++)
        if (attr_name(n, keys[i]))
            attr_set_name(r->px->cx, n, keys[i], moved_key(r, attr_name(n, keys[i])));
    if (n->scope)
        n->scope = moved_key(r, n->scope);
}

static int cache_number(const Graph *model, const Node *append)
{
    const char *name = attr_name(append, ATTR_cache);
    for (int i = 0; i < model->n_caches; i++)
        if (name && !strcmp(model->caches[i].name, name))
            return i;
    return -1;
}

/* The layer of a cache: counted from 0 in the run's own cache, from `first` in one that is shared. */
static void move_layer(Run *r, Node *n, const Node *old)
{
    Context *cx = r->px->cx;
    int number = cache_number(graph_model(r->loop->graph), old);
    if (number >= 0 && r->cache[number]) {
        attr_set_name(cx, n, ATTR_cache, r->cache[number]);
        return;
    }
    if (old->inputs[1]->op != OP_index)
        return; /* a formula of the round: it was moved itself */
    const Attr *start = node_attr(old, ATTR_start);
    Extent at = start ? start->extent : extent_const(0);
    at.base += r->first;
    attr_set_extent(cx, n, ATTR_start, at);
}

static void copy_body(Run *r, const Graph *from, Graph *to);

static void copy_node(Run *r, Node *old, Graph *g)
{
    Context *cx = r->px->cx;
    bool round = g == r->copy->body;
    Node **inputs = arena_array(cx->arena, (size_t)old->n_inputs + 1, sizeof *inputs);
    for (int i = 0; i < old->n_inputs; i++) {
        inputs[i] = copied(r, old->inputs[i]);
        bool layer = old->op == OP_append && i == 1;
        if (old->inputs[i]->op == OP_index && !layer && r->first)
            inputs[i] = r->moved;
    }
    Node *n = node_new(cx, g, old->op, old->type, old->n_inputs, inputs);
    n->name = old->name;
    n->at = old->at;
    n->via = old->via;
    n->scope = old->scope;
    attrs_copy(cx, n, old);
    r->to[old->id] = n;
    if (old->op == OP_weight)
        move_keys(r, n);
    else if (round && n->scope)
        n->scope = moved_key(r, n->scope);
    if (old->op == OP_append)
        move_layer(r, n, old);
    if (old->body)
        copy_body(r, old->body, graph_body(cx, n, old->body->level));
}

static void copy_body(Run *r, const Graph *from, Graph *to)
{
    Context *cx = r->px->cx;
    for (Node *n = from->first; n; n = n->next) {
        copy_node(r, n, to);
        if (n->op != OP_index || !r->first)
            continue;
        Node *first = node_new(cx, to, OP_const, n->type, 0, NULL);
        attr_set_float(cx, first, ATTR_value, (double)r->first);
        Node *both[] = {r->to[n->id], first};
        r->moved = node_new(cx, to, OP_add, n->type, 2, both);
        inherit(r->moved, n);
    }
    for (int i = 0; i < from->n_params; i++)
        graph_add_param(cx, to, r->to[from->params[i]->id]);
    for (int i = 0; i < from->n_results; i++)
        graph_add_result(cx, to, from->results[i].name, copied(r, from->results[i].value), from->results[i].at);
}

/* ---- caches ------------------------------------------------------------------------------------------------------ */

static bool writes_elsewhere(const Graph *g, const Graph *body, const char *cache)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == OP_append && !strcmp(attr_name(n, ATTR_cache), cache) &&
            (g != body || n->inputs[1]->op != OP_index || node_attr(n, ATTR_start)))
            return true;
        if (n->body && n->body->level != LEVEL_BODY && writes_elsewhere(n->body, body, cache))
            return true;
    }
    return false;
}

static bool writes(const Graph *body, const char *cache)
{
    for (const Node *n = body->first; n; n = n->next)
        if (n->op == OP_append && !strcmp(attr_name(n, ATTR_cache), cache))
            return true;
    return false;
}

/* The run's own caches. Those of the first run take the places of the old ones. */
static void make_caches(Run *r, int n_old, bool *own)
{
    Context *cx = r->px->cx;
    Graph *model = graph_model(r->loop->graph);
    r->cache = arena_array(cx->arena, (size_t)n_old + 1, sizeof *r->cache);
    for (int i = 0; i < n_old; i++) {
        if (!own[i])
            continue;
        Cache c = model->caches[i];
        c.layers = r->count;
        if (r->first) {
            c.name = name_of(cx->names, arena_print(cx->arena, "%s.from%lld", c.name, (long long)r->first));
            model->caches =
                arena_grow(cx->arena, model->caches, (size_t)model->n_caches, (size_t)model->n_caches + 1, sizeof c);
            model->caches[model->n_caches++] = c;
        } else {
            model->caches[i] = c;
        }
        r->cache[i] = c.name;
    }
}

/* ---- runs -------------------------------------------------------------------------------------------------------- */

static bool same_choice(const LinearizePlan *plan, const LinearizePieces *pieces, const Node *loop, int64_t round)
{
    for (size_t i = 0; i < pieces->count; i++) {
        const LinearizePiece *p = &pieces->items[i];
        const LinearizeSite *s = &plan->sites[p->site];
        if (p->attend->graph != loop->body || !s->choice)
            continue;
        for (int64_t h = 0; h < s->heads; h++)
            if (s->choice[(round - 1) * s->heads + h] != s->choice[round * s->heads + h])
                return false;
    }
    return true;
}

/* The values that leave a repeat, before `where`. */
static void values_of(PassContext *px, Node *where, Node *loop, Node **out)
{
    for (int i = 0; i < loop->n_inputs; i++)
        out[i] = loop->type ? loop : make_get(px, where, loop, i, loop);
}

static void replace_loop(Node *loop, Node **values)
{
    if (loop->type) {
        node_replace(loop, values[0]);
        return;
    }
    for (Node *n = loop->next, *next; n; n = next) {
        next = n->next;
        if (n->op != OP_get || n->inputs[0] != loop)
            continue;
        Node *value = values[attr_int(n, ATTR_index, 0)];
        value->name = n->name;
        node_replace(n, value);
        node_remove(n);
    }
}

static void move_pieces(Run *r, LinearizePieces *pieces, size_t n_old)
{
    for (size_t i = 0; i < n_old; i++) {
        LinearizePiece p = pieces->items[i];
        if (p.attend->graph != r->loop->body)
            continue;
        p.attend = r->to[p.attend->id];
        p.first = r->first;
        pieces->items = arena_room(r->px->cx->arena, pieces->items, pieces->count, &pieces->capacity, sizeof p);
        pieces->items[pieces->count++] = p;
    }
}

static void split_loop(PassContext *px, Node *loop, const LinearizePlan *plan, LinearizePieces *pieces)
{
    Context *cx = px->cx;
    Graph *model = graph_model(loop->graph);
    int64_t rounds = attr_int(loop, ATTR_count, 0);
    int n_caches = model->n_caches;
    size_t n_pieces = pieces->count;
    bool *own = arena_array(cx->arena, (size_t)n_caches + 1, sizeof *own);
    for (int i = 0; i < n_caches; i++)
        own[i] = model->caches[i].layers == rounds && writes(loop->body, model->caches[i].name) &&
                 !writes_elsewhere(model, loop->body, model->caches[i].name);
    Node **values = arena_array(cx->arena, (size_t)loop->n_inputs + 1, sizeof *values);
    for (int i = 0; i < loop->n_inputs; i++)
        values[i] = loop->inputs[i];
    for (int64_t first = 0, next; first < rounds; first = next) {
        for (next = first + 1; next < rounds && same_choice(plan, pieces, loop, next);)
            next++;
        Run r = {.px = px, .loop = loop, .first = first, .count = next - first, .n_to = model->next_id};
        r.to = arena_array(cx->arena, (size_t)r.n_to + 1, sizeof *r.to);
        make_caches(&r, n_caches, own);
        r.copy = node_before(cx, loop, OP_repeat, loop->type, loop->n_inputs, values);
        inherit(r.copy, loop);
        attrs_copy(cx, r.copy, loop);
        attr_set_int(cx, r.copy, ATTR_count, r.count);
        copy_body(&r, loop->body, graph_body(cx, r.copy, loop->body->level));
        move_pieces(&r, pieces, n_pieces);
        values_of(px, loop, r.copy, values);
    }
    replace_loop(loop, values);
    for (size_t i = 0; i < n_pieces; i++)
        if (pieces->items[i].attend->graph == loop->body)
            pieces->items[i].attend = NULL; /* its copies stand for it */
    node_remove(loop);
}

static bool differs(const LinearizePlan *plan, const LinearizePieces *pieces, const Node *loop)
{
    for (int64_t r = 1; r < attr_int(loop, ATTR_count, 0); r++)
        if (!same_choice(plan, pieces, loop, r))
            return true;
    return false;
}

void linearize_split(PassContext *px, Graph *model, const LinearizePlan *plan, LinearizePieces *pieces)
{
    for (Node *n = model->first, *next; n; n = next) {
        next = n->next;
        if (n->op == OP_repeat && differs(plan, pieces, n))
            split_loop(px, n, plan, pieces);
    }
    size_t kept = 0;
    for (size_t i = 0; i < pieces->count; i++)
        if (pieces->items[i].attend)
            pieces->items[kept++] = pieces->items[i];
    pieces->count = kept;
    graph_count_uses(model);
}
