/* method=id: hidden units pruned through elementwise functions. What the pruned model gives is as far from the whole
 * one as the record says; a unit that is a copy of another goes without a trace; units that something else reads, or
 * that are no columns of weights, stay. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "approx/approx.h"
#include "driver/lowrank.h"
#include "driver/oracle.h"
#include "driver/signature.h"
#include "tests/driver/folder.h"

enum { B = 5, S = 16, D = 8, F = 24, LAYERS = 3, COPY = 17 };

/* ---- models ------------------------------------------------------------------------------------------------------ */

#define MODEL(body) "let D = 8\nlet F = 24\nmodel M(x: f32[B, S, D]) -> f32[B, S, D] {\n" body "}\n"
#define GATED                                                                                                         \
    MODEL("  g = silu(linear(x, \"gate\", F))\n  u = linear(x, \"up\", F)\n  return linear(g * u, \"down\", D)\n")
#define BIASED MODEL("  h = gelu(linear(x, \"up\", F, bias=true)) * 0.5\n  return linear(h, \"down\", D)\n")
#define LAYERED                                                                                                       \
    MODEL("  repeat i < 3 at \"layer.{i}\" {\n    h = relu(linear(x, \"up\", F, bias=true) - 0.1)\n"                 \
          "    x = x + linear(h * linear(x, \"gate\", F), \"down\", D)\n  }\n  return x\n")

/* Weights of one layer, or of none. Unit COPY is unit `layer + 2` once more. */
static int tensors(Arena *a, HostTensor *out, const char *model, int layer)
{
    static const char *const names[] = {"up.weight", "gate.weight", "up.bias", "down.weight"};
    int n = 0;
    for (int i = 0; i < 4; i++) {
        if ((i == 1 && !strstr(model, "\"gate\"")) || (i == 2 && !strstr(model, "bias=true")))
            continue;
        int64_t rows = i == 3 ? D : F, cols = i == 2 ? 1 : i == 3 ? F : D;
        HostTensor *t = &out[n++];
        const char *name = layer < 0 ? names[i] : arena_print(a, "layer.%d.%s", layer, names[i]);
        *t = (HostTensor){.name = name, .dtype = DT_F32, .rank = i == 2 ? 1 : 2, .dims = {rows, cols}};
        float *data = t->data = arena_array(a, (size_t)(rows * cols), sizeof *data);
        Random r = random_new((uint64_t)(10 * layer + i + 20), 0);
        for (int64_t k = 0; k < rows * cols; k++)
            data[k] = (float)(0.5 * random_normal(&r));
        if (i < 3)
            memcpy(data + COPY * cols, data + (layer + 2) * cols, (size_t)cols * sizeof *data);
    }
    return n;
}

typedef struct Run {
    Compilation c;
    CompileOptions o;
    HostTensor x;
    const char *asked[3];
} Run;

static void begin(Run *r, const char *model, const char *first, const char *second)
{
    memset(r, 0, sizeof *r);
    write_model(model);
    compile_begin(&r->c);
    r->o = (CompileOptions){.model = in_folder("m.attar"), .weights = in_folder("w.safetensors"), .threads = 1};
    r->o.calibrate = in_folder("c.safetensors");
    HostTensor some[4 * LAYERS];
    int n = 0;
    for (int i = 0; i < (strstr(model, "layer.{i}") ? LAYERS : 1); i++)
        n += tensors(&r->c.arena, some + n, model, strstr(model, "layer.{i}") ? i : -1);
    ck_assert(safetensors_save(&r->c.cx, r->o.weights, some, n));
    r->x = (HostTensor){.name = "x", .dtype = DT_F32, .rank = 3, .dims = {B, S, D}};
    float *data = r->x.data = arena_array(&r->c.arena, B * S * D, sizeof *data);
    Random random = random_new(3, 0);
    for (int i = 0; i < B * S * D; i++)
        data[i] = (float)random_normal(&random);
    ck_assert(safetensors_save(&r->c.cx, r->o.calibrate, &r->x, 1));
    r->asked[0] = first;
    r->asked[1] = second;
    r->o.lowrank = r->asked;
}

static const char *said(Run *r)
{
    Text text = text_new(&r->c.arena);
    diag_render(&r->c.diags, &text, false);
    return text.data ? text.data : "";
}

