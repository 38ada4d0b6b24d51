/* Outputs of the last position alone: the same bits as that row of all of them, for several sequences and several
 * calls; whole where nothing is spared. */
#include <check.h>
#include <string.h>

#include "driver/compile.h"
#include "tests/driver/folder.h"

enum { BATCH = 2, MOST = 9 };

static const char *said(Compilation *c)
{
    Text t = text_new(&c->arena);
    diag_render(&c->diags, &t, false);
    return t.data ? t.data : "";
}

static void build(Compilation *c, const char *model, const char *weights, const char *compute, bool last)
{
    CompileOptions o = {.model = model, .weights = weights, .threads = 1, .last_position = last, .compute = compute};
    compile_begin(c);
    ck_assert_msg(compile_all(c, &o), "%s", said(c));
}

static int narrowed(const Compilation *c)
{
    int n = 0;
    for (size_t i = 0; i < c->remarks.count; i++)
        n += c->remarks.items[i].code == REMARK_LAST_POSITION;
    return n;
}

/* Another `count` positions of each sequence. */
static const HostTensor *go_on(Compilation *c, Session *s, int64_t past, int64_t count)
{
    static int32_t ids[BATCH * MOST];
    for (int64_t i = 0; i < BATCH * count; i++)
        ids[i] = (int32_t)((past + i * 7 + i / count * 31) % 60);
    HostTensor in = {
        .name = c->emitted.plan.inputs[0].name, .dtype = DT_I32, .rank = 2, .dims = {BATCH, count}, .data = ids};
    const HostTensor *out;
    ck_assert_msg(session_run(&c->cx, s, &in, 1, &out), "%s", said(c));
    return out;
}

START_TEST(the_last_row)
{
    static const struct {
        const char *model, *weights, *compute;
    } cases[] = {{SOURCE_DIR "/models/llama.attar", SOURCE_DIR "/tests/golden/llama", NULL},
                 {SOURCE_DIR "/models/gpt2.attar", SOURCE_DIR "/tests/golden/gpt2",
                  NULL}, /* its norms have a bias, its table is the head */
                 {SOURCE_DIR "/models/gemma2.attar", SOURCE_DIR "/tests/golden/gemma2", NULL}, /* soft-capped logits */
                 {SOURCE_DIR "/models/gpt2.attar", SOURCE_DIR "/tests/golden/gpt2", "bf16"}};
    static const int64_t counts[] = {5, 1, 3, 1};
    Compilation whole, last;
    build(&whole, cases[_i].model, cases[_i].weights, cases[_i].compute, false);
    build(&last, cases[_i].model, cases[_i].weights, cases[_i].compute, true);
    ck_assert_int_eq(narrowed(&whole), 0);
    ck_assert_int_eq(narrowed(&last), 1);
    Session *a = session_new(&whole.cx, &whole.program, BATCH, 1, NULL),
            *b = session_new(&last.cx, &last.program, BATCH, 2, NULL);
    int64_t past = 0;
    for (int call = 0; call < 4; past += counts[call++]) {
        const HostTensor *all = go_on(&whole, a, past, counts[call]), *one = go_on(&last, b, past, counts[call]);
        int64_t width = all->dims[2];
        ck_assert(one->rank == 3 && one->dims[0] == BATCH && one->dims[1] == 1 && one->dims[2] == width &&
                  all->dims[1] == counts[call]);
        for (int64_t row = 0; row < BATCH; row++) {
            const float *want = (const float *)all->data + ((row + 1) * counts[call] - 1) * width,
                        *got = (const float *)one->data + row * width;
            ck_assert_msg(!memcmp(want, got, (size_t)width * sizeof *got), "call %d, sequence %d", call, (int)row);
        }
    }
    session_free(a);
    session_free(b);
    compile_free(&whole);
    compile_free(&last);
}
END_TEST

/* Bidirectional models have no last position. */
START_TEST(no_cache)
{
    Compilation c;
    build(&c, SOURCE_DIR "/models/bert.attar", SOURCE_DIR "/tests/golden/bert", NULL, true);
    ck_assert_int_eq(narrowed(&c), 0);
    compile_free(&c);
}
END_TEST

/* Hidden states are what the layers leave: a copy would spare nothing. Of two results that share a product both are narrow; what mixes positions stays. */
START_TEST(each_result_by_itself)
{
    make_folder();
    write_model("let D = 8\nlet V = 11\ncache kv[1] { k: [B, T <= 16, D] }\n"
                "model M(ids: i32[B, S]) -> (hidden: f32[B, S, D], logits: f32[B, S, V], cooler: f32[B, S, V], "
                "running: f32[B, S, V]) {\n"
                "  x = embed(ids, \"table\", V, D)\n"
                "  k = kv[0].append(x)\n"
                "  x = x + mean(k, over=T)\n"
                "  y = linear(x, \"head\", V)\n"
                "  return x, y, tanh(y) * 0.5, cumsum(y, over=S)\n}\n");
    Compilation c;
    CompileOptions o = {.model = in_folder("m.attar"), .last_position = true};
    compile_begin(&c);
    ck_assert_msg(compile_load(&c, &o) && compile_passes(&c, &o), "%s", said(&c));
    ck_assert_int_eq(narrowed(&c), 2);
    for (int i = 0; i < 4; i++) {
        const Type *t = c.kernels->results[i].value->type;
        ck_assert_msg(extent_is_const(t->axis[1].size) == (i == 1 || i == 2), "result %d", i);
    }
    compile_free(&c);
    remove_folder();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("last position");
    TCase *t = tcase_create("last position");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, the_last_row, 0, 4);
    tcase_add_test(t, no_cache);
    tcase_add_test(t, each_result_by_itself);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
