/* Random well-typed GRAPH-level models: the state of the generator, chance, making nodes and weights.
 *
 * A model grows from its inputs by one random step at a time; every step takes what it needs from the pools of values
 * made so far. Magnitudes are tracked so that values stay moderate. The same seed gives the same model. */
#ifndef ATTAR_TESTS_RANDOM_BASE_H
#define ATTAR_TESTS_RANDOM_BASE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ir/interpret.h"

typedef struct GenValue {
    Node *node;
    double size; /* rough bound of the magnitude */
} GenValue;

enum { GEN_VALUES = 110, GEN_NUMBERS = 40, GEN_WEIGHTS = 300, GEN_ROUNDS = 3, GEN_CAPACITY = 64 };

typedef struct Gen {
    Context *cx;
    Graph *model, *here; /* here: the graph that grows, the model or a repeat body */
    uint64_t state;
    const Symbol *b, *s, *past;
    GenValue pool[GEN_VALUES + 20], ints[GEN_NUMBERS + 10]; /* f32 and i32 */
    Node *bools[GEN_NUMBERS + 10];
    int n_pool, n_ints, n_bools;
    Node *keep, *ids, *index;        /* index: the layer number, NULL outside of repeats */
    HostTensor weights[GEN_WEIGHTS]; /* f32, all layers spelled out */
    int n_weights;
    int next_weight, next_cache;
    int kept_one_in;    /* how often @keep asks for a value; 0: never */
    bool sums_over_two; /* a product sums over two axes: kernels may sum in another order */
} Gen;

/* ---- chance ------------------------------------------------------------------------------------------------------ */

