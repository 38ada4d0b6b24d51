/* map and append: a body element by element, with the last axis in vectors; rotate pairs; copies into caches. */
#include "codegen/nest.h"

#include <stdlib.h>
#include <string.h>

typedef struct Stores {                 /* results on the same axes, stored in one go */
    const Node *value[MAX_RANK];
    Access to[MAX_RANK];
    int n;
    const Axis *last;
    Axis pair;                          /* rotate: the axis that holds the pairs */
    int64_t pairs;                      /* how many there are; behind them values stay as they are */
} Stores;

static void store_all(Nest *nest, void *state) {
    Stores *s = state;
    for (int i = 0; i < s->n; i++)
        nest_store(nest, &s->to[i], nest_value(nest, s->value[i]));
}

static void store_copy(Nest *nest, void *state) {
    const Access *both = state;
    nest_store(nest, &both[1], nest_load(nest, &both[0]));
}

/* ---- rotate ----------------------------------------------------------------------------------------------------------------------- */

static const char *shifted(Nest *nest, const char *var, int64_t by) {
    Arena *a = nest->k->e->cx->arena;
    if (var[strspn(var, "0123456789")] == 0)
        return arena_print(a, "%lld", strtoll(var, NULL, 10) + (long long)by);
    return arena_print(a, "%s + %lld", var, (long long)by);
}

static Operand put_local(Nest *nest, const char *hint, Operand o) {
    const char *name = scope_name(&nest->k->names, hint);
    put_line(nest->k, "const %s %s = %s;", o.vector ? "lanes" : "float", name, o.text);
    return operand_of(name, BINDS_ALL, o.vector, o.dtype);
}

/* x of a pair; the parameter is read again at another position, so its value is not remembered. */
static Operand pair_part(Nest *nest, const Node *x) {
    size_t done = nest->printer.n_done;
    Operand o = nest_value(nest, x);
    nest->printer.n_done = done;
    return o;
}

/* One vector of pairs. The loop runs along the pairs: the lane axis is the tables', and x's own axis is put at the two parts. */
static void store_rotated(Nest *nest, void *state) {
    Stores *s = state;
    Arena *a = nest->k->e->cx->arena;
    const Node *n = s->value[0];
    bool interleaved = attr_bool(n, ATTR_interleave, false);
    const char *var = nest->loop[nest->n_loops - 1].var, *tables_lane = nest->lane, *text[2];
    Operand c = put_local(nest, "cosine", nest_value(nest, n->inputs[1])), si = put_local(nest, "sine", nest_value(nest, n->inputs[2])), part[2];
    Loop *pair = nest_loop(nest, &s->pair, NULL);
    for (int i = 0; i < 2; i++) {
        if (interleaved)
            text[i] = arena_print(a, i ? "2 * %s + 1" : "2 * %s", var);
        else
            text[i] = i ? shifted(nest, var, s->pairs) : var;
        pair->var = text[i];
        nest->lane = interleaved ? NULL : s->pair.name;
        part[i] = put_local(nest, i ? "y" : "x", pair_part(nest, n->inputs[0]));
    }
    for (int i = 0; i < 2; i++) {
        pair->var = text[i];
        const char *value = arena_print(a, i ? "%s * %s + %s * %s" : "%s * %s - %s * %s", part[i].text, c.text, part[1 - i].text, si.text);
        nest_store(nest, &s->to[0], operand_of(value, BINDS_SUM, c.vector || si.vector || part[0].vector, DT_F32));
    }
    nest->lane = tables_lane;
    nest->n_loops--;
}

/* What lies behind the pairs. */
static void store_kept(Nest *nest, void *state) {
    Stores *s = state;
    Loop *rest = &nest->loop[nest->n_loops - 1];
    const char *var = rest->var;
    rest->var = shifted(nest, var, 2 * s->pairs);
    nest_store(nest, &s->to[0], pair_part(nest, s->value[0]->inputs[0]));
    rest->var = var;
}

static void put_rotation(Nest *nest, Stores *s) {
    const Type *table = s->value[0]->inputs[1]->type;
    s->pair = *s->last;
    Axis pairs = table->axis[table->rank - 1], rest = s->pair;
    s->pairs = pairs.size.base;
    if (attr_bool(s->value[0], ATTR_interleave, false))
        nest_plain_loop(nest, &pairs, store_rotated, s);
    else
        nest_lanes(nest, &pairs, store_rotated, s);
    rest.size.base -= 2 * s->pairs;
    if (rest.size.base)
        nest_lanes(nest, &rest, store_kept, s);
}

