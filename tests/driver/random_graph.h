/* Random well-typed GRAPH-level models, for tests that compare interpreter, passes and compiled code.
 *
 * A graph starts from the inputs x: f32[B, S, D=24], keep: bool[B, S], ids: i32[B, S] and grows by one random step at a time: elementwise
 * operators, products with weights, norms, softmax, reductions, slices, views, gathers, attention with a random mask, a repeat. Magnitudes
 * are tracked so that values stay moderate. The same seed gives the same graph. */
#ifndef ATTAR_TESTS_RANDOM_GRAPH_H
#define ATTAR_TESTS_RANDOM_GRAPH_H

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "ir/interpret.h"

typedef struct GenValue { Node *node; double size; /* rough bound of the magnitude */ } GenValue;

typedef struct Gen {
    Context *cx;
    Graph *model, *here;                /* here: the graph that grows, the model or a repeat body */
    uint64_t state;
    const Symbol *b, *s;
    GenValue pool[96];
    int n_pool;
    Node *keep, *ids, *index;
    HostTensor weights[256];            /* f32, all layers spelled out */
    int n_weights;
    int next_weight;
} Gen;

static uint64_t gen_next(Gen *g)
{
    g->state += 0x9e3779b97f4a7c15u;
    uint64_t z = g->state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int gen_below(Gen *g, int n) { return (int)(gen_next(g) % (uint64_t)n); }
static double gen_unit(Gen *g) { return (double)(gen_next(g) >> 11) * 0x1p-53 * 2 - 1; }

static Axis gen_axis(Gen *g, const char *name, int64_t size)
{
    return (Axis){name_of(g->cx->names, name), extent_const(size)};
}

static Axis gen_symbol_axis(Gen *g, const char *name, const Symbol *symbol)
{
    return (Axis){name_of(g->cx->names, name), extent_symbol(symbol)};
}

/* A node with the type that the shape rule gives; aborts with the reason if there is none: the generator made a mistake. */
static Node *gen_typed(Gen *g, Node *n, const Type *declared)
{
    const char *reason = NULL;
    n->type = infer_type(g->cx, n, declared, &reason);
    if (!n->type) {
        fprintf(stderr, "generator: %s: %s\n", op_info[n->op].name, reason ? reason : "no type");
        abort();
    }
    return n;
}

static Node *gen_node(Gen *g, Op op, int count, Node *const *inputs, const Type *declared)
{
    return gen_typed(g, node_new(g->cx, g->here, op, declared, count, inputs), declared);
}

static Node *gen_op1(Gen *g, Op op, Node *a) { return gen_node(g, op, 1, (Node *[]){a}, NULL); }
static Node *gen_op2(Gen *g, Op op, Node *a, Node *b) { return gen_node(g, op, 2, (Node *[]){a, b}, NULL); }

static Node *gen_const(Gen *g, double value)
{
    Node *n = node_new(g->cx, g->here, OP_const, type_new(g->cx, DT_F32, 0, NULL), 0, NULL);
    attr_set_float(g->cx, n, ATTR_value, value);
    return n;
}

static Node *gen_reduce(Gen *g, Op op, Node *a, const char *axis)
{
    Node *n = node_new(g->cx, g->here, op, NULL, 1, (Node *[]){a});
    attr_set_names(g->cx, n, ATTR_over, &axis, 1);
    return gen_typed(g, n, NULL);
}

static Node *gen_dot(Gen *g, Node *a, Node *b, const char *axis, const Type *declared)
{
    Node *n = node_new(g->cx, g->here, OP_dot, declared, 2, (Node *[]){a, b});
    attr_set_names(g->cx, n, ATTR_over, &axis, 1);
    return gen_typed(g, n, declared);
}

static Node *gen_weight(Gen *g, int rank, const Axis *axes, double scale)
{
    bool layered = g->here != g->model;
    char *key = arena_print(g->cx->arena, layered ? "layers.{i}.w%d" : "w%d", g->next_weight++);
    Node *n = node_new(g->cx, g->here, OP_weight, type_new(g->cx, DT_F32, rank, axes), 0, NULL);
    attr_set_name(g->cx, n, ATTR_key, key);
    n->name = name_of(g->cx->names, "w");
    for (int layer = 0; layer < (layered ? 3 : 1); layer++) {
        HostTensor *t = &g->weights[g->n_weights++];
        t->name = layered ? arena_print(g->cx->arena, "layers.%d.w%d", layer, g->next_weight - 1) : key;
        t->dtype = DT_F32;
        t->rank = rank;
        for (int i = 0; i < rank; i++)
            t->dims[i] = axes[i].size.base;
        int64_t count = host_count(t);
        float *data = arena_array(g->cx->arena, (size_t)count, sizeof *data);
        for (int64_t i = 0; i < count; i++)
            data[i] = (float)(gen_unit(g) * scale);
        t->data = data;
    }
    return n;
}

static bool gen_fits(const Gen *g) { return g->n_pool < 90 && g->n_weights < 230; }

static void gen_push(Gen *g, Node *n, double size)
{
    if (size > 30) {
        n = gen_op1(g, OP_tanh, n);
        size = 1;
    }
    g->pool[g->n_pool++] = (GenValue){n, size};
}

static GenValue gen_pick(Gen *g) { return g->pool[gen_below(g, g->n_pool)]; }

static bool gen_last_const(const Type *t) { return t->rank > 0 && extent_is_const(t->axis[t->rank - 1].size); }

/* A constant axis whose name `t` does not have. */
static Axis gen_new_axis(Gen *g, const Type *t)
{
    static const struct { const char *name; int64_t size; } axes[] = {{"E", 7}, {"F", 33}, {"G", 48}, {"M", 16}, {"N", 50}, {"Q", 1}, {"R", 96}};
    for (;;) {
        int i = gen_below(g, 7);
        Axis a = gen_axis(g, axes[i].name, axes[i].size);
        if (type_find(t, a.name) < 0)
            return a;
    }
}

static Node *gen_linear(Gen *g, Node *x, int n_out, const Axis *out)
{
    const Type *t = x->type;
    Axis in = t->axis[t->rank - 1];
    Axis axes[MAX_RANK];
    memcpy(axes, out, (size_t)n_out * sizeof *out);
    axes[n_out] = in;
    return gen_dot(g, x, gen_weight(g, n_out + 1, axes, 1.5 / sqrt((double)in.size.base)), in.name, NULL);
}

static void step_unary(Gen *g)
{
    static const Op ops[] = {OP_tanh, OP_sigmoid, OP_gelu, OP_silu, OP_erf, OP_neg, OP_abs, OP_gelu_tanh, OP_sin, OP_cos};
    GenValue a = gen_pick(g);
    Op op = ops[gen_below(g, 10)];
    gen_push(g, gen_op1(g, op, a.node), op == OP_tanh || op == OP_sigmoid || op == OP_erf || op == OP_sin || op == OP_cos ? 1 : a.size);
}

static bool gen_axes_within(const Type *small, const Type *large)
{
    for (int i = 0; i < small->rank; i++) {
        int at = type_find(large, small->axis[i].name);
        if (at < 0 || !extent_equal(small->axis[i].size, large->axis[at].size))
            return false;
    }
    return true;
}

static void step_binary(Gen *g)
{
    static const Op ops[] = {OP_add, OP_sub, OP_mul, OP_maximum, OP_minimum};
    GenValue a = gen_pick(g), b = gen_pick(g);
    for (int tries = 0; tries < 8 && !gen_axes_within(b.node->type, a.node->type); tries++)
        b = gen_pick(g);
    if (!gen_axes_within(b.node->type, a.node->type))
        b = a;
    Op op = ops[gen_below(g, 5)];
    gen_push(g, gen_op2(g, op, a.node, b.node), op == OP_mul ? a.size * b.size : a.size + b.size);
}

static void step_scalar(Gen *g)
{
    GenValue a = gen_pick(g);
    double c = floor(gen_unit(g) * 8) / 4 + 0.125;
    Node *k = gen_const(g, c);
    gen_push(g, gen_below(g, 2) ? gen_op2(g, OP_mul, a.node, k) : gen_op2(g, OP_add, k, a.node), a.size * 3 + 2);
}

static void step_linear(Gen *g)
{
    GenValue a = gen_pick(g);
    if (!gen_last_const(a.node->type) || a.node->type->rank > 4)
        return;
    Axis out = gen_new_axis(g, a.node->type);
    Node *y = gen_linear(g, a.node, 1, &out);
    if (gen_below(g, 2))
        y = gen_op2(g, OP_add, y, gen_weight(g, 1, &out, 1));
    gen_push(g, y, a.size * 3);
    if (gen_below(g, 2))
        gen_push(g, gen_linear(g, a.node, 1, &out), a.size * 3);
}

static void step_norm(Gen *g)
{
    GenValue a = gen_pick(g);
    if (!gen_last_const(a.node->type))
        return;
    Axis d = a.node->type->axis[a.node->type->rank - 1];
    Node *x = a.node;
    if (gen_below(g, 2))
        x = gen_op2(g, OP_sub, x, gen_reduce(g, OP_mean, x, d.name));
    Node *variance = gen_reduce(g, OP_mean, gen_op2(g, OP_mul, x, x), d.name);
    Node *y = gen_op2(g, OP_mul, x, gen_op1(g, OP_rsqrt, gen_op2(g, OP_add, variance, gen_const(g, 1e-3))));
    y = gen_op2(g, OP_mul, y, gen_weight(g, 1, &d, 1));
    if (gen_below(g, 2) || a.node->type->rank > 4) {
        gen_push(g, y, 6);
        return;
    }
    Axis out = gen_new_axis(g, y->type);
    gen_push(g, gen_linear(g, y, 1, &out), 18);
}

static void step_softmax(Gen *g)
{
    GenValue a = gen_pick(g);
    if (a.node->type->rank == 0)
        return;
    gen_push(g, gen_reduce(g, OP_softmax, a.node, a.node->type->axis[gen_below(g, a.node->type->rank)].name), 1);
}

static void step_reduce(Gen *g)
{
    static const Op ops[] = {OP_mean, OP_max, OP_sum};
    GenValue a = gen_pick(g);
    if (a.node->type->rank < 2)
        return;
    Op op = ops[gen_below(g, 3)];
    gen_push(g, gen_reduce(g, op, a.node, a.node->type->axis[gen_below(g, a.node->type->rank)].name), op == OP_sum ? 31 : a.size);
}

static void step_where(Gen *g)
{
    GenValue a = gen_pick(g);
    if (!gen_axes_within(g->keep->type, a.node->type))
        return;
    gen_push(g, gen_node(g, OP_where, 3, (Node *[]){g->keep, a.node, gen_const(g, -0.5)}, NULL), a.size + 1);
}

static void step_slice_concat(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    if (!gen_last_const(t) || t->axis[t->rank - 1].size.base < 2)
        return;
    Axis last = t->axis[t->rank - 1];
    int64_t cut = 1 + gen_below(g, (int)last.size.base - 1);
    Node *parts[2];
    for (int i = 0; i < 2; i++) {
        Axis axes[MAX_RANK];
        memcpy(axes, t->axis, sizeof axes);
        axes[t->rank - 1] = gen_axis(g, i ? "Hi" : "Lo", i ? last.size.base - cut : cut);
        const Type *part = type_new(g->cx, DT_F32, t->rank, axes);
        Node *n = node_new(g->cx, g->here, OP_slice, part, 1, (Node *[]){a.node});
        attr_set_name(g->cx, n, ATTR_axis, last.name);
        attr_set_extent(g->cx, n, ATTR_start, extent_const(i ? cut : 0));
        parts[i] = gen_typed(g, n, part);
    }
    if (gen_below(g, 2)) {
        gen_push(g, parts[gen_below(g, 2)], a.size);
        return;
    }
    Node *joined = node_new(g->cx, g->here, OP_concat, t, 2, (Node *[]){parts[1], parts[0]});
    attr_set_name(g->cx, joined, ATTR_axis, last.name);
    gen_push(g, gen_typed(g, joined, t), a.size);
}

static void step_transpose(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    if (t->rank < 2)
        return;
    Axis axes[MAX_RANK];
    int turn = 1 + gen_below(g, t->rank - 1);
    for (int i = 0; i < t->rank; i++)
        axes[i] = t->axis[(i + turn) % t->rank];
    const Type *to = type_new(g->cx, DT_F32, t->rank, axes);
    gen_push(g, gen_node(g, OP_transpose, 1, (Node *[]){a.node}, to), a.size);
}

static void step_gather(Gen *g)
{
    Axis d = gen_new_axis(g, g->ids->type);
    Axis axes[2] = {gen_axis(g, "V", 11), d};
    Node *n = node_new(g->cx, g->here, OP_gather, NULL, 2, (Node *[]){gen_weight(g, 2, axes, 1), g->ids});
    attr_set_names(g->cx, n, ATTR_over, &axes[0].name, 1);
    gen_push(g, gen_typed(g, n, NULL), 1);
}

static Node *gen_iota(Gen *g, Axis axis)
{
    Node *n = node_new(g->cx, g->here, OP_iota, type_new(g->cx, DT_I32, 1, &axis), 0, NULL);
    attr_set_extent(g->cx, n, ATTR_start, extent_const(0));
    return n;
}

static Node *gen_rename_key(Gen *g, Node *n, int keep_rank)
{
    Axis axes[MAX_RANK];
    memcpy(axes, n->type->axis, sizeof axes);
    axes[type_find(n->type, name_of(g->cx->names, "S"))].name = name_of(g->cx->names, "T");
    (void)keep_rank;
    return gen_node(g, OP_view, 1, (Node *[]){n}, type_new(g->cx, n->type->dtype, n->type->rank, axes));
}

static Node *gen_mask(Gen *g)
{
    Axis s = gen_symbol_axis(g, "S", g->s), t = gen_symbol_axis(g, "T", g->s);
    Node *mask = NULL;
    int kinds = gen_below(g, 16);
    if (kinds & 1)
        mask = gen_op2(g, OP_le, gen_iota(g, t), gen_iota(g, s));
    if (kinds & 2) {
        Axis none[1];
        Node *width = node_new(g->cx, g->here, OP_const, type_new(g->cx, DT_I32, 0, none), 0, NULL);
        attr_set_float(g->cx, width, ATTR_value, 1 + gen_below(g, 9));
        Node *near = gen_op2(g, OP_lt, gen_op2(g, OP_sub, gen_iota(g, s), gen_iota(g, t)), width);
        mask = mask ? gen_op2(g, OP_and, mask, near) : near;
    }
    if (kinds & 4) {
        Node *keep = gen_rename_key(g, g->keep, 2);
        mask = mask ? gen_op2(g, kinds & 8 ? OP_or : OP_and, keep, mask) : keep;
    }
    return mask;
}

static void step_attention(Gen *g)
{
    GenValue a = gen_pick(g);
    const Type *t = a.node->type;
    const char *s = name_of(g->cx->names, "S");
    if (!gen_last_const(t) || t->rank != 3 || type_find(t, s) != 1 || t->axis[0].name != name_of(g->cx->names, "B"))
        return;
    Axis heads[2] = {gen_axis(g, "H", 3), gen_axis(g, "K", gen_below(g, 2) ? 16 : 20)};
    if (type_find(t, heads[0].name) >= 0 || type_find(t, heads[1].name) >= 0)
        return;
    Node *q = gen_linear(g, a.node, 2, heads), *k = gen_rename_key(g, gen_linear(g, a.node, 2, heads), 4);
    Node *v = gen_rename_key(g, gen_linear(g, a.node, 2, heads), 4);
    Axis scores[4] = {t->axis[0], t->axis[1], heads[0], k->type->axis[1]};
    Node *score = gen_dot(g, q, k, heads[1].name, type_new(g->cx, DT_F32, 4, scores));
    score = gen_op2(g, OP_mul, score, gen_const(g, 0.25));
    if (gen_below(g, 4) == 0)
        score = gen_op2(g, OP_mul, gen_op1(g, OP_tanh, gen_op2(g, OP_mul, score, gen_const(g, 0.5))), gen_const(g, 2));
    Node *mask = gen_mask(g);
    if (mask)
        score = gen_node(g, OP_where, 3, (Node *[]){mask, score, gen_const(g, -INFINITY)}, NULL);
    Node *p = gen_reduce(g, OP_softmax, score, k->type->axis[1].name);
    Axis result[4] = {t->axis[0], t->axis[1], heads[0], heads[1]};
    Node *o = gen_dot(g, p, v, k->type->axis[1].name, type_new(g->cx, DT_F32, 4, result));
    gen_push(g, o, a.size * 3);
    if (gen_below(g, 3) == 0)
        gen_push(g, p, 1);              /* the probabilities escape */
    Axis merged[3] = {t->axis[0], t->axis[1], gen_axis(g, "HK", heads[0].size.base * heads[1].size.base)};
    Node *m = gen_node(g, OP_view, 1, (Node *[]){o}, type_new(g->cx, DT_F32, 3, merged));
    gen_push(g, gen_linear(g, m, 1, &t->axis[2]), a.size * 3);
    Node *back = g->pool[g->n_pool - 1].node;
    gen_push(g, gen_op2(g, OP_add, back, a.node), a.size + 4);
}

static void step_repeat(Gen *g);

static void gen_step(Gen *g)
{
    static void (*const steps[])(Gen *) = {step_unary, step_binary, step_binary, step_scalar, step_linear, step_linear, step_norm, step_softmax,
                                           step_reduce, step_where, step_slice_concat, step_transpose, step_gather, step_attention, step_attention,
                                           step_repeat};
    if (gen_fits(g))
        steps[gen_below(g, (int)(sizeof steps / sizeof *steps))](g);
}

/* Three rounds over one carried value; the body may read what stands before the repeat. */
static void step_repeat(Gen *g)
{
    if (g->here != g->model)
        return;
    GenValue a = gen_pick(g);
    Node *repeat = node_new(g->cx, g->model, OP_repeat, a.node->type, 1, (Node *[]){a.node});
    attr_set_int(g->cx, repeat, ATTR_count, 3);
    Graph *body = graph_body(g->cx, repeat, LEVEL_GRAPH);
    Node *index = node_new(g->cx, body, OP_index, type_new(g->cx, DT_I32, 0, NULL), 0, NULL);
    Node *carry = node_new(g->cx, body, OP_carry, a.node->type, 0, NULL);
    attr_set_int(g->cx, carry, ATTR_index, 0);
    graph_add_param(g->cx, body, index);
    graph_add_param(g->cx, body, carry);
    int outside = g->n_pool;
    g->here = body;
    g->index = index;
    gen_push(g, carry, 2);
    int steps = 2 + gen_below(g, 4);
    for (int i = 0; i < steps; i++)
        gen_step(g);
    Node *last = carry;
    for (int i = outside; i < g->n_pool; i++)
        if (type_equal(g->pool[i].node->type, a.node->type))
            last = g->pool[i].node;
    last = gen_op1(g, OP_tanh, last);
    graph_add_result(g->cx, body, NULL, last, (Span){0});
    g->here = g->model;
    g->n_pool = outside;
    gen_push(g, repeat, 1);
}

static Node *gen_input(Gen *g, const char *name, DType dtype, int rank, const Axis *axes)
{
    Node *n = node_new(g->cx, g->model, OP_input, type_new(g->cx, dtype, rank, axes), 0, NULL);
    n->name = name_of(g->cx->names, name);
    graph_add_param(g->cx, g->model, n);
    return n;
}

static Symbol *gen_symbol(Gen *g, const char *name)
{
    Symbol *s = arena_alloc(g->cx->arena, sizeof *s);
    *s = (Symbol){.name = name_of(g->cx->names, name), .low = 1, .high = 512};
    return s;
}

static Gen *gen_model(Context *cx, uint64_t seed)
{
    Gen *g = arena_alloc(cx->arena, sizeof *g);
    g->cx = cx;
    g->state = seed * 1000003 + 17;
    g->model = g->here = graph_new(cx, "Random", LEVEL_GRAPH);
    g->model->file = "random.attar";
    g->b = gen_symbol(g, "B");
    g->s = gen_symbol(g, "S");
    const Symbol **symbols = arena_array(cx->arena, 2, sizeof *symbols);
    symbols[0] = g->b;
    symbols[1] = g->s;
    g->model->symbols = symbols;
    g->model->n_symbols = 2;
    Axis axes[3] = {gen_symbol_axis(g, "B", g->b), gen_symbol_axis(g, "S", g->s), gen_axis(g, "D", 24)};
    Node *x = gen_input(g, "x", DT_F32, 3, axes);
    g->keep = gen_input(g, "keep", DT_BOOL, 2, axes);
    g->ids = gen_input(g, "ids", DT_I32, 2, axes);
    gen_push(g, x, 1);
    int steps = 4 + gen_below(g, 9);
    for (int i = 0; i < steps; i++)
        gen_step(g);
    for (int i = 0, results = 0; i < g->n_pool && results < 3; i++)
        if (i == g->n_pool - 1 || gen_below(g, 6) == 0)
            graph_add_result(cx, g->model, arena_print(cx->arena, "y%d", results++), g->pool[i].node, (Span){0});
    graph_count_uses(g->model);
    graph_name_all(cx, g->model);
    return g;
}

/* Inputs for run-time sizes B and S; the last row of `keep` is all padding when B > 1. */
static HostTensor *gen_inputs(Gen *g, int64_t b, int64_t s)
{
    HostTensor *in = arena_array(g->cx->arena, 3, sizeof *in);
    in[0] = (HostTensor){.name = "x", .dtype = DT_F32, .rank = 3, .dims = {b, s, 24}};
    in[1] = (HostTensor){.name = "keep", .dtype = DT_BOOL, .rank = 2, .dims = {b, s}};
    in[2] = (HostTensor){.name = "ids", .dtype = DT_I32, .rank = 2, .dims = {b, s}};
    for (int t = 0; t < 3; t++) {
        int64_t count = host_count(&in[t]);
        in[t].data = arena_array(g->cx->arena, (size_t)count, dtype_size(in[t].dtype));
        for (int64_t i = 0; i < count; i++) {
            double v = t == 0 ? gen_unit(g) : t == 1 ? gen_below(g, 4) > 0 : gen_below(g, 11);
            if (t == 1 && b > 1 && i >= count - s)
                v = 0;
            host_set(&in[t], i, t == 0 ? (double)(float)v : v);
        }
    }
    return in;
}

#endif
