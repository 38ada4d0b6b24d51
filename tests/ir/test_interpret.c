/* The interpreter's leaves, views, moves, caches, repeats and kernels against definitions written out here. */
#include "ir_test.h"

/* ---- weights: every stored element is a number that tells its key and position ----------------------------------- */

static int calls;

static bool numbered_weight(void *state, const char *key, double *out, int64_t count)
{
    (void)state;
    calls++;
    if (!strncmp(key, "missing", 7))
        return false;
    double base = 0;
    for (const char *p = key; *p; p++)
        if (*p >= '0' && *p <= '9')
            base = base * 10 + (*p - '0');
    for (int64_t i = 0; i < count; i++)
        out[i] = base * 1000 + (double)i;
    return true;
}

START_TEST(leaves)
{
    Bench t;
    bench_begin(&t,
                "graph T(x: f32[S])\n  dims past = 0..  S = 1..  N = 4\n  c = const value=-2.5 : f32\n  n = const "
                "value=7 : i32\n  b = const value=1 : bool\n"
                "  i = iota start=past : i32[S]\n  j = iota : i32[N]\n  e = extent size=2*S+past+1 : f32\n  t = table "
                "table=[1, 2.5, -3, 4e10] : f32[N]\n"
                "  return c, n, b, i, j, e, t\n",
                (int64_t[]){10, 3});
    Value *v = bench_run(&t);
    ck_assert(v[0].data[0] == -2.5 && v[0].rank == 0 && v[0].count == 1 && v[1].data[0] == 7 && v[2].data[0] == 1);
    check_numbers(&v[3], (double[]){10, 11, 12}, 3);
    check_numbers(&v[4], (double[]){0, 1, 2, 3}, 4);
    ck_assert(v[5].data[0] == 17);
    check_numbers(&v[6], (double[]){1, 2.5, -3, 4e10}, 4);
    bench_close(&t);
}
END_TEST

START_TEST(weights_plain_and_strided)
{
    Bench t;
    bench_begin(&t,
                "graph T()\n  dims A = 2  B = 3\n  p = weight key=\"w7\" : f32[A, B]\n  t = weight key=\"w7\" "
                "stored=[3, 2] strides=[1, 2] : f32[A, B]\n"
                "  s = weight key=\"w1\" stored=[4, 6] strides=[6, 1] start=7 : f32[A, B]\n  return p, t, s\n",
                NULL);
    t.bind.weight = numbered_weight;
    Value *v = bench_run(&t);
    check_numbers(&v[0], (double[]){7000, 7001, 7002, 7003, 7004, 7005}, 6);
    check_numbers(&v[1], (double[]){7000, 7002, 7004, 7001, 7003, 7005}, 6);
    check_numbers(&v[2], (double[]){1007, 1008, 1009, 1013, 1014, 1015}, 6);
    bench_close(&t);
}
END_TEST

START_TEST(weights_with_gains)
{
    Bench t;
    bench_begin(&t,
                "graph T()\n  dims A = 2  B = 3\n  p = weight key=\"w1\" gain=\"w2\" axis=B : f32[A, B]\n  q = weight "
                "key=\"w1\" stored=[3, 2] strides=[1, 2] gain=\"w3\" plus=0.5 factor=-2 axis=A : f32[A, B]\n  return p, q\n",
                NULL);
    t.bind.weight = numbered_weight;
    Value *v = bench_run(&t);
    check_numbers(&v[0], (double[]){1000 * 2000, 1001 * 2001, 1002 * 2002, 1003 * 2000, 1004 * 2001, 1005 * 2002}, 6);
    check_numbers(&v[1],
                  (double[]){1000 * -6001.0, 1002 * -6001.0, 1004 * -6001.0, 1001 * -6003.0, 1003 * -6003.0, 1005 * -6003.0},
                  6);
    bench_close(&t);
}
END_TEST

START_TEST(missing_weight)
{
    Bench t;
    bench_begin(&t, "graph T()\n  dims A = 2\n  p = weight key=\"missing.weight\" : f32[A]\n  return p\n", NULL);
    t.bind.weight = numbered_weight;
    ck_assert(!interpret(&t.cx, t.g, &t.bind, &t.work));
    ck_assert_int_eq(t.diags.errors, 1);
    ck_assert(strstr(bench_said(&t), "missing.weight"));
    bench_close(&t);
}
END_TEST

