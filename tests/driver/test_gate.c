/* Requests to linearize on small models without weights: what becomes of them, what is measured, and that what should be exact is.
 * The float64 interpreter runs the mathematics and the kernels side by side. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver/linearize.h"
#include "driver/oracle.h"
#include "driver/signature.h"
#include "tests/driver/folder.h"

/* ---- models ------------------------------------------------------------------------------------------------------ */

#define ATTENTION(annotation, mask)                                                                                                \
    "let H = 3\nlet K = 4\nmodel M(q: f32[B, S, H, K], k: f32[B, S, H, K], v: f32[B, S, H, K]) -> f32[B, S, H, K] {\n" annotation  \
    "  a = attention(q, k, v" mask ")\n  return a\n}\n"

#define LAYERS                                                                                                                      \
    "let H = 3\nlet K = 4\nmodel M(x: f32[B, S, H, K]) -> f32[B, S, H, K] {\n  repeat i < 5 {\n"                                    \
    "    x = x + attention(x, x, x, mask=causal) * 0.5\n  }\n  return x\n}\n"

#define CACHED                                                                                                                      \
    "let H = 3\nlet K = 4\ncache kv[4] { k: [B, T <= 24, H, K]; v: [B, T <= 24, H, K] }\n"                                           \
    "model M(x: f32[B, S, H, K]) -> f32[B, S, H, K] {\n  repeat i < 4 {\n    y = x * 0.5\n    k, v = kv[i].append(y, x)\n"            \
    "    x = x + attention(y, k, v, mask=causal) * 0.5\n  }\n  return x\n}\n"

enum { B = 3, S = 24, H = 3, K = 4 };

static const char *const names[] = {"q", "k", "v", "x", "keep"};

static HostTensor input(Arena *a, const char *name, double size, uint64_t seed)
{
    HostTensor t = {.name = name, .dtype = DT_F32, .rank = 4, .dims = {B, S, H, K}};
    float *data = t.data = arena_array(a, B * S * H * K, sizeof *data);
    Random r = random_new(seed, 0);
    for (int i = 0; i < B * S * H * K; i++)
        data[i] = (float)(size * random_normal(&r) + (i % K == 1 ? 0.5 : 0));
    return t;
}

typedef struct Run {
    Compilation c;
    CompileOptions o;
    HostTensor inputs[4];
    int n_inputs;
    const char *linearize[4];
} Run;

static void run_begin(Run *r, const char *model, double size, const char *first, const char *second)
{
    memset(r, 0, sizeof *r);
    write_model(model);
    compile_begin(&r->c);
    r->o = (CompileOptions){.model = in_folder("m.attar"), .calibrate = in_folder("c.safetensors"), .threads = 1};
    r->linearize[0] = first;
    r->linearize[1] = second;
    r->o.linearize = r->linearize;
    bool layers = strstr(model, "x: f32") != NULL;
    for (int i = layers ? 3 : 0; i < (layers ? 4 : 3); i++)
        r->inputs[r->n_inputs++] = input(&r->c.arena, names[i], size, (uint64_t)i + 1);
    ck_assert(safetensors_save(&r->c.cx, r->o.calibrate, r->inputs, r->n_inputs));
    CompileOptions exact = r->o;
    exact.linearize = NULL;
    ck_assert(compile_load(&r->c, &exact));
}

/* The exact model's plan says what sizes are called; then the passes run as asked for. */
static bool passes(Run *r)
{
    CompileOptions exact = r->o;
    exact.linearize = NULL;
    exact.passes.off[PASS_ID_linearize_performer] = exact.passes.off[PASS_ID_linearize_vq] = true;
    ck_assert(compile_passes(&r->c, &exact) && compile_emit(&r->c, &exact));
    r->c.remarks.count = 0;
    return compile_passes(&r->c, &r->o);
}

static Value copy_of(Arena *a, const Value *v)
{
    Value c = *v;
    c.data = arena_array(a, (size_t)v->count + 1, sizeof *c.data);
    memcpy(c.data, v->data, (size_t)v->count * sizeof *c.data);
    return c;
}

