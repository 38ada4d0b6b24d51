/* Speeds of the targets as data: what a common machine of the kind does in one cycle on one core.
 *
 * The numbers need not be exact: they order the tiles of a gemm, which differ by parts of a hundred where the machine is
 * another one. `attar tune` measures instead. Sources: for x86-64-v3 and v4 our own measurements (Zen 3, Zen 4: bytes from
 * L2 are what a tile gets while it computes, not what the bus could carry; so are loads of AVX2: 12x8, 8x8, 6x16 and 4x24
 * in L1 reach 0.51, 0.57, 0.88 and 0.89 of the peak, where 2 loads a cycle would give the first two 0.9); the others are estimates for a machine like
 * Cortex-A76 or SpacemiT X60, not measured. AVX-512 counts as one 512-bit multiply-add a cycle: Zen 4; servers of Intel
 * have two, which moves all alternatives alike. Without a fused multiply-add a product is a multiplication, an addition
 * and, in instructions of two operands, a copy. */
#include "codegen/choose.h"

#include <assert.h>
#include <string.h>

enum { KIB = 1024 };

static const Speed speeds[] = {
    /* target    products instructions latency loads issued    l1        l2        l2  memory */
    {"x86-64-v4", 1.00, 1, 4, 1.0, 6, 32 * KIB, 1024 * KIB, 32, 6.0},
    {"x86-64-v3", 2.00, 1, 4, 1.25, 6, 32 * KIB, 512 * KIB, 20, 5.0},
    {"x86-64", 1.00, 3, 4, 2.0, 4, 32 * KIB, 256 * KIB, 16, 5.0},
    {"aarch64", 2.00, 1, 4, 2.0, 4, 64 * KIB, 512 * KIB, 16, 5.0},
    {"riscv64", 0.50, 1, 6, 0.5, 2, 32 * KIB, 512 * KIB, 8, 2.0},
    {"wasm32", 1.00, 2, 4, 2.0, 4, 32 * KIB, 256 * KIB, 16, 5.0},
    {"generic", 1.00, 2, 4, 1.0, 4, 32 * KIB, 256 * KIB, 16, 4.0},
};

const Speed *target_speed(const Target *t)
{
    for (size_t i = 0; i < sizeof speeds / sizeof *speeds; i++)
        if (!strcmp(speeds[i].target, t->name))
            return &speeds[i];
    assert(!"a target without its speeds");
    return speeds;
}
