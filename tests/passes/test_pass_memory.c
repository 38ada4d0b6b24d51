/* Memory plans, carried out: every kernel stamps what it writes, every reader finds its stamp, rounds of repeats
 * included. A kernel may write over an input only where it stands exactly, and never over what a product sums. */
#include "tests/passes/passes_test.h"
#include "tests/driver/random_graph.h"

typedef struct Machine {
    const Graph *model;
    const int64_t *sizes;
    int64_t *base, *units; /* by region */
    int64_t bytes;
    int *blocks; /* who wrote each block of 64 bytes */
    int *stamp;  /* by node id: what its value was stamped with */
    int next;
    bool few; /* which side every choice takes */
    Arena *arena;
    const char *what;
} Machine;

enum { BLOCK = 64 };

static int64_t rounded(int64_t size, int64_t round)
{
    return round > 1 ? (size + round - 1) / round * round : size;
}

static Machine machine_new(Fixture *f, const Graph *g, const int64_t *sizes, const char *what)
{
    Machine m = {.model = g, .sizes = sizes, .arena = &f->arena, .what = what};
    m.base = arena_array(&f->arena, (size_t)g->n_regions + 1, sizeof *m.base);
    m.units = arena_array(&f->arena, (size_t)g->n_regions + 1, sizeof *m.units);
    for (int r = 0; r < g->n_regions; r++) {
        const Region *region = &g->regions[r];
        ck_assert(region->lower_bound <= region->peak);
        m.units[r] = 1;
        for (int i = 0; i < region->n; i++)
            m.units[r] *= rounded(extent_value(region->unit[i], g, sizes), region->round[i]);
        ck_assert_int_eq(region->peak * m.units[r] % BLOCK, 0);
        m.base[r] = m.bytes;
        m.bytes += region->peak * m.units[r];
    }
    m.blocks = arena_array(&f->arena, (size_t)(m.bytes / BLOCK) + 1, sizeof *m.blocks);
    m.stamp = arena_array(&f->arena, (size_t)g->next_id + 1, sizeof *m.stamp);
    return m;
}

static const Node *storage(const Node *n)
{
    while (op_info[n->op].class == CLASS_VIEW)
        n = n->inputs[0];
    return n;
}

static void range(const Machine *m, const Node *n, int64_t *first, int64_t *last)
{
    const char *keys = attr_name(n, ATTR_layout) ? attr_name(n, ATTR_keys) : NULL;
    int64_t bytes = (int64_t)dtype_size(n->type->dtype),
            at = m->base[n->place.region] + n->place.offset * m->units[n->place.region];
    for (int i = 0; i < n->type->rank; i++)
        bytes *= rounded(extent_value(n->type->axis[i].size, m->model, m->sizes),
                         n->type->axis[i].name == keys ? KEY_PANEL : 1);
    ck_assert_msg(at % BLOCK == 0 && at + bytes <= m->bytes, "%s: %s lies outside the arena", m->what, n->name);
    *first = at / BLOCK;
    *last = (at + bytes + BLOCK - 1) / BLOCK;
}

static void check_read(const Machine *m, const Node *reader, const Node *value)
{
    const Node *s = storage(value);
    int64_t first, last;
    if (s->place.kind != PLACE_ARENA)
        return;
    range(m, s, &first, &last);
    for (int64_t b = first; b < last; b++)
        ck_assert_msg(m->blocks[b] == m->stamp[s->id], "%s: `%s` reads `%s`, but it was written over", m->what,
                      reader->name, s->name);
}

static bool moves_elements(const Node *kernel)
{
    for (const Node *n = kernel->body ? kernel->body->first : NULL; n; n = n->next)
        if (n->op == OP_rotate || n->op == OP_gather)
            return true;
    return attr_name(kernel, ATTR_layout) != NULL;
}

/* All of what is stored, in the order in which it is stored. */
static bool is_whole(const Node *n)
{
    while (n->op == OP_view)
        n = n->inputs[0];
    return op_info[n->op].class != CLASS_VIEW;
}

