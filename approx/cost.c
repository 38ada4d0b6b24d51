/* Floating point operations, a multiplication and an addition counting as two. Exponentials and comparisons are left out on both sides. */
#include "approx/approx.h"

enum { CHUNK = 64 };                            /* rows that a causal kernel takes at once, quadratically among themselves */

static double each(AttentionShape s) { return (double)(s.width + s.values); }

double cost_exact(AttentionShape s, int64_t length)
{
    double L = (double)length;
    return (s.causal ? 1 : 2) * L * L * each(s);
}

/* Projections of queries and keys; numerators and denominators built and read; the rows of a chunk among themselves. */
double cost_features(AttentionShape s, FeatureKind kind, int64_t rows, int64_t length)
{
    double L = (double)length, m = (double)rows, features = kind == FEATURES_HYPERBOLIC ? 2 * m : m;
    double projected = 4 * L * m * (double)s.width, state = 4 * L * features * (double)(s.values + 1);
    return projected + state + (s.causal ? L * CHUNK * (features + (double)s.values) : 0);
}

/* Assignment of keys and scores of codes, means read, values added; then one and a half blocks of recent keys. */
double cost_codes(AttentionShape s, int64_t codes, int64_t block, int64_t length)
{
    double L = (double)length, n = (double)codes;
    return L * (4 * n * (double)s.width + 2 * n * (double)s.values + 2 * (double)s.values + (s.causal ? 3 * (double)block * each(s) : 0));
}

/* Both costs are L times something that does not fall with L, and the exact one's rises faster: the first length is the last crossing. */
typedef struct Rival { AttentionShape shape; FeatureKind kind; int64_t rows, codes, block; } Rival;

static bool pays(const Rival *r, int64_t length)
{
    double cost = r->codes ? cost_codes(r->shape, r->codes, r->block, length) : cost_features(r->shape, r->kind, r->rows, length);
    return cost < cost_exact(r->shape, length);
}

static int64_t first_that_pays(const Rival *r)
{
    int64_t low = 0, high = (1 << 24) / 16; /* in steps of 16: low does not pay, high does */
    if (!pays(r, high * 16))
        return 0;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        *(pays(r, middle * 16) ? &high : &low) = middle;
    }
    return high * 16;
}

int64_t cost_features_pays(AttentionShape s, FeatureKind kind, int64_t rows)
{
    return first_that_pays(&(Rival){.shape = s, .kind = kind, .rows = rows});
}

int64_t cost_codes_pays(AttentionShape s, int64_t codes, int64_t block)
{
    return first_that_pays(&(Rival){.shape = s, .codes = codes, .block = block});
}