/* |kernels - mathematics| / |mathematics|, the mean over all of the mathematics taken off. */
static double error_of(Run *r)
{
    const Plan *plan = &r->c.emitted.plan;
    int64_t sizes[4];
    ck_assert(signature_sizes(&r->c.cx, plan, NULL, 0, r->inputs, r->n_inputs, 1, 1, sizes));
    Value out[2];
    for (int i = 0; i < 2; i++) {
        Oracle o;
        oracle_begin(&o, &r->c, i ? r->c.kernels : r->c.model.graph);
        Value *v = oracle_run(&o, sizes, r->inputs, r->n_inputs, false);
        ck_assert_ptr_nonnull(v);
        out[i] = copy_of(&r->c.arena, v);
        oracle_free(&o);
    }
    double off = 0, all = 0;
    for (int64_t i = 0; i < out[0].count; i++) {
        off += (out[1].data[i] - out[0].data[i]) * (out[1].data[i] - out[0].data[i]);
        all += out[0].data[i] * out[0].data[i];
    }
    return sqrt(off / all);
}

/* Positions [first, first + count) of the inputs. */
static HostTensor part_of(Run *r, const HostTensor *t, int64_t first, int64_t count)
{
    HostTensor p = *t;
    size_t row = H * K * sizeof(float);
    char *data = p.data = arena_array(&r->c.arena, (size_t)(B * count), row);
    p.dims[1] = count;
    for (int64_t b = 0; b < B; b++)
        memcpy(data + (size_t)(b * count) * row, (const char *)t->data + (size_t)(b * S + first) * row, (size_t)count * row);
    return p;
}

/* The kernels' result for all positions, from calls of so many each; 0 ends the list. */
static double *in_steps(Run *r, const int64_t *steps)
{
    const Plan *plan = &r->c.emitted.plan;
    double *all = arena_array(&r->c.arena, B * S * H * K, sizeof *all);
    Oracle o;
    oracle_begin(&o, &r->c, r->c.kernels);
    for (int64_t past = 0; *steps; past += *steps++) {
        HostTensor x = part_of(r, &r->inputs[0], past, *steps);
        int64_t sizes[4];
        NamedSize so_far = {"past", past};
        ck_assert(signature_sizes(&r->c.cx, plan, &so_far, 1, &x, 1, 1, 1, sizes));
        Value *v = oracle_run(&o, sizes, &x, 1, false);
        ck_assert_ptr_nonnull(v);
        for (int64_t b = 0; b < B; b++)
            memcpy(all + (b * S + past) * H * K, v->data + b * *steps * H * K, (size_t)(*steps * H * K) * sizeof *all);
    }
    oracle_free(&o);
    return all;
}

static void run_end(Run *r)
{
    compile_free(&r->c);
}

static int count_ops(const Graph *g, Op op)
{
    int n = 0;
    for (const Node *m = g->first; m; m = m->next)
        n += (m->op == op) + (m->body && m->body->level != LEVEL_BODY ? count_ops(m->body, op) : 0);
    return n;
}

