/* Sizes, types, attributes and the list of nodes: the small tools that everything else stands on. */
#include "ir_test.h"

/* ---- sizes ------------------------------------------------------------------------------------------------------- */

static const Symbol past = {"past", 0, 8, {0}}, s = {"S", 1, 4, {0}}, b = {"B", 1, SYMBOL_UNBOUNDED, {0}},
                    h = {"H", 1, 9, {0}};

static const char *shown(Arena *a, Extent e)
{
    Text t = text_new(a);
    extent_print(e, &t);
    return t.data;
}

static Extent plus(Extent x, Extent y)
{
    Extent sum;
    ck_assert(extent_add(x, y, &sum));
    return sum;
}

static Extent times(Extent x, int64_t factor)
{
    Extent product;
    ck_assert(extent_scale(x, factor, &product));
    return product;
}

START_TEST(extents_have_one_form)
{
    Arena a = {0};
    Extent ps = plus(extent_symbol(&past), extent_symbol(&s)), sp = plus(extent_symbol(&s), extent_symbol(&past));
    ck_assert(extent_equal(ps, sp));
    ck_assert_str_eq(shown(&a, ps), "past+S");
    ck_assert_str_eq(shown(&a, plus(times(extent_symbol(&s), 2), extent_const(1))), "2*S+1");
    ck_assert_str_eq(shown(&a, plus(times(extent_symbol(&s), -1), extent_const(-1))), "-S-1");
    ck_assert_str_eq(shown(&a, plus(times(extent_symbol(&s), -3), extent_symbol(&b))), "B-3*S");
    ck_assert_str_eq(shown(&a, extent_const(384)), "384");
    ck_assert_str_eq(shown(&a, extent_const(0)), "0");
    Extent back;
    ck_assert(extent_sub(ps, extent_symbol(&s), &back) && extent_equal(back, extent_symbol(&past)));
    ck_assert(extent_sub(ps, ps, &back) && extent_is_const(back) && back.base == 0);
    ck_assert(!extent_equal(ps, extent_symbol(&s)) && !extent_is_const(ps));
    arena_free(&a);
}
END_TEST

START_TEST(extents_multiply_and_divide)
{
    Extent e = plus(times(extent_symbol(&s), 4), extent_const(6)), r;
    ck_assert(extent_mul(e, extent_const(3), &r) && r.base == 18 && r.factor[0] == 12);
    ck_assert(extent_mul(extent_const(0), e, &r) && extent_is_const(r) && r.base == 0);
    ck_assert(!extent_mul(e, extent_symbol(&b), &r));
    ck_assert(extent_div(e, 2, &r) && r.base == 3 && r.factor[0] == 2);
    ck_assert(!extent_div(e, 4, &r) && !extent_div(e, 0, &r));
    ck_assert(!extent_div(extent_const(INT64_MIN), -1, &r));
}
END_TEST

START_TEST(extents_never_wrap)
{
    Extent r, three = plus(plus(extent_symbol(&past), extent_symbol(&s)), extent_symbol(&b));
    ck_assert(!extent_add(three, extent_symbol(&h), &r));
    ck_assert(!extent_add(extent_const(INT64_MAX), extent_const(1), &r));
    ck_assert(!extent_scale(times(extent_symbol(&s), INT64_MAX / 2), 3, &r));
    ck_assert(!extent_sub(extent_const(0), extent_const(INT64_MIN), &r));
    ck_assert(extent_high(times(extent_symbol(&b), INT64_MAX)) == INT64_MAX);
    ck_assert(extent_low(times(extent_symbol(&b), INT64_MIN)) == INT64_MIN);
}
END_TEST

START_TEST(extents_have_bounds)
{
    Extent e = plus(plus(times(extent_symbol(&s), -2), extent_symbol(&past)), extent_const(10));
    ck_assert_int_eq(extent_low(e), 2);
    ck_assert_int_eq(extent_high(e), 16);
    ck_assert_int_eq(extent_high(extent_symbol(&b)), SYMBOL_UNBOUNDED);
}
END_TEST

/* ---- types ------------------------------------------------------------------------------------------------------- */

