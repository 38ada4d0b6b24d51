/* Random graphs: the interpreter gives the same results after every pass, with all passes on and with each off alone.
 * ATTAR_RANDOM_SEED chooses the first graph; a failure prints its seed. */
#include "tests/passes/passes_test.h"
#include "tests/driver/random_graph.h"

typedef struct After {
    Fixture *f;
    Bindings *bind;
    const Value *want;
    uint64_t seed;
} After;

static bool weight_of(void *state, const char *key, double *out, int64_t count)
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

static void check_after(void *state, const PassInfo *pass, const Graph *model, const PassTime *time)
{
    After *a = state;
    if (!time->changed)
        return;
    Value *got = interpret(&a->f->cx, model, a->bind, &a->f->arena);
    ck_assert_msg(got != NULL, "seed %llu after %s: %s", (unsigned long long)a->seed, pass->name, fixture_said(a->f));
    check_same(model, a->want, got,
               arena_print(&a->f->arena, "seed %llu after %s", (unsigned long long)a->seed, pass->name));
}

static void check_seed(uint64_t seed)
{
    static const int64_t sizes[][2] = {{1, 1}, {2, 5}, {1, 33}, {3, 9}};
    Fixture f;
    fixture_open(&f);
    Gen *g = gen_model(&f.cx, seed);
    HostTensor *in = gen_inputs(g, sizes[seed % 4][0], sizes[seed % 4][1]);
    Bindings bind = {.sizes = sizes[seed % 4], .inputs = in, .weight = weight_of, .weight_state = g};
    Value *want = interpret(&f.cx, g->model, &bind, &f.arena);
    ck_assert_msg(want != NULL, "seed %llu: %s", (unsigned long long)seed, fixture_said(&f));
    After after = {&f, &bind, want, seed};
    PassOptions options = {.after = check_after, .after_state = &after};
    if (seed % 2)
        options.off[seed / 2 % PASS_COUNT] = true;
    Graph *kernels = graph_copy(&f.cx, g->model);
    ck_assert_msg(passes_run(&f.cx, kernels, &options, &f.remarks, NULL), "seed %llu: %s", (unsigned long long)seed,
                  fixture_said(&f));
    fixture_close(&f);
}

START_TEST(test_random)
{
    const char *text = getenv("ATTAR_RANDOM_SEED");
    uint64_t first = text ? strtoull(text, NULL, 10) : 1;
    for (uint64_t i = (uint64_t)_i; i < 400; i += 8)
        check_seed(first + i);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {test_random};
    int loops[] = {8};
    return run_suite("random graphs through the passes", tests, loops, 1);
}
