/* Attention in many spellings, compiled: each choice of one thing with the rest plain, and mixtures of all of them.
 * Every program becomes C, runs with one and two threads with the same bits, and equals the float64 interpreter of the
 * program as written. ATTAR_RANDOM_SEED and ATTAR_RANDOM_COUNT choose other mixtures. */
#include "codegen/codegen.h"
#include "runtime/jit.h"
#include "runtime/session.h"
#include "tests/passes/passes_test.h"
#include "tests/passes/spellings.h"

enum { N_MIXED = 24, GROUPS = 8, MAX_WEIGHTS = 16 };
static const double most = 2e-4; /* relative to the largest magnitude */

static const char *numbered(Fixture *f, const char *what, int group)
{
    return arena_print(&f->arena, BUILD_DIR "/spelling-%d.%s", group, what);
}

/* A checkpoint of the weights that the interpreter sees. */
static Checkpoint *save_weights(Fixture *f, const Graph *g, int group)
{
    HostTensor *all = arena_array(&f->arena, MAX_WEIGHTS, sizeof *all);
    int n = 0;
    for (const Node *w = g->first; w; w = w->next) {
        if (w->op != OP_weight)
            continue;
        ck_assert_int_lt(n, MAX_WEIGHTS);
        const Attr *stored = node_attr(w, ATTR_stored);
        HostTensor *h = &all[n++];
        *h = (HostTensor){.name = attr_name(w, ATTR_key), .dtype = DT_F32,
                          .rank = stored ? stored->ints.count : w->type->rank};
        for (int i = 0; i < h->rank; i++)
            h->dims[i] = stored ? stored->ints.items[i] : w->type->axis[i].size.base;
        h->data = arena_array(&f->arena, (size_t)host_count(h), sizeof(float));
        for (int64_t i = 0; i < host_count(h); i++)
            host_set(h, i, 0.5 * hashed(h->name, i));
    }
    const char *path = numbered(f, "safetensors", group);
    ck_assert_msg(safetensors_save(&f->cx, path, all, n), "%s", fixture_said(f));
    Checkpoint *c = checkpoint_open(&f->cx, path);
    ck_assert_msg(c != NULL, "%s", fixture_said(f));
    remove(path);
    return c;
}

static double *copied(Fixture *f, const HostTensor *h)
{
    double *out = arena_array(&f->arena, (size_t)host_count(h), sizeof *out);
    for (int64_t i = 0; i < host_count(h); i++)
        out[i] = host_get(h, i);
    return out;
}

static void run_compiled(Fixture *f, const Program *program, const Run *run, int n_inputs, const Value *want,
                         const char *text)
{
    double *first = NULL;
    for (int threads = 1; threads <= 2; threads++) {
        Session *s = session_new(&f->cx, program, 0, threads, NULL);
        const HostTensor *out = NULL;
        ck_assert_msg(s && session_run(&f->cx, s, run->inputs, n_inputs, &out), "%s\n%s", text, fixture_said(f));
        double *got = copied(f, &out[0]);
        Value value = {.count = host_count(&out[0]), .data = got};
        double d = difference(want, &value);
        ck_assert_msg(d < most, "%s\ncompiled, %d threads: differs by %g", text, threads, d);
        ck_assert_msg(!first || !memcmp(first, got, (size_t)value.count * sizeof *got), "%s\nthreads change bits", text);
        first = got;
        session_free(s);
    }
}

static void check_compiled(Spelling s, int group)
{
    Fixture f;
    fixture_open(&f);
    Text text = text_new(&f.arena);
    spell(s, &text);
    Source source = {"spelling.attar", text.data, text.length};
    ModelOptions options = {.n_checkpoint = -1};
    Model model;
    ck_assert_msg(model_load(&f.cx, &source, &options, &model), "%s\n%s", text.data, fixture_said(&f));
    Graph *kernels = graph_copy(&f.cx, model.graph);
    ck_assert_msg(passes_run(&f.cx, kernels, NULL, &f.remarks, NULL), "%s\n%s", text.data, fixture_said(&f));
    Call call[] = {{"B", 2}, {"S", 11}, {"T", 37}, {"P", 21}, {"N", 16}};
    Run run = run_new(&f, model.graph, call, 5);
    for (int i = 0; i < model.graph->n_params; i++)
        see_first_key(&run.inputs[i]);
    Value *want = run_graph(&run, model.graph);
    Emitted e;
    EmitOptions emit_options = {.target = target_native(), .split = true};
    ck_assert_msg(codegen_emit(&f.cx, kernels, &emit_options, &e), "%s\n%s", text.data, fixture_said(&f));
    JitOptions jit_options = {.flags = emit_options.target->flags, .no_cache = true};
    JitStats stats;
    Jit *jit = jit_compile(&f.cx, e.units, e.n_units, &jit_options, &stats);
    ck_assert_msg(jit != NULL, "%s\n%s", text.data, fixture_said(&f));
    Checkpoint *checkpoint = save_weights(&f, model.graph, group);
    Packed packed = {0};
    ck_assert_msg(pack_weights(&f.cx, checkpoint, &e.plan, 1, &packed), "%s\n%s", text.data, fixture_said(&f));
    Program program = {.plan = &e.plan, .weights = packed.data, .rows = packed.rows};
    *(void **)&program.run = jit_symbol(&f.cx, jit, arena_print(&f.arena, "%s_run", e.plan.name));
    *(void **)&program.arena_bytes = jit_symbol(&f.cx, jit, arena_print(&f.arena, "%s_arena_bytes", e.plan.name));
    run_compiled(&f, &program, &run, model.graph->n_params, want, text.data);
    pack_free(&packed);
    checkpoint_close(checkpoint);
    jit_free(jit);
    fixture_close(&f);
}

/* One thing in all its spellings. */
START_TEST(test_single)
{
    for (int x = _i == 0 ? 0 : 1; x < spelling_size[_i]; x++) {
        Spelling s = {.scale = SCALE_PRODUCT};
        *spelling_choice(&s, _i) = x;
        if (x == SCALE_WEIGHT && _i == 0)
            s.source = FROM_PROJECTION;
        if (_i == 1 && x == MASK_FACTOR)
            s.softmax = SOFTMAX_SHIFTED;
        if (_i == 1 && x == MASK_CAPPED_FINITE)
            s.bias = BIAS_CAP;
        ck_assert(spelling_exists(s));
        check_compiled(s, _i);
    }
}
END_TEST

START_TEST(test_mixed)
{
    const char *seed = getenv("ATTAR_RANDOM_SEED"), *count = getenv("ATTAR_RANDOM_COUNT");
    uint64_t state = (seed ? strtoull(seed, NULL, 10) : 1) * 1000 + (uint64_t)_i;
    int programs = (count ? atoi(count) : N_MIXED) / GROUPS;
    for (int i = 0; i < programs; i++)
        check_compiled(spelling_random(&state), SPELLING_DIMS + _i);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {test_single, test_mixed};
    int loops[] = {SPELLING_DIMS, GROUPS};
    return run_suite("spellings of attention, compiled", tests, loops, 2);
}
