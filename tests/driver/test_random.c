/* Random graphs: the interpreter before the passes, after every pass, and the compiled code give the same results.
 * ATTAR_RANDOM_SEED and ATTAR_RANDOM_COUNT choose other graphs; a failure prints its seed and keeps the IR text in the build tree. */
#include <check.h>
#include <stdio.h>
#include "codegen/codegen.h"
#include "passes/passes.h"
#include "runtime/jit.h"
#include "runtime/session.h"
#include "tests/driver/random_graph.h"

typedef struct Fixture { Arena arena; Names names; Diags diags; Context cx; } Fixture;

static void fixture_begin(Fixture *f)
{
    memset(f, 0, sizeof *f);
    f->names.map = map_new(&f->arena);
    f->diags.arena = &f->arena;
    f->cx = (Context){&f->arena, &f->diags, &f->names};
}

static const char *said(Fixture *f)
{
    Text t = text_new(&f->arena);
    diag_render(&f->diags, &t, false);
    return t.data;
}

static bool weight_of(void *state, const char *key, double *out, int64_t count)
{
    const Gen *g = state;
    for (int i = 0; i < g->n_weights; i++)
        if (!strcmp(g->weights[i].name, key) && host_count(&g->weights[i]) == count) {
            for (int64_t j = 0; j < count; j++)
                out[j] = ((const float *)g->weights[i].data)[j];
            return true;
        }
    return false;
}

static Value *run(Fixture *f, Gen *g, const Graph *model, const HostTensor *in)
{
    int64_t sizes[2] = {in[0].dims[0], in[0].dims[1]};
    Bindings b = {.sizes = sizes, .inputs = in, .weight = weight_of, .weight_state = g};
    return interpret(&f->cx, model, &b, &f->arena);
}

/* Largest difference relative to the largest magnitude; infinity if shapes or NaNs differ. */
static double difference(const Value *a, const double *b, int64_t count)
{
    double most = 0, size = 1;
    if (a->count != count)
        return INFINITY;
    for (int64_t i = 0; i < count; i++) {
        if (isnan(a->data[i]) != isnan(b[i]))
            return INFINITY;
        if (isnan(a->data[i]) || a->data[i] == b[i])
            continue;
        most = fmax(most, fabs(a->data[i] - b[i]));
        size = fmax(size, fabs(a->data[i]));
    }
    return most / size;
}

static void keep_text(Fixture *f, const Graph *g, uint64_t seed, const char *what)
{
    Text t = text_new(&f->arena);
    graph_print(g, &t);
    FILE *file = fopen(arena_print(&f->arena, BUILD_DIR "/random-%llu-%s.ir", (unsigned long long)seed, what), "w");
    if (file) {
        fwrite(t.data, 1, t.length, file);
        fclose(file);
    }
}

typedef struct AfterPass { Fixture *f; Gen *g; const HostTensor *in; const Value *want; int results; uint64_t seed; } AfterPass;

static void check_after(void *state, const PassInfo *pass, const Graph *model, const PassTime *time)
{
    AfterPass *a = state;
    if (!time->changed)
        return;
    Value *got = run(a->f, a->g, model, a->in);
    if (!got)
        keep_text(a->f, model, a->seed, "broken");
    ck_assert_msg(got != NULL, "seed %llu: after %s: %s", (unsigned long long)a->seed, pass->name, said(a->f));
    for (int r = 0; r < a->results; r++) {
        double d = difference(&a->want[r], got[r].data, got[r].count);
        if (!(d < 1e-9))
            keep_text(a->f, model, a->seed, "broken");
        ck_assert_msg(d < 1e-9, "seed %llu: after %s: result %d differs by %g", (unsigned long long)a->seed, pass->name, r, d);
    }
}