/* ---- stores ------------------------------------------------------------------------------------------------------------------------------ */

static void put_stores(Nest *nest, const Type *type, Stores *s) {
    const Access *extra[MAX_RANK];
    for (int i = 0; i < s->n; i++)
        extra[i] = &s->to[i];
    int rank = type->rank;
    nest_rows(nest, type->axis, rank ? rank - 1 : 0, extra, s->n);
    s->last = rank ? &type->axis[rank - 1] : NULL;
    if (s->value[0]->op == OP_rotate)
        put_rotation(nest, s);
    else if (rank)
        nest_lanes(nest, s->last, store_all, s);
    else
        store_all(nest, s);
    nest_end_rows(nest);
}

static void describe(Kernel *k, const char *name, int result, const Type *type) {
    text_add(&k->comment, "%s = ", name);
    expression_print(k->node->body, result, &k->comment);
    text_add(&k->comment, "   ");
    type_print(type, &k->comment);
    text_char(&k->comment, '\n');
}

void emit_map(Kernel *k) {
    const Graph *body = k->node->body;
    Nest nest;
    if (!nest_begin(&nest, k, -1))
        return;
    for (int r = 0; r < body->n_results;) {
        Stores s = {0};
        const Type *type = body->results[r].value->type;
        for (; r < body->n_results && s.n < MAX_RANK && (!s.n || type_same_axes(type, body->results[r].value->type)); r++) {
            const Node *value = body->results[r].value, *get = kernel_get(k->node, r);
            if (s.n && (value->op == OP_rotate || s.value[0]->op == OP_rotate))
                break;
            if (!get)
                continue;
            describe(k, get->name, r, get->type);
            s.value[s.n] = value;
            if (!kernel_result(k, get, &s.to[s.n++]))
                return;
        }
        if (s.n)
            put_stores(&nest, type, &s);
    }
}

/* The cache from position `past` on, with the axes' names of the value that goes there. */
static bool cache_target(Kernel *k, const Type *value, Access *to) {
    const Node *n = k->node;
    if (!kernel_result(k, n, to))
        return false;
    const Cache *cache = &k->e->model->caches[n->place.index];
    Extent past;
    if (!extent_sub(n->type->axis[cache->growing].size, value->axis[cache->growing].size, &past)) {
        emit_fail(k->e, n, "the position it writes at is not an affine size");
        return false;
    }
    for (int i = 0; i < to->rank; i++)
        to->axis[i].name = value->axis[i].name;
    if (extent_is_const(past) && !past.base)
        return true;
    const char *at = kernel_size(k, past);
    if (to->panels) {
        to->shift = at;
        return true;
    }
    Text t = text_new(k->e->cx->arena);
    text_add(&t, "%s", to->name);
    address_term(k, &t, at, to->axis[cache->growing].stride);
    to->name = t.data;
    return true;
}

void emit_append(Kernel *k) {
    const Node *n = k->node;
    Nest nest;
    Access both[2];
    const Type *type = n->body ? n->body->results[0].value->type : n->inputs[0]->type;
    if (n->place.kind != PLACE_CACHE) {
        emit_fail(k->e, n, "its place is not a cache");
        return;
    }
    if (!nest_begin(&nest, k, 1) || (!n->body && !kernel_read(k, n->inputs[0], &both[0])) || !cache_target(k, type, &both[1]))
        return;
    const Cache *cache = &k->e->model->caches[n->place.index];
    text_add(&k->comment, "%s from position past on: ", cache->name);
    if (n->body)
        expression_print(n->body, 0, &k->comment);
    else
        text_add(&k->comment, "%s", n->inputs[0]->name);
    text_add(&k->comment, "   ");
    type_print(type, &k->comment);
    text_char(&k->comment, '\n');
    if (n->body) {
        Stores s = {.value = {n->body->results[0].value}, .to = {both[1]}, .n = 1};
        put_stores(&nest, type, &s);
        return;
    }
    const Access *extra[2] = {&both[0], &both[1]};
    nest_rows(&nest, type->axis, type->rank - 1, extra, 2);
    nest_lanes(&nest, &type->axis[type->rank - 1], store_copy, both);
    nest_end_rows(&nest);
}
