/* Operators of the language and blocks of std.attar: model texts, run by the interpreter, against numbers written out here. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "frontend/frontend.h"
#include "ir/interpret.h"

static const float numbers[2][3] = {{1, -2, 4}, {0.5, 0.25, -1}};

typedef struct Loaded {
    Arena arena, work;
    Names names;
    Diags diags;
    Context cx;
    Source source;
    ModelOptions options;
    Model model;
    bool good;
} Loaded;

static void load(Loaded *l, const char *text)
{
    *l = (Loaded){0};
    l->names.map = map_new(&l->arena);
    l->diags = (Diags){.arena = &l->arena};
    l->cx = (Context){&l->arena, &l->diags, &l->names};
    l->options = (ModelOptions){.n_checkpoint = -1};
    l->source = (Source){"m.attar", text, strlen(text)};
    l->good = model_load(&l->cx, &l->source, &l->options, &l->model);
}

static void release(Loaded *l)
{
    arena_free(&l->work);
    arena_free(&l->arena);
}

/* model M(x: f32[S, D]) with D = 3 and `body`, run on `numbers`. */
static Value *run(Loaded *l, const char *result, const char *body)
{
    static const int64_t sizes[] = {2};
    char *text = arena_print(&l->arena, "let D = 3\nlet J = 2\nmodel M(x: f32[S, D]) -> (y: %s) {\n%s\n}\n", result, body);
    Arena kept = l->arena;
    load(l, text);
    if (l->diags.first) {
        Text out = text_new(&l->arena);
        diag_render(&l->diags, &out, false);
        ck_abort_msg("%s: %s", body, out.data);
    }
    arena_free(&kept);
    HostTensor x = {.name = "x", .dtype = DT_F32, .rank = 2, .dims = {2, 3}, .data = (void *)(uintptr_t)numbers};
    Bindings bind = {.sizes = sizes, .inputs = &x};
    Value *v = interpret(&l->cx, l->model.graph, &bind, &l->work);
    ck_assert_ptr_nonnull(v);
    return v;
}

typedef struct Case {
    const char *result, *body;
    int count;
    double want[6];
} Case;