START_TEST(types)
{
    Bench t;
    bench_open(&t);
    Symbol local = s;
    local.name = name_of(&t.names, "S");
    Axis axes[] = {{name_of(&t.names, "S"), extent_symbol(&local)},
                   {name_of(&t.names, "T"), plus(extent_symbol(&local), extent_const(1))},
                   {name_of(&t.names, "K"), extent_const(4)}};
    Axis turned[] = {axes[2], axes[0], axes[1]};
    const Type *a = type_new(&t.cx, DT_F32, 3, axes), *r = type_new(&t.cx, DT_F32, 3, turned),
               *i = type_with_dtype(&t.cx, a, DT_I32);
    Text text = text_new(&t.arena);
    type_print(a, &text);
    ck_assert_str_eq(text.data, "f32[S, T=S+1, K=4]");
    text.length = 0;
    type_print(type_new(&t.cx, DT_BOOL, 0, NULL), &text);
    ck_assert_str_eq(text.data, "bool");
    ck_assert(type_equal(a, a) && !type_equal(a, r) && !type_equal(a, i) && type_same_axes(a, r) &&
              type_same_axes(a, i));
    ck_assert(type_find(a, name_of(&t.names, "K")) == 2 && type_find(a, name_of(&t.names, "Q")) == -1);
    turned[0].size = extent_const(5);
    ck_assert(!type_same_axes(a, type_new(&t.cx, DT_F32, 3, turned)) &&
              !type_same_axes(a, type_new(&t.cx, DT_F32, 2, axes)));
    bench_close(&t);
}
END_TEST

/* ---- attributes -------------------------------------------------------------------------------------------------- */

START_TEST(attributes_are_sorted_and_replaced)
{
    Bench t;
    bench_open(&t);
    Graph *g = graph_new(&t.cx, "T", LEVEL_GRAPH);
    Node *n = node_new(&t.cx, g, OP_weight, NULL, 0, NULL), *other = node_new(&t.cx, g, OP_weight, NULL, 0, NULL);
    attr_set_bool(&t.cx, n, ATTR_keep, true);
    attr_set_ints(&t.cx, n, ATTR_stored, (int64_t[]){2, 3}, 2);
    attr_set_name(&t.cx, n, ATTR_key, "a.b");
    attr_set_extent(&t.cx, n, ATTR_start, extent_const(7));
    attrs_copy(&t.cx, other, n);
    attr_set_name(&t.cx, n, ATTR_key, "c");
    attr_set_float(&t.cx, n, ATTR_value, 0.5);
    attr_set_names(&t.cx, n, ATTR_over, (const char *[]){"H", "K"}, 2);
    attr_set_floats(&t.cx, n, ATTR_table, NULL, 0);
    for (int i = 1; i < n->n_attrs; i++)
        ck_assert_int_lt(n->attrs[i - 1].id, n->attrs[i].id);
    ck_assert_int_eq(n->n_attrs, 7);
    ck_assert_str_eq(attr_name(n, ATTR_key), "c");
    ck_assert(attr_has_name(n, ATTR_over, "K") && !attr_has_name(n, ATTR_over, "D") &&
              !attr_has_name(other, ATTR_over, "K"));
    ck_assert(attr_float(n, ATTR_value, 1) == 0.5 && attr_float(other, ATTR_value, 1) == 1);
    ck_assert(attr_int(n, ATTR_index, -3) == -3 && attr_bool(n, ATTR_keep, false) && !node_attr(n, ATTR_size));
    ck_assert_int_eq(other->n_attrs, 4);
    ck_assert_str_eq(attr_name(other, ATTR_key), "a.b");
    ck_assert(node_attr(other, ATTR_stored)->ints.items[1] == 3 && node_attr(other, ATTR_start)->extent.base == 7);
    bench_close(&t);
}
END_TEST

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

static const char nested[] = "graph T(x: f32[D])\n  dims D = 3\n  k = const value=2 : f32\n  y = add x, k\n  r = "
                             "repeat i < 2 carries a = y {\n    b = mul a, k\n"
                             "    q = repeat j < 3 carries c = b {\n      d = add c, x\n      yield d\n    }\n    "
                             "yield q\n  }\n  z = neg r\n  return first = z, second = y\n";

START_TEST(uses_count_bodies_and_results)
{
    Bench t;
    bench_begin(&t, nested, NULL);
    graph_count_uses(t.g);
    graph_count_uses(t.g);
    ck_assert_int_eq(find(t.g, "x")->uses, 2);
    ck_assert_int_eq(find(t.g, "k")->uses, 2);
    ck_assert_int_eq(find(t.g, "y")->uses, 2);
    ck_assert_int_eq(find(t.g, "d")->uses, 1);
    ck_assert_int_eq(find(t.g, "z")->uses, 1);
    ck_assert(node_is_outside(find(t.g, "x"), find(t.g, "d")->graph) &&
              !node_is_outside(find(t.g, "d"), find(t.g, "d")->graph));
    ck_assert(graph_model(find(t.g, "d")->graph) == t.g);
    bench_close(&t);
}
END_TEST