/* Of the same sizes; attend reads a row of q before it writes the result's, which has values where q has the head axis. */
static bool lies_alike(const Node *kernel, int i, const Node *result)
{
    const Type *in = kernel->inputs[i]->type, *out = result->type;
    bool alike = i == 0 && in->rank == out->rank && in->axis[in->rank - 1].name == node_attr(kernel, ATTR_over)->names.items[0];
    for (int axis = 0; alike && axis < in->rank; axis++)
        alike = extent_equal(in->axis[axis].size, out->axis[axis].size);
    for (int k = 1; alike && k < kernel->n_inputs; k++)
        alike = storage(kernel->inputs[k]) != storage(kernel->inputs[0]);
    return alike;
}

static bool may_lie_over(const Node *kernel, int i, const Node *result)
{
    const Node *s = storage(kernel->inputs[i]);
    bool summed = kernel->op == OP_gemm && i <= attr_int(kernel, ATTR_weights, 1);
    return kernel->type && !summed && is_whole(kernel->inputs[i]) && !moves_elements(kernel) && !attr_name(s, ATTR_layout) &&
           kernel->op != OP_reduce && kernel->op != OP_dot && kernel->op != OP_concat && kernel->op != OP_topk &&
           kernel->op != OP_cumsum && kernel->op != OP_cummax && s->place.offset == result->place.offset &&
           (kernel->op == OP_attend ? lies_alike(kernel, i, result) : type_equal(kernel->inputs[i]->type, result->type));
}

static void check_write(Machine *m, const Node *kernel, const Node *value)
{
    int64_t first, last;
    ck_assert_msg(value->place.kind == PLACE_ARENA || value->place.kind == PLACE_OUTPUT, "%s: `%s` has no place",
                  m->what, value->name);
    if (value->place.kind != PLACE_ARENA)
        return;
    range(m, value, &first, &last);
    for (int i = 0; i < kernel->n_inputs; i++) {
        const Node *s = storage(kernel->inputs[i]);
        int64_t from, to;
        if (s->place.kind != PLACE_ARENA)
            continue;
        range(m, s, &from, &to);
        ck_assert_msg(to <= first || last <= from || may_lie_over(kernel, i, value),
                      "%s: `%s` is written over its own input `%s`", m->what, value->name, s->name);
    }
    m->stamp[value->id] = ++m->next;
    for (int64_t b = first; b < last; b++)
        m->blocks[b] = m->next;
}

/* Two results of one kernel do not overlap: the second stamp would have destroyed the first. */
static void check_writes(Machine *m, const Node *kernel)
{
    if (kernel->type) {
        check_write(m, kernel, kernel);
        return;
    }
    for (const Node *n = kernel->next; n; n = n->next)
        if (n->op == OP_get && n->inputs[0] == kernel)
            check_write(m, kernel, n);
    for (const Node *n = kernel->next; n; n = n->next)
        if (n->op == OP_get && n->inputs[0] == kernel)
            check_read(m, n, n);
}

static void same_place(const Machine *m, const Node *a, const Node *b)
{
    ck_assert_msg(a->place.kind == PLACE_ARENA && b->place.kind == PLACE_ARENA && a->place.region == b->place.region &&
                      a->place.offset == b->place.offset,
                  "%s: `%s` and `%s` are one carried value in two places", m->what, a->name, b->name);
}

static void run_nodes(Machine *m, const Graph *g);

static void run_repeat(Machine *m, const Node *repeat)
{
    const Graph *body = repeat->body;
    int stamps[64];
    ck_assert_int_lt(repeat->n_inputs, 64);
    for (int i = 0; i < repeat->n_inputs; i++) {
        same_place(m, repeat->inputs[i], body->params[i + 1]);
        same_place(m, body->params[i + 1], body->results[i].value);
        stamps[i] = m->stamp[repeat->inputs[i]->id];
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < repeat->n_inputs; i++)
            m->stamp[body->params[i + 1]->id] = stamps[i];
        run_nodes(m, body);
        for (int i = 0; i < repeat->n_inputs; i++) {
            check_read(m, repeat, body->results[i].value);
            stamps[i] = m->stamp[body->results[i].value->id];
        }
    }
    if (repeat->type) {
        same_place(m, repeat, body->params[1]);
        m->stamp[repeat->id] = stamps[0];
    }
    for (const Node *n = repeat->next; n; n = n->next)
        if (n->op == OP_get && n->inputs[0] == repeat) {
            same_place(m, n, body->params[1 + attr_int(n, ATTR_index, 0)]);
            m->stamp[n->id] = stamps[attr_int(n, ATTR_index, 0)];
        }
}

