/* --compute bf16: both operands of a product with a weight are the nearest numbers of bf16 and sums are f32; nothing
 * else changes, and nothing at all without being asked; the error is recorded and held to its bound. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "approx/approx.h"
#include "driver/compile.h"
#include "runtime/attar.h"
#include "support/compute.h"
#include "tests/driver/folder.h"

enum { S = 11, D = 37, F = 53 };
#define GPT2 SOURCE_DIR "/models/gpt2.attar", SOURCE_DIR "/tests/golden/gpt2"
static const char gpt2_inputs[] = SOURCE_DIR "/tests/golden/gpt2/golden.safetensors";

START_TEST(requests)
{
    static const struct {
        const char *text;
        bool good, bf16;
    } cases[] = {{"f32", true, false},
                 {"bf16", true, true},
                 {"bf16:max_err=0.01", true, true},
                 {"bf16:max_err=1", true, true},
                 {"f16", false, false},
                 {"bf16:", false, false},
                 {"bf16:max_err=", false, false},
                 {"bf16:max_err=0", false, false},
                 {"bf16:max_err=2", false, false},
                 {"bf16:max_err=nan", false, false},
                 {"bf16:max_err=0.1x", false, false},
                 {"f32:max_err=1", false, false},
                 {"", false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ComputeSpec spec;
        const char *why = NULL;
        ck_assert_msg(compute_read(cases[i].text, &spec, &why) == cases[i].good, "%s", cases[i].text);
        ck_assert_msg(!cases[i].good || spec.bf16 == cases[i].bf16, "%s", cases[i].text);
        ck_assert_msg(cases[i].good || why, "%s is refused without a reason", cases[i].text);
    }
}
END_TEST

/* Doubles near what lies halfway between two of bf16, beyond f32's digits; the ends of the range; random ones. */
START_TEST(nearest)
{
    static const double near[] = {0,
                                  1,
                                  1 + 0x1p-8,
                                  1 + 0x1p-8 + 0x1p-40,
                                  1 + 0x1p-8 - 0x1p-40,
                                  1 + 0x3p-8,
                                  0x1.fep0,
                                  0x1.ffp0,
                                  0x1.fep127,
                                  0x1.ff7p127,
                                  0x1.ff8p127,
                                  0x1p128,
                                  0x1p-126,
                                  0x1.ffp-127,
                                  0x1p-133,
                                  0x1p-134,
                                  0x1.1p-134,
                                  0x3p-134,
                                  0x1p-200,
                                  INFINITY};
    Random r = random_new(7, 0);
    for (int i = 0; i < 20000; i++) {
        double value = i < (int)(sizeof near / sizeof *near) ? near[i] : ldexp(random_normal(&r), i % 300 - 150);
        for (int sign = -1; sign < 2; sign += 2) {
            float got = bfloat_to_float(bfloat_nearest(sign * value)),
                  want = (float)dtype_rounded(DT_BF16, sign * value);
            ck_assert_msg(!memcmp(&got, &want, sizeof got), "%a becomes %a, not %a", sign * value, (double)got,
                          (double)want);
        }
    }
    ck_assert(isnan(bfloat_to_float(bfloat_nearest(NAN))) && isnan(dtype_rounded(DT_BF16, NAN)));
}
END_TEST

static const char *said(Compilation *c)
{
    Text t = text_new(&c->arena);
    diag_render(&c->diags, &t, false);
    return t.data ? t.data : "";
}

static void lower(Compilation *c, const char *model, const char *weights, const char *compute)
{
    CompileOptions o = {.model = model, .weights = weights, .threads = 1, .compute = compute};
    compile_begin(c);
    ck_assert_msg(compile_load(c, &o) && compile_passes(c, &o), "%s", said(c));
}

typedef struct Counts {
    int weights, rounded, bf16,
        values; /* of products, and `round_bf16` anywhere; others: rounded weights that no product reads */
    int others;
} Counts;

