/* The interpreter's arithmetic against definitions written out here: elementwise operators, reductions, softmax,
 * products. */
#include "ir_test.h"

/* ---- one input --------------------------------------------------------------------------------------------------- */

/* clang-format off */
static double d_neg(double a) { return 0 - a; }
static double d_abs(double a) { return a < 0 ? 0 - a : a; }
static double d_rsqrt(double a) { return pow(a, -0.5); }
static double d_sigmoid(double a) { return 0.5 + 0.5 * tanh(a / 2); }
static double d_silu(double a) { return a * d_sigmoid(a); }
static double d_gelu(double a) { return a * 0.5 * erfc(-a / sqrt(2)); }
static double d_gelu_tanh(double a) { return a * d_sigmoid(2 * 0.79788456080286535588 * (a + 0.044715 * pow(a, 3))); }
static double d_erf(double a) { return 1 - erfc(a); }
static double d_tanh(double a) { return (exp(a) - exp(-a)) / (exp(a) + exp(-a)); }

/* Eight digits of two, counted from the first. */
static double d_round_bf16(double a)
{
    int e;
    frexp(a, &e);
    return ldexp(rint(ldexp(a, 8 - e)), e - 8);
}

static const struct { const char *op; double (*define)(double); bool positive; } unary[] = {
    {"neg", d_neg, false}, {"abs", d_abs, false}, {"exp", exp, false}, {"log", log, true}, {"sqrt", sqrt, true},
    {"rsqrt", d_rsqrt, true}, {"tanh", d_tanh, false}, {"erf", d_erf, false}, {"sin", sin, false}, {"cos", cos, false},
    {"sigmoid", d_sigmoid, false}, {"silu", d_silu, false}, {"gelu", d_gelu, false}, {"gelu_tanh", d_gelu_tanh, false},
    {"round_bf16", d_round_bf16, false},
};
/* clang-format on */

START_TEST(one_input)
{
    for (size_t u = 0; u < sizeof unary / sizeof *unary; u++) {
        Bench t;
        char text[200];
        snprintf(text, sizeof text, "graph T(x: f32[B, D])\n  dims B = 1..9  D = 5\n  y = %s x\n  return y\n",
                 unary[u].op);
        bench_begin(&t, text, (int64_t[]){7});
        for (int i = 0; unary[u].positive && i < 35; i++)
            host_set(&t.in[0], i, fabs(bench_in(&t, 0, i)) + 0.25);
        double want[35];
        for (int i = 0; i < 35; i++)
            want[i] = unary[u].define(bench_in(&t, 0, i));
        check_numbers(bench_run(&t), want, 35);
        bench_close(&t);
    }
}
END_TEST

/* ---- two inputs: axes align by name ------------------------------------------------------------------------------ */

/* clang-format off */
static double d_add(double a, double b) { return a + b; }
static double d_sub(double a, double b) { return a - b; }
static double d_mul(double a, double b) { return a * b; }
static double d_div(double a, double b) { return a / b; }
static double d_pow(double a, double b) { return exp(b * log(a)); }
static double d_max(double a, double b) { return a >= b ? a : b; }
static double d_min(double a, double b) { return a <= b ? a : b; }
static double d_lt(double a, double b) { return a < b ? 1 : 0; }
static double d_le(double a, double b) { return a > b ? 0 : 1; }
static double d_eq(double a, double b) { return a != b ? 0 : 1; }
static double d_ne(double a, double b) { return a != b ? 1 : 0; }

typedef struct Binary { const char *op; double (*define)(double, double); bool positive; } Binary;
static const Binary binary[] = {
    {"add", d_add, false}, {"sub", d_sub, false}, {"mul", d_mul, false}, {"div", d_div, true}, {"pow", d_pow, true}, {"maximum", d_max, false},
    {"minimum", d_min, false}, {"lt", d_lt, false}, {"le", d_le, false}, {"eq", d_eq, false}, {"ne", d_ne, false},
};
/* clang-format on */

