/* Some heads of an attend: slices of all that has heads, and an attend of those. */
#include "passes/linearize_inside.h"

/* Heads [0, 4) of 8 along `H` are an axis of their own, H_0_4: no other slice has its name. */
static const char *slice_name(PassContext *px, const char *axis, int64_t first, int64_t count)
{
    return name_of(px->cx->names, arena_print(px->cx->arena, "%s_%lld_%lld", axis, (long long)first, (long long)(first + count)));
}

static const Type *sliced_type(PassContext *px, const Type *t, const char *axis, int64_t first, int64_t count)
{
    Type s = *t;
    int at = type_find(t, axis);
    if (at < 0)
        return t;
    s.axis[at] = (Axis){slice_name(px, axis, first, count), extent_const(count)};
    return type_new(px->cx, s.dtype, s.rank, s.axis);
}

static Node *sliced(PassContext *px, Node *where, Node *n, const char *axis, int64_t first, int64_t count)
{
    int at = type_find(n->type, axis);
    if (at < 0 || (extent_is_const(n->type->axis[at].size) && n->type->axis[at].size.base == count))
        return n;
    Node *s = node_before(px->cx, where, OP_slice, sliced_type(px, n->type, axis, first, count), 1, &n);
    inherit(s, n);
    attr_set_name(px->cx, s, ATTR_axis, axis);
    attr_set_extent(px->cx, s, ATTR_start, extent_const(first));
    return s;
}

static Node *sliced_attend(PassContext *px, Node *attend, const char *axis, int64_t first, int64_t count)
{
    Context *cx = px->cx;
    Node **inputs = arena_array(cx->arena, (size_t)attend->n_inputs + 1, sizeof *inputs);
    for (int i = 0; i < attend->n_inputs; i++)
        inputs[i] = sliced(px, attend, attend->inputs[i], axis, first, count);
    Node *n = node_before(cx, attend, OP_attend, sliced_type(px, attend->type, axis, first, count), attend->n_inputs, inputs);
    inherit(n, attend);
    attrs_copy(cx, n, attend);
    Graph *body = graph_body(cx, n, LEVEL_BODY);
    Node **to = arena_array(cx->arena, (size_t)graph_model(attend->graph)->next_id + 1, sizeof *to);
    for (Node *m = attend->body->first; m; m = m->next) {
        Node **from = arena_array(cx->arena, (size_t)m->n_inputs + 1, sizeof *from);
        for (int i = 0; i < m->n_inputs; i++)
            from[i] = to[m->inputs[i]->id];
        Node *c = node_new(cx, body, m->op, sliced_type(px, m->type, axis, first, count), m->n_inputs, from);
        inherit(c, m);
        attrs_copy(cx, c, m);
        to[m->id] = c;
    }
    for (int i = 0; i < attend->body->n_params; i++)
        graph_add_param(cx, body, to[attend->body->params[i]->id]);
    graph_add_result(cx, body, NULL, to[attend->body->results[0].value->id], attend->body->results[0].at);
    return n;
}

/* The heads of a piece from `head` on that are chosen alike. */
static int64_t run_of(const LinearizeSite *site, const LinearizePiece *p, int64_t head)
{
    const int *choice = &site->choice[p->first * site->heads];
    int64_t end = head + 1;
    while (end < p->head + p->heads && choice[end] == choice[head])
        end++;
    return end - head;
}

static void add_piece(PassContext *px, LinearizePieces *pieces, LinearizePiece p)
{
    pieces->items = arena_room(px->cx->arena, pieces->items, pieces->count, &pieces->capacity, sizeof p);
    pieces->items[pieces->count++] = p;
}

static void cut(PassContext *px, const LinearizeSite *site, LinearizePieces *pieces, size_t at)
{
    LinearizePiece whole = pieces->items[at];
    Node *attend = whole.attend;
    Node **parts = arena_array(px->cx->arena, (size_t)site->heads, sizeof *parts);
    int n = 0;
    for (int64_t head = 0, count; head < site->heads; head += count) {
        LinearizePiece p = whole;
        count = run_of(site, &whole, head);
        p.attend = parts[n++] = sliced_attend(px, attend, site->head_axis, head, count);
        p.head = head;
        p.heads = count;
        p.head_axis = slice_name(px, site->head_axis, head, count);
        add_piece(px, pieces, p);
    }
    Node *all = node_before(px->cx, attend, OP_concat, attend->type, n, parts);
    inherit(all, attend);
    attr_set_name(px->cx, all, ATTR_axis, site->head_axis);
    node_replace(attend, all);
    node_remove(attend);
    pieces->items[at].attend = NULL;
}

void linearize_cut(PassContext *px, const LinearizePlan *plan, LinearizePieces *pieces)
{
    size_t old = pieces->count, kept = 0;
    for (size_t i = 0; i < old; i++) {
        const LinearizeSite *site = &plan->sites[pieces->items[i].site];
        if (site->choice && run_of(site, &pieces->items[i], 0) < site->heads)
            cut(px, site, pieces, i);
    }
    for (size_t i = 0; i < pieces->count; i++)
        if (pieces->items[i].attend)
            pieces->items[kept++] = pieces->items[i];
    pieces->count = kept;
}
