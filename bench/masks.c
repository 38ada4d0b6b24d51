/* What a mask costs: time of an executed tile against a tile of full attention, at L positions, 4 heads of 64.
 *
 * What does not depend on the tiles, reading q and writing the result, is the time of `nothing`, a mask that lets no pair
 * through: time = nothing + executed * tile.
 *
 *     masks [L=4096] [rounds=15]
 *
 * Every mask is compiled twice: with a counter of the executed tiles, and with a clock around the kernel. The clocked
 * builds run in turns, so that whatever else the machine does meets all of them; it is processor time that counts, and
 * the median. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "driver/compile.h"

static const struct {
    const char *name, *mask;
} masks[] = {
    {"full", "all"},
    {"nothing", "prefix(0)"},
    {"causal", "causal"},
    {"window 512", "causal & window(512)"},
    {"padding 3/4", "padding(keep)"},
    {"document", "document(ids)"},
    {"document and causal", "document(ids) & causal"},
    {"short documents", "document(short) & causal"},
    {"prefix or causal", "prefix(n) | causal"},
    {"chunked 256", "causal & fn(i, j) => i / 256 == j / 256"},
    {"sink and window", "causal & (window(512) | prefix(4))"},
    {"permutation", "permutation(rank)"},
    {"tree", "tree(enter, leave)"},         /* a trunk of 7/8 of the positions, then drafts, as in speculative decoding */
    {"bushy tree", "tree(enter, spread)"},  /* branches from the start, at most 12 deep */
};
enum { MASKS = sizeof masks / sizeof *masks, INPUTS = 11, MAX_ROUNDS = 101 };

typedef struct Build {
    Compilation c;
    Session *session;
    uint64_t times[16];
    int64_t *tiles;
} Build;

static int64_t length = 4096;
static HostTensor inputs[INPUTS];

static void fail(Build *b)
{
    Text t = text_new(&b->c.arena);
    diag_render(&b->c.diags, &t, false);
    fputs(t.data, stderr);
    exit(1);
}

static void build(Build *b, const char *mask, bool count)
{
    char path[] = "/tmp/maskXXXXXX";
    int fd = mkstemp(path);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f) {
        perror(path);
        exit(1);
    }
    fprintf(f,
            "let H = 4\nlet K = 64\n"
            "model Mask(q: f32[B, S, H, K], k: f32[B, S, H, K], v: f32[B, S, H, K], keep: bool[B, S], ids: i32[B, S],\n"
            "           short: i32[B, S], n: i32[B], rank: i32[S], enter: i32[B, S], leave: i32[B, S],\n"
            "           spread: i32[B, S]) -> (out: f32[B, S, H, K]) {\n"
            "  return attention(q, k, v, mask=%s)\n}\n",
            mask);
    fclose(f);
    CompileOptions o = {.model = path, .timing = !count, .tiles = count, .threads = 1};
    SessionHooks hooks = {.times = b->times};
    compile_begin(&b->c);
    bool good = compile_all(&b->c, &o);
    unlink(path);
    b->session = good ? session_new(&b->c.cx, &b->c.program, 1, 1, &hooks) : NULL;
    if (!b->session)
        fail(b);
    if (count)
        b->tiles = jit_symbol(&b->c.cx, b->c.jit, "mask_tiles");
}

static double processor_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

/* Nanoseconds of the attend of one run: its share of the run's processor time. */
static double run(Build *b)
{
    const HostTensor *out;
    memset(b->times, 0, sizeof b->times);
    double start = processor_time(), attend = 0, all = 0;
    if (!session_run(&b->c.cx, b->session, inputs, INPUTS, &out))
        fail(b);
    double ran = processor_time() - start;
    for (int i = 0; i < b->c.emitted.n_kernels; i++) {
        all += (double)b->times[i];
        attend += b->c.emitted.kernels[i].node->op == OP_attend ? (double)b->times[i] : 0;
    }
    return all > 0 ? ran * attend / all : 0;
}

static void drop(Build *b)
{
    session_free(b->session);
    compile_free(&b->c);
}

/* ---- inputs ----------------------------------------------------------------------------------------------------- */

static uint64_t state = 1;

static int64_t chance(int64_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int64_t)(state >> 33) % below;
}

static HostTensor *tensor(int i, const char *name, DType dtype, int rank, const int64_t *dims)
{
    inputs[i] = (HostTensor){.name = name, .dtype = dtype, .rank = rank};
    memcpy(inputs[i].dims, dims, (size_t)rank * sizeof *dims);
    inputs[i].data = calloc((size_t)host_count(&inputs[i]), dtype_size(dtype));
    if (!inputs[i].data)
        abort();
    return &inputs[i];
}