START_TEST(two_inputs)
{
    for (size_t u = 0; u < sizeof binary / sizeof *binary; u++) {
        Bench t;
        char text[240];
        snprintf(text, sizeof text,
                 "graph T(x: f32[B, S, D], y: f32[D, H, S])\n  dims B = 1..9  S = 1..  D = 3  H = 2\n  z = %s x, y\n  "
                 "return z\n",
                 binary[u].op);
        bench_begin(&t, text, (int64_t[]){2, 4});
        for (int k = 0; k < 2; k++)
            for (int i = 0; binary[u].positive && i < 24; i++)
                host_set(&t.in[k], i, fabs(bench_in(&t, k, i)) + 0.25);
        double want[48];
        for (int b = 0; b < 2; b++) /* the result is [B, S, D, H] */
            for (int s = 0; s < 4; s++)
                for (int d = 0; d < 3; d++)
                    for (int h = 0; h < 2; h++)
                        want[((b * 4 + s) * 3 + d) * 2 + h] = binary[u].define(bench_in(&t, 0, (b * 4 + s) * 3 + d),
                                                                               bench_in(&t, 1, (d * 2 + h) * 4 + s));
        check_numbers(bench_run(&t), want, 48);
        bench_close(&t);
    }
}
END_TEST

START_TEST(scalars_and_equal_sizes_do_not_stretch)
{
    Bench t;
    bench_begin(&t,
                "graph T(x: f32[A], y: f32[B])\n  dims A = 3  B = 3\n  k = const value=0.5 : f32\n  z = mul x, y\n  w "
                "= add k, z\n  return w\n",
                NULL);
    double want[9];
    for (int i = 0; i < 9; i++)
        want[i] = 0.5 + bench_in(&t, 0, i / 3) * bench_in(&t, 1, i % 3);
    check_numbers(bench_run(&t), want, 9);
    bench_close(&t);
}
END_TEST

START_TEST(integers)
{
    Bench t;
    bench_begin(&t,
                "graph T(a: i32[N], b: i32[N])\n  dims N = 1..\n  q = div a, b\n  r = mod a, b\n  back = mul q, b\n  "
                "sum = add back, r\n"
                "  low = minimum a, b\n  diff = sub a, b\n  minus = neg a\n  size = abs a\n  return q, r, sum, low, "
                "diff, minus, size\n",
                (int64_t[]){8});
    static const double a[] = {7, -7, 7, -7, 2147483647, -2147483648.0, 0, 6}, b[] = {2, 2, -2, -2, 3, 7, 5, 3};
    static const double q[] = {3, -4, -4, 3, 715827882, -306783379, 0, 2}, r[] = {1, 1, -1, -1, 1, 5, 0, 0};
    static const double low[] = {2, -7, -2, -7, 3, -2147483648.0, 0, 3},
                        diff[] = {5, -9, 9, -5, 2147483644, -2147483655.0, -5, 3};
    bench_set(&t, 0, a, 8);
    bench_set(&t, 1, b, 8);
    Value *v = bench_run(&t);
    check_numbers(&v[0], q, 8);
    check_numbers(&v[1], r, 8);
    check_numbers(&v[2], a, 8);
    check_numbers(&v[3], low, 8);
    check_numbers(&v[4], diff, 8);
    for (int i = 0; i < 8; i++)
        ck_assert(v[5].data[i] == -a[i] && v[6].data[i] == (a[i] < 0 ? -a[i] : a[i]));
    bench_close(&t);
}
END_TEST

START_TEST(logic)
{
    Bench t;
    bench_begin(&t,
                "graph T(a: bool[N], b: bool[N])\n  dims N = 4\n  c = and a, b\n  d = or a, b\n  e = not a\n  f = eq "
                "a, b\n  g = ne a, b\n  return c, d, e, f, g\n",
                NULL);
    bench_set(&t, 0, (double[]){0, 0, 1, 1}, 4);
    bench_set(&t, 1, (double[]){0, 1, 0, 1}, 4);
    Value *v = bench_run(&t);
    check_numbers(&v[0], (double[]){0, 0, 0, 1}, 4);
    check_numbers(&v[1], (double[]){0, 1, 1, 1}, 4);
    check_numbers(&v[2], (double[]){1, 1, 0, 0}, 4);
    check_numbers(&v[3], (double[]){1, 0, 0, 1}, 4);
    check_numbers(&v[4], (double[]){0, 1, 1, 0}, 4);
    bench_close(&t);
}
END_TEST

START_TEST(where_selects)
{
    Bench t;
    bench_begin(&t,
                "graph T(keep: bool[T], x: f32[S, T])\n  dims S = 2  T = 3\n  none = const value=-inf : f32\n  y = "
                "where keep, x, none\n  return y\n",
                NULL);
    bench_set(&t, 0, (double[]){1, 0, 1}, 3);
    bench_set(&t, 1, (double[]){1, NAN, 3, 4, INFINITY, 6}, 6);
    check_numbers(bench_run(&t), (double[]){1, -INFINITY, 3, 4, -INFINITY, 6}, 6);
    bench_close(&t);
}
END_TEST

