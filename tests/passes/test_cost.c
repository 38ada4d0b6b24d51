/* Floating-point operations and bytes of a whole decoder, by hand: tests/golden/llama, all positions at once and one
 * more position on a cache.
 *
 * With B rows, S new positions, P before them, T = P + S, L layers, D wide, H query heads and G key heads of K, F in
 * the mlp, V words:
 *
 *     products    2 flops for each pair that is summed:
 *                     q, k, v        2 B S D (H + 2 G) K            a layer
 *                     scores         2 B S H T K                    all T keys count, masked ones too
 *                     values         2 B S H T K
 *                     output         2 B S H K D
 *                     mlp            2 B S D F  three times
 *                     lm head        2 B S D V                      once
 *     softmax     5 for each score: scaled, maximum, difference, exponential, sum
 *     mask        1 for each pair of positions (S T), 1 for each score
 *     norm        x * rsqrt(mean(x * x) + eps): 3 B S D + 2 B S     2 L + 1 times; the gain is in the weights
 *     rotation    3 for each number of q and k; the angles (12 to take one modulo a turn), their cosines and sines: S + 14 S K / 2, once
 *     mlp         silu and the product of gate and up: 2 B S F; residuals: 2 B S D a layer
 *
 *     weights     every weight of a layer and the lm head once, of the embedding the B S rows looked up; the gains are
 *                 packed into the products' weights; the K / 2 frequencies in three parts
 *     caches      read: 2 B T G K a layer; written: 2 B S G K a layer
 *     the rest    every kernel reads its inputs and writes its result once */
#include "tests/passes/passes_test.h"

typedef struct Sizes {
    double B, S, P, T, L, D, H, G, K, F, V;
} Sizes;

static Sizes sizes_of(double B, double S, double P)
{
    return (Sizes){B, S, P, P + S, .L = 2, .D = 64, .H = 4, .G = 2, .K = 20, .F = 150, .V = 97};
}

static double norm_flops(Sizes n)
{
    return 3 * n.B * n.S * n.D + 2 * n.B * n.S;
}

static double attention_flops(Sizes n)
{
    double scores = n.B * n.S * n.H * n.T;
    return scores * (2 * n.K + 2 * n.K + 5 + 1) + n.S * n.T;
}

static double gemm_flops(Sizes n)
{
    double rows = n.B * n.S;
    double layer = 2 * rows * n.D * (n.H + 2 * n.G) * n.K + 2 * rows * n.H * n.K * n.D + 3 * 2 * rows * n.D * n.F;
    return n.L * layer + 2 * rows * n.D * n.V;
}

static double total_flops(Sizes n)
{
    double rows = n.B * n.S;
    double elementwise = n.L * (3 * rows * (n.H + n.G) * n.K + 2 * rows * n.F + 2 * rows * n.D);
    double angles = n.S + 14 * n.S * n.K / 2;
    return gemm_flops(n) + n.L * attention_flops(n) + (2 * n.L + 1) * norm_flops(n) + elementwise + angles;
}

static double weight_numbers(Sizes n)
{
    double layer = n.D * (n.H + 2 * n.G) * n.K + n.H * n.K * n.D + 3 * n.D * n.F;
    return n.L * layer + n.D * n.V + n.B * n.S * n.D + 3 * n.K / 2;
}

/* Numbers that are neither weights nor in a cache, by the kernel that reads or writes them. */
static double read_numbers(Sizes n)
{
    double rows = n.B * n.S, tables = 2 * n.S * n.K / 2, q = rows * n.H * n.K, k = rows * n.G * n.K, x = rows * n.D;
    double attention = x /* norm */ + x /* q, k, v */ + q + tables /* rotation */ + k + tables + k /* appends */ +
                       q /* attend */ + q + x /* output and residual */;
    double mlp = x /* norm */ + x /* gate, up */ + rows * n.F + x /* down and residual */;
    return rows /* ids */ + n.L * (attention + mlp) + x /* norm */ + x /* lm head */;
}