START_TEST(nodes_move_and_are_replaced)
{
    Bench t;
    bench_begin(&t, nested, NULL);
    Node *y = find(t.g, "y"), *k = find(t.g, "k"), *d = find(t.g, "d"), *z = find(t.g, "z"), *r = find(t.g, "r"),
         *x = find(t.g, "x");
    Node *four = node_before(&t.cx, k, OP_const, k->type, 0, NULL);
    attr_set_float(&t.cx, four, ATTR_value, 4);
    node_replace(k, four);
    node_remove(k);
    ck_assert(y->inputs[1] == four && find(t.g, "b")->inputs[1] == four && !find(t.g, "k"));
    Node *sum = node_before(&t.cx, z, OP_add, z->type, 2, (Node *[]){r, x});
    node_replace(z, sum);
    node_remove(z);
    ck_assert(t.g->results[0].value == sum && t.g->last == sum && sum->prev == r);
    node_move_before(r, sum);
    node_move_before(sum, sum);
    ck_assert(t.g->last == sum && sum->prev == r && r->body->parent == t.g);
    Node *w = node_before(&t.cx, y, OP_neg, y->type, 1, &x);
    node_move_before(w, d);
    ck_assert(w->graph == d->graph && d->prev == w && w->next == d && y->prev != w);
    graph_name_all(&t.cx, t.g);
    const char *why = NULL;
    ck_assert_msg(graph_verify(&t.cx, t.g, &why), "%s", why);
    bench_close(&t);
}
END_TEST

START_TEST(names_become_unique_words)
{
    Bench t;
    bench_open(&t);
    Graph *g = graph_new(&t.cx, "T", LEVEL_GRAPH);
    const Type *f = type_new(&t.cx, DT_F32, 0, NULL);
    static const char *const hints[] = {"x",     "x",   "x.1",     NULL, NULL,    "yield",
                                        "0.w y", "x.1", "h.{i}.w", "",   "x.2.7", "x.2.7"};
    static const char *const want[] = {"x",      "x.2", "x.1",     "const",   "const.1", "yield.1",
                                       "_0.w_y", "x.3", "h._i_.w", "const.2", "x.2.7",   "x.2.1"};
    Node *nodes[12];
    for (int i = 0; i < 12; i++) {
        nodes[i] = node_new(&t.cx, g, OP_const, f, 0, NULL);
        nodes[i]->name = hints[i] ? name_of(&t.names, hints[i]) : NULL;
        attr_set_float(&t.cx, nodes[i], ATTR_value, i);
    }
    for (int round = 0; round < 2; round++) { /* naming again changes nothing */
        graph_name_all(&t.cx, g);
        for (int i = 0; i < 12; i++)
            ck_assert_str_eq(nodes[i]->name, want[i]);
    }
    bench_close(&t);
}
END_TEST

START_TEST(copies_are_deep)
{
    Bench t;
    bench_begin(&t, nested, NULL);
    Graph *copy = graph_copy(&t.cx, t.g);
    Text before = text_new(&t.arena), after = text_new(&t.arena), copied = text_new(&t.arena);
    graph_print(t.g, &before);
    graph_print(copy, &copied);
    ck_assert_str_eq(before.data, copied.data);
    Node *d = find(copy, "d");
    ck_assert(d != find(t.g, "d") && d->inputs[1] == find(copy, "x") && d->graph->owner == find(copy, "q") &&
              graph_model(d->graph) == copy);
    attr_set_float(&t.cx, find(copy, "k"), ATTR_value, 9);
    d->inputs[1] = d->inputs[0];
    node_remove(find(copy, "z"));
    copy->results[0].value = find(copy, "r");
    graph_print(t.g, &after);
    ck_assert_str_eq(before.data, after.data);
    const char *why = NULL;
    ck_assert_msg(graph_verify(&t.cx, copy, &why), "%s", why);
    bench_close(&t);
}
END_TEST

/* ---- bodies as one line ------------------------------------------------------------------------------------------ */

