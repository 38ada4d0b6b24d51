/* What linear attention costs: 8 heads of 64, 256 positive features, one thread.
 *
 *     bench_linear_attend [rounds=5] [longest=65536] [exact=4096]
 *
 * For each length L the kernel alone, over all keys and causal, and exact attention as long as L is at most `exact`: the
 * least milliseconds of the rounds. Its share of what the processor multiplies and adds from registers, which is looked at
 * before and after each round, is the median over the rounds in which nothing else was busy (bench/README.md): counted by
 * all operations that the kernel is made of, and, `products`, by those of its products alone. Then the lengths at which both
 * kinds of attention cost the same, beside 2 m and 4.5 m, which the counts of multiply-adds say; and one position at a
 * time, after 1,000 positions and after 100,000. It is processor time that counts. */
#include <math.h>

#include "bench/attention_run.h"
#include "cli/cli.h"
#include "cli/limits.h"

enum { HEADS = 8, WIDTH = 64, FEATURES = 256, CHUNK = 64, PROBES = 3, MOST_ROUNDS = 1000 };

#define SIGNATURE "q: f32[B, S, H, K], k: f32[B, S, H, K], v: f32[B, S, H, K]"
static const char *const texts[] = {
    "model Full(" SIGNATURE
    ", w: f32[F, K]) -> (out: f32[B, S, H, K]) {\n  return attention(q, k, v, kernel=performer(w))\n}\n",
    "model Causal(" SIGNATURE ", w: f32[F, K]) -> (out: f32[B, S, H, K]) {\n"
    "  return attention(q, k, v, mask=causal, kernel=performer(w))\n}\n",
    "model Exact(" SIGNATURE ") -> (out: f32[B, S, H, K]) {\n  return attention(q, k, v)\n}\n",
    "model Exact(" SIGNATURE ") -> (out: f32[B, S, H, K]) {\n  return attention(q, k, v, mask=causal)\n}\n",
    "cache kv[1] { k: [B, T <= 131072, G, K]; v: [B, T <= 131072, G, K] }\n"
    "model Steps(q: f32[B, S, H, K], k: f32[B, S, G, K], v: f32[B, S, G, K]) -> (out: f32[B, S, H, K]) {\n"
    "  keys, values = kv[0].append(k, v)\n"
    "  return attention(q, keys, values, mask=causal, kernel=performer(weight(\"w\", [F, K])))\n}\n",
};
enum { FULL, CAUSAL, EXACT, EXACT_CAUSAL, STEPS, BUILDS };

static Build builds[BUILDS];
static Limits limits;
static float *data[4];

/* The projection as a checkpoint: a state may only depend on what no call changes. */
static void write_weights(const char *path)
{
    char header[128];
    FILE *f = fopen(path, "wb");
    uint64_t size = (uint64_t)snprintf(header, sizeof header,
                                       "{\"w\":{\"dtype\":\"F32\",\"shape\":[%d,%d],\"data_offsets\":[0,%d]}}",
                                       FEATURES, WIDTH, 4 * FEATURES * WIDTH);
    if (!f || fwrite(&size, 8, 1, f) != 1 || fwrite(header, size, 1, f) != 1 ||
        fwrite(data[3], sizeof(float), FEATURES * WIDTH, f) != FEATURES * WIDTH || fclose(f)) {
        perror(path);
        exit(1);
    }
}

/* Of this processor, not of the clock: what the limits are measured with, too. */
double tool_seconds(void)
{
    return processor_time();
}

static double run(Build *b, int64_t length)
{
    static const char *const names[] = {"q", "k", "v", "w"};
    HostTensor in[4];
    for (int i = 0; i < 4; i++) {
        in[i] = (HostTensor){.name = names[i], .dtype = DT_F32, .rank = i < 3 ? 4 : 2, .data = data[i]};
        memcpy(in[i].dims, i < 3 ? (int64_t[]){1, length, HEADS, WIDTH} : (int64_t[]){FEATURES, WIDTH, 0, 0},
               4 * sizeof(int64_t));
    }
    return run_inputs(b, in);
}

/* Multiplications and additions of the products: features of queries and keys, the state built and read, the triangle of
 * a chunk. */
static double product_flops(int which, int64_t length)
{
    double each = 4.0 * FEATURES * WIDTH + 4.0 * FEATURES * WIDTH;
    if (which == CAUSAL)
        each += (double)CHUNK * (FEATURES + WIDTH);
    return each * HEADS * (double)length;
}

/* Those of everything. What is done to an exponent: its base subtracted and 2^x (codegen/math.c: four additions, five
 * multiply-adds, a multiplication; to keep it in range is no operation), then a sum of keys, a product with the sum of
 * keys of a query. To a row: scales, the square of a key, the division. */
static double all_flops(int which, int64_t length)
{
    double exponent = 15, each = FEATURES * (exponent + 1 + exponent + 2) + WIDTH * (2 + 2 + 1);
    if (which == CAUSAL)
        each += CHUNK / 2.0; /* sums of weights */
    return product_flops(which, length) + each * HEADS * (double)length;
}

typedef struct Round {
    double share;  /* of the products' operations in what the processor did, on the mean, just before and after */
    double lowest; /* operations a second of the processor: the lesser of the two */
} Round;

