/* Tables looked up inside attend's body: a relative bias is bias[bucket(j - i), h], read per score and never built as
 * a matrix of queries by keys. A table may have rows for each query or key of its own. Keys that do not exist look
 * nothing up: their positions could lie outside of the table. */
#include "codegen/attend_inside.h"

/* table[ids] for a vector of keys: another row of the table in each lane. */
static Operand looked_up(Attend *a, BodyPrinter *b, const Node *n)
{
    Kernel *k = a->k;
    const Node *table = n->inputs[0], *ids = n->inputs[1];
    const Operand none = operand_of("0", BINDS_ALL, false, DT_F32);
    Access x;
    if (table->op != OP_param || type_find(ids->type, a->key_axis) < 0) {
        emit_fail(k->e, k->node, "its body looks up rows that do not differ from key to key");
        return none;
    }
    if (!kernel_read(k, k->node->inputs[attr_int(table, ATTR_index, 0) + 2], &x))
        return none;
    const AccessAxis *looked_up = access_axis(&x, node_attr(n, ATTR_over)->names.items[0]);
    if ((x.dtype != DT_F32 && x.dtype != DT_I32) || !looked_up) {
        emit_fail(k->e, k->node, "it looks up a table that is neither f32 nor i32");
        return none;
    }
    const AccessAxis rows = *looked_up;
    x.axis[looked_up - x.axis].name = NULL; /* queries or heads may have an axis of the same name */
    const AccessAxis *keys = access_axis(&x, a->key_axis);
    Operand at = operand_vector(k, attend_value(a, b, ids));
    const char *text = arena_print(k->e->cx->arena, "%s(%s, %s, %s, %s, %s - t, %s, -1, %s)",
                                   x.dtype == DT_F32 ? "look_up_part" : "look_up_ints", attend_address(a, &x, keys ? "t" : NULL), kernel_stride(k, rows.stride),
                                   keys ? kernel_stride(k, keys->stride) : "0", at.text, a->positions,
                                   kernel_size(k, rows.size), kernel_fault(k));
    return operand_of(text, BINDS_ALL, true, x.dtype);
}

static void define_lookups(Attend *a, BodyPrinter *b, const Node *n)
{
    for (size_t i = 0; i < b->n_done; i++)
        if (b->done[i] == n)
            return;
    if (n->op == OP_gather) {
        body_define(b, n, looked_up(a, b, n));
        return;
    }
    for (int i = 0; i < n->n_inputs; i++)
        define_lookups(a, b, n->inputs[i]);
}

Operand attend_value(Attend *a, BodyPrinter *b, const Node *n)
{
    define_lookups(a, b, n);
    return body_value(b, n);
}