/* clang-format off */
static const struct { const char *kernel, *line; } expressions[] = {
    {"gemm x, w, b over=D weights=1 (a: f32[B, F], c: f32[F]) { t = add a, c  u = gelu t  return u }", "gelu(acc + b)"},
    {"gemm x, w, w over=D weights=2 (a: f32[B, F], c: f32[B, F]) { t = silu a  u = mul t, c  return u }", "silu(acc0) * acc1"},
    {"map x, y (a: f32[B, D], c: f32[B, D]) { t = sub a, c  u = sub a, t  v = sub u, c  return v }", "x - (x - y) - y"},
    {"map x, y (a: f32[B, D], c: f32[B, D]) { t = add a, c  u = mul t, c  v = div a, u  return v }", "x / ((x + y) * y)"},
    {"map x, y (a: f32[B, D], c: f32[B, D]) { t = mul a, c  u = add t, c  v = neg u  w1 = mul v, a  return w1 }", "-(x * y + y) * x"},
    {"map x (a: f32[B, D]) { k = const value=0.5 : f32  t = mul a, k  s = sigmoid t  u = mul t, s  return u }", "t * sigmoid(t) where t = x * 0.5"},
    {"map x, y (a: f32[B, D], c: f32[B, D]) { t = lt a, c  u = le c, a  v = or t, u  n = not v  o1 = and n, t  w1 = where o1, a, c  return w1 }",
     "where(!(t | y <= x) & t, x, y) where t = x < y"},
    {"map x (a: f32[B, D]) { return a }", "x"},
    {"map x (a: f32[B, D]) { i = iota start=past : i32[B]  j = iota : i32[D]  t = le j, i  f = cast t : f32[D, B]  e = extent size=past+B : f32  g = mul f, e  u = maximum g, a  return u }",
     "maximum(f32(iota(D) <= iota(B from past)) * (B+past), x)"},
    {"rowwise x over=D (a: f32[B, D]) { m = mean a over=D  c = sub a, m  q = mul c, c  v = sum q over=D  u = div c, v  return u }",
     "c / sum(c * c over D) where c = x - mean(x over D)"},
};
/* clang-format on */

START_TEST(expressions_have_no_spare_parentheses)
{
    for (size_t i = 0; i < sizeof expressions / sizeof *expressions; i++) {
        Bench t;
        bench_open(&t);
        const char *text = arena_print(&t.arena,
                                       "kernels T(x: f32[B, D], y: f32[B, D])\n  dims B = 1..  past = 0..  D = 3  F = "
                                       "2\n  w = weight key=\"w\" : f32[F, D]\n"
                                       "  b = weight key=\"b\" : f32[F]\n  o = %s\n  return o\n",
                                       expressions[i].kernel);
        Graph *g = bench_read(&t, text);
        ck_assert_msg(g != NULL, "%s: %s", expressions[i].line, bench_said(&t));
        Text line = text_new(&t.arena);
        expression_print(g->results[0].value->body, 0, &line);
        ck_assert_str_eq(line.data, expressions[i].line);
        bench_close(&t);
    }
}
END_TEST

/* clang-format off */
static const struct { const char *body, *line; } scores[] = {
    {"return s", "no mask"},
    {"i = iota start=past : i32[S]  j = iota : i32[T]  m = le j, i  n = const value=-inf : f32  r = where m, s, n  return r",
     "mask j <= i, i = past..past+S, j = 0..past+S"},
    {"i = iota : i32[S]  j = iota : i32[T]  m = le j, i  m1 = and m, kp  n = const value=-inf : f32  r = where m1, s, n  return r",
     "mask j <= i & keep, i = 0..S, j = 0..past+S"},
    {"c = const value=20 : f32  t = div s, c  u = tanh t  v = mul u, c  n = const value=-inf : f32  r = where kp, v, n  return r",
     "mask keep, score tanh(s / 20) * 20"},
    {"h = iota : i32[H]  hf = cast h : f32[H]  i = iota : i32[S]  j = iota : i32[T]  d = sub j, i  df = cast d : f32[T, S]  "
     "b = mul df, hf  v = add s, b  m = le j, i  n = const value=-inf : f32  r = where m, v, n  r1 = where kp, r, n  return r1",
     "mask keep & j <= i, score s + f32(j - i) * f32(iota(H)), i = 0..S, j = 0..past+S"},
    {"z = const value=0 : f32  r = where kp, s, z  return r", "score where(keep, s, 0)"},
};
/* clang-format on */

