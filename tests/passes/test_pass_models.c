/* Whole models through the pipeline: the interpreter gives the same results after every pass, with every pass off
 * alone, for one call and for a call that continues a cache; and running the pipeline's passes again changes
 * nothing. */
#include "tests/passes/passes_test.h"

static const struct {
    const char *model, *golden;
} models[] = {
    {"bert", "bert"},     {"gpt2", "gpt2"},   {"llama", "llama"},
    {"llama", "mistral"}, {"llama", "qwen2"}, {"llama", "llama-rope-llama3"},
    {"llama", "llama-rope-dynamic"}, {"llama", "smollm3"}, {"phi", "phi"},
    {"bloom", "bloom"}, {"falcon", "falcon-grouped"}, {"cohere", "cohere"},
    {"deepseek", "deepseek-v3-dense"}, {"llama_performer", "llama-performer"}, {"minilm", "minilm"},
};
enum { N_MODELS = sizeof models / sizeof models[0] };

/* MiniLM's own sizes are too large for the interpreter in a test. */
static Graph *load(Fixture *f, int i)
{
    return fixture_model(f, models[i].model, models[i].golden);
}

typedef struct After {
    Run *run;
    const Value *want;
    const char *golden;
} After;

static void check_after(void *state, const PassInfo *pass, const Graph *model, const PassTime *time)
{
    After *a = state;
    if (!time->changed)
        return;
    Run again = *a->run;
    again.caches = interpret_caches(model, a->run->sizes, &a->run->f->arena);
    check_same(model, a->want, run_graph(&again, model),
               arena_print(&a->run->f->arena, "%s after %s", a->golden, pass->name));
}

START_TEST(test_after_each_pass)
{
    Fixture f;
    fixture_open(&f);
    Graph *g = load(&f, _i), *kernels = graph_copy(&f.cx, g);
    Call call[] = {{"B", 2}, {"S", 5}};
    Run run = run_new(&f, g, call, 2);
    After after = {&run, run_graph(&run, g), models[_i].golden};
    PassOptions options = {.after = check_after, .after_state = &after};
    ck_assert_msg(passes_run(&f.cx, kernels, &options, &f.remarks, NULL), "%s", fixture_said(&f));
    fixture_close(&f);
}
END_TEST

static void check_off(int model, PassId off)
{
    Fixture f;
    fixture_open(&f);
    Graph *g = load(&f, model), *kernels = graph_copy(&f.cx, g);
    PassOptions options = {0};
    options.off[off] = true;
    ck_assert_msg(passes_run(&f.cx, kernels, &options, &f.remarks, NULL), "%s without %s: %s", models[model].golden,
                  pass_info[off].name, fixture_said(&f));
    ck_assert_int_eq(kernels->level, LEVEL_KERNEL);
    Call call[] = {{"B", 1}, {"S", 3}};
    Run run = run_new(&f, g, call, 2), again = run_new(&f, kernels, call, 2);
    check_same(g, run_graph(&run, g), run_graph(&again, kernels),
               arena_print(&f.arena, "%s without %s", models[model].golden, pass_info[off].name));
    fixture_close(&f);
}

START_TEST(test_each_pass_off)
{
    for (int p = 0; p < PASS_COUNT; p++)
        if (p != PASS_ID_lower && p != PASS_ID_plan_memory)
            check_off(_i, (PassId)p);
}
END_TEST

/* Two calls on one cache: five positions, then two more. */
START_TEST(test_cache)
{
    Fixture f;
    fixture_open(&f);
    Graph *g = load(&f, _i), *kernels = graph_copy(&f.cx, g);
    ck_assert_msg(passes_run(&f.cx, kernels, NULL, &f.remarks, NULL), "%s", fixture_said(&f));
    if (g->n_caches) {
        Call first[] = {{"B", 2}, {"S", 5}, {"past", 0}}, second[] = {{"B", 2}, {"S", 2}, {"past", 5}};
        Run a = run_new(&f, g, first, 3), b = run_new(&f, kernels, first, 3), a2 = run_new(&f, g, second, 3),
            b2 = run_new(&f, kernels, second, 3);
        check_same(g, run_graph(&a, g), run_graph(&b, kernels), "first call");
        a2.caches = a.caches;
        b2.caches = b.caches;
        check_same(g, run_graph(&a2, g), run_graph(&b2, kernels), "second call");
    }
    fixture_close(&f);
}
END_TEST

/* Every pass but lower and plan-memory, run twice, changes the text once. */
START_TEST(test_idempotent)
{
    Fixture f;
    fixture_open(&f);
    Graph *g = load(&f, _i);
    for (int i = 0; i < pipeline_length; i++) {
        PassId id = pipeline[i].id;
        if (id == PASS_ID_lower)
            break;
        ck_assert_msg(pass_run_one(&f.cx, g, id, &f.remarks), "%s", fixture_said(&f));
        Text once = text_new(&f.arena), twice = text_new(&f.arena);
        graph_print(g, &once);
        size_t remarks = f.remarks.count;
        ck_assert_msg(pass_run_one(&f.cx, g, id, &f.remarks), "%s", fixture_said(&f));
        graph_print(g, &twice);
        ck_assert_msg(!strcmp(once.data, twice.data), "%s: %s twice:\n%s\n%s", models[_i].golden, pass_info[id].name,
                      once.data, twice.data);
        for (size_t r = remarks; r < f.remarks.count; r++)
            ck_assert_int_ne(f.remarks.items[r].kind, REMARK_PASSED);
    }
    fixture_close(&f);
}
END_TEST

static int count_op(const Graph *g, Op op)
{
    int count = 0;
    for (const Node *n = g->first; n; n = n->next)
        count += (n->op == op) + (n->body && n->body->level != LEVEL_BODY ? count_op(n->body, op) : 0);
    return count;
}

/* What every one of these models has to become: all attention fused, q, k, v in one gemm, no product left as loops; Performer's
 * attention one kernel with a state, and no cache that grows. */
START_TEST(test_shape)
{
    static const int gemms[N_MODELS] = {5, 5, 5, 5, 5, 5, 5, 5, 4, 5, 5, 4, 6, 5, 4};
    Fixture f;
    fixture_open(&f);
    Graph *g = load(&f, _i);
    ck_assert_msg(passes_run(&f.cx, g, NULL, &f.remarks, NULL), "%s", fixture_said(&f));
    bool latent = !strcmp(models[_i].model, "deepseek"); /* expanded and absorbed */
    bool performer = !strcmp(models[_i].model, "llama_performer");
    ck_assert_int_eq(count_op(g, OP_attend), latent ? 2 : !performer);
    ck_assert_int_eq(count_op(g, OP_linear_attend), performer);
    for (int i = 0; i < g->n_caches && performer; i++)
        ck_assert_int_lt(g->caches[i].growing, 0);
    ck_assert_int_eq(count_op(g, OP_dot), latent ? 2 : 0);
    ck_assert_int_eq(count_op(g, OP_choose), latent);
    ck_assert_int_eq(count_op(g, OP_gemm), gemms[_i]);
    for (size_t i = 0; i < f.remarks.count; i++)
        ck_assert_msg(f.remarks.items[i].kind != REMARK_MISSED || strcmp(f.remarks.items[i].pass, "fuse-attention"),
                      "%s", f.remarks.items[i].why);
    fixture_close(&f);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {test_after_each_pass, test_each_pass_off, test_cache, test_idempotent, test_shape};
    int loops[] = {N_MODELS - 1, N_MODELS - 1, N_MODELS - 1, N_MODELS, N_MODELS};
    return run_suite("passes on models", tests, loops, 5);
}
