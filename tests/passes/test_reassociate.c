/* reassociate at DeepSeek-V3's sizes against counts by hand, and both sides of its choice against each other. */
#include "tests/passes/passes_test.h"

/* h heads, d_n and d_r of a key, d_v of a value, d_c of the latent. */
enum { HEADS = 128, PLAIN = 128, ROTARY = 64, VALUE = 128, LATENT = 512 };

static const char core[] =
    "  c = slice cr start=0 axis=X : f32[B, T, R]\n  r = slice cr start=%d axis=X : f32[B, T, E]\n"
    "  u = weight key=\"u\" : f32[H, N, R]\n  vw = weight key=\"v\" : f32[H, W, R]\n"
    "  kn = dot c, u over=R : f32[B, T, H, N]\n  v = dot c, vw over=R : f32[B, T, H, W]\n"
    "  re = expand r axis=H : f32[B, T, H, E]\n  k = concat kn, re axis=K : f32[B, T, H, K]\n"
    "  q = concat q1, q2 axis=K : f32[B, S, H, K]\n  s = dot q, k over=K : f32[B, S, H, T]\n"
    "  i = iota start=past : i32[S]\n  j = iota : i32[T]\n  m = le j, i : bool[T, S]\n"
    "  none = const value=-inf : f32\n  f = where m, s, none : f32[B, S, H, T]\n"
    "  p = softmax f over=T : f32[B, S, H, T]\n  a = dot p, v over=T : f32[B, S, H, W]\n  return a = a\n";

static Graph *latent_graph(Fixture *f, int heads, int plain, int rotary, int value, int latent)
{
    Text t = text_new(&f->arena);
    text_add(&t, "graph Case(q1: f32[B, S, H, N], q2: f32[B, S, H, E], cr0: f32[B, S, X])\n");
    text_add(&t, "  dims  B = 1.. S = 1..4096 past = 0..4096 H = %d N = %d E = %d R = %d X = %d W = %d K = %d T = past+S\n",
             heads, plain, rotary, latent, latent + rotary, value, plain + rotary);
    text_add(&t, "  cache  kv.cr f32[B, T=8192, X] grows T x 1\n  zero = const value=0 : i32\n");
    text_add(&t, "  cr = append cr0, zero cache=kv.cr : f32[B, T, X]\n");
    text_add(&t, core, latent);
    Source *s = arena_alloc(&f->arena, sizeof *s);
    *s = (Source){"latent.ir", t.data, t.length};
    Graph *g = graph_read(&f->cx, s);
    ck_assert_msg(g != NULL, "%s", fixture_said(f));
    ck_assert(pass_run_one(&f->cx, g, PASS_ID_reassociate, &f->remarks));
    graph_count_uses(g);
    return g;
}

static Node *find(const Graph *g, Op op)
{
    Node *n = g->first;
    while (n && n->op != op)
        n = n->next;
    ck_assert_ptr_nonnull(n);
    return n;
}

/* Flops of the products that one side needs. */
static double side_flops(Fixture *f, const Graph *g, bool few, int64_t rows, int64_t past)
{
    int64_t sizes[3];
    for (int i = 0; i < g->n_symbols; i++)
        sizes[i] = !strcmp(g->symbols[i]->name, "S") ? rows : !strcmp(g->symbols[i]->name, "past") ? past : 1;
    const Chooser *of = choosers_of(&f->arena, g);
    double flops = 0;
    for (const Node *n = g->first; n; n = n->next)
        if (n->op == OP_dot && of[n->id].choose && of[n->id].few == few)
            flops += node_cost(n, sizes).flops;
    return flops;
}

/* materialise 2 Skv d_c h (d_n + d_v) + 2 Sq Skv h (d_n + d_r + d_v); absorbed 2 Sq h d_c (d_n + d_v) + 2 Sq Skv h
 * (2 d_c + d_r): for each new row and cached token 278528 flops, expanded 81920. */
START_TEST(flops_as_counted_by_hand)
{
    static const int64_t sizes[][2] = {{1, 4095}, {1, 0}, {7, 100}, {171, 4096}, {4096, 0}};
    Fixture f;
    fixture_open(&f);
    Graph *g = latent_graph(&f, HEADS, PLAIN, ROTARY, VALUE, LATENT);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        double rows = (double)sizes[i][0], keys = rows + (double)sizes[i][1], weights = 2.0 * LATENT * HEADS * 256;
        ck_assert_double_eq(side_flops(&f, g, true, sizes[i][0], sizes[i][1]), rows * weights + rows * keys * 278528);
        ck_assert_double_eq(side_flops(&f, g, false, sizes[i][0], sizes[i][1]), keys * weights + rows * keys * 81920);
    }
    fixture_close(&f);
}
END_TEST