static void run_choose(Machine *m, const Node *choose)
{
    const Node *in = choose->inputs[m->few ? 0 : 1];
    bool same = in->place.kind == choose->place.kind && in->place.region == choose->place.region &&
                in->place.offset == choose->place.offset;
    check_read(m, choose, in);
    if (same)
        m->stamp[choose->id] = m->stamp[in->id];
    else
        check_write(m, choose, choose);
}

/* What only the other side of a choice needs is not run. */
static void run_nodes(Machine *m, const Graph *g)
{
    const Chooser *of = choosers_of(m->arena, g);
    for (const Node *n = g->first; n; n = n->next) {
        if (of[n->id].choose && of[n->id].few != m->few)
            continue;
        if (n->op == OP_choose) {
            run_choose(m, n);
            continue;
        }
        bool kernel = op_info[n->op].class == CLASS_KERNEL || n->op == OP_dot || n->op == OP_concat || n->op == OP_topk ||
                      n->op == OP_cumsum || n->op == OP_cummax;
        if (n->op != OP_get && op_info[n->op].class != CLASS_VIEW)
            for (int i = 0; i < n->n_inputs; i++)
                check_read(m, n, n->inputs[i]);
        if (n->op == OP_repeat)
            run_repeat(m, n);
        if (kernel)
            check_writes(m, n);
    }
}

static void check_plan(Fixture *f, const Graph *g, const int64_t *sizes, const char *what)
{
    Machine m = machine_new(f, g, sizes, what);
    run_nodes(&m, g);
    m.few = true;
    run_nodes(&m, g);
    for (int i = 0; i < g->n_results; i++) {
        const Node *v = g->results[i].value;
        for (; op_info[v->op].class == CLASS_VIEW; v = v->inputs[0]) /* with other axes it lies as it was written */
            ck_assert_msg(v->op == OP_view, "%s: result %d does not lie as it was written", what, i);
        ck_assert_msg(v->place.kind == PLACE_OUTPUT && v->place.index == i,
                      "%s: result %d is not written straight to the caller", what, i);
    }
    ck_assert_int_eq(plan_arena_bytes(g, sizes, NULL), m.bytes + BLOCK);
}

static const struct {
    const char *model, *golden;
} models[] = {{"bert", "bert"}, {"gpt2", "gpt2"}, {"llama", "llama"}, {"deepseek", "deepseek-v3-dense"},
              {"minilm", "minilm"}};

/* Scores that stay in memory take their own bytes: no 64 for each pair of positions, whatever the axes are called. */
START_TEST(test_many_units)
{
    static const char *const names[] = {"B = 1..  S = 1..  T = 1..", "S = 1..  T = 1..  a = 1.."};
    for (int i = 0; i < 2; i++) {
        Fixture f;
        fixture_open(&f);
        const char *batch = i ? "a" : "B";
        const char *text = arena_print(&f.arena,
                                       "graph Scores(q: f32[%s, S, H, K], k: f32[%s, T, H, K])\n"
                                       "  dims  %s  H = 2  K = 4\n"
                                       "  s = dot q, k over=K\n  m = max s over=T\n  p = sub s, m\n  z = sum p over=S\n"
                                       "  return p, z\n",
                                       batch, batch, names[i]);
        Source source = {"scores.ir", text, strlen(text)};
        Graph *g = graph_read(&f.cx, &source);
        ck_assert_msg(g != NULL, "%s", fixture_said(&f));
        ck_assert_msg(passes_run(&f.cx, g, NULL, &f.remarks, NULL), "%s", fixture_said(&f));
        int64_t sizes[3] = {1, 100, 33}, bound, bytes;
        if (i)
            memcpy(sizes, (int64_t[]){100, 33, 1}, sizeof sizes);
        bytes = plan_arena_bytes(g, sizes, &bound);
        ck_assert_msg(bytes >= 2 * 100 * 33 * 4 && bytes < 2 * 100 * 48 * 4 + 2 * 6400 + 1000, "%lld bytes", (long long)bytes);
        fixture_close(&f);
    }
}
END_TEST