/* Exactly first, for the plan's names of sizes; then as asked for. */
static void compile(Run *r)
{
    CompileOptions exact = r->o;
    exact.lowrank = NULL;
    exact.passes.off[PASS_ID_factor_lowrank] = true;
    ck_assert_msg(compile_load(&r->c, &r->o), "%s", said(r));
    ck_assert_msg(compile_passes(&r->c, &exact) && compile_emit(&r->c, &exact), "%s", said(r));
    r->c.remarks.count = 0;
    r->c.approximations.count = 0;
    ck_assert_msg(compile_passes(&r->c, &r->o), "%s", said(r));
}

/* |kernels - mathematics| / |mathematics| on the calibration's inputs. */
static double error_of(Run *r)
{
    int64_t sizes[4];
    ck_assert(signature_sizes(&r->c.cx, &r->c.emitted.plan, NULL, 0, &r->x, 1, 1, 1, sizes));
    double *out[2];
    for (int i = 0; i < 2; i++) {
        Oracle o;
        oracle_begin(&o, &r->c, i ? r->c.kernels : r->c.model.graph);
        Value *v = oracle_run(&o, sizes, &r->x, 1, false);
        ck_assert_msg(v != NULL, "%s", said(r));
        ck_assert_int_eq(v->count, B * S * D);
        out[i] = arena_array(&r->c.arena, B * S * D, sizeof **out);
        memcpy(out[i], v->data, B * S * D * sizeof **out);
        oracle_free(&o);
    }
    double off = 0, all = 0;
    for (int i = 0; i < B * S * D; i++) {
        off += (out[1][i] - out[0][i]) * (out[1][i] - out[0][i]);
        all += out[0][i] * out[0][i];
    }
    return sqrt(off / all);
}

static int64_t least_units_of(const Graph *g, int64_t most) /* the size of F, wherever it is smallest */
{
    int64_t least = most;
    for (const Node *n = g->first; n; n = n->next) {
        for (int i = 0; n->type && i < n->type->rank; i++)
            if (!strcmp(n->type->axis[i].name, "F") && n->type->axis[i].size.base < least)
                least = n->type->axis[i].size.base;
        int64_t inside = n->body ? least_units_of(n->body, most) : most;
        least = inside < least ? inside : least;
    }
    return least;
}

static int64_t least_units(const Graph *g)
{
    return least_units_of(g, F);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *model;
    int64_t rank;
} cuts[] = {{GATED, 22}, {GATED, 9}, {GATED, 1}, {BIASED, 22}, {BIASED, 11}, {BIASED, 4}};

START_TEST(as_far_off_as_the_record_says)
{
    Run r;
    char spec[64];
    snprintf(spec, sizeof spec, "down.weight:rank=%lld,method=id", (long long)cuts[_i].rank);
    begin(&r, cuts[_i].model, spec, NULL);
    compile(&r);
    ck_assert_uint_eq(r.c.approximations.count, 1);
    const Approximation *a = &r.c.approximations.items[0];
    double error = error_of(&r);
    ck_assert_double_gt(error, 1e-3);
    ck_assert_double_eq_tol(a->measured, error, 1e-4 * error);
    ck_assert_double_eq_tol(a->predicted, error, 1e-4 * error);
    ck_assert_int_eq(least_units(r.c.kernels), cuts[_i].rank);
    compile_free(&r.c);
}
END_TEST

static const char *const with_copies[] = {GATED, BIASED, LAYERED};

START_TEST(a_copy_goes_without_a_trace)
{
    static const char *const specs[] = {"*down.weight:rank=23,method=id", "*down.weight:err=0.0001,method=id"};
    for (int i = 0; i < 2; i++) {
        Run r;
        begin(&r, with_copies[_i], specs[i], NULL);
        compile(&r);
        ck_assert_uint_eq(r.c.approximations.count, 1);
        ck_assert_double_lt(r.c.approximations.items[0].measured, 1e-6);
        ck_assert_double_lt(error_of(&r), 1e-6);
        ck_assert_int_eq(least_units(r.c.kernels), F - 1);
        compile_free(&r.c);
    }
}
END_TEST