/* ---- views and moves --------------------------------------------------------------------------------------------- */

START_TEST(views)
{
    Bench t;
    bench_begin(
        &t,
        "graph T(x: f32[B, D])\n  dims B = 1..  D = 6  H = 2  K = 3\n  v = view x : f32[B, H, K]\n  t = transpose v : "
        "f32[K, B, H]\n"
        "  s = slice x axis=D start=4 : f32[B, D=2]\n  r = slice x axis=D start=1 : f32[B, Q=3]\n  d = slice v axis=H "
        "start=1 : f32[B, K]\n"
        "  e = expand v axis=R : f32[B, H, R=2, K]\n  m = view t : f32[K, B, H]\n  return v, t, s, r, d, e, m\n",
        (int64_t[]){3});
    Value *v = bench_run(&t);
    for (int b = 0; b < 3; b++)
        for (int h = 0; h < 2; h++)
            for (int k = 0; k < 3; k++) {
                double x = bench_in(&t, 0, b * 6 + h * 3 + k);
                ck_assert(v[0].data[(b * 2 + h) * 3 + k] == x);
                ck_assert(v[1].data[(k * 3 + b) * 2 + h] == x);
                ck_assert(v[6].data[(k * 3 + b) * 2 + h] == x);
                if (h == 1)
                    ck_assert(v[4].data[b * 3 + k] == x);
                for (int r = 0; r < 2; r++)
                    ck_assert(v[5].data[((b * 2 + h) * 2 + r) * 3 + k] == x);
            }
    for (int b = 0; b < 3; b++)
        for (int i = 0; i < 3; i++) {
            if (i < 2)
                ck_assert(v[2].data[b * 2 + i] == bench_in(&t, 0, b * 6 + 4 + i));
            ck_assert(v[3].data[b * 3 + i] == bench_in(&t, 0, b * 6 + 1 + i));
        }
    bench_close(&t);
}
END_TEST

START_TEST(slice_by_a_symbol_stays_inside)
{
    for (int64_t past = 0; past <= 6; past += 3) {
        Bench t;
        bench_begin(&t,
                    "graph T(x: f32[P, D])\n  dims past = 0..  S = 1..  P = 8  D = 2\n  y = slice x axis=P start=past "
                    ": f32[S, D]\n  return y\n",
                    (int64_t[]){past, 3});
        Value *v = interpret(&t.cx, t.g, &t.bind, &t.work);
        if (past + 3 <= 8)
            for (int i = 0; i < 6; i++)
                ck_assert(v[0].data[i] == bench_in(&t, 0, past * 2 + i));
        else
            ck_assert(!v && t.diags.errors == 1 && strstr(bench_said(&t), "`P`"));
        bench_close(&t);
    }
}
END_TEST

START_TEST(concat_first_middle_last)
{
    Bench t;
    bench_begin(
        &t,
        "graph T(x: f32[A, B, C], y: f32[A, Y, C])\n  dims A = 2  B = 1..  Y = 1..  C = 2\n  m = concat x, y axis=B : "
        "f32[A, B=B+Y, C]\n"
        "  f = concat x, x, x axis=N : f32[N=6, B, C]\n  l = concat x, x axis=C : f32[A, B, C=4]\n  return m, f, l\n",
        (int64_t[]){2, 3});
    Value *v = bench_run(&t);
    for (int a = 0; a < 2; a++)
        for (int c = 0; c < 2; c++)
            for (int i = 0; i < 5; i++)
                ck_assert(v[0].data[(a * 5 + i) * 2 + c] ==
                          (i < 2 ? bench_in(&t, 0, (a * 2 + i) * 2 + c) : bench_in(&t, 1, (a * 3 + i - 2) * 2 + c)));
    for (int i = 0; i < 24; i++)
        ck_assert(v[1].data[i] == bench_in(&t, 0, i % 8));
    for (int i = 0; i < 16; i++)
        ck_assert(v[2].data[i] == bench_in(&t, 0, i / 4 * 2 + i % 2));
    bench_close(&t);
}
END_TEST

