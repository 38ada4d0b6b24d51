/* lower: GRAPH -> KERNEL. All decisions are made; what no fusion took becomes a kernel of its own.
 *
 *     dot(x, weight)                    ->  gemm           (a product of two computed values stays a dot)
 *     elementwise, lookup, rotate       ->  map
 *     softmax, reduction of the row     ->  rowwise        (over another axis: through a transpose)
 *     reduction over other axes         ->  reduce         (over several, the last among them: two steps)
 *     const, iota, extent as a value    ->  map
 *
 * Then lower_layout.c puts in copies where a kernel needs its operand laid out differently, and the two sides of each
 * choice are put together. */
#include "passes/linear.h"

Node *copy_before(PassContext *px, Node *where, Node *value)
{
    Node *copy = kernel_before(px, where, OP_map, value);
    Builder b = builder_new(px, copy, NULL, NULL);
    graph_add_result(px->cx, copy->body, NULL,
                     is_inline_leaf(value) ? builder_value(&b, value) : builder_input(&b, value), copy->at);
    kernel_finish(px, copy);
    return copy;
}

static void replace(Node *old, Node *with)
{
    node_replace(old, with);
    node_remove(old);
}

/* ---- reductions the kernels do not do at once -------------------------------------------------------------------- */

/* softmax over an axis that is not the last: the same with that axis last. */
static void softmax_last(PassContext *px, Node *n)
{
    const Type *t = n->type;
    const char *axis = node_attr(n, ATTR_over)->names.items[0];
    int at = type_find(t, axis);
    if (at == t->rank - 1)
        return;
    Type order = {.dtype = t->dtype};
    for (int i = 0; i < t->rank; i++)
        if (i != at)
            order.axis[order.rank++] = t->axis[i];
    order.axis[order.rank++] = t->axis[at];
    Node *x = make_transposed(px, n, n->inputs[0], type_new(px->cx, order.dtype, order.rank, order.axis));
    Node *r = make_over(px, n, OP_softmax, NULL, 1, &x, &axis, 1, n);
    if (is_kept(n))
        attr_set_bool(px->cx, r, ATTR_keep, true);
    replace(n, make_transposed(px, n, r, t));
}

/* sum over (S, D) with D last: sum over D, then over S. */
static void split_reduction(PassContext *px, Node *n)
{
    const Attr *over = node_attr(n, ATTR_over);
    const Type *in = n->inputs[0]->type;
    const char *rest[MAX_RANK], *last = in->axis[in->rank - 1].name;
    int n_rest = 0;
    if (over->names.count < 2 || !attr_has_name(n, ATTR_over, last))
        return;
    for (int i = 0; i < over->names.count; i++)
        if (over->names.items[i] != last)
            rest[n_rest++] = over->names.items[i];
    Node *rows = make_over(px, n, n->op, NULL, 1, n->inputs, &last, 1, n),
         *whole = make_over(px, n, n->op, NULL, 1, &rows, rest, n_rest, n);
    rows->name = name_of(px->cx->names, "rows"); /* the whole has the model's name */
    if (is_kept(n))
        attr_set_bool(px->cx, whole, ATTR_keep, true);
    replace(n, whole);
    split_reduction(px, whole);
}

static void prepare(PassContext *px, Graph *g)
{
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            prepare(px, n->body);
        if (n->op == OP_softmax)
            softmax_last(px, n);
        else if (op_info[n->op].class == CLASS_REDUCE)
            split_reduction(px, n);
    }
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

static void lower_node(PassContext *px, Node *n)
{
    Product p;
    Group g;
    if (product_fits(n, &p)) {
        gemm_build(px, n, &p, 1);
        return;
    }
    if (!group_start(px, n, &g))
        return;
    group_build(&g);
    node_remove(n);
}

static void lower_graph(PassContext *px, Graph *g)
{
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            lower_graph(px, n->body);
        if (n->type)
            lower_node(px, n);
    }
    g->level = LEVEL_KERNEL;
}

/* A leaf that is read as if it lay in memory: by a view, a product, a kernel's input, or as a result. A layer number
 * may stay one. */
static bool read_from_memory(const Node *reader, int i)
{
    return !(reader->op == OP_append && i == 1) && i != role_input(reader, "layer");
}

static void store_leaf(PassContext *px, Node *leaf)
{
    Node *stored = NULL;
    for (Node *r = leaf->next; r; r = r->next)
        for (int i = 0; i < r->n_inputs; i++) {
            if (r->inputs[i] != leaf || !read_from_memory(r, i))
                continue;
            if (!stored)
                stored = copy_before(px, leaf, leaf);
            r->inputs[i] = stored;
        }
    bool outside = read_as_result(leaf);
    for (Node *r = leaf->next; r && !outside; r = r->next)
        outside = r->body && r->body->level != LEVEL_BODY && is_read_in(leaf, r->body);
    if (!outside)
        return;
    if (!stored)
        stored = copy_before(px, leaf, leaf);
    Node *param = stored->body->results[0].value;
    node_replace(leaf, stored);
    stored->body->results[0].value = param;
}

static void store_leaves(PassContext *px, Graph *g)
{
    for (Node *n = g->first; n; n = n->next) {
        if (n->body && n->body->level != LEVEL_BODY)
            store_leaves(px, n->body);
        if (is_inline_leaf(n))
            store_leaf(px, n);
    }
}

/* ---- choices ----------------------------------------------------------------------------------------------------- */

static bool state_between(const Node *n, const Node *end)
{
    for (; n != end; n = n->next)
        if (node_has_state(n))
            return true;
    return false;
}

/* What only one side of a choice needs stands together right before it, the few rows' side first, so that one `if`
 * skips it; but nothing moves past a write to a cache. */
static void gather_sides(PassContext *px, Graph *g)
{
    const Chooser *of = choosers_of(px->cx->arena, g);
    for (Node *n = g->first, *next; n; n = next) {
        next = n->next;
        if (n->body && n->body->level != LEVEL_BODY)
            gather_sides(px, n->body);
        if (n->op != OP_choose)
            continue;
        for (int side = 0; side < 2; side++) {
            Node *end = n->prev, *m = g->first, *after;
            for (bool more = true; more; m = after) {
                after = m->next;
                more = m != end;
                if (of[m->id].choose == n && of[m->id].few == (side == 0) && !state_between(m, n))
                    node_move_before(m, n);
            }
        }
    }
}

bool pass_lower(PassContext *px, Graph *model)
{
    if (linear_masks_expand(px, model))
        remove_dead(model);
    prepare(px, model);
    lower_graph(px, model);
    remove_dead(model);
    store_leaves(px, model);
    lower_layouts(px, model);
    remove_dead(model);
    graph_count_uses(model);
    gather_sides(px, model);
    return true;
}