static const char *said(Run *r)
{
    Text text = text_new(&r->c.arena);
    diag_render(&r->c.diags, &text, false);
    return text.data ? text.data : "";
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static const char *const masks[] = {ATTENTION("", ""), ATTENTION("", ", mask=causal")};

START_TEST(more_features_come_nearer)
{
    static const char *const specs[] = {"performer:features=16,seed=7", "performer:features=256,seed=7", "performer:features=16384,seed=7"};
    double before = INFINITY;
    for (int i = 0; i < 3; i++) {
        Run r;
        run_begin(&r, masks[_i], 0.8, specs[i], NULL);
        ck_assert_msg(passes(&r), "%s", said(&r));
        ck_assert_uint_eq(r.c.approximations.count, 1);
        const Approximation *a = &r.c.approximations.items[0];
        double error = error_of(&r);
        ck_assert_double_lt(error, before);
        ck_assert_double_le(error, a->measured); /* of the worst head, the values' mean taken off */
        ck_assert_double_gt(error, a->measured / 8);
        ck_assert_int_eq(count_ops(r.c.kernels, OP_attend), 0);
        before = error;
        run_end(&r);
    }
    ck_assert_double_lt(before, 0.07);
}
END_TEST

/* A code for every key: nothing is lost but the digits of f32. */
START_TEST(a_code_for_each_key)
{
    static const char *const specs[] = {"vq:codes=72,block=0", "vq:codes=72,block=8"};
    for (int i = 0; i < 2; i++) {
        Run r;
        run_begin(&r, masks[_i], 1, specs[i], NULL);
        ck_assert_msg(passes(&r), "%s", said(&r));
        ck_assert_double_lt(error_of(&r), 1e-4);
        ck_assert_double_lt(r.c.approximations.items[0].measured, 1e-4);
        run_end(&r);
    }
}
END_TEST

/* Some layers and heads: the others stay exact, and what is replaced is found again at the right place. */
static const struct {
    const char *first, *second;
    int attends, records;
    bool exact;
} parts[] = {
    {"vq:codes=72,block=0", NULL, 0, 5, true},
    {"vq:codes=72,block=0,layers=1-2", NULL, 2, 2, true},
    {"vq:codes=72,block=0,layers=0+4", NULL, 1, 2, true},
    {"vq:codes=72,block=0,heads=1", NULL, 2, 5, true},
    {"vq:codes=72,block=0,heads=0+2,layers=3", NULL, 3, 1, true},
    {"vq:codes=72,block=0,layers=3-4", "performer:features=4096,layers=0", 1, 3, false},
    {"vq:codes=72,block=0,heads=0", "performer:features=4096,heads=2,layers=0", 2, 6, false},
};

START_TEST(some_layers_and_heads)
{
    Run r;
    run_begin(&r, LAYERS, 0.7, parts[_i].first, parts[_i].second);
    ck_assert_msg(passes(&r), "%s", said(&r));
    ck_assert_int_eq(count_ops(r.c.kernels, OP_attend), parts[_i].attends);
    ck_assert_uint_eq(r.c.approximations.count, (size_t)parts[_i].records);
    double error = error_of(&r);
    ck_assert_double_lt(error, parts[_i].exact ? 1e-4 : 0.08);
    ck_assert(parts[_i].exact || error > 1e-5);
    run_end(&r);
}
END_TEST

/* What a cache keeps of changed keys and their offsets is the same whatever the calls; chosen layers keep a state. */
static const struct {
    const char *first, *second;
    int states, growing;
    double most;
} kept[] = {
    {"performer:features=512,layers=0", NULL, 1, 2, 0.08},
    {"performer:features=512,layers=0-1", NULL, 1, 2, 0.15},
    {"performer:features=64,heads=1,layers=0", NULL, 0, 4, 0.15},
    {"vq:codes=72,block=4", NULL, 1, 0, 1e-4},
    {"vq:codes=72,block=0,layers=1-2", NULL, 1, 4, 1e-4},
    {"vq:codes=72,block=4,layers=3", "performer:features=512,layers=0", 2, 2, 0.08},
};

START_TEST(caches_keep_what_kernels_read)
{
    Run r;
    run_begin(&r, CACHED, 0.7, kept[_i].first, kept[_i].second);
    ck_assert_msg(passes(&r), "%s", said(&r));
    int states = 0;
    for (int i = 0; i < r.c.kernels->n_caches; i++)
        states += r.c.kernels->caches[i].growing < 0;
    ck_assert_int_eq(states, kept[_i].states);
    ck_assert_int_eq(r.c.kernels->n_caches - states, kept[_i].growing);
    ck_assert_double_lt(error_of(&r), kept[_i].most);
    double *once = in_steps(&r, (int64_t[]){S, 0}), *often = in_steps(&r, (int64_t[]){5, 1, 1, 10, 1, 6, 0});
    for (int i = 0; i < B * S * H * K; i++)
        ck_assert_double_lt(fabs(once[i] - often[i]), 1e-9);
    run_end(&r);
}
END_TEST

START_TEST(over_its_bound)
{
    Run r;
    run_begin(&r, LAYERS, 1.5, "performer:features=8,max_err=0.02,layers=1-3", NULL);
    ck_assert(passes(&r));
    ck_assert(!compile_emit(&r.c, &r.o));
    const char *text = said(&r);
    ck_assert_ptr_nonnull(strstr(text, "error[E0901]: `linearize-performer` (features=8, seed=0, layers=1-3) exceeds its bound: max_err = 0.0200"));
    ck_assert_ptr_nonnull(strstr(text, "round 1"));
    ck_assert_ptr_nonnull(strstr(text, "3 x 24 positions of c.safetensors"));
    ck_assert_ptr_nonnull(strstr(text, "performer features=16 gives"));
    ck_assert_ptr_nonnull(strstr(text, "vq codes=256 gives"));
    ck_assert_int_eq(diag_exit_status(&r.c.diags), 1);
    run_end(&r);
}
END_TEST

static const struct {
    const char *model, *spec;
    bool calibrate, good;
    const char *code, *text;
} requests[] = {
    {ATTENTION("", ""), "performer", false, false, "E0904", "inputs to measure it on"},
    {ATTENTION("", ""), "vq", false, false, "E0904", "inputs to measure it on"},
    {ATTENTION("", ""), "performer:trained", false, true, NULL, NULL},
    {ATTENTION("  @linearize(performer, features=64)\n", ""), NULL, false, false, "E0904", "inputs to measure it on"},
    {ATTENTION("  @linearize(performer, features=64)\n", ""), NULL, true, true, NULL, NULL},
    {ATTENTION("  @linearize(performer, features=64, trained)\n", ""), NULL, false, true, NULL, NULL},
    {ATTENTION("  @linearize(vq, codes=64, heads=[0, 1-2])\n", ""), NULL, true, true, NULL, NULL},
    {ATTENTION("", ""), "performer:layers=1", true, false, "E0903", "there is no layer 1: the model's attention has the layers 0 to 0"},
    {ATTENTION("", ""), "performer:heads=0-3", true, false, "E0903", "there is no head 3: keys have the heads 0 to 2"},
    {ATTENTION("", ", mask=window(5)"), "performer", true, true, "W0901", "stays exact"},
    {ATTENTION("", ", mask=causal, bias=fn(i, j) => j - i"), "performer", true, true, "W0901", "features stand for exp(scale * q.k) alone"},
};

START_TEST(what_is_asked)
{
    Run r;
    run_begin(&r, requests[_i].model, 0.7, requests[_i].spec, NULL);
    if (!requests[_i].calibrate)
        r.o.calibrate = NULL;
    ck_assert_msg(passes(&r) == requests[_i].good, "%s", said(&r));
    if (requests[_i].code) {
        ck_assert_ptr_nonnull(r.c.diags.first);
        ck_assert_str_eq(r.c.diags.first->code, requests[_i].code);
        ck_assert_msg(strstr(said(&r), requests[_i].text) != NULL, "%s", said(&r));
    }
    if (requests[_i].good) {
        ck_assert_int_eq(count_ops(r.c.kernels, OP_attend), requests[_i].code != NULL);
        ck_assert_int_eq(r.c.approximations.count, requests[_i].code == NULL);
    }
    bool told = false; /* what stays exact has a remark that names the reason */
    for (size_t i = 0; i < r.c.remarks.count; i++)
        told |= r.c.remarks.items[i].kind == REMARK_MISSED && !strcmp(r.c.remarks.items[i].pass, "linearize-performer") &&
                strstr(r.c.remarks.items[i].why, requests[_i].text ? requests[_i].text : "stays exact");
    ck_assert_int_eq(told, requests[_i].good && requests[_i].code);
    run_end(&r);
}
END_TEST

START_TEST(asked_for_twice)
{
    Run r;
    run_begin(&r, LAYERS, 0.7, "performer:layers=0-2", "vq:layers=2-3");
    ck_assert(!passes(&r));
    ck_assert_ptr_nonnull(strstr(said(&r), "layer 2, head 0 is asked for by"));
    run_end(&r);
}
END_TEST

/* A pass that is switched off does nothing, and nothing is said to be approximated. */
START_TEST(switched_off)
{
    Run r;
    run_begin(&r, LAYERS, 0.7, "performer:features=8,max_err=0.001", NULL);
    r.o.passes.off[PASS_ID_linearize_performer] = true;
    ck_assert(passes(&r));
    ck_assert_uint_eq(r.c.approximations.count, 0);
    ck_assert_int_eq(count_ops(r.c.kernels, OP_attend), 1);
    run_end(&r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gate");
    TCase *t = tcase_create("gate");
    tcase_set_timeout(t, 120);
    tcase_add_unchecked_fixture(t, make_folder, remove_folder);
    tcase_add_loop_test(t, more_features_come_nearer, 0, 2);
    tcase_add_loop_test(t, a_code_for_each_key, 0, 2);
    tcase_add_loop_test(t, some_layers_and_heads, 0, sizeof parts / sizeof *parts);
    tcase_add_loop_test(t, caches_keep_what_kernels_read, 0, sizeof kept / sizeof *kept);
    tcase_add_test(t, over_its_bound);
    tcase_add_loop_test(t, what_is_asked, 0, sizeof requests / sizeof *requests);
    tcase_add_test(t, asked_for_twice);
    tcase_add_test(t, switched_off);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