/* The choice takes the side with fewer flops, on both sides of every edge; without end, 170.67 rows. */
START_TEST(choice_follows_the_flops)
{
    Fixture f;
    fixture_open(&f);
    Graph *g = latent_graph(&f, HEADS, PLAIN, ROTARY, VALUE, LATENT);
    const Node *choose = find(g, OP_choose);
    ck_assert(fabs(attr_float(choose, ATTR_value, 0) - 512.0 * 256 / 768) < 1e-9);
    for (int64_t past = 0; past <= 4096; past += past < 8 ? 1 : 511)
        for (int64_t rows = 1; rows <= 200; rows++) {
            int64_t sizes[3];
            for (int i = 0; i < g->n_symbols; i++)
                sizes[i] = !strcmp(g->symbols[i]->name, "S") ? rows : !strcmp(g->symbols[i]->name, "past") ? past : 1;
            double few = side_flops(&f, g, true, rows, past), many = side_flops(&f, g, false, rows, past);
            ck_assert_msg(choose_takes_few(choose, sizes) == (few <= many), "%d rows after %d", (int)rows, (int)past);
        }
    fixture_close(&f);
}
END_TEST

/* A token of the cache: 576 floats, expanded 40960. */
START_TEST(bytes_as_counted_by_hand)
{
    Fixture f;
    fixture_open(&f);
    Graph *g = latent_graph(&f, HEADS, PLAIN, ROTARY, VALUE, LATENT);
    const Type *cache = g->caches[0].type;
    ck_assert_int_eq(cache->axis[cache->rank - 1].size.base * 4, 4 * 576);
    int64_t sizes[3] = {0}, expanded = 0;
    for (int i = 0; i < g->n_symbols; i++)
        sizes[i] = !strcmp(g->symbols[i]->name, "past") ? 99 : 1;
    for (const Node *n = g->first; n; n = n->next)
        if (n->name && (!strcmp(n->name, "k") || !strcmp(n->name, "v")))
            expanded += (int64_t)node_cost(n, sizes).bytes_written;
    ck_assert_int_eq(expanded, 100 * 4 * HEADS * (PLAIN + ROTARY + VALUE));
    ck_assert(pass_run_one(&f.cx, g, PASS_ID_fuse_attention, &f.remarks));
    graph_count_uses(g);
    const Chooser *of = choosers_of(&f.arena, g);
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op != OP_attend)
            continue;
        ck_assert_ptr_nonnull(of[n->id].choose);
        double queries = 4.0 * HEADS * (of[n->id].few ? 576 : 192);
        double keys = 100 * 4.0 * (of[n->id].few ? 576 + 512 : 40960);
        ck_assert_double_eq(node_cost(n, sizes).bytes_read, queries + keys);
    }
    fixture_close(&f);
}
END_TEST

/* Whatever the choice takes, the numbers are the same. */
START_TEST(both_sides_are_equal)
{
    Fixture f;
    fixture_open(&f);
    for (int64_t past = 0; past <= 9; past += 3) {
        Graph *few = latent_graph(&f, 3, 10, 4, 6, 24), *many = graph_copy(&f.cx, few);
        attr_set_float(&f.cx, find(few, OP_choose), ATTR_value, past ? 1e9 : 0);
        attr_set_float(&f.cx, find(many, OP_choose), ATTR_value, -1);
        Call call[] = {{"B", 2}, {"S", 5}, {"past", past}};
        Run a = run_new(&f, few, call, 3), b = run_new(&f, many, call, 3);
        for (int64_t i = 0; i < a.caches[0].count; i++)
            a.caches[0].data[i] = b.caches[0].data[i] = hashed("cache", i);
        ck_assert(choose_takes_few(find(few, OP_choose), a.sizes) == (past > 0));
        ck_assert(!choose_takes_few(find(many, OP_choose), b.sizes));
        double error = difference(run_graph(&a, few), run_graph(&b, many));
        ck_assert_msg(error <= 1e-12, "%g with %d before", error, (int)past);
    }
    fixture_close(&f);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {flops_as_counted_by_hand, choice_follows_the_flops, bytes_as_counted_by_hand,
                            both_sides_are_equal};
    int loops[] = {1, 1, 1, 1};
    return run_suite("reassociate", tests, loops, 4);
}
