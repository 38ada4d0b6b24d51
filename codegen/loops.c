/* concat, and dot of two activations: plain loops, several rows at a time. */
#include "codegen/nest.h"

#include <stdlib.h>
#include <string.h>

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
    const Access *shared, *other;       /* shared: what steps along the lanes */
    Axis over[MAX_RANK];
    int n_over;
} Dot;

/* The C names of the sums, one for each row of the block: what steps along the lanes is read once for all of them. */
static void add_products(Nest *nest, Dot *d, const char *const *sums, const char *row, int rows) {
    Kernel *k = d->k;
    Context *cx = k->e->cx;
    Operand y = nest_load(nest, d->shared);
    if (rows > 1 && y.vector) {
        const char *once = scope_name(&k->names, "once");
        put_line(k, "const lanes %s = %s;", once, y.text);
        y = operand_of(once, BINDS_ALL, true, DT_F32);
    }
    for (int i = 0; i < rows; i++) {
        if (i)
            nest->blocked->var = arena_print(cx->arena, "%s + %d", row, i);
        Operand x = nest_load(nest, d->other);
        put_line(k, "%s += %s * %s;", sums[i], operand_text(cx, x, BINDS_PRODUCT), operand_text(cx, y, BINDS_UNARY));
    }
}

static void over_axes(Nest *nest, Dot *d, int i, const char *const *sums, int rows) {
    Kernel *k = d->k;
    const char *row = nest->blocked ? nest->blocked->var : NULL;
    if (i == d->n_over) {
        add_products(nest, d, sums, row, rows);
        if (rows > 1)
            nest->blocked->var = row;
        return;
    }
    const char *var = nest_var(nest, &d->over[i]);
    put_open(k, "%s", loop_head(k, var, "0", kernel_size(k, d->over[i].size), 1));
    nest_loop(nest, &d->over[i], var);
    over_axes(nest, d, i + 1, sums, rows);
    put_close(k);
    nest->n_loops--;
}

static void sum_rows(Nest *nest, Dot *d, int rows) {
    Kernel *k = d->k;
    const char *sums[MAX_BLOCK] = {0}, *row = rows > 1 ? nest->blocked->var : NULL;
    bool vector = nest->lane != NULL;
    for (int i = 0; i < rows; i++) {
        sums[i] = scope_name(&k->names, "sum");
        put_line(k, vector ? "lanes %s = {0};" : "float %s = 0.0f;", sums[i]);
    }
    over_axes(nest, d, 0, sums, rows);
    for (int i = 0; i < rows; i++) {
        if (i)
            nest->blocked->var = arena_print(k->e->cx->arena, "%s + %d", row, i);
        nest_store(nest, &d->result, operand_of(sums[i], BINDS_ALL, vector, DT_F32));
    }
    if (rows > 1)
        nest->blocked->var = row;
}

static void one_sum(Nest *nest, void *state) { sum_rows(nest, state, 1); }
static void block_of_sums(Nest *nest, void *state) { sum_rows(nest, state, nest->blocked->rows); }

/* Whole blocks of rows, and the last rows one by one. */
static void put_blocks(Nest *nest, Dot *d, const Axis *lanes) {
    Kernel *k = d->k;
    Loop *l = nest->blocked;
    const char *size = nest_size(nest, l), *row = l->var;
    bool whole = strspn(size, "0123456789") == strlen(size) && strtoll(size, NULL, 10) % l->rows == 0;
    if (whole) {
        nest_lanes(nest, lanes, block_of_sums, d);
        return;
    }
    put_open(k, "if (%s + %d <= %s)", row, l->rows, size);
    nest_lanes(nest, lanes, block_of_sums, d);
    k->indent--;
    put_line(k, "} else {");
    k->indent++;
    l->var = scope_name(&k->names, "last");
    put_open(k, "for (ptrdiff_t %s = %s; %s < %s; %s++)", l->var, row, l->var, size, l->var);
    nest_lanes(nest, lanes, one_sum, d);
    put_close(k);
    put_close(k);
    l->var = row;
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
    const char *lane = rank ? type->axis[rank - 1].name : NULL;
    bool both = lane && access_axis(&d.x, lane) && access_axis(&d.y, lane), right = !lane || access_axis(&d.y, lane);
    d.shared = right ? &d.y : &d.x;
    d.other = right ? &d.x : &d.y;
    nest.shared = lane && !both ? d.shared : NULL;
    nest_rows(&nest, type->axis, rank ? rank - 1 : 0, extra, 3);
    if (nest.blocked)
        put_blocks(&nest, &d, &type->axis[rank - 1]);
    else if (rank)
        nest_lanes(&nest, &type->axis[rank - 1], one_sum, &d);
    else
        one_sum(&nest, &d);
    nest_end_rows(&nest);
}