static inline uint64_t gen_next(Gen *g)
{
    g->state += 0x9e3779b97f4a7c15u;
    uint64_t z = g->state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline int gen_below(Gen *g, int n)
{
    return (int)(gen_next(g) % (uint64_t)n);
}

static inline bool gen_one_in(Gen *g, int n)
{
    return gen_below(g, n) == 0;
}

static inline double gen_unit(Gen *g)
{
    return (double)(gen_next(g) >> 11) * 0x1p-53 * 2 - 1;
}

/* ---- axes and types ---------------------------------------------------------------------------------------------- */

static inline const char *gen_name(Gen *g, const char *name)
{
    return name_of(g->cx->names, name);
}

static inline Axis gen_axis(Gen *g, const char *name, int64_t size)
{
    return (Axis){gen_name(g, name), extent_const(size)};
}

static inline Axis gen_symbol_axis(Gen *g, const char *name, const Symbol *symbol)
{
    return (Axis){gen_name(g, name), extent_symbol(symbol)};
}

static inline const Type *gen_type(Gen *g, DType dtype, int rank, const Axis *axes)
{
    return type_new(g->cx, dtype, rank, axes);
}

static inline bool gen_axes_within(const Type *small, const Type *large)
{
    for (int i = 0; i < small->rank; i++) {
        int at = type_find(large, small->axis[i].name);
        if (at < 0 || !extent_equal(small->axis[i].size, large->axis[at].size))
            return false;
    }
    return true;
}

static inline Axis gen_last(const Type *t)
{
    return t->axis[t->rank - 1];
}

static inline bool gen_last_const(const Type *t)
{
    return t->rank > 0 && extent_is_const(gen_last(t).size);
}

/* [B, S, constant]: what attention and rotary positions start from. */
static inline bool gen_is_rows(Gen *g, const Type *t)
{
    return t->rank == 3 && t->axis[0].name == gen_name(g, "B") && t->axis[1].name == gen_name(g, "S") &&
           gen_last_const(t);
}

/* A constant axis whose name `t` does not have. */
static inline Axis gen_new_axis(Gen *g, const Type *t)
{
    static const struct {
        const char *name;
        int64_t size;
    } axes[] = {{"E", 7}, {"F", 33}, {"I", 24}, {"M", 16}, {"N", 50}, {"Q", 1}, {"X", 8}};
    for (;;) {
        int i = gen_below(g, 7);
        Axis a = gen_axis(g, axes[i].name, axes[i].size);
        if (type_find(t, a.name) < 0)
            return a;
    }
}

/* The axes of t in another order. */
static inline const Type *gen_shuffled(Gen *g, const Type *t)
{
    Type out = *t;
    for (int i = t->rank - 1; i > 0; i--) {
        int k = gen_below(g, i + 1);
        Axis a = out.axis[i];
        out.axis[i] = out.axis[k];
        out.axis[k] = a;
    }
    return gen_type(g, out.dtype, out.rank, out.axis);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------- */

/* The type that the shape rule gives; aborts with the reason if there is none: the generator made a mistake. */
static inline Node *gen_typed(Gen *g, Node *n, const Type *declared)
{
    const char *reason = NULL;
    n->type = infer_type(g->cx, n, declared, &reason);
    if (!n->type) {
        fprintf(stderr, "generator: %s: %s\n", op_info[n->op].name, reason ? reason : "no type");
        abort();
    }
    return n;
}

static inline Node *gen_node(Gen *g, Op op, int count, Node *const *inputs, const Type *declared)
{
    return gen_typed(g, node_new(g->cx, g->here, op, declared, count, inputs), declared);
}

static inline Node *gen_op1(Gen *g, Op op, Node *a)
{
    return gen_node(g, op, 1, (Node *[]){a}, NULL);
}

static inline Node *gen_op2(Gen *g, Op op, Node *a, Node *b)
{
    return gen_node(g, op, 2, (Node *[]){a, b}, NULL);
}

static inline Node *gen_where(Gen *g, Node *condition, Node *a, Node *b)
{
    return gen_node(g, OP_where, 3, (Node *[]){condition, a, b}, NULL);
}

static inline Node *gen_number(Gen *g, DType dtype, double value)
{
    Node *n = node_new(g->cx, g->here, OP_const, gen_type(g, dtype, 0, NULL), 0, NULL);
    attr_set_float(g->cx, n, ATTR_value, value);
    return n;
}

static inline Node *gen_const(Gen *g, double value)
{
    return gen_number(g, DT_F32, value);
}

/* The operands of an operator that commutes, in any order. */
static inline Node *gen_either(Gen *g, Op op, Node *a, Node *b)
{
    return gen_one_in(g, 2) ? gen_op2(g, op, a, b) : gen_op2(g, op, b, a);
}

static inline Node *gen_over(Gen *g, Op op, Node *a, const char *const *axes, int count)
{
    Node *n = node_new(g->cx, g->here, op, NULL, 1, (Node *[]){a});
    attr_set_names(g->cx, n, ATTR_over, axes, count);
    return gen_typed(g, n, NULL);
}

static inline Node *gen_reduce(Gen *g, Op op, Node *a, const char *axis)
{
    return gen_over(g, op, a, &axis, 1);
}

static inline Node *gen_dot_over(Gen *g, Node *a, Node *b, const char *const *axes, int count, const Type *declared)
{
    Node *inputs[] = {a, b};
    Node *n = node_new(g->cx, g->here, OP_dot, declared, 2, inputs);
    attr_set_names(g->cx, n, ATTR_over, axes, count);
    return gen_typed(g, n, declared);
}

/* The product, sometimes declared in another order of axes. */
static inline Node *gen_dot(Gen *g, Node *a, Node *b, const char *axis)
{
    Node *n = gen_one_in(g, 2) ? gen_dot_over(g, a, b, &axis, 1, NULL) : gen_dot_over(g, b, a, &axis, 1, NULL);
    if (gen_one_in(g, 4))
        n->type = gen_shuffled(g, n->type);
    return n;
}

static inline Node *gen_view(Gen *g, Node *n, int rank, const Axis *axes)
{
    return gen_node(g, OP_view, 1, (Node *[]){n}, gen_type(g, n->type->dtype, rank, axes));
}

static inline Node *gen_ordered(Gen *g, Node *n, const Type *order)
{
    return type_equal(n->type, order) ? n : gen_node(g, OP_transpose, 1, (Node *[]){n}, order);
}

static inline Node *gen_sliced(Gen *g, Node *a, int axis, int64_t start, const Type *part)
{
    Node *n = node_new(g->cx, g->here, OP_slice, part, 1, (Node *[]){a});
    attr_set_name(g->cx, n, ATTR_axis, a->type->axis[axis].name);
    attr_set_extent(g->cx, n, ATTR_start, extent_const(start));
    return gen_typed(g, n, part);
}

static inline Node *gen_iota(Gen *g, Axis axis, Extent start)
{
    Node *n = node_new(g->cx, g->here, OP_iota, gen_type(g, DT_I32, 1, &axis), 0, NULL);
    attr_set_extent(g->cx, n, ATTR_start, start);
    return n;
}

static inline Node *gen_cast(Gen *g, Node *n, DType dtype)
{
    return gen_node(g, OP_cast, 1, (Node *[]){n}, type_with_dtype(g->cx, n->type, dtype));
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

static inline void gen_weight_data(Gen *g, const char *key, int rank, const Axis *axes, double scale)
{
    HostTensor *t = &g->weights[g->n_weights++];
    *t = (HostTensor){.name = key, .dtype = DT_F32, .rank = rank};
    for (int i = 0; i < rank; i++)
        t->dims[i] = axes[i].size.base;
    int64_t count = host_count(t);
    float *data = arena_array(g->cx->arena, (size_t)count, sizeof *data);
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)(gen_unit(g) * scale);
    t->data = data;
}

static inline bool gen_has_shape(const HostTensor *t, int rank, const Axis *axes)
{
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = t->dims[i] == axes[i].size.base;
    return same;
}

/* A weight; inside a repeat mostly one of each layer. Sometimes a tensor that is read elsewhere too. */
static inline Node *gen_weight(Gen *g, int rank, const Axis *axes, double scale)
{
    bool layered = g->here != g->model && !gen_one_in(g, 5);
    char *key = NULL;
    for (int i = 0; i < g->n_weights && gen_one_in(g, 3) && !key; i++) {
        int k = gen_below(g, g->n_weights), layer, number;
        if (!gen_has_shape(&g->weights[k], rank, axes))
            continue;
        if (layered && sscanf(g->weights[k].name, "layers.%d.w%d", &layer, &number) == 2)
            key = arena_print(g->cx->arena, "layers.{i}.w%d", number);
        else if (!layered)
            key = arena_print(g->cx->arena, "%s", g->weights[k].name);
    }
    if (!key) {
        int number = g->next_weight++;
        key = arena_print(g->cx->arena, layered ? "layers.{i}.w%d" : "w%d", number);
        for (int layer = 0; layer < (layered ? GEN_ROUNDS : 1); layer++)
            gen_weight_data(g, layered ? arena_print(g->cx->arena, "layers.%d.w%d", layer, number) : key, rank, axes,
                            scale);
    }
    Node *n = node_new(g->cx, g->here, OP_weight, gen_type(g, DT_F32, rank, axes), 0, NULL);
    attr_set_name(g->cx, n, ATTR_key, key);
    n->name = gen_name(g, "w");
    return n;
}

/* ---- the pools --------------------------------------------------------------------------------------------------- */

static inline bool gen_fits(const Gen *g)
{
    return g->n_pool < GEN_VALUES && g->n_weights < GEN_WEIGHTS - 60;
}

static inline void gen_maybe_keep(Gen *g, Node *n)
{
    if (g->kept_one_in && n->op != OP_carry && n->op != OP_input && gen_one_in(g, g->kept_one_in))
        attr_set_bool(g->cx, n, ATTR_keep, true);
}

static inline void gen_push(Gen *g, Node *n, double size)
{
    gen_maybe_keep(g, n);
    if (size > 30) {
        n = gen_op1(g, OP_tanh, n);
        size = 1;
    }
    g->pool[g->n_pool++] = (GenValue){n, size};
}

static inline void gen_push_int(Gen *g, Node *n, double size)
{
    gen_maybe_keep(g, n);
    if (size < 1e6 && g->n_ints < GEN_NUMBERS)
        g->ints[g->n_ints++] = (GenValue){n, size};
}

static inline void gen_push_bool(Gen *g, Node *n)
{
    gen_maybe_keep(g, n);
    if (g->n_bools < GEN_NUMBERS)
        g->bools[g->n_bools++] = n;
}

static inline GenValue gen_pick(Gen *g)
{
    return g->pool[gen_below(g, g->n_pool)];
}

/* A value whose axes are within t's, if one is found soon; otherwise `otherwise`. */
static inline GenValue gen_pick_within(Gen *g, const Type *t, GenValue otherwise)
{
    for (int tries = 0; tries < 8; tries++) {
        GenValue v = gen_pick(g);
        if (gen_axes_within(v.node->type, t))
            return v;
    }
    return otherwise;
}

/* x times a weight along the last axis of x, which stands anywhere in the weight. */
static inline Node *gen_linear(Gen *g, Node *x, int n_out, const Axis *out)
{
    Axis in = gen_last(x->type), axes[MAX_RANK];
    int at = gen_one_in(g, 3) ? gen_below(g, n_out + 1) : n_out;
    for (int i = 0; i <= n_out; i++)
        axes[i] = i < at ? out[i] : i == at ? in : out[i - 1];
    Node *w = gen_weight(g, n_out + 1, axes, 1.5 / sqrt((double)in.size.base));
    gen_maybe_keep(g, w);
    const char *over = in.name;
    Node *n = gen_dot_over(g, x, w, &over, 1, NULL);
    if (gen_one_in(g, 12)) /* the weight first: its axes lead the result's */
        n = gen_dot_over(g, w, x, &over, 1, NULL);
    return n;
}

#endif
