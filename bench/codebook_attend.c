/* What codebook attention costs: 8 heads of 64, 256 codes, blocks of 256, causal, one thread.
 *
 *     bench_codebook_attend [rounds=3] [longest=32768] [exact=32768]
 *
 * For each length L the kernel alone in its three forms (every key its code; keys of two blocks with a bias; keys of two
 * blocks exact): milliseconds, its multiply-adds a second, and how much quicker it is than exact causal attention, as long
 * as L is at most `exact`. Then one position at a time, after 1,000 positions and after 100,000. It is processor time that
 * counts, and the least of the rounds: whatever else the machine does only adds to it. */
#include "bench/attention_run.h"

enum { HEADS = 8, WIDTH = 64, CODES = 256, BLOCK = 256 };

#define QKV "q: f32[B, S, H, K], k: f32[B, S, H, K], v: f32[B, S, H, K]"
#define BUILT(name, kernel)                                                                                            \
    "model " name "(" QKV ", c: f32[H, N, K], b: f32[H, D]) -> (out: f32[B, S, H, K]) {\n"                             \
    "  return attention(q, k, v, mask=causal" kernel ")\n}\n"
/* A state needs a codebook that is the same in every call: numbers of the file itself. */
#define STEPS(name, kernel)                                                                                            \
    "cache kv[1] { k: [B, T <= 131072, H, K]; v: [B, T <= 131072, H, K] }\n"                                           \
    "model " name "(" QKV ") -> (out: f32[B, S, H, K]) {\n"                                                            \
    "  keys, values = kv[0].append(k, v)\n"                                                                            \
    "  c = sin((0..N) * 3.0 + (0..K) * 5.0)\n"                                                                         \
    "  return attention(q, keys, values, mask=causal" kernel ")\n}\n"
static const char *const texts[] = {
    BUILT("Codes", ", kernel=codebook(c)"),
    BUILT("Bias", ", kernel=codebook(c, chunk=Q, bias=b)"),
    BUILT("Keys", ", kernel=codebook(c, chunk=Q, recent=\"keys\")"),
    BUILT("Exact", ""),
    STEPS("CodeSteps", ", kernel=codebook(c)"),
    STEPS("KeySteps", ", kernel=codebook(c, chunk=Q, recent=\"keys\")"),
};
enum { CODES_ONLY, BIAS, KEYS, EXACT, CODE_STEPS, KEY_STEPS, BUILDS };

static Build builds[BUILDS];
static float *data[5];

static double run(Build *b, int64_t length)
{
    static const char *const names[] = {"q", "k", "v", "c", "b"};
    const int64_t dims[5][4] = {{1, length, HEADS, WIDTH},
                                {1, length, HEADS, WIDTH},
                                {1, length, HEADS, WIDTH},
                                {HEADS, CODES, WIDTH},
                                {HEADS, 2 * BLOCK}};
    static const int ranks[] = {4, 4, 4, 3, 2};
    HostTensor in[5];
    for (int i = 0; i < 5; i++) {
        in[i] = (HostTensor){.name = names[i], .dtype = DT_F32, .rank = ranks[i], .data = data[i]};
        memcpy(in[i].dims, dims[i], sizeof dims[i]);
    }
    return run_inputs(b, in);
}

/* Multiplications and additions of one form: keys to codes, rows with codes, rows with the keys of two blocks. */
static double flops(int which, int64_t length)
{
    double recent = which == CODES_ONLY ? 0 : 1.5 * BLOCK * WIDTH * (which == KEYS ? 2 : 1);
    return 2.0 * HEADS * (double)length * (CODES * WIDTH + 2.0 * CODES * WIDTH + recent);
}

static void table(int64_t longest, int64_t exact)
{
    static const char *const names[] = {"codes alone", "with a bias", "keys exact"};
    printf("%d heads of %d, %d codes, blocks of %d, causal, one thread\n%8s %10s", HEADS, WIDTH, CODES, BLOCK, "L",
           "exact ms");
    for (int i = 0; i <= KEYS; i++)
        printf(" | %11s GFLOP/s  times", names[i]);
    printf("\n");
    for (int64_t length = 2048; length <= longest; length *= 4) {
        double all = length <= exact ? least(&builds[EXACT], length) : 0;
        printf("%8lld %10.1f", (long long)length, 1e3 * all);
        for (int which = 0; which <= KEYS; which++) {
            double seconds = least(&builds[which], length);
            printf(" | %11.2f %7.1f %6.1f", 1e3 * seconds, 1e-9 * flops(which, length) / seconds, all / seconds);
        }
        printf("\n");
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    int64_t longest = 32768, exact = 32768;
    rounds = 3;
    if (!read_settings(argc, argv, 2048, &longest, &exact)) {
        fputs("usage: bench_codebook_attend [rounds=3] [longest=32768] [exact=32768]\n", stderr);
        return 2;
    }
    uint64_t state = 1;
    for (int i = 0; i < 5; i++)
        data[i] = draw(i < 3 ? (size_t)longest * HEADS * WIDTH : (size_t)HEADS * (i == 3 ? CODES * WIDTH : 2 * BLOCK), &state);
    char sizes[128];
    snprintf(sizes, sizeof sizes, "let H = %d\nlet K = %d\nlet N = %d\nlet Q = %d\nlet D = %d\n", HEADS, WIDTH, CODES, BLOCK, 2 * BLOCK);
    for (int i = 0; i < BUILDS; i++)
        build(&builds[i], sizes, texts[i], NULL);
    table(longest, exact);
    for (int i = CODE_STEPS; i <= KEY_STEPS; i++) {
        double near = step(&builds[i], 1000, 2 * BLOCK), far = step(&builds[i], 100000, 2 * BLOCK);
        int64_t numbers = CODES * (WIDTH + 1) + (i == KEY_STEPS ? 2 * BLOCK * (2 * WIDTH + 1) : 0);
        printf("one position, %s: %.1f us after 1,000, %.1f us after 100,000 (%.2f times); the state is %.0f kB\n",
               i == KEY_STEPS ? "keys exact" : "codes alone", 1e6 * near, 1e6 * far, far / near,
               4e-3 * HEADS * (double)numbers);
    }
    free_builds(builds, BUILDS);
    for (int i = 0; i < 5; i++)
        free(data[i]);
    return 0;
}