static void count(const Graph *g, Counts *out)
{
    for (const Node *n = g->first; n; n = n->next) {
        if (n->body)
            count(n->body, out);
        out->values += n->op == OP_round_bf16;
        for (int i = 0; i < n->n_inputs; i++) {
            const Node *w = n->inputs[i];
            bool rounded = w->op == OP_weight && attr_name(w, ATTR_rounded),
                 product = n->op == OP_gemm && i > 0 && i <= attr_int(n, ATTR_weights, 1);
            out->weights += product;
            out->rounded += product && rounded;
            out->bf16 += product && weight_storage(w) == DT_BF16;
            out->others += rounded && !product;
        }
    }
}

/* The float checkpoint: all weights of products are rounded, and the table, which is the head too, stays f32 where rows are looked up. */
START_TEST(all_products_and_nothing_else)
{
    Compilation c;
    Counts n = {0};
    lower(&c, GPT2, "bf16");
    count(c.kernels, &n);
    ck_assert_int_eq(n.weights, 7); /* q, k, v, output, up, down of a layer, and the head */
    ck_assert_int_eq(n.rounded, 7);
    ck_assert_int_eq(n.bf16, 7);
    ck_assert_int_eq(n.others, 0);
    ck_assert_int_eq(n.values, 5); /* q, k and v share theirs; scores and their sums with values have none */
    ck_assert_uint_eq(c.approximations.count, 1);
    const Approximation *a = &c.approximations.items[0];
    ck_assert_str_eq(a->kind, "compute-bf16");
    ck_assert_str_eq(a->where, "13 products with weights");
    ck_assert(a->measured > 0.001 && a->measured < 0.002); /* 2^-9 at most, and a third of its square in the mean */
    compile_free(&c);
}
END_TEST

START_TEST(not_asked)
{
    for (int i = 0; i < 2; i++) {
        Compilation c;
        Counts n = {0};
        lower(&c, GPT2, i ? "f32" : NULL);
        count(c.kernels, &n);
        ck_assert_int_eq(n.rounded + n.values + n.bf16 + n.others, 0);
        ck_assert_uint_eq(c.approximations.count, 0);
        compile_free(&c);
    }
}
END_TEST

