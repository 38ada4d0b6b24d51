/* Random graphs: compiled code gives what the interpreter gives for the graph before the passes, with one thread and two, caches
 * continued. (tests/passes/test_pass_random.c has the interpreter after every pass.) ATTAR_RANDOM_SEED and ATTAR_RANDOM_COUNT choose
 * other graphs; a failure prints its seed and keeps the IR text in the build tree. */
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

/* Largest difference relative to the largest magnitude; infinity if shapes or NaNs differ. */
static double difference(const Value *a, const HostTensor *b)
{
    double most = 0, size = 1;
    if (a->count != host_count(b))
        return INFINITY;
    for (int64_t i = 0; i < a->count; i++) {
        double want = a->data[i], got = host_get(b, i);
        if (isnan(want) != isnan(got))
            return INFINITY;
        if (isnan(want) || want == got)
            continue;
        most = fmax(most, fabs(want - got));
        size = fmax(size, fabs(want));
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

typedef struct Calls { /* one call, or two of which the second continues the caches */
    int count;
    int64_t sizes[2][3];
    HostTensor *in[2];
    Value *want[2];
} Calls;

static void make_calls(Fixture *f, Gen *g, uint64_t seed, Calls *c)
{
    static const int64_t sizes[][2] = {{1, 1}, {2, 5}, {1, 33}, {3, 9}, {2, 17}};
    const int64_t *size = sizes[seed % 5];
    Value *caches = NULL;
    *c = (Calls){.count = g->model->n_caches ? 2 : 1};
    for (int i = 0; i < c->count; i++) {
        int64_t s = i ? 1 + (int64_t)(seed / 5 % 4) : size[1];
        memcpy(c->sizes[i], (int64_t[]){size[0], s, i ? size[1] : 0}, sizeof c->sizes[i]);
        c->in[i] = gen_inputs(g, size[0], s);
        if (!caches)
            caches = interpret_caches(g->model, c->sizes[0], &f->arena);
        Bindings b = {.sizes = c->sizes[i], .inputs = c->in[i], .weight = gen_weight_of, .weight_state = g, .caches = caches};
        c->want[i] = interpret(&f->cx, g->model, &b, &f->arena);
        ck_assert_msg(c->want[i] != NULL, "seed %llu: %s", (unsigned long long)seed, said(f));
    }
}

static void check_session(Fixture *f, const Graph *kernels, const Program *program, const Calls *c, int threads, uint64_t seed)
{
    Session *s = session_new(&f->cx, program, c->count > 1 ? c->sizes[0][0] : 0, threads, NULL);
    ck_assert_msg(s != NULL, "seed %llu: %s", (unsigned long long)seed, said(f));
    for (int i = 0; i < c->count; i++) {
        const HostTensor *out = NULL;
        ck_assert_msg(session_run(&f->cx, s, c->in[i], GEN_INPUTS, &out), "seed %llu: %s", (unsigned long long)seed, said(f));
        for (int r = 0; r < kernels->n_results; r++) {
            double d = difference(&c->want[i][r], &out[r]);
            if (!(d < 2e-4))
                keep_text(f, kernels, seed, "kernels");
            ck_assert_msg(d < 2e-4, "seed %llu: compiled, %d threads, call %d: result %d differs by %g", (unsigned long long)seed,
                          threads, i, r, d);
        }
    }
    session_free(s);
}

static void check_compiled(Fixture *f, Gen *g, const Graph *kernels, uint64_t seed, const Calls *calls)
{
    Emitted e;
    EmitOptions options = {.target = target_native(), .split = true};
    bool emitted = codegen_emit(&f->cx, kernels, &options, &e);
    if (!emitted)
        keep_text(f, kernels, seed, "kernels");
    ck_assert_msg(emitted, "seed %llu: %s", (unsigned long long)seed, said(f));
    JitOptions jit_options = {.flags = options.target->flags, .no_cache = true};
    JitStats stats;
    Jit *jit = jit_compile(&f->cx, e.units, e.n_units, &jit_options, &stats);
    ck_assert_msg(jit != NULL, "seed %llu: %s", (unsigned long long)seed, said(f));
    const char *path = arena_print(&f->arena, BUILD_DIR "/random-%llu.safetensors", (unsigned long long)seed);
    ck_assert(safetensors_save(&f->cx, path, g->weights, g->n_weights));
    Checkpoint *checkpoint = checkpoint_open(&f->cx, path);
    Packed packed = {0};
    ck_assert_msg(checkpoint && pack_weights(&f->cx, checkpoint, &e.plan, 1, &packed), "%s", said(f));
    Program program = {.plan = &e.plan, .weights = packed.data, .rows = packed.rows};
    *(void **)&program.run = jit_symbol(&f->cx, jit, arena_print(&f->arena, "%s_run", e.plan.name));
    *(void **)&program.arena_bytes = jit_symbol(&f->cx, jit, arena_print(&f->arena, "%s_arena_bytes", e.plan.name));
    for (int threads = 1; threads <= 2; threads++)
        check_session(f, kernels, &program, calls, threads, seed);
    pack_free(&packed);
    checkpoint_close(checkpoint);
    jit_free(jit);
    remove(path);
}

static void check_seed(uint64_t seed)
{
    Fixture f;
    fixture_begin(&f);
    Gen *g = gen_model(&f.cx, seed);
    Calls calls;
    make_calls(&f, g, seed, &calls);
    Graph *kernels = graph_copy(&f.cx, g->model);
    Remarks remarks = {.arena = &f.arena};
    PassOptions options = {0};
    if (seed % 3 == 0)
        options.off[seed / 3 % PASS_COUNT] = true; /* each of the passes off alone, in turn */
    ck_assert_msg(passes_run(&f.cx, kernels, &options, &remarks, NULL), "seed %llu: %s", (unsigned long long)seed, said(&f));
    check_compiled(&f, g, kernels, seed, &calls);
    arena_free(&f.arena);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

START_TEST(test_compiled)
{
    uint64_t first = number("ATTAR_RANDOM_SEED", 1), count = number("ATTAR_RANDOM_COUNT", 104);
    for (uint64_t i = (uint64_t)_i; i < count; i += 8)
        check_seed(first + i);
}
END_TEST

int main(void)
{
    printf("%llu graphs from seed %llu\n", (unsigned long long)number("ATTAR_RANDOM_COUNT", 104),
           (unsigned long long)number("ATTAR_RANDOM_SEED", 1));
    fflush(stdout);
    Suite *s = suite_create("random graphs");
    TCase *t = tcase_create("random");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, test_compiled, 0, 8);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
