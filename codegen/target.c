/* The targets as data: which machines are meant, width of a vector, number of registers, and the flags of clang and gcc.
 *
 * Nothing here ever asks for -ffast-math. For clang, -ffp-contract=on fuses a multiply and an add that stand in one
 * expression, and nothing else: so what is fused follows from the text alone, and every instance of a tile gives the
 * same bits. gcc knows that mode only since version 14, and would fuse nothing before: it is told to fuse wherever a
 * sum has a product for an operand, which for the sums of a tile is the same.
 *
 * Bits are promised for one target and one compiler. Between targets they differ: by the order in which the lanes of a
 * vector are added up, and by whether there is a fused multiply-add (not on x86-64, generic x86 and wasm32). */
#include "codegen/codegen.h"

#include <string.h>
#if defined __riscv && defined __linux__
#include <sys/auxv.h>
#endif

/* What is to be inlined says so: a kernel's other functions stay functions, each with all registers for itself, and an
 * attend compiles in two thirds of the time. Vectors are written as such: looking for more of them in straight code takes
 * 2 % of that time and finds none. */
#define CLANG                                                                                                          \
    "-O2", "-std=gnu11", "-ffp-contract=on", "-fno-math-errno", "-fno-trapping-math", "-fno-unroll-loops",             \
        "-finline-hint-functions", "-fno-slp-vectorize", "-fno-strict-aliasing", "-fno-stack-protector"
#define SHARED "-fno-plt", "-fPIC"
/* Calls of memset in the middle of a kernel would save every register around them; scheduling before registers are given
 * out loads a tile's whole row of x first, and sums spill (gcc 12, aarch64: 3 of 24); so they do where constants of the
 * body, which is applied once a tile, are moved in front of the loop over tiles and wait in registers. */
#define GCC                                                                                                            \
    "-O2", "-std=gnu11", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-strict-aliasing",        \
        "-fno-tree-loop-distribute-patterns", "-fno-schedule-insns", "-fno-move-loop-invariants"

#define FLAGS(...) ((const char *const[]){__VA_ARGS__, NULL})

const Target targets[] = {
    {"x86-64-v4", "x86 with AVX-512 F, BW, CD, DQ, VL: Intel servers since 2017, AMD since Zen 4", "x86_64", 16, 32, 24, 4,
     FLAGS(CLANG, SHARED, "-march=x86-64-v4", "-mprefer-vector-width=512"),
     FLAGS(GCC, "-march=x86-64-v4", "-mprefer-vector-width=512")},
    {"x86-64-v3", "x86 with AVX2 and FMA: Intel since 2013, AMD since 2015", "x86_64", 8, 16, 12, 4,
     FLAGS(CLANG, SHARED, "-march=x86-64-v3"), FLAGS(GCC, "-march=x86-64-v3")},
    {"x86-64", "every 64-bit x86, with SSE2 alone", "x86_64", 4, 16, 9, 1, FLAGS(CLANG, SHARED, "-march=x86-64"),
     FLAGS(GCC, "-march=x86-64")},
    {"aarch64", "every 64-bit Arm, with NEON: Raspberry Pi 3, Graviton, Apple M", "aarch64", 4, 32, 24, 2,
     FLAGS(CLANG, SHARED, "-march=armv8-a"), FLAGS(GCC, "-march=armv8-a")},
    /* Two registers hold 8 floats where VLEN is 128 and half of two where it is 256: right for every VLEN, where code for
     * zvl256b would leave out lanes of a smaller one without a word. gcc 12 has no vectors here: it makes scalar code. */
    {"riscv64", "64-bit RISC-V with the vector extension 1.0, any VLEN: RVA23, SpacemiT K1", "riscv64", 8, 16, 12, 4,
     FLAGS(CLANG, SHARED, "-march=rv64gcv", "-mabi=lp64d"), FLAGS(GCC, "-march=rv64gc", "-mabi=lp64d")},
    {"wasm32", "WebAssembly with 128-bit SIMD: browsers since 2023, node since 16", "wasm32", 4, 16, 9, 1,
     FLAGS(CLANG, "-msimd128"), NULL},
    {"generic", "any machine: the compiler makes the vectors of what is there", NULL, 4, 16, 9, 1, FLAGS(CLANG, SHARED),
     FLAGS(GCC)},
    {"scalar", "any machine, by any compiler of C11: no vectors", NULL, 1, 16, 9, 1, FLAGS(CLANG, SHARED), FLAGS(GCC)},
};
const int target_count = sizeof targets / sizeof *targets;

const Target *target_by_name(const char *name)
{
    for (int i = 0; i < target_count; i++)
        if (!strcmp(targets[i].name, name))
            return &targets[i];
    return NULL;
}

/* Can this machine's instructions do the widest vectors of the target? */
static bool has_vectors(const Target *t)
{
#if defined __x86_64__
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
    return t->lanes == 16 ? v4 : t->lanes == 8 ? v3 : true;
#elif defined __riscv && defined __linux__
    return t->lanes <= 4 || (getauxval(AT_HWCAP) >> ('V' - 'A') & 1);
#else
    (void)t;
    return true;
#endif
}

bool target_runs_here(const Target *t)
{
#if defined __x86_64__
    const char *here = "x86_64";
#elif defined __aarch64__
    const char *here = "aarch64";
#elif defined __riscv && __riscv_xlen == 64
    const char *here = "riscv64";
#else
    const char *here = "";
#endif
    return !t->architecture || (!strcmp(t->architecture, here) && has_vectors(t));
}

const Target *target_native(void)
{
    const Target *t = targets;
    while (!target_runs_here(t)) /* `generic` runs everywhere */
        t++;
    return t;
}