static const Case cases[] = {
    {"f32[S, D]", "return cumsum(x)", 6, {1, -1, 3, 0.5, 0.75, -0.25}},
    {"f32[S, D]", "return cumsum(x, over=S, reverse=true)", 6, {1.5, -1.75, 3, 0.5, 0.25, -1}},
    {"f32[S, D]", "return cumsum(x, exclusive=true)", 6, {0, 1, -1, 0, 0.5, 0.75}},
    {"f32[S, D]", "return cummax(x)", 6, {1, 1, 4, 0.5, 0.5, 0.5}},
    {"i32[S]", "return cumsum(0..S)", 2, {0, 1}},
    {"i32[S, D]", "return cumsum((x > 0) as i32)", 6, {1, 1, 2, 1, 2, 2}},
    {"f32[S, J]", "v, p = topk(x, J)\n return v", 4, {4, 1, 0.5, 0.25}},
    {"i32[S, J]", "v, p = topk(x, J)\n return p", 4, {2, 0, 0, 1}},
    {"f32[S, D]", "assert S >= 2\n v, p = topk(x, J, over=S)\n return x * sum(v, over=J)", 6, {1.5, 3.5, 12, 0.75, -0.4375, -3}},
    {"i32[S]", "return argmax(x)", 2, {2, 0}},
    {"i32[D]", "return argmax(x, over=S)", 3, {0, 1, 0}},
    {"f32[S]", "return gather(x, argmax(x), over=D)", 2, {4, 0.5}},
    {"f32[S, J]", "v, p = topk(x, J)\n return x[0..S, p]", 4, {4, 1, 0.5, 0.25}},
    {"f32[S, D]", "v, p = topk(x, D)\n return gather(x, p, over=D)", 6, {4, 1, -2, 0.5, 0.25, -1}},
    {"f32[S]", "u = x as [T, D]\n near = (0..S) + (0..T)\n return sum(x[0..T, near], over=T)", 2, {1.25, -3}},
    {"i32[S]", "return t5_bucket((0..S) * 32 - 64)", 2, {14, 12}},
    {"i32[S]", "return t5_bucket((0..S) * 127 + 1)", 2, {17, 31}},
    {"i32[S]", "return t5_bucket((0..S) * 8 - 3, buckets=8, distance=12)", 2, {2, 7}},
    {"f32[S, D]", "v, p = topk(x, D)\n w, rank = topk(-(p as f32), D)\n return gather(v, rank, over=D)", 6, {1, -2, 4, 0.5, 0.25, -1}},
    {"i32", "n = 1\n repeat i < 3 { n = n * 2 + i }\n return n", 1, {12}},
    {"f32", "t = 0.5\n on = false\n repeat i < 3 { t = where(on, t, t + 1)\n  on = !on }\n return t", 1, {2.5}},
    {"f32[S]", "return logsumexp(x)", 2, {4.05094576, 1.19411219}},
    {"f32[S]", "return logsumexp(where(x > 0.75, x, -inf))", 2, {4.04858735, -INFINITY}},
    {"f32[S, D]", "return log_softmax(x)", 6, {-3.05094576, -6.05094576, -0.05094576, -0.69411219, -0.94411219, -2.19411219}},
    {"f32[S, D]", "return relu2(x)", 6, {1, 0, 16, 0.25, 0.0625, 0}},
    {"f32[S, D]", "return elu(x)", 6, {1, -0.86466472, 4, 0.5, 0.25, -0.63212056}},
    {"f32[S, D]", "return softplus(x)", 6, {1.31326169, 0.12692801, 4.01814993, 0.97407698, 0.82593944, 0.31326169}},
    {"f32[S, D]", "return sign(x) + sign(0 * x)", 6, {1, -1, 1, 1, 1, -1}},
};

START_TEST(numbers_of)
{
    const Case *c = &cases[_i];
    Loaded l = {0};
    Value *v = run(&l, c->result, c->body);
    ck_assert_int_eq(v->count, c->count);
    for (int i = 0; i < c->count; i++)
        ck_assert_msg(v->data[i] == c->want[i] || fabs(v->data[i] - c->want[i]) < 1e-7, "%s: element %d is %.9g, not %.9g",
                      c->body, i, v->data[i], c->want[i]);
    release(&l);
}
END_TEST

static const struct {
    const char *body, *said;
} mistakes[] = {
    {"v, p = topk(x, 4)\n return v", "the axis `D` of f32[S, D=3] need not have `k` positions"},
    {"v, p = topk(x, 2, over=S)\n return v", "the axis `S` of f32[S, D=3] need not have `k` positions"},
    {"v, p = topk(x, (S, D))\n return v", "is one number"},
    {"return cumsum(x, over=(S, D))", "`cumsum` needs one axis"},
    {"return cumsum(x > 0)", "`cumsum` needs numbers"},
    {"return gather(x, (0..S) as [D], over=D)", "S"},
    {"assert S > 2147483647\n return x", "S"},
};

START_TEST(mistakes_say)
{
    Loaded l = {0};
    char text[300];
    snprintf(text, sizeof text, "let D = 3\nmodel M(x: f32[S, D]) -> (y: f32[S, D]) {\n %s\n}\n", mistakes[_i].body);
    load(&l, text);
    ck_assert(!l.good);
    Text out = text_new(&l.arena);
    diag_render(&l.diags, &out, false);
    ck_assert_msg(strstr(out.data, mistakes[_i].said) != NULL, "%s", out.data);
    release(&l);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("operators");
    TCase *tests = tcase_create("operators");
    tcase_add_loop_test(tests, numbers_of, 0, sizeof cases / sizeof *cases);
    tcase_add_loop_test(tests, mistakes_say, 0, sizeof mistakes / sizeof *mistakes);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
