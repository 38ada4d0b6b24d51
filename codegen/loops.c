/* concat, and dot of two activations: plain loops. */
#include "codegen/nest.h"

/* ---- concat: each part is copied to its place ---------------------------------------------------------------------------------------- */

static void store_part_of(Nest *nest, void *state) {
    const Access *both = state;
    nest_store(nest, &both[1], nest_load(nest, &both[0]));
}

static void put_part(Nest *nest, const Access *both, const Type *type) {
    const Access *extra[2] = {&both[0], &both[1]};
    Access copies[2] = {both[0], both[1]};
    nest_rows(nest, type->axis, type->rank - 1, extra, 2);
    nest_lanes(nest, &type->axis[type->rank - 1], store_part_of, copies);
    nest_end_rows(nest);
}

void emit_concat(Kernel *k) {
    const Node *n = k->node;
    Nest nest;
    Access both[2], whole;
    Extent at = extent_const(0);
    int axis = type_find(n->type, attr_name(n, ATTR_axis));
    if (!nest_begin(&nest, k, -1) || !kernel_result(k, n, &whole))
        return;
    text_add(&k->comment, "%s = ", n->name);
    for (int i = 0; i < n->n_inputs; i++)
        text_add(&k->comment, "%s%s", i ? " then " : "", n->inputs[i]->name);
    text_add(&k->comment, " along %s   ", n->type->axis[axis].name);
    type_print(n->type, &k->comment);
    text_char(&k->comment, '\n');
    for (int i = 0; i < n->n_inputs; i++) {
        const Type *type = n->inputs[i]->type;
        if (!kernel_read(k, n->inputs[i], &both[0]))
            return;
        both[1] = whole;
        both[1].axis[axis].name = type->axis[axis].name;
        both[1].axis[axis].size = type->axis[axis].size;
        Text name = text_new(k->e->cx->arena);
        text_add(&name, "%s", whole.name);
        if (!extent_is_const(at) || at.base)
            address_term(k, &name, kernel_size(k, at), whole.axis[axis].stride);
        both[1].name = name.data;
        put_part(&nest, both, type);
        if (!extent_add(at, type->axis[axis].size, &at))
            emit_fail(k->e, n, "the sizes along its axis cannot be added");
    }
}

void emit_copy(Kernel *k, const Node *from, const Node *to) {
    Nest nest;
    Access both[2];
    const Type *type = to->type;
    if (!nest_begin(&nest, k, -1) || !kernel_read(k, from, &both[0]) || !kernel_result(k, to, &both[1]))
        return;
    if (type->rank)
        put_part(&nest, both, type);
    else
        emit_fail(k->e, to, "a single number is carried from round to round");
}

/* ---- dot -------------------------------------------------------------------------------------------------------------------------------- */

typedef struct Dot {
    Kernel *k;
    Access x, y, result;
    Axis over[MAX_RANK];
    int n_over;
} Dot;

static void over_axes(Nest *nest, Dot *d, int i, const char *sum) {
    Kernel *k = d->k;
    if (i == d->n_over) {
        Operand x = nest_load(nest, &d->x), y = nest_load(nest, &d->y);
        put_line(k, "%s += %s * %s;", sum, operand_text(k->e->cx, x, BINDS_PRODUCT), operand_text(k->e->cx, y, BINDS_UNARY));
        return;
    }
    const char *var = nest_var(nest, &d->over[i]);
    put_line(k, "%s", loop_head(k, var, "0", kernel_size(k, d->over[i].size), 1));
    nest_loop(nest, &d->over[i], var);
    k->indent++;
    over_axes(nest, d, i + 1, sum);
    k->indent--;
    nest->n_loops--;
}

static void one_sum(Nest *nest, void *state) {
    Dot *d = state;
    const char *sum = scope_name(&d->k->names, "sum");
    bool vector = nest->lane != NULL;
    put_line(d->k, vector ? "lanes %s = {0};" : "float %s = 0.0f;", sum);
    over_axes(nest, d, 0, sum);
    nest_store(nest, &d->result, operand_of(sum, BINDS_ALL, vector, DT_F32));
}

void emit_dot(Kernel *k) {
    const Node *n = k->node;
    Dot d = {.k = k};
    Nest nest;
    if (!nest_begin(&nest, k, -1) || !kernel_read(k, n->inputs[0], &d.x) || !kernel_read(k, n->inputs[1], &d.y) || !kernel_result(k, n, &d.result))
        return;
    const Type *x = n->inputs[0]->type, *type = n->type;
    text_add(&k->comment, "%s = sum of %s * %s over ", n->name, n->inputs[0]->name, n->inputs[1]->name);
    for (int i = 0; i < x->rank; i++)
        if (attr_has_name(n, ATTR_over, x->axis[i].name)) {
            text_add(&k->comment, "%s%s", d.n_over ? ", " : "", x->axis[i].name);
            d.over[d.n_over++] = x->axis[i];
        }
    text_add(&k->comment, "   ");
    type_print(type, &k->comment);
    text_char(&k->comment, '\n');
    const Access *extra[3] = {&d.x, &d.y, &d.result};
    int rank = type->rank;
    nest_rows(&nest, type->axis, rank ? rank - 1 : 0, extra, 3);
    if (rank)
        nest_lanes(&nest, &type->axis[rank - 1], one_sum, &d);
    else
        one_sum(&nest, &d);
    nest_end_rows(&nest);
}
