/* Lossless enlargement: the equations, the published pair of checkpoints, other factors, what is refused. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver/expand_inside.h"
#include "driver/signature.h"

/* BERT without its pooler, as the pair of checkpoints is. */
static const char encoder[] =
    "config \"config.json\" {\n"
    "  D = hidden_size; L = num_hidden_layers; H = num_attention_heads; K = D / H\n"
    "  F = intermediate_size; V = vocab_size; P = max_position_embeddings; Types = type_vocab_size; eps = layer_norm_eps\n"
    "}\n"
    "default linear(bias=true)\ndefault layernorm(eps=eps)\n"
    "block Layer(x: [B, S, D], keep: bool[B, S]) -> [B, S, D] {\n"
    "  q = linear(x, \"attention.self.query\", (H, K)); k = linear(x, \"attention.self.key\", (H, K))\n"
    "  a = attention(q, k, linear(x, \"attention.self.value\", (H, K)), mask=padding(keep))\n"
    "  x = layernorm(x + linear(a, \"attention.output.dense\", D, in=(H, K)), \"attention.output.LayerNorm\")\n"
    "  h = linear(x, \"intermediate.dense\", F) |> gelu()\n"
    "  return layernorm(x + linear(h, \"output.dense\", D), \"output.LayerNorm\")\n"
    "}\n"
    "model Encoder(ids: i32[B, S], types: i32[B, S], keep: bool[B, S]) -> (hidden: f32[B, S, D]) {\n"
    "  assert S <= P\n"
    "  at \"embeddings\" {\n"
    "    w = embed(ids, \"word_embeddings\", V, D) + embed(types, \"token_type_embeddings\", Types, D)\n"
    "    x = layernorm(w + embed(0..S, \"position_embeddings\", P, D), \"LayerNorm\")\n"
    "  }\n"
    "  repeat i < L at \"encoder.layer.{i}\" { x = Layer(x, keep) }\n"
    "  return x\n}\n";

static char folder[64];
static const char *model;

static const char *in_folder(const char *name)
{
    static char path[4][160];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", folder, name);
    return path[next];
}

