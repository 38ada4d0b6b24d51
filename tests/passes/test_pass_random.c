/* Random graphs: after every pass, with all passes on and with each off alone, the interpreter gives the same results
 * (bit by bit where a pass only groups or moves values), for one call and for a call that continues a cache; what
 * @keep asks for is still computed. A last test demands that the generator reached every pass often.
 *
 * ATTAR_RANDOM_SEED chooses the first graph, ATTAR_RANDOM_COUNT how many; a failure prints its seed. */
#include <sys/mman.h>
#include "tests/driver/random_graph.h"
#include "tests/passes/passes_test.h"

enum { CHUNKS = 8, MAX_KEPT = 256, MAX_CALLS = 2 };

typedef struct Coverage { /* shared by the processes of all tests */
    int graphs, cached, kept, changed[PASS_COUNT];
    int remarks[PASS_COUNT][3][REMARK_CODE_COUNT];
    uint64_t running[CHUNKS]; /* the seed at work; 0: done */
} Coverage;
static Coverage *coverage;

typedef struct Kept { /* what @keep asked for: enough to know it again in another order of axes */
    const char *name;
    int64_t layer, count;
    double sum, squares;
} Kept;

typedef struct Results {
    Value *value[MAX_CALLS];
    Kept kept[MAX_KEPT];
    int n_kept;
} Results;

typedef struct Check {
    Fixture *f;
    Gen *g;
    HostTensor *in[MAX_CALLS];
    int64_t sizes[MAX_CALLS][3];
    int n_calls;
    Results first, before; /* of the graph as it was made, and before the pass */
    uint64_t seed;
} Check;

/* Passes that group, merge or move values, and compute each of them as before. A gemm sums over several axes in the
 * order of its weight. */
static bool is_bit_exact(PassId id, const Gen *g)
{
    bool makes_gemms = id == PASS_ID_fuse_projections || id == PASS_ID_fuse_epilogue;
    return id == PASS_ID_cse || id == PASS_ID_dce || id == PASS_ID_fuse_map || id == PASS_ID_plan_memory ||
           (makes_gemms && !g->sums_over_two);
}

static void note_kept(void *state, const Node *n, int64_t layer, const Value *v)
{
    Results *r = state;
    if (!attr_bool(n, ATTR_keep, false) || n->op == OP_weight || !v->data)
        return;
    ck_assert_int_lt(r->n_kept, MAX_KEPT);
    Kept k = {n->name, layer, v->count, 0, 0};
    for (int64_t i = 0; i < v->count; i++) {
        double x = isfinite(v->data[i]) ? v->data[i] : 0;
        k.sum += x;
        k.squares += x * x;
    }
    r->kept[r->n_kept++] = k;
}

static void run_all(Check *c, const Graph *g, const char *when, Results *out)
{
    Value *caches = interpret_caches(g, c->sizes[0], &c->f->arena);
    out->n_kept = 0;
    for (int i = 0; i < c->n_calls; i++) {
        Bindings bind = {.sizes = c->sizes[i],
                         .inputs = c->in[i],
                         .weight = gen_weight_of,
                         .weight_state = c->g,
                         .caches = caches,
                         .tap = i == 0 ? note_kept : NULL,
                         .tap_state = out};
        out->value[i] = interpret(&c->f->cx, g, &bind, &c->f->arena);
        ck_assert_msg(out->value[i] != NULL, "seed %llu %s: %s", (unsigned long long)c->seed, when, fixture_said(c->f));
    }
}

static void check_kept(const Check *c, const Results *got, const char *when)
{
    for (int i = 0; i < c->first.n_kept; i++) {
        const Kept *want = &c->first.kept[i], *k = NULL;
        for (int j = 0; j < got->n_kept && !k; j++)
            if (!strcmp(got->kept[j].name, want->name) && got->kept[j].layer == want->layer)
                k = &got->kept[j];
        ck_assert_msg(k != NULL, "%s: `%s` was kept and is gone", when, want->name);
        double most = 1e-9 * (1 + want->squares);
        ck_assert_msg(k->count == want->count && fabs(k->squares - want->squares) <= most &&
                          fabs(k->sum - want->sum) <= most * (1 + sqrt((double)want->count)),
                      "%s: `%s` was kept and is another value", when, want->name);
    }
}

