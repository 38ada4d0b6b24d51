/* Bodies of kernels: values of the graph around are copied in, or become inputs with a parameter each. */
#include "passes/inside.h"

Builder builder_new(PassContext *px, Node *kernel, bool (*inside)(void *, const Node *), void *state)
{
    return (Builder){.px = px, .kernel = kernel, .inside = inside, .state = state};
}

void builder_map(Builder *b, Node *outer, Node *inner)
{
    if (b->n == b->capacity) {
        size_t room = b->capacity ? 2 * b->capacity : 16;
        b->from = arena_grow(b->px->cx->arena, b->from, b->n, room, sizeof *b->from);
        b->to = arena_grow(b->px->cx->arena, b->to, b->n, room, sizeof *b->to);
        b->capacity = room;
    }
    b->from[b->n] = outer;
    b->to[b->n++] = inner;
}

Node *builder_param(Builder *b, const Type *type, const Node *from)
{
    Graph *body = b->kernel->body;
    Node *param = node_new(b->px->cx, body, OP_param, type, 0, NULL);
    inherit(param, from);
    attr_set_int(b->px->cx, param, ATTR_index, body->n_params);
    graph_add_param(b->px->cx, body, param);
    return param;
}

Node *builder_input(Builder *b, Node *outer)
{
    add_input(b->px, b->kernel, outer);
    Node *param = builder_param(b, outer->type, outer);
    builder_map(b, outer, param);
    return param;
}

static Node *copy_into(Builder *b, Node *outer, Node *const *inputs, const Type *declared)
{
    Context *cx = b->px->cx;
    Node *n = node_new(cx, b->kernel->body, outer->op, NULL, outer->n_inputs, inputs);
    inherit(n, outer);
    attrs_copy(cx, n, outer);
    const char *reason = NULL;
    n->type = infer_type(cx, n, declared, &reason);
    return n;
}

/* Operators that commute put the value with the more axes first, as the other one only repeats along them. */
static void wider_first(const Node *outer, Node **inputs)
{
    bool commutes = op_info[outer->op].flags & OPF_COMMUTES && outer->n_inputs == 2;
    if (!commutes || inputs[0]->type->rank >= inputs[1]->type->rank)
        return;
    Node *narrow = inputs[0];
    inputs[0] = inputs[1];
    inputs[1] = narrow;
}

/* What is looked up lies in memory, be it a leaf or something that could be computed in the body. */
static Node *table_of(Builder *b, Node *table)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->from[i] == table && b->to[i]->op == OP_param)
            return b->to[i];
    if (!is_inline_leaf(table))
        return builder_input(b, table);
    add_input(b->px, b->kernel, table);
    return builder_param(b, table->type, table);
}

Node *builder_value(Builder *b, Node *outer)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->from[i] == outer)
            return b->to[i];
    if (outer->op == OP_transpose && b->inside &&
        b->inside(b->state, outer)) { /* axes have names: their order is nobody's business */
        Node *inner = builder_value(b, outer->inputs[0]);
        builder_map(b, outer, inner);
        return inner;
    }
    if (!is_inline_leaf(outer) && !(b->inside && b->inside(b->state, outer)))
        return builder_input(b, outer);
    Node **inputs = arena_array(b->px->cx->arena, (size_t)outer->n_inputs + 1, sizeof *inputs);
    for (int i = 0; i < outer->n_inputs; i++)
        inputs[i] = outer->op == OP_gather && i == 0 ? table_of(b, outer->inputs[0]) : builder_value(b, outer->inputs[i]);
    wider_first(outer, inputs);
    Node *inner = copy_into(b, outer, inputs, outer->type);
    builder_map(b, outer, inner);
    return inner;
}

Node *kernel_before(PassContext *px, Node *where, Op op, const Node *from)
{
    Node *kernel = node_before(px->cx, where, op, NULL, 0, NULL);
    inherit(kernel, from);
    graph_body(px->cx, kernel, LEVEL_BODY);
    return kernel;
}

void kernel_finish(PassContext *px, Node *kernel)
{
    const char *reason = NULL;
    kernel->type = infer_type(px->cx, kernel, kernel->type, &reason);
}