static void save(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void begin(void)
{
    strcpy(folder, "/tmp/attar-expand-XXXXXX");
    ck_assert(mkdtemp(folder));
    model = strdup(in_folder("encoder.attar"));
    save(model, encoder);
}

static void end(void)
{
    static const char *const names[] = {"encoder.attar", "large/config.json", "large/model.safetensors", "small/config.json", "small.attar", "wide.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(in_folder(names[i]));
    rmdir(in_folder("large"));
    rmdir(in_folder("small"));
    rmdir(folder);
    free((void *)(uintptr_t)model);
}

static const char *messages(Compilation *c)
{
    Text out = text_new(&c->arena);
    diag_render(&c->diags, &out, false);
    return out.data ? out.data : "";
}

static void enlarge(Compilation *c, const char *path, const char *weights, int64_t factor, Expansion *x)
{
    CompileOptions o = {.model = path, .weights = weights};
    compile_begin(c);
    ck_assert_msg(compile_load(c, &o), "%s", messages(c));
    ck_assert_msg(expand_find(c, factor, NULL, 0, x) && expand_write(c, x, in_folder("large")), "%s", messages(c));
}

static void release(Compilation *c, Expansion *x)
{
    json_decref(x->config);
    compile_free(c);
}

/* ---- equations ----------------------------------------------------------------------------------------------------- */

START_TEST(equations)
{
    Arena arena = {0};
    Solver s = {.arena = &arena};
    Form a = form_unknown(&s), b = form_unknown(&s), c = form_unknown(&s), d = form_unknown(&s);
    ck_assert(solver_equal(&s, form_add(&s, a, b, 1), form_number(-0.5)));
    ck_assert(solver_open(&s, a) && solver_open(&s, b));
    ck_assert(!solver_open(&s, form_add(&s, a, b, 1)));
    ck_assert(solver_equal(&s, a, b));
    ck_assert(!solver_open(&s, a));
    ck_assert(solver_equal(&s, form_scale(&s, c, 3), form_add(&s, a, d, 1)));
    ck_assert(solver_equal(&s, d, form_number(1)));
    ck_assert(!solver_equal(&s, form_add(&s, c, b, -1), form_number(0.6)));
    ck_assert(solver_equal(&s, form_add(&s, c, b, -1), form_number(0.5)));
    double *x = solver_solve(&s);
    ck_assert_double_eq_tol(x[0], -0.25, 1e-12);
    ck_assert_double_eq_tol(x[1], -0.25, 1e-12);
    ck_assert_double_eq_tol(x[2], 0.25, 1e-12);
    ck_assert_double_eq_tol(form_value(form_add(&s, a, c, 2), x), 0.25, 1e-12);
    arena_free(&arena);
}
END_TEST

/* ---- the published pair --------------------------------------------------------------------------------------------- */

START_TEST(pair)
{
    static Compilation c;
    Expansion x;
    enlarge(&c, model, SOURCE_DIR "/tests/golden/expand-small", 4, &x);
    ck_assert_str_eq(x.scaled, "layer_norm_eps = 0.00025");
    ck_assert_int_eq(x.n_keys, 2);
    Checkpoint *got = checkpoint_open(&c.cx, in_folder("large"));
    Checkpoint *want = checkpoint_open(&c.cx, SOURCE_DIR "/tests/golden/expand-large");
    ck_assert_msg(got && want, "%s", messages(&c));
    int64_t n, m;
    const HostTensor *all = checkpoint_tensors(want, &n);
    checkpoint_tensors(got, &m);
    ck_assert_int_eq(n, m);
    for (int64_t i = 0; i < n; i++) {
        const HostTensor *t = checkpoint_find(got, all[i].name);
        ck_assert_msg(t && t->rank == all[i].rank && host_count(t) == host_count(&all[i]), "%s", all[i].name);
        int64_t count = host_count(t);
        float *a = arena_array(&c.arena, (size_t)count, sizeof *a), *b = arena_array(&c.arena, (size_t)count, sizeof *b);
        ck_assert(checkpoint_read_f32(&c.cx, got, t->name, 0, count, a) && checkpoint_read_f32(&c.cx, want, t->name, 0, count, b));
        for (int64_t k = 0; k < count; k++)
            ck_assert_msg(fabsf(a[k] - b[k]) <= 2e-7f * fabsf(b[k]), "%s[%d]: %.9g, not %.9g", t->name, (int)k, (double)a[k], (double)b[k]);
    }
    json_t *config = json_read_file(&c.diags, "E0590", SOURCE_DIR "/tests/golden/expand-large/config.json", 1 << 20, 32);
    static const char *const keys[] = {"hidden_size", "intermediate_size", "num_attention_heads", "layer_norm_eps", "vocab_size"};
    for (size_t i = 0; i < 5; i++)
        ck_assert(json_number_value(json_object_get(config, keys[i])) == json_number_value(json_object_get(x.config, keys[i])));
    json_decref(config);
    checkpoint_close(got);
    checkpoint_close(want);
    release(&c, &x);
}
END_TEST

/* ---- the same output -------------------------------------------------------------------------------------------------- */

typedef struct Ran {
    Compilation c;
    Session *session;
    const HostTensor *outputs;
} Ran;

static void run(Ran *r, const char *path, const char *weights, const HostTensor *inputs, int n)
{
    CompileOptions o = {.model = path, .weights = weights, .threads = 1};
    compile_begin(&r->c);
    ck_assert_msg(compile_all(&r->c, &o), "%s", messages(&r->c));
    const Plan *plan = &r->c.emitted.plan;
    r->session = session_new(&r->c.cx, &r->c.program, plan->n_caches ? signature_batch_size(plan, inputs, n) : 0, 1, NULL);
    ck_assert_msg(r->session && session_run(&r->c.cx, r->session, inputs, n, &r->outputs), "%s", messages(&r->c));
}

static void stop(Ran *r)
{
    session_free(r->session);
    compile_free(&r->c);
}

/* An output against exact numbers, which are repeated and scaled where the last axis is wider. */
static void compare_output(const HostTensor *exact, const HostTensor *got, double times)
{
    double most = 0, off = 0;
    int64_t wide = host_count(got) / host_count(exact);
    ck_assert_int_eq(got->dims[got->rank - 1], wide * exact->dims[exact->rank - 1]);
    for (int64_t k = 0; k < host_count(got); k++) {
        double want = times * host_get(exact, k / wide);
        most = fmax(most, fabs(want));
        off = fmax(off, fabs(host_get(got, k) - want));
    }
    ck_assert_msg(off <= 4e-6 * most, "`%s` is off by %g of %g", got->name, off, most);
}

/* Outputs of both models, each against the golden ones: two that are both right may differ by more than either is off. */
static void compare(Compilation *c, const char *weights, const Expansion *x, const Ran *small, const Ran *large)
{
    int count;
    HostTensor *golden = safetensors_load(&c->cx, arena_print(&c->arena, "%s/golden.safetensors", weights), &count);
    ck_assert_msg(golden, "%s", messages(c));
    for (int i = 0; i < small->c.emitted.plan.n_outputs; i++) {
        const HostTensor *a = &small->outputs[i], *exact = NULL;
        double times = 1;
        for (int k = 0; k < x->n_results; k++)
            times = !strcmp(x->results[k].name, a->name) ? pow((double)x->factor, x->results[k].power) : times;
        for (int k = 0; k < count; k++)
            if (!strncmp(golden[k].name, "output.", 7) && !strcmp(golden[k].name + 7, a->name))
                exact = &golden[k];
        ck_assert_msg(exact, "no golden `%s`", a->name);
        compare_output(exact, a, 1);
        compare_output(exact, &large->outputs[i], times);
    }
}

static int golden_inputs(Compilation *c, const char *weights, HostTensor **inputs)
{
    int count, n = 0;
    HostTensor *all = safetensors_load(&c->cx, arena_print(&c->arena, "%s/golden.safetensors", weights), &count);
    ck_assert_msg(all, "%s", messages(c));
    *inputs = arena_array(&c->arena, (size_t)count, sizeof **inputs);
    for (int i = 0; i < count; i++)
        if (!strncmp(all[i].name, "input.", 6)) {
            (*inputs)[n] = all[i];
            (*inputs)[n++].name += 6;
        }
    return n;
}

static const struct { const char *file, *folder; int64_t factor; } cases[] = {
    {NULL, "expand-small", 4}, {NULL, "expand-small", 3}, {NULL, "expand-small", 5}, {"bert", "bert", 3}, {"gpt2", "gpt2", 2},
    {"llama", "llama", 3}, {"llama", "llama-tied", 2}, {"llama", "llama-sharded-bf16", 2}, {"roformer", "roformer", 2}, {"t5", "t5-encoder", 3},
    {"deepseek", "deepseek-v3-dense", 2}, {"deepseek", "deepseek-v3", 3}, {"bloom", "bloom", 3}, {"phi", "phi", 2}, {"albert", "albert", 2},
    {"deberta_v2", "deberta-v2", 3}, {"nystromformer", "nystromformer", 2},
};

START_TEST(outputs)
{
    static Compilation c;
    static Ran small, large;
    static Expansion x;
    char file[256], weights[256];
    snprintf(file, sizeof file, SOURCE_DIR "/models/%s.attar", cases[_i].file ? cases[_i].file : "");
    snprintf(weights, sizeof weights, SOURCE_DIR "/tests/golden/%s", cases[_i].folder);
    const char *path = cases[_i].file ? file : model;
    enlarge(&c, path, weights, cases[_i].factor, &x);
    HostTensor *inputs;
    int n = golden_inputs(&c, weights, &inputs);
    run(&small, path, weights, inputs, n);
    run(&large, path, in_folder("large"), inputs, n);
    compare(&c, weights, &x, &small, &large);
    stop(&large);
    stop(&small);
    release(&c, &x);
}
END_TEST

/* ---- what is refused ---------------------------------------------------------------------------------------------------- */

typedef struct Refused {
    const char *text, *config, *why;
} Refused;

static const Refused refused[] = {
    {"config \"config.json\" { D = hidden_size }\n"
     "model M(x: f32[S, D]) -> (y: f32[S]) { return sum(exp(x * weight(\"w\", [D])), over=D) }\n",
     "{\"hidden_size\": 4}", "the output `y` cannot keep its values"},
    {"config \"config.json\" { D = hidden_size }\n"
     "model M(x: f32[S]) -> (y: f32[S]) { v = x * (weight(\"w\", [D]) + 1); return sum(tanh(v) * weight(\"w\", [D]), over=D) }\n",
     "{\"hidden_size\": 4}", "cannot keep its values"},
    {"config \"config.json\" { D = hidden_size }\n"
     "model M(x: f32[S]) -> (y: f32[S]) { return sum((0..D) * weight(\"w\", [D]), over=D) * x }\n",
     "{\"hidden_size\": 4}", "positions along a widened axis"},
    {"config \"config.json\" { D = hidden_size; E = D - 1 }\n"
     "model M(x: f32[S]) -> (y: f32[S]) { return sum(slice(weight(\"w\", [D]), D, 0..E) * 1, over=E) * x }\n",
     "{\"hidden_size\": 4}", "does not grow by the factor"},
    {"config \"config.json\" { D = hidden_size }\n"
     "model M(x: f32[S]) -> (y: f32[S]) { return sum(if D > 6 then weight(\"w\", [D]) * 2 else weight(\"w\", [D]), over=D) * x }\n",
     "{\"hidden_size\": 4}", "another model"},
    {"config \"config.json\" { D = width }\nmodel M(x: f32[S]) -> (y: f32[S]) { return sum(weight(\"w\", [D]), over=D) * x }\n",
     "{\"width\": 4}", "--widen"},
};

START_TEST(refusals)
{
    static Compilation c;
    float data[4] = {1, 2, 3, 4};
    HostTensor w = {.name = "w", .dtype = DT_F32, .rank = 1, .dims = {4}, .data = data};
    Expansion x;
    compile_begin(&c);
    save(in_folder("small.attar"), refused[_i].text);
    mkdir(in_folder("small"), 0700);
    save(in_folder("small/config.json"), refused[_i].config);
    ck_assert(safetensors_save(&c.cx, in_folder("wide.safetensors"), &w, 1));
    CompileOptions o = {.model = in_folder("small.attar"), .weights = in_folder("wide.safetensors"), .config = in_folder("small/config.json")};
    ck_assert_msg(compile_load(&c, &o), "%s", messages(&c));
    bool found = expand_find(&c, 2, NULL, 0, &x);
    const char *said = messages(&c);
    ck_assert_msg(!found && strstr(said, "E0910") && strstr(said, refused[_i].why), "%s", said);
    compile_free(&c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("expand");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, equations);
    tcase_add_test(t, pair);
    tcase_add_loop_test(t, outputs, 0, sizeof cases / sizeof *cases);
    tcase_add_loop_test(t, refusals, 0, sizeof refused / sizeof *refused);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