static void check_compiled(Fixture *f, Gen *g, const Graph *kernels, uint64_t seed, const HostTensor *in, const Value *want)
{
    Emitted e;
    EmitOptions options = {.target = target_native()};
    ck_assert_msg(codegen_emit(&f->cx, kernels, &options, &e), "seed %llu: %s", (unsigned long long)seed, said(f));
    JitOptions jit_options = {.flags = options.target->flags, .no_cache = true};
    JitStats stats;
    Jit *jit = jit_compile(&f->cx, e.text, e.length, &jit_options, &stats);
    ck_assert_msg(jit != NULL, "seed %llu: %s", (unsigned long long)seed, said(f));
    const char *path = arena_print(&f->arena, BUILD_DIR "/random-%llu.safetensors", (unsigned long long)seed);
    ck_assert(safetensors_save(&f->cx, path, g->weights, g->n_weights));
    Checkpoint *checkpoint = checkpoint_open(&f->cx, path);
    Packed packed = {0};
    ck_assert_msg(checkpoint && pack_weights(&f->cx, checkpoint, &e.plan, 1, &packed), "%s", said(f));
    Program program = {.plan = &e.plan, .weights = packed.data};
    *(void **)&program.run = jit_symbol(&f->cx, jit, arena_print(&f->arena, "%s_run", e.plan.name));
    *(void **)&program.arena_bytes = jit_symbol(&f->cx, jit, arena_print(&f->arena, "%s_arena_bytes", e.plan.name));
    for (int threads = 1; threads <= 2; threads++) {
        Session *s = session_new(&f->cx, &program, 0, threads, NULL);
        const HostTensor *out = NULL;
        ck_assert_msg(s && session_run(&f->cx, s, in, 3, &out), "seed %llu: %s", (unsigned long long)seed, said(f));
        for (int r = 0; r < kernels->n_results; r++) {
            int64_t count = host_count(&out[r]);
            double *got = arena_array(&f->arena, (size_t)count, sizeof *got);
            for (int64_t i = 0; i < count; i++)
                got[i] = host_get(&out[r], i);
            double d = difference(&want[r], got, count);
            if (!(d < 2e-4))
                keep_text(f, kernels, seed, "kernels");
            ck_assert_msg(d < 2e-4, "seed %llu: compiled, %d threads: result %d differs by %g", (unsigned long long)seed, threads, r, d);
        }
        session_free(s);
    }
    pack_free(&packed);
    checkpoint_close(checkpoint);
    jit_free(jit);
    remove(path);
}

static void check_seed(uint64_t seed, bool compile)
{
    static const int64_t sizes[][2] = {{1, 1}, {2, 5}, {1, 33}, {3, 9}, {2, 17}};
    Fixture f;
    fixture_begin(&f);
    Gen *g = gen_model(&f.cx, seed);
    const char *why = NULL;
    if (!graph_verify(&f.cx, g->model, &why))
        keep_text(&f, g->model, seed, "invalid");
    ck_assert_msg(graph_verify(&f.cx, g->model, &why), "seed %llu: generated graph: %s", (unsigned long long)seed, why);
    HostTensor *in = gen_inputs(g, sizes[seed % 5][0], sizes[seed % 5][1]);
    Value *want = run(&f, g, g->model, in);
    ck_assert_msg(want != NULL, "seed %llu: %s", (unsigned long long)seed, said(&f));
    Graph *kernels = graph_copy(&f.cx, g->model);
    Remarks remarks = {.arena = &f.arena};
    AfterPass after = {&f, g, in, want, g->model->n_results, seed};
    PassOptions options = {.after = check_after, .after_state = &after};
    if (seed % 3 == 0)
        options.off[seed / 3 % 8] = true;       /* each of the optional passes off alone, in turn */
    bool ran = passes_run(&f.cx, kernels, &options, &remarks, NULL);
    if (!ran)
        keep_text(&f, g->model, seed, "before");
    ck_assert_msg(ran, "seed %llu: %s", (unsigned long long)seed, said(&f));
    if (compile)
        check_compiled(&f, g, kernels, seed, in, want);
    arena_free(&f.arena);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

START_TEST(test_passes)
{
    uint64_t first = number("ATTAR_RANDOM_SEED", 1), count = number("ATTAR_RANDOM_COUNT", 400);
    for (uint64_t i = (uint64_t)_i; i < count; i += 8)
        check_seed(first + i, false);
}
END_TEST

START_TEST(test_compiled)
{
    uint64_t first = number("ATTAR_RANDOM_SEED", 1), count = number("ATTAR_RANDOM_COUNT", 400) / 10;
    for (uint64_t i = (uint64_t)_i; i < count; i += 8)
        check_seed(first + i, true);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("random graphs");
    TCase *t = tcase_create("random");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, test_passes, 0, 8);
    tcase_add_loop_test(t, test_compiled, 0, 8);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
