/* Random well-typed GRAPH-level models, for tests that compare interpreter, passes and compiled code.
 *
 * A model starts from the inputs x: f32[B, S, D=24], keep: bool[B, S], ids: i32[B, S] and grows by random steps
 * (random_steps.h, random_attention.h), some of them inside a repeat. With caches it has a run-time size `past`, too.
 * The same seed gives the same model. */
#ifndef ATTAR_TESTS_RANDOM_GRAPH_H
#define ATTAR_TESTS_RANDOM_GRAPH_H

#include "tests/driver/random_attention.h"
#include "tests/driver/random_steps.h"

enum { GEN_INPUTS = 3 };

/* ---- repeats ----------------------------------------------------------------------------------------------------- */

static inline void step_repeat(Gen *g);

static inline void gen_step(Gen *g)
{
    static void (*const steps[])(Gen *) = {
        step_unary,     step_binary,    step_binary,         step_scalar,       step_where,     step_int,
        step_bool,      step_known,     step_formula,        step_formula,      step_linear,    step_linear,
        step_norm,      step_softmax,   step_reduce,         step_slice,        step_view,      step_transpose,
        step_expand,    step_gather,    step_shared_product, step_wide_product, step_attention, step_attention,
        step_attention, step_repeat,    step_scaled_products, step_low_rank, step_order,
        step_scan};
    if (gen_fits(g))
        steps[gen_below(g, (int)(sizeof steps / sizeof *steps))](g);
}

static inline Node *gen_carry(Gen *g, Graph *body, const Type *type, int i)
{
    Node *carry = node_new(g->cx, body, OP_carry, type, 0, NULL);
    attr_set_int(g->cx, carry, ATTR_index, i);
    graph_add_param(g->cx, body, carry);
    return carry;
}

/* What a round leaves in place of carried value i: something new of its type, or another carried value. */
static inline Node *gen_left(Gen *g, const Graph *body, int from, int i, int n)
{
    const Type *t = body->params[i + 1]->type;
    int other = gen_below(g, n);
    if (n > 1 && gen_one_in(g, 4) && type_equal(body->params[other + 1]->type, t))
        return body->params[other + 1];
    Node *last = body->params[i + 1];
    for (int k = from; k < g->n_pool; k++)
        if (type_equal(g->pool[k].node->type, t) && (last == body->params[i + 1] || !gen_one_in(g, 3)))
            last = g->pool[k].node;
    return gen_op1(g, OP_tanh, last);
}

