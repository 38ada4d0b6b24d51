/* The targets as data: width of a vector, number of registers, and clang's flags. Nothing here ever asks for -ffast-math.
 *
 * -ffp-contract=on fuses a multiply and an add that stand in one expression, and nothing else: so what is fused follows from the
 * text alone, and every instance of a tile gives the same bits. */
#include "codegen/codegen.h"

#include <string.h>

#define COMMON                                                                                                                          \
    "-O2", "-std=gnu11", "-ffp-contract=on", "-fno-math-errno", "-fno-trapping-math", "-fno-unroll-loops", "-fno-strict-aliasing",      \
        "-fno-stack-protector", "-fno-plt", "-fPIC"

static const char *const v4_flags[] = {COMMON, "-march=x86-64-v4", "-mprefer-vector-width=512", NULL};
static const char *const v3_flags[] = {COMMON, "-march=x86-64-v3", NULL};
static const char *const generic_flags[] = {COMMON, NULL};

const Target targets[] = {
    {"x86-64-v4", 16, 32, v4_flags},
    {"x86-64-v3", 8, 16, v3_flags},
    {"generic", 4, 16, generic_flags},
};
const int target_count = sizeof targets / sizeof *targets;

const Target *target_by_name(const char *name) {
    for (int i = 0; i < target_count; i++)
        if (!strcmp(targets[i].name, name))
            return &targets[i];
    return NULL;
}

const Target *target_native(void) {
#ifdef __x86_64__
    __builtin_cpu_init();
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    if (v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return target_by_name("x86-64-v4");
    if (v3)
        return target_by_name("x86-64-v3");
#endif
    return target_by_name("generic");
}