START_TEST(an_error_is_held_by_the_fewest_units)
{
    Run r;
    begin(&r, GATED, "down.weight:err=0.3,method=id", NULL);
    compile(&r);
    int64_t units = least_units(r.c.kernels);
    ck_assert_double_le(r.c.approximations.items[0].measured, 0.3);
    ck_assert_int_lt(units, F - 1);
    compile_free(&r.c);
    char spec[64];
    snprintf(spec, sizeof spec, "down.weight:rank=%lld,method=id", (long long)units - 1);
    begin(&r, GATED, spec, NULL);
    compile(&r);
    ck_assert_double_gt(r.c.approximations.items[0].measured, 0.3);
    compile_free(&r.c);
}
END_TEST

#define UNITS "*down.weight:rank=9,method=id"
static const struct {
    const char *model, *first, *second, *reason;
} stay[] = {
    {MODEL("  h = silu(linear(x, \"up\", F))\n"
           "  return linear(h, \"down\", D) * sum(h, F)\n"),
     UNITS, NULL, "reads `h`"},
    {MODEL("  h = linear(x, \"up\", F)\n"
           "  return linear(silu(h), \"down\", D) * max(h, F)\n"),
     UNITS, NULL, "reads `h`"},
    {MODEL("  h = softmax(linear(x, \"up\", F), F)\n"
           "  return linear(h, \"down\", D)\n"),
     UNITS, NULL, "no elementwise operator"},
    {MODEL("  y = concat(x, x, x, to=F)\n"
           "  return linear(silu(linear(x, \"up\", F)) * y, \"down\", D)\n"),
     UNITS, NULL, "no elementwise operator"},
    {MODEL("  @keep\n  h = silu(linear(x, \"up\", F))\n"
           "  return linear(h, \"down\", D)\n"),
     UNITS, NULL, "kept by @keep"},
    {MODEL("  h = relu(linear(x, \"up\", F))\n"
           "  return linear(h, \"down\", D) + linear(tanh(linear(x, \"up\", F)), \"down\", D)\n"),
     UNITS, NULL, "another operator reads"},
    {MODEL("  repeat i < 3 { x = x + linear(relu(linear(x, \"up\", F)), \"down\", D) * 0.1 }\n"
           "  return x\n"),
     UNITS, NULL, "every round"},
    {"let D = 8\nlet F = 24\nmodel M(x: f32[B, S, D]) -> (y: f32[B, S, D], h: f32[B, S, F]) {\n"
     "  h = gelu(linear(x, \"up\", F))\n"
     "  return linear(h, \"down\", D), h\n}\n", UNITS, NULL, "reads `h`"},
    {"let D = 8\nlet F = 24\nmodel M(x: f32[B, S, D]) -> f32[B, S, D] {\n  g = (0..F) as f32\n"
     "  return linear(silu(linear(x, \"up\", F)) * g, \"down\", D)\n}\n", UNITS, NULL, "no elementwise operator"},
    {GATED, "down.weight:rank=24,method=id", NULL, "all of its 24 hidden units"},
    {GATED, "down.weight:err=1e-12,method=id", NULL, "are needed"},
};

START_TEST(units_that_stay)
{
    Run r;
    begin(&r, stay[_i].model, stay[_i].first, stay[_i].second);
    compile(&r);
    ck_assert_uint_eq(r.c.approximations.count, 0);
    ck_assert_int_eq(least_units(r.c.kernels), F);
    bool found = false;
    for (size_t i = 0; i < r.c.remarks.count; i++)
        found |= r.c.remarks.items[i].code == REMARK_NOT_FACTORED && strstr(r.c.remarks.items[i].why, stay[_i].reason);
    ck_assert_msg(found, "nothing says: %s", stay[_i].reason);
    ck_assert_double_lt(error_of(&r), 1e-6);
    compile_free(&r.c);
}
END_TEST

/* A weight before the units is asked for as well: what is pruned has it. */
START_TEST(one_request_has_a_weight)
{
    Run r;
    begin(&r, GATED, "up.weight:rank=2", "down.weight:rank=12,method=id");
    compile(&r);
    ck_assert_uint_eq(r.c.approximations.count, 1);
    ck_assert_int_eq(least_units(r.c.kernels), 12);
    ck_assert_double_eq_tol(error_of(&r), r.c.approximations.items[0].measured, 1e-5);
    compile_free(&r.c);
}
END_TEST