static double written_numbers(Sizes n)
{
    double rows = n.B * n.S, q = rows * n.H * n.K, k = rows * n.G * n.K, x = rows * n.D;
    double attention = x /* norm */ + q + 2 * k /* q, k, v */ + q /* rotated */ + q /* attend */ + x /* output */;
    double mlp = x /* norm */ + rows * n.F + x;
    double tables = 2 * n.S * n.K / 2;
    return x /* embedding */ + tables + n.L * (attention + mlp) + x /* norm */ + rows * n.V;
}

/* Flops of all nodes of one op, repeats counted. */
static double flops_by(const Graph *g, Op op, const int64_t *sizes)
{
    double flops = 0;
    for (const Node *n = g->first; n; n = n->next) {
        if (n->op == OP_repeat)
            flops += (double)attr_int(n, ATTR_count, 0) * flops_by(n->body, op, sizes);
        else if (n->op == op)
            flops += node_cost(n, sizes).flops;
    }
    return flops;
}

static void check_counts(int64_t B, int64_t S, int64_t P)
{
    Fixture f;
    fixture_open(&f);
    Graph *g = fixture_model(&f, "llama", "llama");
    ck_assert_msg(passes_run(&f.cx, g, NULL, &f.remarks, NULL), "%s", fixture_said(&f));
    Call call[] = {{"B", B}, {"S", S}, {"past", P}};
    const int64_t *sizes = run_new(&f, g, call, 3).sizes;
    Sizes n = sizes_of((double)B, (double)S, (double)P);
    Cost cost = graph_cost(g, sizes);
    double cache_read = n.L * 2 * n.B * n.T * n.G * n.K, cache_written = n.L * 2 * n.B * n.S * n.G * n.K;
    /* what follows the products element by element is in the gemms: residuals, silu and gate */
    double in_gemms = n.L * (2 * n.B * n.S * n.F + 2 * n.B * n.S * n.D);
    ck_assert_double_eq(flops_by(g, OP_attend, sizes), n.L * attention_flops(n));
    ck_assert_double_eq(flops_by(g, OP_gemm, sizes), gemm_flops(n) + in_gemms);
    ck_assert_double_eq(flops_by(g, OP_rowwise, sizes), (2 * n.L + 1) * norm_flops(n));
    ck_assert_double_eq(cost.flops, total_flops(n));
    ck_assert_double_eq(cost.bytes_of_weights, 4 * weight_numbers(n));
    ck_assert_double_eq(cost.bytes_read, 4 * (weight_numbers(n) + cache_read + read_numbers(n)));
    ck_assert_double_eq(cost.bytes_written, 4 * (cache_written + written_numbers(n)));
    fixture_close(&f);
}

START_TEST(test_prefill)
{
    check_counts(2, 13, 0);
}
END_TEST

START_TEST(test_decode)
{
    check_counts(2, 1, 40);
}
END_TEST

/* ---- attention without scores: B = 2, G = 3, R = 4 rows a key, K = 8, W = 5, F = 16 ---------------------------------- */

/* Keys of their own, or with a state as many as there are rows. */
static Cost of_kernel(Fixture *f, const char *kernel, bool state, const int64_t *sizes)
{
    Source *source = arena_alloc(&f->arena, sizeof *source);
    const char *text = arena_print(&f->arena,
                                   "kernels T(q: f32[B, S, G, R, K], k: f32[B, T, G, K], v: f32[B, T, G, W], n: i32)\n"
                                   "  dims  B = 1..  S = 1..%s  past = 0..  F = 16  G = 3  K = 8  R = 4%s  W = 5\n"
                                   "  cache at.s f32[B, G, state=112] state x 2\n"
                                   "  cache cb.s f32[B, G, state=320] state x 2\n"
                                   "  w = weight key=\"w\" : f32[F, K]\n"
                                   "  o = %s over=K keys=T queries=S\n  return o\n",
                                   state ? "" : "  T = 1..", state ? "  T = S" : "", kernel);
    *source = (Source){"test.ir", text, strlen(text)};
    Graph *g = graph_read(&f->cx, source);
    ck_assert_msg(g != NULL, "%s", fixture_said(f));
    return node_cost(g->results[0].value, sizes);
}

