/* What codebook attention costs: 8 heads of 64, 256 codes, blocks of 256, causal, one thread.
 *
 *     bench_codebook_attend [rounds=3] [longest=32768] [exact=32768]
 *
 * For each length L the kernel alone in its three forms (every key its code; keys of two blocks with a bias; keys of two
 * blocks exact): milliseconds, its multiply-adds a second, and how much quicker it is than exact causal attention, as long
 * as L is at most `exact`. Then one position at a time, after 1,000 positions and after 100,000. It is processor time that
 * counts, and the least of the rounds: whatever else the machine does only adds to it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "driver/compile.h"

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

typedef struct Build {
    Compilation c;
    Session *session;
    uint64_t times[16];
    int inputs;
} Build;

static Build builds[BUILDS];
static int rounds = 3;
static float *data[5];

static void fail(Build *b)
{
    Text t = text_new(&b->c.arena);
    diag_render(&b->c.diags, &t, false);
    fputs(t.data, stderr);
    exit(1);
}

static void build(Build *b, const char *text)
{
    char path[] = "/tmp/codebookXXXXXX";
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        perror(path);
        exit(1);
    }
    fprintf(f, "let H = %d\nlet K = %d\nlet N = %d\nlet Q = %d\nlet D = %d\n%s", HEADS, WIDTH, CODES, BLOCK, 2 * BLOCK,
            text);
    fclose(f);
    CompileOptions o = {.model = path, .timing = true, .threads = 1};
    SessionHooks hooks = {.times = b->times};
    compile_begin(&b->c);
    bool good = compile_all(&b->c, &o);
    unlink(path);
    b->session = good ? session_new(&b->c.cx, &b->c.program, 1, 1, &hooks) : NULL;
    if (!b->session)
        fail(b);
    b->inputs = b->c.program.plan->n_inputs;
}

static double processor_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double
    clocked; /* seconds of the last run's attention by the clock: what is so short that nothing comes between */

/* Seconds of the attention of one run: its share of the run's processor time. */
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
    const HostTensor *out;
    for (int i = 0; i < 5; i++) {
        in[i] = (HostTensor){.name = names[i], .dtype = DT_F32, .rank = ranks[i], .data = data[i]};
        memcpy(in[i].dims, dims[i], sizeof dims[i]);
    }
    memset(b->times, 0, sizeof b->times);
    double start = processor_time(), attention = 0, all = 0;
    if (!session_run(&b->c.cx, b->session, in, b->inputs, &out))
        fail(b);
    double ran = processor_time() - start;
    for (int i = 0; i < b->c.emitted.n_kernels; i++) {
        Op op = b->c.emitted.kernels[i].node->op;
        all += (double)b->times[i];
        attention += op == OP_attend || op == OP_codebook_attend ? (double)b->times[i] : 0;
    }
    clocked = 1e-9 * attention;
    return all > 0 ? ran * attention / all : 0;
}

static double least(Build *b, int64_t length)
{
    double best = run(b, length);
    for (int i = 1; i < rounds; i++) {
        double again = run(b, length);
        best = again < best ? again : best;
    }
    return best;
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

/* One position at a time after `before` positions. */
static double step(Build *b, int64_t before)
{
    double best = 1;
    while (session_length(b->session) < before) {
        int64_t rest = before - session_length(b->session);
        run(b, rest < 1024 ? rest : 1024);
    }
    for (int i = 0; i < 2 * BLOCK; i++) {
        run(b, 1);
        best = clocked < best ? clocked : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    int64_t longest = 32768, exact = 32768;
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], "rounds=", 7))
            rounds = (int)strtol(argv[i] + 7, NULL, 10);
        else if (!strncmp(argv[i], "longest=", 8))
            longest = strtoll(argv[i] + 8, NULL, 10);
        else if (!strncmp(argv[i], "exact=", 6))
            exact = strtoll(argv[i] + 6, NULL, 10);
    if (rounds < 1 || longest < 2048 || longest > 1 << 20 || exact < 0) {
        fputs("usage: bench_codebook_attend [rounds=3] [longest=32768] [exact=32768]\n", stderr);
        return 2;
    }
    uint64_t state = 1;
    for (int i = 0; i < 5; i++) {
        size_t n = i < 3 ? (size_t)longest * HEADS * WIDTH : (size_t)HEADS * (i == 3 ? CODES * WIDTH : 2 * BLOCK);
        data[i] = malloc(n * sizeof *data[i]);
        if (!data[i])
            return 1;
        for (size_t j = 0; j < n; j++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            data[i][j] = (float)((double)(state >> 40) / (1 << 23) - 1);
        }
    }
    for (int i = 0; i < BUILDS; i++)
        build(&builds[i], texts[i]);
    table(longest, exact);
    for (int i = CODE_STEPS; i <= KEY_STEPS; i++) {
        double near = step(&builds[i], 1000), far = step(&builds[i], 100000);
        int64_t numbers = CODES * (WIDTH + 1) + (i == KEY_STEPS ? 2 * BLOCK * (2 * WIDTH + 1) : 0);
        printf("one position, %s: %.1f us after 1,000, %.1f us after 100,000 (%.2f times); the state is %.0f kB\n",
               i == KEY_STEPS ? "keys exact" : "codes alone", 1e6 * near, 1e6 * far, far / near,
               4e-3 * HEADS * (double)numbers);
    }
    for (int i = 0; i < BUILDS; i++) {
        session_free(builds[i].session);
        compile_free(&builds[i].c);
    }
    for (int i = 0; i < 5; i++)
        free(data[i]);
    return 0;
}
