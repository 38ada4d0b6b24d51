/* The text form: what is printed reads back and prints identically; damaged text is refused with one diagnostic, never
 * a crash. */
#include <check.h>
#include <stdio.h>
#include "tests/driver/random_graph.h"

typedef struct Fixture {
    Arena arena;
    Names names;
    Diags diags;
    Context cx;
} Fixture;

static void fixture_begin(Fixture *f)
{
    memset(f, 0, sizeof *f);
    f->names.map = map_new(&f->arena);
    f->diags.arena = &f->arena;
    f->cx = (Context){&f->arena, &f->diags, &f->names};
}

static const char *said(Fixture *f)
{
    return f->diags.first ? f->diags.first->message : "(nothing)";
}

static Text printed(Fixture *f, const Graph *g)
{
    Text t = text_new(&f->arena);
    graph_print_with(g, LOCATIONS_FULL, &t);
    return t;
}

static Graph *read_text(Fixture *f, const char *text, size_t size)
{
    Source *s = arena_alloc(&f->arena, sizeof *s);
    *s = (Source){"test.ir", text, size};
    return graph_read(&f->cx, s);
}

START_TEST(test_round_trip)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        Fixture f;
        fixture_begin(&f);
        Gen *g = gen_model(&f.cx, seed);
        const char *why = NULL;
        ck_assert_msg(graph_verify(&f.cx, g->model, &why), "seed %llu: %s", (unsigned long long)seed, why);
        Text first = printed(&f, g->model);
        Graph *back = read_text(&f, first.data, first.length);
        ck_assert_msg(back != NULL, "seed %llu: %s\n%s", (unsigned long long)seed, said(&f), first.data);
        Text second = printed(&f, back);
        ck_assert_str_eq(first.data, second.data);
        Text third = printed(&f, graph_copy(&f.cx, back));
        ck_assert_str_eq(first.data, third.data);
        arena_free(&f.arena);
    }
}
END_TEST

START_TEST(test_kernels)
{
    static const char text[] = "kernels Every(x: f32[B, S, D], ids: i32[B, S], keep: bool[B, S])\n"
                               "  file    \"dir/every model.attar\"\n"
                               "  dims    B = 1..  S = 1..64  past = 0..64  D = 8  H = 2  K = 4  T = past+S\n"
                               "  cache   kv.k f32[B, T=64, H, K] grows T x 3 panels\n"
                               "  region  0 = 4096 bytes * B * past+S to 32, bound 4000\n"
                               "  layer = const value=2 : i32\n"
                               "  w     = weight key=\"layers.{i}.w x\\\"y\" stored=[8, 8] strides=[4, 1, 8] start=16 "
                               ": f32[H, K, D] @weight   # m.attar:3:7 via std.attar:9:2\n"
                               "  t     = table table=[1, -0.5, inf, 1e-07] : f32[K]\n"
                               "  h     = gemm x, w, t over=D weights=1 (acc: f32[B, S, H, K], b: f32[K]) {\n"
                               "    c = const value=-inf : f32\n"
                               "    u = add acc, b : f32[B, S, H, K]\n"
                               "    v = maximum u, c : f32[B, S, H, K]\n"
                               "    return v\n"
                               "  } : f32[B, S, H, K] @0+1024   # m.attar:12:1\n"
                               "  k     = append h, layer cache=kv.k layout=panels : f32[B, T, H, K] @cache.0\n"
                               "  pair  = map h (h.1: f32[B, S, H, K]) {\n"
                               "    a.0 = neg h.1 : f32[B, S, H, K]\n"
                               "    a.1 = exp h.1 : f32[B, S, H, K]\n"
                               "    return a.0, a.1\n"
                               "  }\n"
                               "  one   = get pair index=1 : f32[B, S, H, K] @output.0\n"
                               "  return y = one\n";
    Fixture f;
    fixture_begin(&f);
    Graph *g = read_text(&f, text, sizeof text - 1);
    ck_assert_msg(g != NULL, "%s", said(&f));
    Text first = printed(&f, g);
    Graph *again = read_text(&f, first.data, first.length);
    ck_assert_msg(again != NULL, "%s\n%s", said(&f), first.data);
    ck_assert_str_eq(first.data, printed(&f, again).data);
    ck_assert_ptr_nonnull(strstr(first.data, "# m.attar:3:7 via std.attar:9:2"));
    ck_assert_ptr_nonnull(strstr(first.data, "@0+1024"));
    ck_assert_ptr_nonnull(strstr(first.data, "region  0 = 4096 bytes * B * past+S to 32, bound 4000"));
    arena_free(&f.arena);
}
END_TEST

START_TEST(test_mutants)
{
    int refused = 0;
    for (uint64_t seed = 1; seed <= 5000; seed++) {
        Fixture f;
        fixture_begin(&f);
        Gen *g = gen_model(&f.cx, seed % 40 + 1);
        Text text = printed(&f, g->model);
        int edits = 1 + gen_below(g, 4);
        for (int i = 0; i < edits && text.length > 8; i++) {
            size_t at = (size_t)gen_below(g, (int)text.length), from = (size_t)gen_below(g, (int)text.length - 6);
            switch (gen_below(g, 4)) {
            case 0: text.data[at] = (char)gen_below(g, 256); break;
            case 1: text.length = at; break;
            case 2: memmove(text.data + at, text.data + from, at + 6 <= text.length ? 6 : 1); break;
            default: memset(text.data + at, "[]{}()=:,\"#@"[gen_below(g, 12)], 1);
            }
        }
        text.data[text.length] = 0;
        Graph *back = read_text(&f, text.data, text.length);
        ck_assert((back == NULL) == (f.diags.errors > 0));
        refused += back == NULL;
        arena_free(&f.arena);
    }
    ck_assert_int_gt(refused, 2000);
}
END_TEST

int main(void)
{
    (void)gen_inputs; /* the generator's, not needed here */
    Suite *s = suite_create("ir text");
    TCase *t = tcase_create("text");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_round_trip);
    tcase_add_test(t, test_kernels);
    tcase_add_test(t, test_mutants);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