START_TEST(test_linear)
{
    Fixture f;
    fixture_open(&f);
    int64_t sizes[] = {2, 100, 300, 0};
    double rows = 2 * 100 * 3 * 4, keys = 2 * 300 * 3;
    Cost c = of_kernel(&f, "linear_attend q, k, v, w roles=projection features=positive", false, sizes);
    ck_assert_double_eq(c.flops, (rows + keys) * (2 * 8 * 16 + 16 + 2 * 16 * (5 + 1)));
    ck_assert_double_eq(c.bytes_read, 4 * (rows * 8 + keys * (8 + 5) + 16 * 8));
    ck_assert_double_eq(c.bytes_written, 4 * rows * 5);
    ck_assert_double_eq(c.bytes_of_weights, 4 * 16 * 8);
    c = of_kernel(&f, "linear_attend q, k, v, w roles=projection features=hyperbolic causal=true", false, sizes);
    ck_assert_double_eq(c.flops, (rows + keys) * (2 * 8 * 16 + 32 + 2 * 32 * (5 + 1)) + rows * 64 * (32 + 5));
    c = of_kernel(&f, "linear_attend q, k, v features=elu1", false, sizes);
    ck_assert_double_eq(c.flops, (rows + keys) * (8 + 2 * 8 * (5 + 1)));
    c = of_kernel(&f, "linear_attend q, k, v features=none", false, sizes);
    ck_assert_double_eq(c.flops, (rows + keys) * 2 * 8 * (5 + 1));
    c = of_kernel(&f, "codebook_attend q, k, v, w roles=codebook", false, sizes);
    ck_assert_double_eq(c.flops, keys * (2 * 8 * 16 + 2 * 5) + rows * 16 * (2 * 8 + 2 * 5 + 5));
    c = of_kernel(&f, "codebook_attend q, k, v, w roles=codebook causal=true block=8 recent=keys", false, sizes);
    ck_assert_double_eq(c.flops, keys * (2 * 8 * 16 + 2 * 5) + rows * (16 + 12) * (2 * 8 + 2 * 5 + 5));
    fixture_close(&f);
}
END_TEST

/* One row: no chunk, and the state is read and written once. */
START_TEST(test_linear_state)
{
    Fixture f;
    fixture_open(&f);
    int64_t sizes[] = {2, 1, 40};
    double rows = 2 * 3 * 4, keys = 2 * 3, state = 2 * 3 * 16 * (5 + 2);
    Cost c = of_kernel(&f, "linear_attend q, k, v, w, n roles=[projection, layer] features=positive causal=true cache=at.s",
                       true, sizes);
    ck_assert_double_eq(c.flops, (rows + keys) * (2 * 8 * 16 + 16 + 2 * 16 * (5 + 1)));
    ck_assert_double_eq(c.bytes_read, 4 * (rows * 8 + keys * (8 + 5) + 16 * 8 + 1 + state));
    ck_assert_double_eq(c.bytes_written, 4 * (rows * 5 + state));
    c = of_kernel(&f, "codebook_attend q, k, v, w, n roles=[codebook, layer] causal=true block=8 recent=keys cache=cb.s",
                  true, sizes);
    ck_assert_double_eq(c.flops, keys * (2 * 8 * 16 + 2 * 5) + rows * (16 + 12) * (2 * 8 + 2 * 5 + 5));
    ck_assert_double_eq(c.bytes_written, 4 * (rows * 5 + 2 * 3 * 320));
    fixture_close(&f);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {test_prefill, test_decode, test_linear, test_linear_state};
    int loops[] = {0, 0, 0, 0};
    return run_suite("costs", tests, loops, 4);
}