/* The pass finds nothing more to do at once. */
static void check_twice(const Check *c, PassId id, const Graph *model, const char *when)
{
    Remarks remarks = {.arena = &c->f->arena};
    Text once = text_new(&c->f->arena), twice = text_new(&c->f->arena);
    Graph *copy = graph_copy(&c->f->cx, model);
    if (id == PASS_ID_lower)
        return;
    graph_print(copy, &once);
    ck_assert_msg(pass_run_one(&c->f->cx, copy, id, &remarks), "%s: %s", when, fixture_said(c->f));
    graph_print(copy, &twice);
    ck_assert_msg(!strcmp(once.data, twice.data), "%s: the pass changes what it has left", when);
}

static void check_after(void *state, const PassInfo *pass, const Graph *model, const PassTime *time)
{
    Check *c = state;
    PassId id = (PassId)(pass - pass_info);
    if (!time->changed)
        return;
    coverage->changed[id]++;
    Results got;
    const char *when = arena_print(&c->f->arena, "seed %llu after %s", (unsigned long long)c->seed, pass->name);
    run_all(c, model, when, &got);
    for (int i = 0; i < c->n_calls; i++) {
        check_near(model, c->first.value[i], got.value[i], when, 1e-9);
        if (is_bit_exact(id, c->g))
            check_near(model, c->before.value[i], got.value[i], when, 0);
    }
    check_kept(c, &got, when);
    if (c->seed % 4 == 0)
        check_twice(c, id, model, when);
    c->before = got;
}

static void count_remarks(const Remarks *remarks)
{
    for (size_t i = 0; i < remarks->count; i++) {
        PassId id;
        if (remarks->items[i].op[0] && pass_from_name(remarks->items[i].pass, &id)) /* "switched off" has no op */
            coverage->remarks[id][remarks->items[i].kind][remarks->items[i].code]++;
    }
}

static void set_call(Check *c, int i, int64_t b, int64_t s, int64_t past)
{
    c->in[i] = gen_inputs(c->g, b, s);
    c->sizes[i][0] = b;
    c->sizes[i][1] = s;
    c->sizes[i][2] = past;
}