/* Three rounds over up to three carried values; the body may read what stands before the repeat. */
static inline void step_repeat(Gen *g)
{
    if (g->here != g->model)
        return;
    Node *starts[3];
    int n = 1 + (gen_one_in(g, 2) ? gen_below(g, 3) : 0), values = g->n_pool, ints = g->n_ints, bools = g->n_bools;
    for (int i = 0; i < n; i++) {
        GenValue v = gen_pick(g);
        starts[i] = i && gen_one_in(g, 2) ? gen_op1(g, OP_tanh, starts[0]) : v.node;
    }
    Node *repeat = node_new(g->cx, g->model, OP_repeat, n == 1 ? starts[0]->type : NULL, n, starts);
    attr_set_int(g->cx, repeat, ATTR_count, GEN_ROUNDS);
    Graph *body = g->here = graph_body(g->cx, repeat, LEVEL_GRAPH);
    g->index = node_new(g->cx, body, OP_index, gen_type(g, DT_I32, 0, NULL), 0, NULL);
    graph_add_param(g->cx, body, g->index);
    for (int i = 0; i < n; i++)
        g->pool[g->n_pool++] = (GenValue){gen_carry(g, body, starts[i]->type, i), 30};
    g->ints[g->n_ints++] = (GenValue){g->index, GEN_ROUNDS};
    for (int i = 2 + gen_below(g, 5); i > 0; i--)
        gen_step(g);
    for (int i = 0; i < n; i++)
        graph_add_result(g->cx, body, NULL, gen_left(g, body, values + n, i, n), (Span){0});
    g->here = g->model;
    g->index = NULL;
    g->n_pool = values;
    g->n_ints = ints;
    g->n_bools = bools;
    for (int i = 0; i < n; i++) {
        Node *result = repeat;
        if (n > 1) {
            result = node_new(g->cx, g->model, OP_get, NULL, 1, &repeat);
            attr_set_int(g->cx, result, ATTR_index, i);
            gen_typed(g, result, NULL);
        }
        gen_push(g, result, 30);
    }
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

static inline Node *gen_input(Gen *g, const char *name, DType dtype, int rank, const Axis *axes)
{
    Node *n = node_new(g->cx, g->model, OP_input, gen_type(g, dtype, rank, axes), 0, NULL);
    n->name = gen_name(g, name);
    graph_add_param(g->cx, g->model, n);
    return n;
}

static inline Symbol *gen_symbol(Gen *g, const char *name, int64_t low, int64_t high)
{
    Symbol *s = arena_alloc(g->cx->arena, sizeof *s);
    *s = (Symbol){.name = gen_name(g, name), .low = low, .high = high};
    return s;
}

static inline void gen_begin(Gen *g)
{
    Context *cx = g->cx;
    g->model = g->here = graph_new(cx, "Random", LEVEL_GRAPH);
    g->model->file = "random.attar";
    g->b = gen_symbol(g, "B", 1, 512);
    g->s = gen_symbol(g, "S", 1, GEN_CAPACITY);
    g->past = gen_symbol(g, "past", 0, GEN_CAPACITY);
    const Symbol **symbols = arena_array(cx->arena, 3, sizeof *symbols);
    memcpy(symbols, (const Symbol *[]){g->b, g->s, g->past}, 3 * sizeof *symbols);
    g->model->symbols = symbols;
    g->model->n_symbols = 3;
    Axis axes[3] = {gen_symbol_axis(g, "B", g->b), gen_symbol_axis(g, "S", g->s), gen_axis(g, "D", 24)};
    Node *x = gen_input(g, "x", DT_F32, 3, axes);
    g->keep = gen_input(g, "keep", DT_BOOL, 2, axes);
    g->ids = gen_input(g, "ids", DT_I32, 2, axes);
    g->pool[g->n_pool++] = (GenValue){x, 1};
    g->ints[g->n_ints++] = (GenValue){g->ids, 11};
    g->ints[g->n_ints++] = (GenValue){gen_iota(g, axes[1], extent_const(0)), GEN_CAPACITY};
    g->bools[g->n_bools++] = g->keep;
}

/* Three results; the last value is always one, so that something is alive. */
static inline void gen_end(Gen *g)
{
    Graph *m = g->model;
    for (int i = 0, results = 0; i < g->n_pool && results < 3; i++)
        if (i == g->n_pool - 1 || gen_one_in(g, 5))
            graph_add_result(g->cx, m, arena_print(g->cx->arena, "y%d", results++), g->pool[i].node, (Span){0});
    if (!m->n_caches)
        m->n_symbols = 2;
    graph_count_uses(m);
    graph_name_all(g->cx, m);
}

static inline Gen *gen_model(Context *cx, uint64_t seed)
{
    Gen *g = arena_alloc(cx->arena, sizeof *g);
    *g = (Gen){.cx = cx, .state = seed * 1000003 + 17};
    g->kept_one_in = gen_one_in(g, 3) ? 8 : 0;
    gen_begin(g);
    int steps = 3 + gen_below(g, 9);
    for (int i = 0; i < steps; i++)
        gen_step(g);
    if (seed % 5 == 2) /* not one of the steps, so that the other seeds' graphs stay what they were */
        step_beside(g);
    gen_end(g);
    return g;
}

/* Inputs for run-time sizes B and S; the last row of `keep` is all padding when B > 1. */
static inline HostTensor *gen_inputs(Gen *g, int64_t b, int64_t s)
{
    HostTensor *in = arena_array(g->cx->arena, GEN_INPUTS, sizeof *in);
    in[0] = (HostTensor){.name = "x", .dtype = DT_F32, .rank = 3, .dims = {b, s, 24}};
    in[1] = (HostTensor){.name = "keep", .dtype = DT_BOOL, .rank = 2, .dims = {b, s}};
    in[2] = (HostTensor){.name = "ids", .dtype = DT_I32, .rank = 2, .dims = {b, s}};
    for (int t = 0; t < GEN_INPUTS; t++) {
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

static inline bool gen_weight_of(void *state, const char *key, double *out, int64_t count)
{
    const Gen *g = state;
    for (int i = 0; i < g->n_weights; i++)
        if (!strcmp(g->weights[i].name, key) && host_count(&g->weights[i]) == count) {
            for (int64_t j = 0; j < count; j++)
                out[j] = host_get(&g->weights[i], j);
            return true;
        }
    return false;
}

#endif