/* Documents of 512 positions on the average, or of 64; ranks that turn the order of blocks of 64 about; a tree whose
 * nodes have about three children, in the order of a walk. */
/* Where the descendants of each position end: a chain of `trunk` positions, then branches at most 12 deep. */
static void grow_tree(HostTensor *leave, int64_t trunk)
{
    int64_t *open = malloc((size_t)(length + 1) * sizeof *open), depth = 0;
    for (int64_t t = 0; t < length; t++) {
        while (t > trunk && depth > trunk && chance(3) == 0)
            host_set(leave, open[--depth], (double)t);
        if (t < trunk || depth < trunk + 11)
            open[depth++] = t;
        else
            host_set(leave, t, (double)(t + 1));
    }
    while (depth > 0)
        host_set(leave, open[--depth], (double)length);
    free(open);
}

static void fill(void)
{
    static const char *const qkv[] = {"q", "k", "v"};
    for (int i = 0; i < 3; i++) {
        HostTensor *t = tensor(i, qkv[i], DT_F32, 4, (int64_t[]){1, length, 4, 64});
        for (int64_t j = 0; j < host_count(t); j++)
            host_set(t, j, (double)chance(2048) / 1024 - 1);
    }
    const int64_t dims[] = {1, length};
    HostTensor *keep = tensor(3, "keep", DT_BOOL, 2, dims), *ids = tensor(4, "ids", DT_I32, 2, dims);
    HostTensor *brief = tensor(5, "short", DT_I32, 2, dims), *n = tensor(6, "n", DT_I32, 1, dims);
    HostTensor *rank = tensor(7, "rank", DT_I32, 1, dims + 1), *enter = tensor(8, "enter", DT_I32, 2, dims);
    HostTensor *leave = tensor(9, "leave", DT_I32, 2, dims), *spread = tensor(10, "spread", DT_I32, 2, dims);
    int64_t document = 0, small = 0;
    host_set(n, 0, (double)length / 4);
    for (int64_t t = 0; t < length; t++) {
        document += t && chance(512) == 0;
        small += t && chance(64) == 0;
        host_set(keep, t, t < length * 3 / 4);
        host_set(ids, t, (double)document);
        host_set(brief, t, (double)small);
        host_set(rank, t, (double)(length - (t / 64 + 1) * 64 + t % 64));
        host_set(enter, t, (double)t);
    }
    grow_tree(leave, length - length / 8);
    grow_tree(spread, 1);
}

/* ---- the table -------------------------------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int rounds = 15;
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], "L=", 2))
            length = strtoll(argv[i] + 2, NULL, 10);
        else if (!strncmp(argv[i], "rounds=", 7))
            rounds = (int)strtol(argv[i] + 7, NULL, 10);
    if (length < 64 || rounds < 1 || rounds > MAX_ROUNDS) {
        fputs("usage: masks [L=4096] [rounds=15]\n", stderr);
        return 2;
    }
    fill();
    static Build builds[MASKS];
    static double times[MASKS][MAX_ROUNDS];
    int64_t executed[MASKS], whole[MASKS];
    for (int m = 0; m < MASKS; m++) {
        Build counting = {0};
        build(&counting, masks[m].mask, true);
        run(&counting);
        executed[m] = counting.tiles[0];
        whole[m] = counting.tiles[1];
        drop(&counting);
        build(&builds[m], masks[m].mask, false);
        run(&builds[m]);
    }
    for (int r = 0; r < rounds; r++)
        for (int m = 0; m < MASKS; m++)
            times[m][r] = run(&builds[m]);
    for (int m = 0; m < MASKS; m++)
        qsort(times[m], (size_t)rounds, sizeof(double), ascending);
    double nothing = times[1][rounds / 2], tile = (times[0][rounds / 2] - nothing) / (double)executed[0];
    printf("L = %lld, tiles of all heads: %lld; the last column: time of an executed tile against one of `full`\n",
           (long long)length, (long long)executed[0]);
    printf("%-22s %9s %7s %9s %9s %6s\n", "mask", "executed", "share", "whole", "ms", "tile");
    for (int m = 0; m < MASKS; m++) {
        printf("%-22s %9lld %6.2f%% %9lld %9.3f %6.2f\n", masks[m].name, (long long)executed[m],
               100 * (double)executed[m] / (double)executed[0], (long long)whole[m], times[m][rounds / 2] * 1e-6,
               executed[m] ? (times[m][rounds / 2] - nothing) / (double)executed[m] / tile : 0.0);
        drop(&builds[m]);
    }
    for (int i = 0; i < INPUTS; i++)
        free(inputs[i].data);
    return 0;
}