/* Nor does a matrix of positions, whose axes are two of one size; and a batch of one does not count for sixteen. */
START_TEST(test_squares)
{
    Fixture f;
    fixture_open(&f);
    const char *text = "graph Far(x: f32[S, D], y: f32[S, T, B])\n  dims  B = 1..  S = 1..  T = S  D = 4\n"
                       "  u = view x : f32[T, D]\n  p = dot x, u over=D\n  e = exp y\n  m = max e over=T\n"
                       "  z = dot p, e over=T : f32[S, B]\n  r = add z, m\n  return r\n";
    Source source = {"far.ir", text, strlen(text)};
    Graph *g = graph_read(&f.cx, &source);
    ck_assert_msg(g != NULL, "%s", fixture_said(&f));
    ck_assert_msg(passes_run(&f.cx, g, NULL, &f.remarks, NULL), "%s", fixture_said(&f));
    int64_t sizes[2] = {1, 100}, bound, bytes = plan_arena_bytes(g, sizes, &bound);
    ck_assert_msg(bytes >= 2 * 100 * 100 * 4 && bytes < 2 * 100 * 112 * 4 + 2 * 6400 + 1000, "%lld bytes", (long long)bytes);
    fixture_close(&f);
}
END_TEST

/* A result that is only a part of a value is a copy of it; with other names for its axes it is the value itself. */
START_TEST(test_results)
{
    Fixture f;
    fixture_open(&f);
    const char *text = "graph Parts(x: f32[B, D])\n  dims  B = 1..  D = 8  E = 8  N = 3\n  y = exp x\n  z = neg y\n"
                       "  a = slice y axis=D start=2 : f32[B, N=3]\n  b = view z : f32[B, E]\n  return a, b\n";
    Source source = {"parts.ir", text, strlen(text)};
    Graph *g = graph_read(&f.cx, &source);
    ck_assert_msg(g != NULL, "%s", fixture_said(&f));
    ck_assert_msg(passes_run(&f.cx, g, NULL, &f.remarks, NULL), "%s", fixture_said(&f));
    int64_t sizes[] = {5};
    check_plan(&f, g, sizes, "parts");
    ck_assert(g->results[1].value->op == OP_view);
    fixture_close(&f);
}
END_TEST

START_TEST(test_models)
{
    Fixture f;
    fixture_open(&f);
    Graph *g = fixture_model(&f, models[_i / PASS_COUNT].model, models[_i / PASS_COUNT].golden);
    PassOptions options = {0};
    options.off[_i % PASS_COUNT] = true;
    ck_assert_msg(passes_run(&f.cx, g, &options, &f.remarks, NULL), "%s", fixture_said(&f));
    Call call[] = {{"B", 2}, {"S", 19}, {"past", 7}};
    check_plan(&f, g, run_new(&f, g, call, 3).sizes, models[_i / PASS_COUNT].golden);
    fixture_close(&f);
}
END_TEST

START_TEST(test_random)
{
    const char *count = getenv("ATTAR_RANDOM_COUNT");
    uint64_t last = count ? strtoull(count, NULL, 10) : 400;
    for (uint64_t seed = (uint64_t)_i + 1; seed <= last; seed += 4) {
        Fixture f;
        fixture_open(&f);
        Gen *g = gen_model(&f.cx, seed);
        PassOptions options = {0};
        options.off[seed % PASS_COUNT] = true;
        ck_assert_msg(passes_run(&f.cx, g->model, &options, &f.remarks, NULL), "seed %llu: %s",
                      (unsigned long long)seed, fixture_said(&f));
        int64_t sizes[] = {2, 33, 7};
        gen_inputs(g, sizes[0], sizes[1]);
        check_plan(&f, g->model, sizes, arena_print(&f.arena, "seed %llu", (unsigned long long)seed));
        fixture_close(&f);
    }
}
END_TEST

int main(void)
{
    const TTest *tests[] = {test_many_units, test_squares, test_results, test_models, test_random};
    int loops[] = {0, 0, 0, 5 * PASS_COUNT, 4};
    return run_suite("memory plans", tests, loops, 5);
}