START_TEST(attend_says_masks_and_score)
{
    for (size_t i = 0; i < sizeof scores / sizeof *scores; i++) {
        Bench t;
        bench_open(&t);
        Graph *g = bench_read(&t, arena_print(&t.arena,
                                              "kernels T(q: f32[S, H, K], k: f32[T, H, K], keep: bool[T])\n"
                                              "  dims S = 1..  past = 0..  T = past+S  H = 2  K = 4\n"
                                              "  o = attend q, k, k, keep over=K keys=T (s: f32[S, H, T], kp) { %s }\n"
                                              "  return o\n",
                                              scores[i].body));
        ck_assert_msg(g != NULL, "%s: %s", scores[i].line, bench_said(&t));
        Text line = text_new(&t.arena);
        formula_print(g->results[0].value, &line);
        ck_assert_str_eq(line.data, scores[i].line);
        bench_close(&t);
    }
}
END_TEST

/* clang-format off */
static const struct { const char *line, *says; } linear[] = {
    {"linear_attend q, k, v over=K keys=T queries=S features=elu1 causal=true", "features elu1, causal"},
    {"linear_attend q, k, v, w, keep over=K keys=T queries=S roles=[projection, keep] features=relu eps=0.001", "features relu (6) + 0.001, keep"},
    {"linear_attend q, k, v, w over=K keys=T queries=S roles=projection features=hyperbolic", "features hyperbolic (12)"},
    {"linear_attend q, k, v, w, n, p over=K keys=T queries=S roles=[projection, layer, prefix] features=positive causal=true cache=at.s",
     "features positive (6), causal, prefix, state at.s"},
    {"codebook_attend q, k, v, w over=K keys=T queries=S roles=codebook", "6 codes"},
    {"codebook_attend q, k, v, w, keep over=K keys=T queries=S roles=[codebook, keep] causal=true block=8 recent=keys",
     "6 codes, causal, keep, blocks of 8, recent keys exact"},
};
/* clang-format on */

START_TEST(kernels_without_a_body_say_what_they_are)
{
    for (size_t i = 0; i < sizeof linear / sizeof *linear; i++) {
        Bench t;
        bench_open(&t);
        Graph *g = bench_read(&t, arena_print(&t.arena,
                                              "kernels T(q: f32[S, K], k: f32[T, K], v: f32[T, V], keep: i32[T], n: i32, p: i32)\n"
                                              "  dims S = 1..  past = 0..  F = 6  K = 4  T = S  V = 3\n"
                                              "  cache at.s f32[state=30] state x 2\n"
                                              "  w = weight key=\"w\" : f32[F, K]\n  o = %s\n  return o\n",
                                              linear[i].line));
        ck_assert_msg(g != NULL, "%s: %s", linear[i].line, bench_said(&t));
        Text line = text_new(&t.arena), dot = text_new(&t.arena);
        formula_print(g->results[0].value, &line);
        ck_assert_str_eq(line.data, linear[i].says);
        graph_dot(g, &dot);
        ck_assert(strstr(dot.data, arena_print(&t.arena, "\\n%s\\n", linear[i].says)) != NULL);
        bench_close(&t);
    }
}
END_TEST

/* Doubled sixty times, a value written out in full would be 2^60 long. */
START_TEST(expressions_of_shared_values_stay_short)
{
    Bench t;
    bench_open(&t);
    Text text = text_new(&t.arena);
    text_add(&text, "kernels T(x: f32)\n  dims\n  o = map x (t0: f32) {\n");
    for (int i = 0; i < 60; i++)
        text_add(&text, "    t%d = mul t%d, t%d\n", i + 1, i, i);
    text_add(&text, "    return t60\n  }\n  return o\n");
    Graph *g = bench_read(&t, text.data);
    ck_assert_msg(g != NULL, "%s", bench_said(&t));
    Text line = text_new(&t.arena);
    expression_print(g->results[0].value->body, 0, &line);
    ck_assert_int_lt(line.length, 2000);
    bench_close(&t);
}
END_TEST

RUN_CASES("graph", extents_have_one_form, extents_multiply_and_divide, extents_never_wrap, extents_have_bounds, types,
          attributes_are_sorted_and_replaced, uses_count_bodies_and_results, nodes_move_and_are_replaced,
          names_become_unique_words, copies_are_deep, expressions_have_no_spare_parentheses, attend_says_masks_and_score, kernels_without_a_body_say_what_they_are,
          expressions_of_shared_values_stay_short)