static void check_seed(uint64_t seed)
{
    static const int64_t sizes[][2] = {{1, 1}, {2, 5}, {1, 33}, {3, 9}};
    Fixture f;
    fixture_open(&f);
    Check c = {.f = &f, .g = gen_model(&f.cx, seed), .seed = seed, .n_calls = 1};
    const char *why = NULL;
    ck_assert_msg(graph_verify(&f.cx, c.g->model, &why), "seed %llu: generated: %s", (unsigned long long)seed, why);
    set_call(&c, 0, sizes[seed % 4][0], sizes[seed % 4][1], 0);
    if (c.g->model->n_caches)
        set_call(&c, c.n_calls++, sizes[seed % 4][0], 1 + (int64_t)(seed / 4 % 4), sizes[seed % 4][1]);
    run_all(&c, c.g->model, "as made", &c.first);
    c.before = c.first;
    PassOptions options = {.after = check_after, .after_state = &c};
    if (seed % 4 == 3)
        options.off[seed / 4 % PASS_COUNT] = true;
    Graph *kernels = graph_copy(&f.cx, c.g->model);
    ck_assert_msg(passes_run(&f.cx, kernels, &options, &f.remarks, NULL), "seed %llu: %s", (unsigned long long)seed,
                  fixture_said(&f));
    count_remarks(&f.remarks);
    coverage->graphs++;
    coverage->cached += c.n_calls > 1;
    coverage->kept += c.first.n_kept;
    fixture_close(&f);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t first_seed(void)
{
    return number("ATTAR_RANDOM_SEED", 1);
}

static uint64_t count_of_graphs(void)
{
    return number("ATTAR_RANDOM_COUNT", 3200);
}

START_TEST(test_random)
{
    for (uint64_t i = (uint64_t)_i; i < count_of_graphs(); i += CHUNKS) {
        coverage->running[_i] = first_seed() + i;
        check_seed(first_seed() + i);
    }
    coverage->running[_i] = 0;
}
END_TEST

static int passed_remarks(PassId id, RemarkCode code)
{
    return coverage->remarks[id][REMARK_PASSED][code];
}

static int missed_remarks(PassId id, RemarkCode code)
{
    return coverage->remarks[id][REMARK_MISSED][code];
}

static void print_coverage(void)
{
    static const char *const kinds[] = {"passed", "missed", "analysis"};
    printf("%d graphs from seed %llu, %d with caches, %d kept values\n", coverage->graphs,
           (unsigned long long)first_seed(), coverage->cached, coverage->kept);
    for (int p = 0; p < PASS_COUNT; p++) {
        printf("  %-18s changed %d", pass_info[p].name, coverage->changed[p]);
        for (int k = 0; k < 3; k++)
            for (int code = 0; code < REMARK_CODE_COUNT; code++)
                if (coverage->remarks[p][k][code])
                    printf(", %s %s %d", kinds[k], remark_code_name((RemarkCode)code), coverage->remarks[p][k][code]);
        printf("\n");
    }
}

/* The generator reaches what it is there for: every pass changes many graphs, and gives its usual reasons. */
START_TEST(test_coverage)
{
    static const struct {
        PassId pass;
        bool missed;
        RemarkCode code;
    } reached[] = {
        {PASS_ID_canonicalize, false, REMARK_FUSED},       {PASS_ID_fold, false, REMARK_FOLDED},
        {PASS_ID_fuse_attention, false, REMARK_FUSED},     {PASS_ID_fuse_projections, false, REMARK_FUSED},
        {PASS_ID_reassociate, false, REMARK_FUSED},        {PASS_ID_reassociate, true, REMARK_NOT_LINEAR},
        {PASS_ID_fuse_epilogue, false, REMARK_FUSED},      {PASS_ID_fuse_map, false, REMARK_FUSED},
        {PASS_ID_fuse_attention, true, REMARK_SCORES_ESCAPE}, {PASS_ID_fuse_attention, true, REMARK_AXIS_MISMATCH},
        {PASS_ID_fuse_attention, true, REMARK_BLOCKED_BY_USER}, {PASS_ID_fuse_attention, true, REMARK_NOT_LINEAR},
        {PASS_ID_fuse_epilogue, true, REMARK_MULTI_USE},   {PASS_ID_fuse_epilogue, true, REMARK_AXIS_MISMATCH},
        {PASS_ID_fuse_epilogue, true, REMARK_BLOCKED_BY_USER}, {PASS_ID_fuse_epilogue, true, REMARK_ORDER_DEPENDS},
        {PASS_ID_fuse_epilogue, true, REMARK_TARGET_LACKS}, {PASS_ID_fold_factors, false, REMARK_FOLDED},
        {PASS_ID_fold_gains, false, REMARK_FOLDED},        {PASS_ID_fuse_side, false, REMARK_FUSED},
        {PASS_ID_linear_attention, false, REMARK_FUSED},   {PASS_ID_linear_attention, false, REMARK_CONSTANT_STATE},
        {PASS_ID_linear_attention, true, REMARK_MASK_NOT_LINEAR},
    };
    print_coverage();
    for (int i = 0; i < CHUNKS; i++)
        ck_assert_msg(coverage->running[i] == 0, "seed %llu did not finish", (unsigned long long)coverage->running[i]);
    if (count_of_graphs() < 2000)
        return;
    ck_assert_int_ge(coverage->graphs, 2000);
    ck_assert_int_ge(coverage->cached, 100);
    ck_assert_int_ge(coverage->kept, 200);
    for (int p = 0; p < PASS_COUNT; p++)
        ck_assert_msg(pass_info[p].kind == PASS_APPROX || p == PASS_ID_narrow_output /* only when asked */ || coverage->changed[p] >= 30,
                      "%s changed %d graphs", pass_info[p].name, coverage->changed[p]);
    for (size_t i = 0; i < sizeof reached / sizeof *reached; i++) {
        int times = reached[i].missed ? missed_remarks(reached[i].pass, reached[i].code)
                                      : passed_remarks(reached[i].pass, reached[i].code);
        ck_assert_msg(times >= 20, "%s says %s %d times", pass_info[reached[i].pass].name,
                      remark_code_name(reached[i].code), times);
    }
}
END_TEST

int main(void)
{
    coverage = mmap(NULL, sizeof *coverage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (coverage == MAP_FAILED)
        return 1;
    const TTest *tests[] = {test_random, test_coverage};
    int loops[] = {CHUNKS, 0};
    return run_suite("random graphs through the passes", tests, loops, 2);
}
