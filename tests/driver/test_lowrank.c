/* factor-lowrank: requests as text; the error that the singular values predict is the one that the factors have; an `err` is held, with no rank to spare. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver/lowrank.h"
#include "support/lowrank.h"

#define LLAMA SOURCE_DIR "/models/llama.attar", SOURCE_DIR "/models/austen"
#define BERT SOURCE_DIR "/models/bert.attar", SOURCE_DIR "/tests/golden/bert"

START_TEST(requests)
{
    static const struct {
        const char *text;
        bool good;
    } cases[] = {{"ffn:rank=128", true},          {"ffn:err=0.02", true},        {"all:rank=4,max_err=0.5", true}, {"*.q_proj.weight:rank=1", true}, {"a:b:rank=2", true},
                 {"ffn", false},                  {"ffn:", false},               {":rank=3", false},               {"ffn:rank=0", false},            {"ffn:rank=-4", false},
                 {"ffn:rank=2.5", false},         {"ffn:rank=99999", false},     {"ffn:rank=nan", false},          {"ffn:err=0", false},             {"ffn:err=2", false},
                 {"ffn:rank=3,err=0.1", false},   {"ffn:rank=3,rank=4", false},  {"ffn:err=0.1,max_err=1", false}, {"ffn:max_err=0.1", false},       {"ffn:size=3", false},
                 {"ffn:rank=3,", false},          {"ffn:rank=3x", false}};
    Arena a = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        LowrankSpec spec;
        const char *why = NULL;
        ck_assert_msg(lowrank_read(&a, cases[i].text, &spec, &why) == cases[i].good, "%s", cases[i].text);
        ck_assert_msg(cases[i].good || why, "%s is refused without a reason", cases[i].text);
    }
    static const struct {
        const char *where, *key;
        bool named;
    } names[] = {{"all:rank=1", "x", true}, {"ffn:rank=1", "x", true}, {"attention:rank=1", "x", false}, {"*.down.weight:rank=1", "l.{i}.down.weight", true},
                 {"*.down.weight:rank=1", "l.{i}.down.weights", false}, {"l*n*t:rank=1", "l.{i}.down.weight", true}, {"l*nt:rank=1", "l.{i}.down.weight", false}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        LowrankSpec spec;
        const char *why;
        ck_assert(lowrank_read(&a, names[i].where, &spec, &why));
        ck_assert_msg(lowrank_names(&spec, "ffn", names[i].key) == names[i].named, "%s of %s", names[i].where, names[i].key);
    }
    arena_free(&a);
}
END_TEST

static void compile(Compilation *c, const char *model, const char *weights, const char *text)
{
    const char *const asked[] = {text, NULL};
    CompileOptions o = {.model = model, .weights = weights, .threads = 1, .lowrank = asked};
    compile_begin(c);
    ck_assert_msg(compile_load(c, &o) && compile_passes(c, &o), "%s", c->diags.first ? c->diags.first->message : "");
}

static int64_t rank_of(const Approximation *a)
{
    return atoll(strchr(a->setting, '=') + 1);
}

START_TEST(what_is_predicted_is_measured)
{
    static const char *const texts[] = {"all:rank=1", "ffn:rank=24", "attention:rank=20"};
    for (int i = 0; i < 6; i++) {
        Compilation c;
        i % 2 ? compile(&c, BERT, texts[i / 2]) : compile(&c, LLAMA, texts[i / 2]);
        ck_assert_uint_ge(c.approximations.count, 2);
        for (size_t k = 0; k < c.approximations.count; k++) {
            const Approximation *a = &c.approximations.items[k];
            ck_assert_double_eq_tol(a->measured, a->predicted, 1e-6);
            ck_assert_double_gt(a->measured, 0.01);
            ck_assert(isnan(a->bound));
        }
        compile_free(&c);
    }
}
END_TEST

START_TEST(an_error_is_held_by_the_least_rank)
{
    Compilation c, less;
    compile(&c, LLAMA, "*.down_proj.weight:err=0.6");
    ck_assert_uint_eq(c.approximations.count, 1);
    const Approximation *a = &c.approximations.items[0];
    ck_assert_double_le(a->measured, 0.6);
    ck_assert_double_eq(a->bound, 0.6);
    char request[64];
    snprintf(request, sizeof request, "*.down_proj.weight:rank=%lld", (long long)rank_of(a) - 1);
    compile(&less, LLAMA, request);
    ck_assert_double_gt(less.approximations.items[0].measured, 0.6);
    compile_free(&less);
    compile_free(&c);
}
END_TEST

/* What the factors multiply to is the weight but for the stated error, wherever their axes come from: heads that are split, weights stored [in, out]. */
START_TEST(factors_multiply_to_the_weight)
{
    static const struct {
        const char *model, *weights, *key;
        int64_t in, out;
        bool turned;
    } cases[] = {{LLAMA, "model.layers.3.self_attn.q_proj.weight", 192, 192, true}, {LLAMA, "model.layers.5.mlp.down_proj.weight", 512, 192, true},
                 {SOURCE_DIR "/models/gpt2.attar", SOURCE_DIR "/tests/golden/gpt2", "transformer.h.1.mlp.c_fc.weight", 60, 150, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Compilation c;
        compile(&c, cases[i].model, cases[i].weights, "all:rank=25");
        int64_t in = cases[i].in, out = cases[i].out, count = in * out;
        const char *key = cases[i].key;
        float *w = arena_array(&c.arena, (size_t)count, sizeof *w), *l = arena_array(&c.arena, (size_t)(in * 25), sizeof *l), *r = arena_array(&c.arena, (size_t)(25 * out), sizeof *r);
        const HostTensor *t = checkpoint_find(c.checkpoint, key);
        ck_assert_msg(t && host_count(t) == count, "%s", key);
        ck_assert(checkpoint_read_f32(&c.cx, c.checkpoint, key, 0, count, w));
        ck_assert(checkpoint_read_f32(&c.cx, c.checkpoint, arena_print(&c.arena, "lowrank.%s.left", key), 0, in * 25, l));
        ck_assert(checkpoint_read_f32(&c.cx, c.checkpoint, arena_print(&c.arena, "lowrank.%s.right", key), 0, 25 * out, r));
        double off = 0, norm = 0, worst = 0;
        for (int64_t x = 0; x < in; x++)
            for (int64_t y = 0; y < out; y++) {
                double d = w[cases[i].turned ? y * in + x : x * out + y];
                norm += d * d;
                for (int k = 0; k < 25; k++)
                    d -= (double)l[x * 25 + k] * (double)r[k * out + y];
                off += d * d;
            }
        for (size_t k = 0; k < c.approximations.count; k++)
            worst = fmax(worst, c.approximations.items[k].measured);
        ck_assert_double_le(sqrt(off / norm), worst + 1e-6);
        compile_free(&c);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lowrank");
    TCase *t = tcase_create("lowrank");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, requests);
    tcase_add_test(t, what_is_predicted_is_measured);
    tcase_add_test(t, an_error_is_held_by_the_least_rank);
    tcase_add_test(t, factors_multiply_to_the_weight);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
