/* xoshiro256** (Blackman and Vigna), seeded by splitmix64, and normal numbers by Marsaglia's polar method.
 *
 * The logarithm is our own: that of the C library may differ in its last bit from machine to machine, and every projection with it. */
#include <math.h>

#include "approx/approx.h"

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

Random random_new(uint64_t seed, uint64_t stream)
{
    Random r = {0};
    uint64_t state = seed;
    state = splitmix(&state) ^ stream; /* neighbouring seeds and streams end far apart */
    for (int i = 0; i < 4; i++)
        r.state[i] = splitmix(&state);
    return r;
}

static uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

uint64_t random_bits(Random *r)
{
    uint64_t *s = r->state, result = rotate(s[1] * 5, 7) * 9, shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 45);
    return result;
}

double random_uniform(Random *r) { return (double)(random_bits(r) >> 11) * 0x1p-53; }

/* For 0 < x < 1: x = m 2^e with m in [1/sqrt 2, sqrt 2), and ln m = 2 atanh t, t = (m - 1) / (m + 1), |t| < 0.172. */
static double logarithm(double x)
{
    int e;
    double m = frexp(x, &e);
    if (m < M_SQRT1_2) {
        m *= 2;
        e--;
    }
    double t = (m - 1) / (m + 1), square = t * t, sum = 0;
    for (int k = 23; k >= 1; k -= 2)
        sum = sum * square + 1.0 / k;
    return 2 * t * sum + e * M_LN2;
}

double random_normal(Random *r)
{
    if (r->has_spare) {
        r->has_spare = false;
        return r->spare;
    }
    double u, v, s;
    do {
        u = 2 * random_uniform(r) - 1;
        v = 2 * random_uniform(r) - 1;
        s = u * u + v * v;
    } while (s >= 1 || s == 0);
    double f = sqrt(-2 * logarithm(s) / s);
    r->spare = v * f;
    r->has_spare = true;
    return u * f;
}