/* At 3.5 rows allowed, 3 rows go with the few from 18 positions before them on, 4 rows never. */
START_TEST(choose_by_sizes)
{
    static const struct {
        int64_t past, rows;
        bool few;
    } cases[] = {{0, 1, false}, {1, 1, true}, {0, 2, false}, {18, 3, true}, {17, 3, false}, {1000, 4, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bench t;
        bench_begin(&t,
                    "graph T(x: f32[S], y: f32[S])\n  dims S = 1..  past = 0..\n"
                    "  c = choose x, y start=past value=3.5 size=S\n  return c\n",
                    (int64_t[]){cases[i].rows, cases[i].past});
        Value *v = bench_run(&t);
        for (int64_t k = 0; k < cases[i].rows; k++)
            ck_assert(v->data[k] == bench_in(&t, cases[i].few ? 0 : 1, k));
        bench_close(&t);
    }
}
END_TEST

START_TEST(gather_rows_and_inner_axis)
{
    Bench t;
    bench_begin(&t,
                "graph T(w: f32[E, V, D], ids: i32[B, S])\n  dims B = 1..  S = 1..  E = 2  V = 5  D = 3\n  y = gather "
                "w, ids over=V\n  return y\n",
                (int64_t[]){2, 2});
    static const int ids[] = {4, 0, 2, 2};
    for (int i = 0; i < 4; i++)
        host_set(&t.in[1], i, ids[i]);
    Value *v = bench_run(&t);
    ck_assert_int_eq(v->count, 24);
    for (int i = 0; i < 4; i++) /* the result is [B, S, E, D] */
        for (int e = 0; e < 2; e++)
            for (int d = 0; d < 3; d++)
                ck_assert(v->data[(i * 2 + e) * 3 + d] == bench_in(&t, 0, (e * 5 + ids[i]) * 3 + d));
    bench_close(&t);
}
END_TEST

START_TEST(gather_refuses_what_is_outside)
{
    static const double bad[] = {5, -1, 2147483647, -2147483648.0};
    for (int i = 0; i < 4; i++) {
        Bench t;
        bench_begin(&t,
                    "graph T(w: f32[V, D], ids: i32[S])\n  dims S = 1..  V = 5  D = 3\n  y = gather w, ids over=V\n  "
                    "return y\n",
                    (int64_t[]){2});
        bench_set(&t, 1, (double[]){0, bad[i]}, 2);
        ck_assert(!interpret(&t.cx, t.g, &t.bind, &t.work));
        char number[32];
        snprintf(number, sizeof number, "%.0f", bad[i]);
        ck_assert_int_eq(t.diags.errors, 1);
        ck_assert_msg(strstr(bench_said(&t), number) && strstr(bench_said(&t), "`V`") && strstr(bench_said(&t), "5"),
                      "%s", bench_said(&t));
        bench_close(&t);
    }
}
END_TEST

/* Axes of both are the same axis: element [b, s, d] is the table's [b, ids[b, s], d]. The indices may have an axis that
 * is called like the looked-up one. */
START_TEST(gather_aligns_axes)
{
    Bench t;
    bench_begin(&t,
                "graph T(w: f32[B, V, D], ids: i32[S, B], own: i32[B, V])\n  dims B = 1..  S = 1..  V = 4  D = 3\n"
                "  y = gather w, ids over=V\n  z = gather w, own over=V\n  return y, z\n",
                (int64_t[]){2, 3});
    static const int ids[] = {3, 0, 1, 2, 0, 3}, own[] = {3, 2, 1, 0, 0, 0, 2, 1};
    for (int i = 0; i < 6; i++)
        host_set(&t.in[1], i, ids[i]);
    for (int i = 0; i < 8; i++)
        host_set(&t.in[2], i, own[i]);
    Value *v = bench_run(&t);
    for (int b = 0; b < 2; b++)
        for (int d = 0; d < 3; d++) {
            for (int s = 0; s < 3; s++)
                ck_assert(v[0].data[(s * 2 + b) * 3 + d] == bench_in(&t, 0, (b * 4 + ids[s * 2 + b]) * 3 + d));
            for (int i = 0; i < 4; i++)
                ck_assert(v[1].data[(b * 4 + i) * 3 + d] == bench_in(&t, 0, (b * 4 + own[b * 4 + i]) * 3 + d));
        }
    bench_close(&t);
}
END_TEST

START_TEST(topk_orders_ties_and_nans)
{
    Bench t;
    bench_begin(&t,
                "graph T(x: f32[S, D])\n  dims S = 1..  D = 6  J = 3\n  p = topk x over=D axis=J : i32[S, J]\n"
                "  q = topk x over=D axis=D : i32[S, D]\n  r = topk x over=S axis=O : i32[O=1, D]\n  return p, q, r\n",
                (int64_t[]){3});
    bench_set(&t, 0,
              (double[]){1, 5, 5, -1, 5, 0, 2, 2, 2, 2, 2, 2, -INFINITY, NAN, 7, NAN, INFINITY, -0.0}, 18);
    Value *v = bench_run(&t);
    check_numbers(&v[0], (double[]){1, 2, 4, 0, 1, 2, 1, 3, 4}, 9);
    check_numbers(&v[1], (double[]){1, 2, 4, 0, 5, 3, 0, 1, 2, 3, 4, 5, 1, 3, 4, 2, 5, 0}, 18);
    check_numbers(&v[2], (double[]){1, 2, 2, 2, 2, 1}, 6);
    bench_close(&t);
}
END_TEST

START_TEST(running_sums_and_maxima)
{
    static const struct {
        const char *line;
        double want[6];
    } cases[] = {
        {"cumsum x over=D", {1, -1, 3, 2, 7, 6}},           {"cumsum x over=D reverse=true", {3, 2, 4, 6, 4, -1}},
        {"cumsum x over=D exclusive=true", {0, 1, -1, 0, 2, 7}}, {"cumsum x over=S", {1, -2, 4, 3, 3, 3}},
        {"cumsum x over=D reverse=true exclusive=true", {2, 4, 0, 4, -1, 0}},
        {"cummax x over=D", {1, 1, 4, 2, 5, 5}},            {"cummax x over=S reverse=true", {2, 5, 4, 2, 5, -1}},
        {"cummax x over=D exclusive=true", {-INFINITY, 1, 1, -INFINITY, 2, 5}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bench t;
        char text[200];
        snprintf(text, sizeof text, "graph T(x: f32[S, D])\n  dims S = 1..  D = 3\n  y = %s\n  return y\n", cases[i].line);
        bench_begin(&t, text, (int64_t[]){2});
        bench_set(&t, 0, (double[]){1, -2, 4, 2, 5, -1}, 6);
        check_numbers(bench_run(&t), cases[i].want, 6);
        bench_close(&t);
    }
}
END_TEST

START_TEST(running_maxima_of_whole_numbers_and_nans)
{
    Bench t;
    bench_begin(&t,
                "graph T(n: i32[S], x: f32[S])\n  dims S = 1..\n  a = cummax n over=S exclusive=true\n  b = cumsum n over=S\n"
                "  c = cummax x over=S\n  return a, b, c\n",
                (int64_t[]){3});
    bench_set(&t, 0, (double[]){-5, 7, 2}, 3);
    bench_set(&t, 1, (double[]){1, NAN, 2}, 3);
    Value *v = bench_run(&t);
    check_numbers(&v[0], (double[]){INT32_MIN, -5, 7}, 3);
    check_numbers(&v[1], (double[]){-5, 2, 4}, 3);
    ck_assert(v[2].data[0] == 1 && isnan(v[2].data[1]) && isnan(v[2].data[2]));
    bench_close(&t);
}
END_TEST

START_TEST(rotate_halves_and_pairs)
{
    for (int kind = 0; kind < 6; kind++) { /* three, two and one pair of six numbers */
        Bench t;
        char text[240];
        int pairs = 3 - kind / 2;
        bool interleave = kind % 2;
        snprintf(text, sizeof text,
                 "graph T(x: f32[B, S, H, K], c: f32[S, R], s: f32[S, R])\n  dims B = 1..  S = 1..  H = 2  K = 6  R = "
                 "%d\n  y = rotate x, c, s%s\n  return y\n",
                 pairs, interleave ? " interleave=true" : "");
        bench_begin(&t, text, (int64_t[]){2, 3});
        Value *v = bench_run(&t);
        for (int row = 0; row < 12; row++) {
            for (int i = 0; i < pairs; i++) {
                int first = interleave ? 2 * i : i, second = interleave ? 2 * i + 1 : i + pairs, s = row / 2 % 3;
                double x = bench_in(&t, 0, row * 6 + first), y = bench_in(&t, 0, row * 6 + second);
                double c = bench_in(&t, 1, s * pairs + i), n = bench_in(&t, 2, s * pairs + i);
                ck_assert(same_number(v->data[row * 6 + first], x * c - y * n));
                ck_assert(same_number(v->data[row * 6 + second], y * c + x * n));
            }
            for (int i = 2 * pairs; i < 6; i++)
                ck_assert(same_number(v->data[row * 6 + i], bench_in(&t, 0, row * 6 + i)));
        }
        bench_close(&t);
    }
}
END_TEST

/* ---- caches ------------------------------------------------------------------------------------------------------ */

static const char cache_text[] =
    "graph T(x: f32[B, S, D])\n  dims B = 1..  past = 0..4  S = 1..4  P = 5  D = 2\n  cache kv.k f32[B, T=5, D] grows "
    "T x 3\n"
    "  r = repeat i < 3 carries y = x {\n    a = append y, i cache=kv.k : f32[B, T=past+S, D]\n    s = sum a over=T\n  "
    "  z = add y, s\n    yield z\n  } : f32[B, S, D]\n"
    "  return r\n";

START_TEST(append_keeps_layers_apart)
{
    Bench t;
    bench_begin(&t, cache_text, (int64_t[]){2, 0, 2});
    double kept[3][2][5][2] = {{{{0}}}};
    for (int call = 0; call < 3; call++) {
        t.sizes[1] = call * 2;          /* past */
        t.sizes[2] = call == 2 ? 1 : 2; /* S */
        int64_t past = t.sizes[1], rows = t.sizes[2];
        t.in[0].dims[1] = rows;
        double y[2][2][2];
        for (int b = 0; b < 2; b++)
            for (int s = 0; s < rows; s++)
                for (int d = 0; d < 2; d++) {
                    double x = bench_number(&t, DT_F32);
                    host_set(&t.in[0], (b * rows + s) * 2 + d, x);
                    y[b][s][d] = x;
                }
        for (int layer = 0; layer < 3; layer++)
            for (int b = 0; b < 2; b++)
                for (int d = 0; d < 2; d++) {
                    double sum = 0;
                    for (int s = 0; s < rows; s++)
                        kept[layer][b][past + s][d] = y[b][s][d];
                    for (int s = 0; s < past + rows; s++)
                        sum += kept[layer][b][s][d];
                    for (int s = 0; s < rows; s++)
                        y[b][s][d] += sum;
                }
        Value *v = bench_run(&t);
        ck_assert_int_eq(v->count, 2 * rows * 2);
        for (int i = 0; i < v->count; i++)
            ck_assert(same_number(v->data[i], y[i / 2 / rows][i / 2 % rows][i % 2]));
        check_numbers(&t.bind.caches[0], &kept[0][0][0][0], 60);
    }
    bench_close(&t);
}
END_TEST

START_TEST(append_refuses_a_full_cache)
{
    Bench t;
    bench_begin(&t, cache_text, (int64_t[]){1, 4, 2});
    ck_assert(!interpret(&t.cx, t.g, &t.bind, &t.work));
    ck_assert_int_eq(t.diags.errors, 1);
    ck_assert_msg(strstr(bench_said(&t), "kv.k") && strstr(bench_said(&t), "5"), "%s", bench_said(&t));
    bench_close(&t);
}
END_TEST

/* ---- repeat ------------------------------------------------------------------------------------------------------ */

START_TEST(repeat_reads_each_layer_once)
{
    Bench t;
    bench_begin(&t,
                "graph T(x: f32[D])\n  dims D = 2\n  k = const value=2 : f32\n  r = repeat i < 12 carries y = x {\n    "
                "w = weight key=\"h.{i}.w\" : f32[D]\n    a = mul y, k\n"
                "    n = cast i : f32\n    b = add a, w\n    c = sub b, n\n    yield c\n  } : f32[D]\n  return r\n",
                NULL);
    t.bind.weight = numbered_weight;
    double want[2] = {bench_in(&t, 0, 0), bench_in(&t, 0, 1)};
    for (int layer = 0; layer < 12; layer++)
        for (int d = 0; d < 2; d++)
            want[d] = want[d] * 2 + layer * 1000 + d - layer;
    calls = 0;
    check_numbers(bench_run(&t), want, 2);
    ck_assert_int_eq(calls, 12);
    bench_close(&t);
}
END_TEST

/* Carried values that only change places, or do not change at all, outlive the rounds in between. */
START_TEST(repeat_carries_through_many_rounds)
{
    Bench t;
    bench_begin(
        &t,
        "graph T(x: f32[D], y: f32[D], z: f32[D])\n  dims D = 3\n  r = repeat i < 7 carries a = x, b = y, c = z {\n    "
        "d = add a, c\n    yield b, d, c\n  }\n"
        "  p = get r index=0 : f32[D]\n  q = get r index=1 : f32[D]\n  s = get r index=2 : f32[D]\n  return p, q, s\n",
        NULL);
    double a[3], b[3];
    for (int d = 0; d < 3; d++) {
        a[d] = bench_in(&t, 0, d);
        b[d] = bench_in(&t, 1, d);
        for (int i = 0; i < 7; i++) {
            double next = a[d] + bench_in(&t, 2, d);
            a[d] = b[d];
            b[d] = next;
        }
    }
    Value *v = bench_run(&t);
    check_numbers(&v[0], a, 3);
    check_numbers(&v[1], b, 3);
    for (int d = 0; d < 3; d++)
        ck_assert(v[2].data[d] == bench_in(&t, 2, d));
    bench_close(&t);
}
END_TEST

START_TEST(repeat_not_at_all)
{
    Bench t;
    bench_begin(&t,
                "graph T(x: f32[D])\n  dims D = 3\n  r = repeat i < 0 carries y = x {\n    a = neg y\n    yield a\n  } "
                ": f32[D]\n  return r\n",
                NULL);
    Value *v = bench_run(&t);
    for (int d = 0; d < 3; d++)
        ck_assert(v->data[d] == bench_in(&t, 0, d));
    bench_close(&t);
}
END_TEST

typedef struct Seen {
    char text[400];
} Seen;

static void note(void *state, const Node *n, int64_t layer, const Value *value)
{
    Seen *seen = state;
    size_t used = strlen(seen->text);
    snprintf(seen->text + used, sizeof seen->text - used, "%s@%lld(%lld) ", n->name, (long long)layer,
             (long long)value->count);
}

START_TEST(taps_see_values_in_order)
{
    Bench t;
    bench_begin(&t,
                "kernels T(x: f32[D])\n  dims D = 3\n  r = repeat i < 2 carries y = x {\n    a = map y (p: f32[D]) {\n "
                "     q = neg p\n      return q\n    } : f32[D]\n    yield a\n  } : f32[D]\n"
                "  return r\n",
                NULL);
    Seen seen = {""};
    t.bind.tap = note;
    t.bind.tap_state = &seen;
    bench_run(&t);
    ck_assert_msg(strstr(seen.text, "a@0(3)") && strstr(seen.text, "a@1(3)") && strstr(seen.text, "r@-1(3)") &&
                      !strstr(seen.text, "q@"),
                  "%s", seen.text);
    ck_assert(strstr(seen.text, "a@0") < strstr(seen.text, "a@1") &&
              strstr(seen.text, "a@1") < strstr(seen.text, "r@-1"));
    bench_close(&t);
}
END_TEST

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

START_TEST(gemm_gate_and_up)
{
    Bench t;
    bench_begin(&t,
                "kernels T(x: f32[B, S, D])\n  dims B = 1..  S = 1..  D = 3  F = 2\n  g = weight key=\"w1\" : f32[F, "
                "D]\n  u = weight key=\"w2\" : f32[F, D]\n  b = weight key=\"w3\" : f32[F]\n"
                "  y = gemm x, g, u, b over=D weights=2 (p: f32[B, S, F], q: f32[B, S, F], c: f32[F]) {\n    k = const "
                "value=0.001 : f32\n    s = mul p, k\n    r = mul s, q\n    z = add r, c\n"
                "    return z, s\n  }\n  o0 = get y index=0 : f32[B, S, F]\n  o1 = get y index=1 : f32[B, S, F]\n  "
                "return o0, o1\n",
                (int64_t[]){1, 4});
    t.bind.weight = numbered_weight;
    Value *v = bench_run(&t);
    for (int s = 0; s < 4; s++)
        for (int f = 0; f < 2; f++) {
            double p = 0, q = 0;
            for (int d = 0; d < 3; d++) {
                p += bench_in(&t, 0, s * 3 + d) * (1000 + f * 3 + d);
                q += bench_in(&t, 0, s * 3 + d) * (2000 + f * 3 + d);
            }
            ck_assert(same_number(v[1].data[s * 2 + f], p * 0.001));
            ck_assert(fabs(v[0].data[s * 2 + f] - (p * 0.001 * q + 3000 + f)) < 1e-6);
        }
    bench_close(&t);
}
END_TEST

START_TEST(gemm_goes_on_beside)
{
    Bench t;
    bench_begin(&t,
                "kernels T(x: f32[B, D], l: f32[B, R])\n  dims B = 1..  D = 3  F = 2  R = 2\n  g = weight key=\"w1\" : "
                "f32[F, D]\n  u = weight key=\"w2\" : f32[F, R]\n  b = weight key=\"w3\" : f32[F]\n"
                "  y = gemm x, g, b, l, u, l, u over=D weights=1 side=[0, 0] (p, c) {\n    z = mul p, c\n    return z\n  } : "
                "f32[B, F]\n  return y\n",
                (int64_t[]){2});
    t.bind.weight = numbered_weight;
    Value *v = bench_run(&t);
    for (int s = 0; s < 2; s++)
        for (int f = 0; f < 2; f++) {
            double p = 0;
            for (int d = 0; d < 3; d++)
                p += bench_in(&t, 0, s * 3 + d) * (1000 + f * 3 + d);
            for (int r = 0; r < 2; r++)
                p += 2 * bench_in(&t, 1, s * 2 + r) * (2000 + f * 2 + r);
            ck_assert(fabs(v[0].data[s * 2 + f] - p * (3000 + f)) < 1e-6);
        }
    bench_close(&t);
}
END_TEST

/* Grouped heads, causal by position, padding; keys that are masked hold NaN; one row has no key at all. */
START_TEST(attend_masks)
{
    enum { B = 2, S = 3, G = 2, R = 2, K = 4, PAST = 2, T = PAST + S, W = 3 };
    Bench t;
    bench_begin(&t,
                "kernels T(q: f32[B, S, G, R, K], k: f32[B, T=past+S, G, K], v: f32[B, T=past+S, G, W], keep: bool[B, "
                "T=past+S])\n"
                "  dims B = 1..  past = 0..  S = 1..  G = 2  R = 2  K = 4  W = 3\n"
                "  a = attend q, k, v, keep over=K keys=T scale=0.5 lse=true (s: f32[B, G, S, R, T=past+S], m: bool[B, "
                "T=past+S]) {\n    i = iota start=past : i32[S]\n    j = iota : i32[T=past+S]\n"
                "    c = le j, i\n    b = and m, c\n    none = const value=-inf : f32\n    f = where b, s, none\n    "
                "return f\n  }\n  o = get a index=0 : f32[B, S, G, R, W]\n  l = get a index=1 : f32[B, S, G, R]\n"
                "  return o, l\n",
                (int64_t[]){B, PAST, S});
    bool keep[B][T];
    for (int b = 0; b < B; b++)
        for (int j = 0; j < T; j++) {
            keep[b][j] = b == 0 ? j != 1 : j == T - 1; /* b = 1: only the newest key, so the first two rows have none */
            host_set(&t.in[3], b * T + j, keep[b][j]);
            for (int g = 0; g < G && !keep[b][j]; g++) {
                for (int d = 0; d < K; d++)
                    host_set(&t.in[1], ((b * T + j) * G + g) * K + d, NAN);
                for (int w = 0; w < W; w++)
                    host_set(&t.in[2], ((b * T + j) * G + g) * W + w, w ? NAN : INFINITY);
            }
        }
    Value *o = bench_run(&t);
    for (int b = 0; b < B; b++)
        for (int i = 0; i < S; i++)
            for (int g = 0; g < G; g++)
                for (int r = 0; r < R; r++) {
                    double weight[T] = {0}, total = 0, want[W] = {0};
                    for (int j = 0; j < T; j++) {
                        if (!keep[b][j] || j > i + PAST)
                            continue;
                        double s = 0;
                        for (int d = 0; d < K; d++)
                            s += bench_in(&t, 0, (((b * S + i) * G + g) * R + r) * K + d) *
                                 bench_in(&t, 1, ((b * T + j) * G + g) * K + d);
                        total += weight[j] = exp(0.5 * s);
                    }
                    for (int j = 0; j < T; j++)
                        for (int w = 0; w < W && weight[j] > 0; w++)
                            want[w] += weight[j] / total * bench_in(&t, 2, ((b * T + j) * G + g) * W + w);
                    for (int w = 0; w < W; w++)
                        ck_assert(same_number(o->data[(((b * S + i) * G + g) * R + r) * W + w], want[w]));
                    ck_assert(same_number(o[1].data[((b * S + i) * G + g) * R + r], log(total)));
                }
    bench_close(&t);
}
END_TEST

START_TEST(map_with_gather_and_two_results)
{
    Bench t;
    bench_begin(&t,
                "kernels T(ids: i32[B, S], w: f32[V, D], p: f32[P, D])\n  dims B = 1..  S = 1..  V = 4  P = 6  D = 3\n "
                " m = map ids, w, p (n: i32[B, S], a: f32[V, D], b: f32[P, D]) {\n"
                "    x = gather a, n over=V\n    i = iota start=1 : i32[S]\n    y = gather b, i over=P\n    z = add x, "
                "y\n    u = neg x\n    return z, u\n  }\n"
                "  z0 = get m index=0 : f32[B, S, D]\n  z1 = get m index=1 : f32[B, S, D]\n  return z0, z1\n",
                (int64_t[]){2, 3});
    for (int i = 0; i < 6; i++)
        host_set(&t.in[0], i, i % 4);
    Value *v = bench_run(&t);
    for (int i = 0; i < 6; i++)
        for (int d = 0; d < 3; d++) {
            double x = bench_in(&t, 1, i % 4 * 3 + d);
            ck_assert(v[0].data[i * 3 + d] == x + bench_in(&t, 2, (i % 3 + 1) * 3 + d));
            ck_assert(v[1].data[i * 3 + d] == -x);
        }
    bench_close(&t);
}
END_TEST

START_TEST(rowwise_norm_and_reduce_where)
{
    Bench t;
    bench_begin(
        &t,
        "kernels T(x: f32[B, S, D], keep: bool[B, S])\n  dims B = 1..  S = 1..  D = 4\n  n = rowwise x over=D (a: "
        "f32[B, S, D]) {\n    m = mean a over=D\n    c = sub a, m\n    q = mul c, c\n    v = mean q over=D\n"
        "    e = const value=1e-5 : f32\n    w = add v, e\n    r = rsqrt w\n    y = mul c, r\n    return y\n  } : "
        "f32[B, S, D]\n"
        "  p = reduce n, keep over=S (h: f32[B, S, D], k: bool[B, S]) {\n    z = const value=0 : f32\n    g = where k, "
        "h, z\n    t = sum g over=S\n    return t\n  } : f32[B, D]\n  return n, p\n",
        (int64_t[]){2, 3});
    Value *v = bench_run(&t);
    double sum[8] = {0};
    for (int row = 0; row < 6; row++) {
        double mean = 0, square = 0;
        for (int d = 0; d < 4; d++)
            mean += bench_in(&t, 0, row * 4 + d) / 4;
        for (int d = 0; d < 4; d++)
            square += pow(bench_in(&t, 0, row * 4 + d) - mean, 2) / 4;
        for (int d = 0; d < 4; d++) {
            double y = (bench_in(&t, 0, row * 4 + d) - mean) / sqrt(square + 1e-5);
            ck_assert(same_number(v[0].data[row * 4 + d], y));
            if (bench_in(&t, 1, row))
                sum[row / 3 * 4 + d] += y;
        }
    }
    check_numbers(&v[1], sum, 8);
    bench_close(&t);
}
END_TEST

RUN_CASES("interpret", leaves, weights_plain_and_strided, weights_with_gains, missing_weight, views, slice_by_a_symbol_stays_inside,
          concat_first_middle_last, choose_by_sizes, gather_rows_and_inner_axis,
          gather_refuses_what_is_outside, gather_aligns_axes, topk_orders_ties_and_nans, running_sums_and_maxima,
          running_maxima_of_whole_numbers_and_nans, rotate_halves_and_pairs,
          append_keeps_layers_apart, append_refuses_a_full_cache, repeat_reads_each_layer_once,
          repeat_carries_through_many_rounds, repeat_not_at_all, taps_see_values_in_order, gemm_gate_and_up, gemm_goes_on_beside,
          attend_masks, map_with_gather_and_two_results, rowwise_norm_and_reduce_where)