START_TEST(no_calibration)
{
    Run r;
    begin(&r, GATED, "down.weight:rank=12,method=id", NULL);
    r.o.calibrate = NULL;
    ck_assert(compile_load(&r.c, &r.o));
    ck_assert(!compile_passes(&r.c, &r.o));
    ck_assert_ptr_nonnull(strstr(said(&r), "error[E0904]"));
    compile_free(&r.c);
}
END_TEST

/* Biases, gelu, and weights stored either way, in models of several layers, on tokens drawn at random. */
static const struct {
    const char *name, *spec;
    int64_t units;
    const char *inputs[3];
} golden[] = {{"bert", "encoder.*.output.dense.weight:rank=120,method=id", 120, {"ids", "types", "keep"}},
              {"gpt2", "ffn:rank=131,method=id", 131, {"ids"}}};

START_TEST(golden_models)
{
    enum { ROWS = 40, LENGTH = 12 };
    Compilation c;
    CompileOptions o = {.threads = 1, .calibrate = in_folder("c.safetensors")};
    compile_begin(&c);
    o.model = arena_print(&c.arena, SOURCE_DIR "/models/%s.attar", golden[_i].name);
    o.weights = arena_print(&c.arena, SOURCE_DIR "/tests/golden/%s", golden[_i].name);
    Random r = random_new(5, 0);
    HostTensor inputs[3];
    int n = 0;
    for (; n < 3 && golden[_i].inputs[n]; n++) {
        bool keep = n == 2;
        inputs[n] = (HostTensor){.name = golden[_i].inputs[n], .rank = 2, .dims = {ROWS, LENGTH}};
        inputs[n].dtype = keep ? DT_BOOL : DT_I32;
        int32_t *data = inputs[n].data = arena_array(&c.arena, ROWS * LENGTH, sizeof *data);
        for (int i = 0; i < ROWS * LENGTH && !keep; i++)
            data[i] = (int32_t)floor(fabs(random_normal(&r)) * (n ? 0.5 : 12)) % (n ? 2 : 40);
        if (keep)
            memset(data, 1, ROWS * LENGTH);
    }
    ck_assert(safetensors_save(&c.cx, o.calibrate, inputs, n));
    const char *const asked[] = {golden[_i].spec, NULL};
    o.lowrank = asked;
    ck_assert_msg(compile_load(&c, &o) && compile_passes(&c, &o), "%s", c.diags.first ? c.diags.first->message : "");
    ck_assert_uint_eq(c.approximations.count, 1);
    const Approximation *a = &c.approximations.items[0];
    ck_assert_double_eq_tol(a->measured, a->predicted, 1e-6);
    ck_assert_double_gt(a->measured, 1e-4);
    ck_assert_int_eq(least_units_of(c.kernels, golden[_i].units), golden[_i].units);
    compile_free(&c);
}
END_TEST

START_TEST(too_few_inputs)
{
    CompileOptions o = {.model = SOURCE_DIR "/models/gpt2.attar", .weights = SOURCE_DIR "/tests/golden/gpt2"};
    const char *const asked[] = {"ffn:rank=100,method=id", NULL};
    Compilation c;
    o.calibrate = SOURCE_DIR "/tests/golden/gpt2/golden.safetensors";
    o.lowrank = asked;
    compile_begin(&c);
    ck_assert(compile_load(&c, &o) && !compile_passes(&c, &o));
    ck_assert_str_eq(c.diags.first->code, "E0905");
    compile_free(&c);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lowrank_units");
    TCase *t = tcase_create("lowrank_units");
    tcase_add_checked_fixture(t, make_folder, remove_folder);
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, as_far_off_as_the_record_says, 0, sizeof cuts / sizeof *cuts);
    tcase_add_loop_test(t, a_copy_goes_without_a_trace, 0, sizeof with_copies / sizeof *with_copies);
    tcase_add_test(t, an_error_is_held_by_the_fewest_units);
    tcase_add_loop_test(t, units_that_stay, 0, sizeof stay / sizeof *stay);
    tcase_add_test(t, one_request_has_a_weight);
    tcase_add_test(t, no_calibration);
    tcase_add_loop_test(t, golden_models, 0, sizeof golden / sizeof *golden);
    tcase_add_test(t, too_few_inputs);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
