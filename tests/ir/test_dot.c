/* Drawings for Graphviz: the text keeps the rules of its grammar, every edge joins two declared boxes, and repeats and
 * kernels are clusters. */
#include <check.h>
#include <ctype.h>
#include <stdio.h>
#include "tests/driver/random_graph.h"

/* The part of the DOT language that graph_dot may use: digraph ID { statements }. */
typedef struct Dot {
    const char *at;
    Map nodes, clusters;
    const char *ends[20000]; /* of edges */
    int n_ends, edges;
} Dot;

static void skip_space(Dot *d)
{
    while (isspace((unsigned char)*d->at))
        d->at++;
}

static bool take(Dot *d, const char *sign)
{
    skip_space(d);
    size_t length = strlen(sign);
    if (strncmp(d->at, sign, length))
        return false;
    d->at += length;
    return true;
}

static void expect(Dot *d, const char *sign)
{
    ck_assert_msg(take(d, sign), "expected `%s` before: %.60s", sign, d->at);
}

/* A word or a quoted string; a quoted one ends at its first quote without a backslash, on the same line. */
static const char *word(Dot *d, Arena *a)
{
    skip_space(d);
    const char *start = d->at;
    if (*d->at == '"') {
        for (d->at++; *d->at != '"'; d->at++) {
            ck_assert_msg((unsigned char)*d->at >= 0x20, "unclosed: %.60s", start);
            d->at += *d->at == '\\';
        }
        d->at++;
    } else
        while (isalnum((unsigned char)*d->at) || *d->at == '_')
            d->at++;
    ck_assert_msg(d->at > start, "expected a word before: %.60s", start);
    return arena_copy(a, start, (size_t)(d->at - start));
}

static void attributes(Dot *d, Arena *a)
{
    if (!take(d, "["))
        return;
    do {
        word(d, a);
        expect(d, "=");
        word(d, a);
    } while (take(d, ","));
    expect(d, "]");
}

static void statements(Dot *d, Arena *a)
{
    expect(d, "{");
    while (!take(d, "}")) {
        const char *name = word(d, a);
        if (!strcmp(name, "subgraph")) {
            name = word(d, a);
            ck_assert(!strncmp(name, "cluster_", 8) && !map_has(&d->clusters, name));
            map_set(&d->clusters, name, d);
            statements(d, a);
            continue;
        }
        if (take(d, "=")) {
            word(d, a);
        } else if (take(d, "->")) {
            ck_assert(d->n_ends + 2 <= 20000);
            d->ends[d->n_ends++] = name;
            d->ends[d->n_ends++] = word(d, a);
            attributes(d, a);
            d->edges++;
        } else {
            if (strcmp(name, "node") && strcmp(name, "edge")) {
                ck_assert_msg(!map_has(&d->nodes, name), "%s twice", name);
                map_set(&d->nodes, name, d);
            }
            attributes(d, a);
        }
        expect(d, ";");
    }
}

static void check_dot(const Graph *g, Arena *a, Dot *d)
{
    Text out = text_new(a);
    graph_dot(g, &out);
    memset(d, 0, sizeof *d);
    *d = (Dot){.at = out.data, .nodes = map_new(a), .clusters = map_new(a)};
    ck_assert_str_eq(word(d, a), "digraph");
    word(d, a);
    statements(d, a);
    skip_space(d);
    ck_assert_int_eq(*d->at, 0);
    for (int i = 0; i < d->n_ends; i++)
        ck_assert_msg(map_has(&d->nodes, d->ends[i]), "%s is drawn nowhere", d->ends[i]);
}

static int count(const Graph *g, bool bodies)
{
    int sum = 0;
    for (const Node *n = g->first; n; n = n->next)
        sum += (bodies ? n->body != NULL : 1) + (n->body ? count(n->body, bodies) : 0);
    return sum;
}

typedef struct Fixture {
    Arena arena;
    Names names;
    Diags diags;
    Context cx;
    Dot dot;
} Fixture;

static void fixture_begin(Fixture *f)
{
    memset(f, 0, sizeof *f);
    f->names.map = map_new(&f->arena);
    f->diags.arena = &f->arena;
    f->cx = (Context){&f->arena, &f->diags, &f->names};
}

START_TEST(test_random)
{
    static Fixture f;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        fixture_begin(&f);
        const Graph *g = gen_model(&f.cx, seed)->model;
        check_dot(g, &f.arena, &f.dot);
        ck_assert_int_eq((int)f.dot.nodes.count, count(g, false) + g->n_results);
        ck_assert_int_eq((int)f.dot.clusters.count, count(g, true));
        arena_free(&f.arena);
    }
}
END_TEST

/* A gemm's x and weights reach its accumulators, attend's q and k the score, extras their parameters. */
START_TEST(test_edges)
{
    static const char text[] =
        "kernels T(x: f32[B, D], keep: bool[T])\n  dims  B = 1..  D = 3  F = 2  T = 4\n"
        "  w = weight key=\"a \\\"b\\\" \\\\ c\" : f32[F, D]\n  b = weight key=\"b\" : f32[F]\n"
        "  k = weight key=\"k\" : f32[T, F]\n  k2 = weight key=\"k2\" : f32[T, D]\n"
        "  g = gemm x, w, w, b over=D weights=2 (a0, a1, e) {\n"
        "    s = mul a0, a1\n    t = add s, e\n    return t\n  } : f32[B, F]\n"
        "  o = attend g, k, k, keep over=F keys=T (s0, kp) {\n"
        "    inf = const value=-inf : f32\n    m = where kp, s0, inf\n    return m\n  } : f32[B, F]\n"
        "  c = gemm o, k, x, k2 over=F weights=1 side=[0] (a2) {\n    return a2\n  } : f32[B, T]\n"
        "  return out = c\n";
    static Fixture f;
    fixture_begin(&f);
    Source s = {"t.ir", text, sizeof text - 1};
    Graph *g = graph_read(&f.cx, &s);
    ck_assert_msg(g != NULL, "%s", f.diags.first ? f.diags.first->message : "");
    check_dot(g, &f.arena, &f.dot);
    int gemm = 5, product = 2 + 2 + 1, attend = 4, score = 3 + 1, beside = 4 + 1, result = 1; /* x goes to both accumulators */
    ck_assert_int_eq(f.dot.edges, gemm + product + attend + score + beside + result);
    arena_free(&f.arena);
}
END_TEST

int main(void)
{
    (void)gen_inputs; /* the generator's, not needed here */
    Suite *s = suite_create("dot");
    TCase *t = tcase_create("dot");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_random);
    tcase_add_test(t, test_edges);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