START_TEST(casts)
{
    Bench t;
    bench_begin(&t,
                "graph T(x: f32[N], n: i32[N], b: bool[N])\n  dims N = 4\n  i = cast x : i32[N]\n  c = cast x : "
                "bool[N]\n  f = cast n : f32[N]\n"
                "  g = cast b : f32[N]\n  h = cast b : i32[N]\n  return i, c, f, g, h\n",
                NULL);
    bench_set(&t, 0, (double[]){1.75, -1.75, 0, -0.25}, 4);
    bench_set(&t, 1, (double[]){1, -2, 0, 16777217}, 4);
    bench_set(&t, 2, (double[]){1, 0, 0, 1}, 4);
    Value *v = bench_run(&t);
    check_numbers(&v[0], (double[]){1, -1, 0, 0}, 4);
    check_numbers(&v[1], (double[]){1, 1, 0, 1}, 4);
    check_numbers(&v[2], (double[]){1, -2, 0, 16777217}, 4);
    check_numbers(&v[3], (double[]){1, 0, 0, 1}, 4);
    check_numbers(&v[4], (double[]){1, 0, 0, 1}, 4);
    bench_close(&t);
}
END_TEST

START_TEST(nan_and_infinity)
{
    Bench t;
    bench_begin(&t,
                "graph T(a: f32[N], b: f32[N])\n  dims N = 4\n  c = maximum a, b\n  d = minimum a, b\n  e = add a, b\n "
                " m = max a over=N\n  return c, d, e, m\n",
                NULL);
    bench_set(&t, 0, (double[]){NAN, 1, INFINITY, -INFINITY}, 4);
    bench_set(&t, 1, (double[]){1, NAN, 1, 1}, 4);
    Value *v = bench_run(&t);
    check_numbers(&v[0], (double[]){NAN, NAN, INFINITY, 1}, 4);
    check_numbers(&v[1], (double[]){NAN, NAN, 1, -INFINITY}, 4);
    check_numbers(&v[2], (double[]){NAN, NAN, INFINITY, -INFINITY}, 4);
    ck_assert(isnan(v[3].data[0]));
    bench_close(&t);
}
END_TEST

/* ---- reductions -------------------------------------------------------------------------------------------------- */

START_TEST(reductions)
{
    Bench t;
    bench_begin(&t,
                "graph T(x: f32[B, S, H, D])\n  dims B = 1..  S = 1..  H = 2  D = 3\n  a = sum x over=S\n  b = max x "
                "over=[D, B]\n  c = mean x over=[B, S, H, D]\n  return a, b, c\n",
                (int64_t[]){2, 5});
    double sum[12] = {0}, most[10], mean = 0;
    for (int i = 0; i < 10; i++)
        most[i] = -INFINITY;
    for (int b = 0; b < 2; b++)
        for (int s = 0; s < 5; s++)
            for (int h = 0; h < 2; h++)
                for (int d = 0; d < 3; d++) {
                    double x = bench_in(&t, 0, ((b * 5 + s) * 2 + h) * 3 + d);
                    sum[(b * 2 + h) * 3 + d] += x;
                    most[s * 2 + h] = fmax(most[s * 2 + h], x);
                    mean += x / 60;
                }
    Value *v = bench_run(&t);
    check_numbers(&v[0], sum, 12);
    check_numbers(&v[1], most, 10);
    check_numbers(&v[2], &mean, 1);
    bench_close(&t);
}
END_TEST

START_TEST(reductions_of_nothing)
{
    Bench t;
    bench_begin(&t,
                "graph T(x: f32[N, D])\n  dims N = 0..  D = 2\n  a = sum x over=N\n  b = max x over=N\n  c = softmax x "
                "over=N\n  return a, b, c\n",
                (int64_t[]){0});
    Value *v = bench_run(&t);
    check_numbers(&v[0], (double[]){0, 0}, 2);
    check_numbers(&v[1], (double[]){-INFINITY, -INFINITY}, 2);
    ck_assert_int_eq(v[2].count, 0);
    bench_close(&t);
}
END_TEST

