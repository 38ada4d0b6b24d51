/* Limits: a chain of twelve independent multiply-adds a thread; a softmax's exponentials, read from and written to the
 * first cache, each minus the largest number, and added up; and a sum over 128 MiB, far more than the caches hold. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cli/cli.h"
#include "cli/limits.h"

enum { ACCUMULATORS = 12, ROUNDS = 1500000, RAISED = 32, RAISES = 20000, MEMORY = 128 << 20, HUGE_PAGE = 2 << 20 };

static const char kernels[] = "typedef uint64_t words __attribute__((vector_size(sizeof(lanes))));\n"
                              "float multiply_add(int64_t rounds);\n"
                              "uint64_t read_all(const void *from, size_t bytes);\n"
                              "float raise_all(int64_t rounds);\n"
                              "float multiply_add(int64_t rounds)\n{\n"
                              "    lanes a[12], x = splat(0.999f), y = splat(0.001f);\n"
                              "    for (int i = 0; i < 12; i++)\n        a[i] = x * (float)i;\n"
                              "    for (int64_t r = 0; r < rounds; r++)\n"
                              "#pragma clang loop unroll(full)\n"
                              "        for (int i = 0; i < 12; i++)\n            a[i] = a[i] * x + y;\n"
                              "    for (int i = 1; i < 12; i++)\n        a[0] += a[i];\n"
                              "    return a[0][0];\n}\n"
                              "uint64_t read_all(const void *from, size_t bytes)\n{\n"
                              "    const words *p = from;\n    words s[8] = {{0}};\n"
                              "    for (size_t i = 0; i + 8 <= bytes / sizeof(words); i += 8)\n"
                              "#pragma clang loop unroll(full)\n"
                              "        for (int k = 0; k < 8; k++)\n            s[k] += p[i + k];\n"
                              "    for (int k = 1; k < 8; k++)\n        s[0] += s[k];\n"
                              "    return s[0][0];\n}\n"
                              "float raise_all(int64_t rounds)\n{\n"
                              "    lanes x[32], most = {0}, sum = {0};\n"
                              "    for (int i = 0; i < 32; i++)\n        x[i] = most - (float)i;\n"
                              "    for (int64_t r = 0; r < rounds; r++, most = x[r % 32])\n"
                              "        for (int i = 0; i < 32; i++)\n"
                              "            sum += x[i] = exp2_lanes(x[i] - most);\n"
                              "    return sum[0];\n}\n";

bool limits_open(Context *cx, const CompileOptions *options, int threads, Limits *out)
{
    const Target *target = target_native();
    *out = (Limits){.lanes = target->lanes};
    const char *text = codegen_helped(cx, target, kernels);
    JitOptions jit = options->jit;
    jit.flags = target->flags;
    JitStats stats;
    out->jit = jit_compile(cx, &(CodeUnit){"limits", text, strlen(text)}, 1, &jit, &stats);
    void *first = out->jit ? jit_symbol(cx, out->jit, "multiply_add") : NULL,
         *second = first ? jit_symbol(cx, out->jit, "read_all") : NULL,
         *third = second ? jit_symbol(cx, out->jit, "raise_all") : NULL;
    memcpy(&out->multiply_add, &first, sizeof first);
    memcpy(&out->read, &second, sizeof second);
    memcpy(&out->raise, &third, sizeof third);
    out->pool = third ? pool_new(threads) : NULL;
    return out->pool != NULL;
}

void limits_close(Limits *l)
{
    if (l->pool)
        pool_free(l->pool);
    if (l->jit)
        jit_free(l->jit);
    free(l->memory);
}

/* The sums are kept, so that nothing can be left out as unused. */
typedef struct Work {
    Limits *l;
    volatile float sum;
    volatile uint64_t words;
    size_t part;
} Work;

static void run_multiply_add(void *state, ptrdiff_t thread)
{
    Work *w = state;
    float sum = w->l->multiply_add(ROUNDS);
    if (thread == 0)
        w->sum = sum;
}

static void run_raise(void *state, ptrdiff_t thread)
{
    Work *w = state;
    float sum = w->l->raise(RAISES);
    if (thread == 0)
        w->sum = sum;
}

static void run_read(void *state, ptrdiff_t thread)
{
    Work *w = state;
    uint64_t words = w->l->read(w->l->memory + (size_t)thread * w->part, w->part);
    if (thread == 0)
        w->words = words;
}

double limits_flops(Limits *l)
{
    Work w = {.l = l};
    double start = tool_seconds();
    pool_run(l->pool, run_multiply_add, &w);
    double seconds = tool_seconds() - start;
    return (double)((int64_t)2 * ACCUMULATORS * ROUNDS * l->lanes * pool_threads(l->pool)) / seconds;
}

double limits_exponentials(Limits *l)
{
    Work w = {.l = l};
    double start = tool_seconds();
    pool_run(l->pool, run_raise, &w);
    double seconds = tool_seconds() - start;
    return (double)((int64_t)RAISED * RAISES * l->lanes * pool_threads(l->pool)) / seconds;
}

double limits_bandwidth(Limits *l)
{
    if (!l->memory) {
        l->memory = aligned_alloc(HUGE_PAGE, MEMORY);
        if (!l->memory)
            return 0;
        madvise(l->memory, MEMORY, MADV_HUGEPAGE); /* as packed weights lie: on small pages a third of the time goes into finding them */
        memset(l->memory, 1, MEMORY);
    }
    size_t threads = (size_t)pool_threads(l->pool);
    Work w = {.l = l, .part = MEMORY / threads / 4096 * 4096};
    double start = tool_seconds();
    pool_run(l->pool, run_read, &w);
    return (double)(w.part * threads) / (tool_seconds() - start);
}