static int by_lowest(const void *a, const void *b)
{
    const Round *x = a, *y = b;
    return (x->lowest < y->lowest) - (x->lowest > y->lowest);
}

static int by_share(const void *a, const void *b)
{
    const Round *x = a, *y = b;
    return (x->share > y->share) - (x->share < y->share);
}

/* Of several moments, so that one of them says little. */
static double peak_now(void)
{
    double sum = 0;
    for (int i = 0; i < PROBES; i++)
        sum += limits_flops(&limits);
    return sum / PROBES;
}

/* The least seconds, and the share of the products as bench/README.md says: rounds between two looks at the processor
 * that come to 97 % of the best one count, or the better half if there are fewer than three; of these the median. */
static double measure(int which, int64_t length, double *share, double *peak)
{
    Round all[MOST_ROUNDS];
    double best = INFINITY, before = peak_now();
    for (int i = 0; i < rounds; i++) {
        double seconds = run(&builds[which], length), after = peak_now();
        all[i] = (Round){product_flops(which, length) / seconds / ((before + after) / 2), fmin(before, after)};
        best = fmin(best, seconds);
        *peak = fmax(*peak, fmax(before, after));
        before = after;
    }
    qsort(all, (size_t)rounds, sizeof *all, by_lowest);
    int count = 0;
    while (count < rounds && all[count].lowest >= 0.97 * *peak)
        count++;
    if (count < 3)
        count = (rounds + 1) / 2;
    qsort(all, (size_t)count, sizeof *all, by_share);
    *share = all[count / 2].share;
    return best;
}

static void table(int64_t longest, int64_t exact)
{
    double peak = 0;
    printf("%d heads of %d, %d features, one thread\n", HEADS, WIDTH, FEATURES);
    printf("%8s | %9s %6s %9s %7s %9s | %9s %6s %9s %7s %9s\n", "L", "all keys", "share", "products", "ns/pos", "exact",
           "causal", "share", "products", "ns/pos", "exact");
    for (int64_t length = 1024; length <= longest; length *= 4) {
        printf("%8lld", (long long)length);
        for (int which = FULL; which <= CAUSAL; which++) {
            double share, seconds = measure(which, length, &share, &peak);
            printf(" | %9.2f %5.0f%% %8.0f%% %7.0f", 1e3 * seconds,
                   100 * share * all_flops(which, length) / product_flops(which, length), 100 * share,
                   1e9 * seconds / (double)length);
            if (length <= exact)
                printf(" %9.2f", 1e3 * least(&builds[which + 2], length));
            else
                printf(" %9s", "");
        }
        printf("\n");
        fflush(stdout);
    }
    printf("at best %.1f GFLOP/s from registers\n", 1e-9 * peak);
}

/* The length from which on the linear kernel is the quicker one, between two lengths that straddle it. */
static int64_t crossover(int which)
{
    int64_t low = 64, high = 8192;
    while (high - low > 64) {
        int64_t middle = (low + high) / 2 / 16 * 16;
        bool quicker = least(&builds[which], middle) < least(&builds[which + 2], middle);
        *(quicker ? &high : &low) = middle;
    }
    return high;
}

int main(int argc, char **argv)
{
    int64_t longest = 65536, exact = 4096;
    rounds = 5;
    if (!read_settings(argc, argv, 1024, &longest, &exact) || rounds > MOST_ROUNDS) {
        fputs("usage: bench_linear_attend [rounds=5] [longest=65536] [exact=4096]\n", stderr);
        return 2;
    }
    uint64_t state = 1;
    for (int i = 0; i < 4; i++)
        data[i] = draw(i < 3 ? (size_t)(longest < 8192 ? 8192 : longest) * HEADS * WIDTH : FEATURES * WIDTH, &state);
    char weights[64];
    snprintf(weights, sizeof weights, "/tmp/linear%d.safetensors", (int)getpid());
    write_weights(weights);
    char sizes[128];
    snprintf(sizes, sizeof sizes, "let H = %d\nlet G = H\nlet K = %d\nlet F = %d\n", HEADS, WIDTH, FEATURES);
    for (int i = 0; i < BUILDS; i++)
        build(&builds[i], sizes, texts[i], i == STEPS ? weights : NULL);
    unlink(weights);
    CompileOptions o = {.threads = 1};
    if (!limits_open(&builds[0].c.cx, &o, 1, &limits))
        fail(&builds[0]);
    table(longest, exact);
    printf("the same time as exact attention at L = %lld over all keys (2 m = %d)", (long long)crossover(FULL),
           2 * FEATURES);
    printf(" and %lld causal (4.5 m = %d)\n", (long long)crossover(CAUSAL), 9 * FEATURES / 2);
    double near = step(&builds[STEPS], 1000, 200), far = step(&builds[STEPS], 100000, 200);
    printf("one position: %.1f us after 1,000, %.1f us after 100,000 (%.2f times); the state is %.0f kB\n", 1e6 * near,
           1e6 * far, far / near, 4e-3 * HEADS * FEATURES * (WIDTH + 2));
    limits_close(&limits);
    free_builds(builds, BUILDS);
    for (int i = 0; i < 4; i++)
        free(data[i]);
    return 0;
}