START_TEST(softmax_inner_and_outer_axis)
{
    static const char *const axes[] = {"S", "T"};
    for (int which = 0; which < 2; which++) {
        Bench t;
        char text[160];
        snprintf(text, sizeof text,
                 "graph T(x: f32[S, T])\n  dims S = 1..  T = 3\n  y = softmax x over=%s\n  return y\n", axes[which]);
        bench_begin(&t, text, (int64_t[]){4});
        double want[12];
        for (int s = 0; s < 4; s++)
            for (int k = 0; k < 3; k++) {
                double total = 0;
                for (int i = 0; i < (which ? 3 : 4); i++)
                    total += exp(bench_in(&t, 0, which ? s * 3 + i : i * 3 + k));
                want[s * 3 + k] = exp(bench_in(&t, 0, s * 3 + k)) / total;
            }
        check_numbers(bench_run(&t), want, 12);
        bench_close(&t);
    }
}
END_TEST

START_TEST(softmax_edges)
{
    Bench t;
    bench_begin(&t, "graph T(x: f32[S, T])\n  dims S = 4  T = 2\n  y = softmax x over=T\n  return y\n", NULL);
    bench_set(&t, 0, (double[]){-INFINITY, -INFINITY, 3e38, 3e38, -INFINITY, -3e38, NAN, 1}, 8);
    check_numbers(bench_run(&t), (double[]){0, 0, 0.5, 0.5, 0, 1, NAN, NAN}, 8);
    bench_close(&t);
}
END_TEST

/* ---- products ---------------------------------------------------------------------------------------------------- */

START_TEST(dot_with_batch_and_two_contracted_axes)
{
    Bench t;
    bench_begin(
        &t,
        "graph T(x: f32[H, S, K, B, D], w: f32[D, B, N, K])\n  dims B = 1..  S = 1..  H = 2  K = 3  D = 5  N = 7\n"
        "  y = dot x, w over=[D, K] : f32[N, B, S, H]\n  z = dot x, w over=[D, K]\n  return y, z\n",
        (int64_t[]){2, 6});
    double y[168] = {0}, z[168] = {0};
    for (int h = 0; h < 2; h++)
        for (int s = 0; s < 6; s++)
            for (int k = 0; k < 3; k++)
                for (int b = 0; b < 2; b++)
                    for (int d = 0; d < 5; d++)
                        for (int n = 0; n < 7; n++) {
                            double p = bench_in(&t, 0, (((h * 6 + s) * 3 + k) * 2 + b) * 5 + d) *
                                       bench_in(&t, 1, ((d * 2 + b) * 7 + n) * 3 + k);
                            y[((n * 2 + b) * 6 + s) * 2 + h] += p;
                            z[((h * 6 + s) * 2 + b) * 7 + n] += p;
                        }
    Value *v = bench_run(&t);
    check_numbers(&v[0], y, 168);
    check_numbers(&v[1], z, 168);
    bench_close(&t);
}
END_TEST

/* Sizes around the blocks of the product, against the plain sum. */
START_TEST(dot_sizes)
{
    static const int64_t sizes[][3] = {{1, 1, 1},   {3, 2, 5}, {4, 300, 3}, {5, 257, 9}, {130, 7, 65},
                                       {7, 1, 300}, {0, 4, 4}, {4, 0, 4},   {4, 4, 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        Bench t;
        bench_begin(&t,
                    "graph T(a: f32[M, K], b: f32[N, K])\n  dims M = 0..  K = 0..  N = 0..\n  c = dot a, b over=K\n  "
                    "return c\n",
                    sizes[i]);
        int64_t m = sizes[i][0], k = sizes[i][1], n = sizes[i][2];
        Value *v = bench_run(&t);
        ck_assert_int_eq(v->count, m * n);
        for (int64_t r = 0; r < m; r++)
            for (int64_t c = 0; c < n; c++) {
                double sum = 0;
                for (int64_t j = 0; j < k; j++)
                    sum += bench_in(&t, 0, r * k + j) * bench_in(&t, 1, c * k + j);
                ck_assert(same_number(v->data[r * n + c], sum));
            }
        bench_close(&t);
    }
}
END_TEST

RUN_CASES("interpret_math", one_input, two_inputs, scalars_and_equal_sizes_do_not_stretch, integers, logic,
          where_selects, casts, nan_and_infinity, reductions, reductions_of_nothing, softmax_inner_and_outer_axis,
          softmax_edges, dot_with_batch_and_two_contracted_axes, dot_sizes)