/* Weights that the checkpoint stores in bf16 are their own nearest numbers: read as they are stored, with values rounded. */
START_TEST(stored_so_already)
{
    Compilation c;
    Counts n = {0};
    lower(&c, SOURCE_DIR "/models/llama.attar", SOURCE_DIR "/models/austen", "bf16");
    count(c.kernels, &n);
    ck_assert_int_eq(n.weights, 8);
    ck_assert_int_eq(n.bf16, 8);
    ck_assert_int_eq(n.rounded, 0);
    ck_assert_int_eq(n.values, 5);
    ck_assert_uint_eq(c.approximations.count, 1);
    ck_assert(isnan(c.approximations.items[0].measured));
    compile_free(&c);
}
END_TEST

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static float upper_half(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* One product on numbers of which every third lies halfway between two of bf16: f32's error beside rounded operands, far from it beside whole ones. */
START_TEST(one_product)
{
    static float x[S * D], w[F * D];
    Random r = random_new(3, 0);
    for (int i = 0; i < S * D; i++)
        x[i] = i % 3 ? (float)random_normal(&r) : (float)(257 + 2 * (i % 40)) / 256;
    for (int i = 0; i < F * D; i++)
        w[i] = i % 3 ? (float)random_normal(&r) : (float)(257 + 2 * (i % 50)) / -128;
    make_folder();
    write_model("let D = 37\nlet F = 53\nmodel One(x: f32[S, D]) -> (y: f32[S, F]) { return linear(x, \"up\", F) }\n");
    HostTensor weight = {.name = "up.weight", .dtype = DT_F32, .rank = 2, .dims = {F, D}, .data = w},
               in = {.name = "x", .dtype = DT_F32, .rank = 2, .dims = {S, D}, .data = x};
    Compilation c;
    CompileOptions o = {
        .model = in_folder("m.attar"), .weights = in_folder("w.safetensors"), .threads = 2, .compute = "bf16"};
    compile_begin(&c);
    ck_assert(safetensors_save(&c.cx, in_folder("w.safetensors"), &weight, 1));
    ck_assert_msg(compile_all(&c, &o), "%s", said(&c));
    double largest = 0, rounded = 0, whole = 0;
    static float first[S * F];
    for (int threads = 1; threads <= 2; threads++) {
        const HostTensor *out;
        Session *s = session_new(&c.cx, &c.program, 0, threads, NULL);
        ck_assert_msg(s && session_run(&c.cx, s, &in, 1, &out), "%s", said(&c));
        const float *y = out->data;
        for (int i = 0; i < S * F; i++) {
            double sum = 0, exact = 0;
            for (int d = 0; d < D; d++) {
                sum += (double)upper_half(x[i / F * D + d]) * (double)upper_half(w[i % F * D + d]);
                exact += (double)x[i / F * D + d] * (double)w[i % F * D + d];
            }
            largest = fmax(largest, fabs(sum));
            rounded = fmax(rounded, fabs((double)y[i] - sum));
            whole = fmax(whole, fabs((double)y[i] - exact));
        }
        if (threads == 1)
            memcpy(first, y, sizeof first);
        ck_assert(!memcmp(first, y, sizeof first));
        session_free(s);
    }
    ck_assert_double_le(rounded, 2e-6 * largest);
    ck_assert_double_ge(whole, 1e-4 * largest);
    compile_free(&c);
    remove_folder();
}
END_TEST

/* ---- bounds ------------------------------------------------------------------------------------------------------ */

static void refused(attar_options o, attar_status status, const char *code)
{
    attar_model *m = NULL;
    attar_error error = {0};
    ck_assert_int_eq(attar_compile(&o, &m, &error), status);
    ck_assert_msg(strstr(error.message, code), "%s", error.message);
    attar_error_clear(&error);
}

START_TEST(through_the_interface)
{
    const char *const paths[] = {GPT2};
    attar_options o = {
        .model = paths[0], .weights = paths[1], .threads = 1, .compute = "bf16:max_err=0.05", .calibrate = gpt2_inputs};
    attar_model *m = NULL;
    attar_error error = {0};
    attar_approximation a;
    ck_assert_msg(attar_compile(&o, &m, &error) == ATTAR_OK, "%s", error.message ? error.message : "");
    ck_assert(attar_approximation_count(m) == 1 && attar_approximation_at(m, 0, &a));
    ck_assert_str_eq(a.kind, "compute-bf16");
    ck_assert_str_eq(a.error, "relative error of the outputs");
    ck_assert(a.measured > 0.001 && a.measured < 0.02 && a.bound == 0.05);
    ck_assert_ptr_nonnull(strstr(a.measured_on, "golden.safetensors"));
    attar_model_free(m);
    o.compute = "bf16:max_err=0.001";
    refused(o, ATTAR_MODEL, "E0901");
    o.calibrate = NULL; /* the weights' own error */
    refused(o, ATTAR_MODEL, "E0901");
    o.compute = "fp8";
    refused(o, ATTAR_MODEL, "E0907");
}
END_TEST

/* Nothing of the weights is lost, nothing else was measured: a bound cannot be held. */
START_TEST(bound_without_a_figure)
{
    refused((attar_options){.model = SOURCE_DIR "/models/llama.attar",
                            .weights = SOURCE_DIR "/models/austen",
                            .threads = 1,
                            .compute = "bf16:max_err=0.9"},
            ATTAR_MODEL, "E0901");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("compute");
    TCase *t = tcase_create("compute");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, requests);
    tcase_add_test(t, nearest);
    tcase_add_test(t, all_products_and_nothing_else);
    tcase_add_test(t, not_asked);
    tcase_add_test(t, stored_so_already);
    tcase_add_test(t, one_product);
    tcase_add_test(t, through_the_interface);
    tcase_add_test(t, bound_without_a_figure);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
