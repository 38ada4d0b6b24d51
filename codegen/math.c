/* The text of our vector functions: what an emitted file gets instead of libm. No tables, no branches, no calls.
 *
 * Every function works on `lanes` of any width. The bounds in the comments hold for all floats unless they say
 * otherwise, with and without fused multiply-add; tests/codegen/test_math.c measures them. NaN in gives NaN out;
 * nothing depends on the rounding mode being changed or on denormals being flushed. The polynomials are minimax fits of
 * our own. */
#include "codegen/emit.h"

#include <string.h>

typedef struct MathText {
    const char *name;
    int n_needs;
    MathFunction needs[3];
    const char *text; /* NULL: written by `across`, because it depends on the number of lanes */
} MathText;

/* clang-format off */
static const MathText texts[MATH_COUNT] = {
[MATH_MAX] = {"max_lanes", 0, {0},
"/* The larger of two; NaN if either is. */\n"
"static inline lanes max_lanes(lanes a, lanes b) { return select((a > b) | (a != a), a, b); }\n"},

[MATH_MIN] = {"min_lanes", 0, {0},
"/* The smaller of two; NaN if either is. */\n"
"static inline lanes min_lanes(lanes a, lanes b) { return select((a < b) | (a != a), a, b); }\n"},

[MATH_ABS] = {"abs_lanes", 0, {0},
"static inline lanes abs_lanes(lanes x) { return float_of(bits_of(x) & 0x7fffffff); }\n"},

[MATH_SQRT] = {"sqrt_lanes", 0, {0},
"static inline lanes sqrt_lanes(lanes x)\n"
"{\n"
"#if defined __clang__ && __clang_major__ >= 17\n"
"    return __builtin_elementwise_sqrt(x);\n"
"#else\n"
"    for (size_t i = 0; i < sizeof x / sizeof x[0]; i++)\n"
"        x[i] = __builtin_sqrtf(x[i]);\n"
"    return x;\n"
"#endif\n"
"}\n"},

[MATH_RSQRT] = {"rsqrt", 1, {MATH_SQRT},
"/* 1 / sqrt(x); at most 1.6 ulp off. */\n"
"static inline lanes rsqrt(lanes x) { return 1.0f / sqrt_lanes(x); }\n"},

[MATH_INT_DIV] = {"int_div", 0, {0},
"/* a / b rounded towards minus infinity. */\n"
"static inline ints int_div(ints a, ints b)\n"
"{\n"
"    ints q = a / b;\n"
"    return select_int((a % b != 0) & ((a < 0) != (b < 0)), q - 1, q);\n"
"}\n"},

[MATH_INT_MOD] = {"int_mod", 0, {0},
"/* a - b * floor(a / b): has the sign of b. */\n"
"static inline ints int_mod(ints a, ints b)\n"
"{\n"
"    ints r = a % b;\n"
"    return select_int((r != 0) & ((r < 0) != (b < 0)), r + b, r);\n"
"}\n"},

[MATH_INT_MAX] = {"int_max", 0, {0},
"static inline ints int_max(ints a, ints b) { return select_int(a > b, a, b); }\n"},

[MATH_INT_MIN] = {"int_min", 0, {0},
"static inline ints int_min(ints a, ints b) { return select_int(a < b, a, b); }\n"},

[MATH_LARGER] = {"larger", 0, {0},
"static inline ptrdiff_t larger(ptrdiff_t a, ptrdiff_t b) { return a > b ? a : b; }\n"},

[MATH_SUM_ACROSS] = {"sum_across", 0, {0}, NULL},
[MATH_MAX_ACROSS] = {"max_across", 1, {MATH_MAX}, NULL},
[MATH_TOP_ACROSS] = {"top_across", 0, {0}, NULL},
[MATH_SUMS_ACROSS] = {"sums_across", 0, {0}, NULL},

[MATH_SCALE] = {"scale_by_power", 0, {0},
"/* p * 2^n for p near 1, in two steps, so that neither factor leaves the range of a float and the product becomes a\n"
" * denormal, 0 or infinity just where it must. */\n"
"static inline lanes scale_by_power(lanes p, ints n)\n"
"{\n"
"    ints half = n >> 1;\n"
"    return p * float_of((half + 127) << 23) * float_of((n - half + 127) << 23);\n"
"}\n"},

[MATH_SIGNED] = {"with_sign", 0, {0},
"/* |x| with the sign of y. */\n"
"static inline lanes with_sign(lanes x, lanes y)\n"
"{\n"
"    return float_of((bits_of(x) & 0x7fffffff) | (bits_of(y) & ~0x7fffffff));\n"
"}\n"},

[MATH_EXP2] = {"exp2_lanes", 0, {0},
"/* 2^x for x <= 127 (softmax asks for x <= 0); 0 below -126.5. At most 2.4 ulp off where the result is normal.\n"
" * The constant rounds x to an integer n and leaves n + 127, the exponent's field, in the low bits. */\n"
"static inline lanes exp2_lanes(lanes x)\n"
"{\n"
"    x = select(x < -127.0f, splat(-127.0f), x);\n"
"    lanes n = x + 12583039.0f;\n"
"    lanes r = x - (n - 12583039.0f);\n"
"    lanes p = r * 0.00132646097f + 0.00967161916f;\n"
"    p = p * r + 0.0555073507f;\n"
"    p = p * r + 0.240222409f;\n"
"    p = p * r + 0.693147004f;\n"
"    p = p * r + 1.0f;\n"
"    return p * float_of(bits_of(n) << 23);\n"
"}\n"},

[MATH_WEIGHT] = {"weight_lanes", 1, {MATH_EXP2},
"/* 2^x, 0 below -102: beside the largest weight, 1, that is nothing, and its products with values would be denormals, which\n"
" * take a hundred times as long. Under a bias that falls with the distance a row's first sums are all of this kind. */\n"
"static inline lanes weight_lanes(lanes x) { return select(x < -102.0f, (lanes){0}, exp2_lanes(x)); }\n"},

[MATH_EXP] = {"exp_lanes", 1, {MATH_SCALE},
"/* e^x = 2^n e^r with |r| <= ln(2) / 2; ln(2) in two parts keeps r exact. At most 1.1 ulp off. */\n"
"static inline lanes exp_lanes(lanes x)\n"
"{\n"
"    x = select(x < -104.0f, splat(-104.0f), select(x > 89.0f, splat(89.0f), x));\n"
"    lanes z = x * 1.44269504f + 12582912.0f; /* rounds to an integer; n is in the low bits */\n"
"    lanes n = z - 12582912.0f;\n"
"    lanes r = x - n * 0.693359375f + n * 2.12194440e-4f;\n"
"    lanes p = r * 0.00138144544f + 0.0083687799f;\n"
"    p = p * r + 0.0416683927f;\n"
"    p = p * r + 0.166665196f;\n"
"    p = p * r + 0.49999994f;\n"
"    p = p * (r * r) + r + 1.0f;\n"
"    return scale_by_power(p, bits_of(z) - 0x4b400000);\n"
"}\n"},

[MATH_LOG] = {"log_lanes", 0, {0},
"/* ln(2^n (1 + f)) with 1 + f between sqrt(1/2) and sqrt(2). At most 1 ulp off; -inf at 0, NaN below. */\n"
"static inline lanes log_lanes(lanes x)\n"
"{\n"
"    ints tiny = x < 1.17549435e-38f;\n"
"    ints bits = bits_of(select(tiny, x * 8388608.0f, x)) - 0x3f3504f3;\n"
"    lanes n = __builtin_convertvector(select_int(tiny, (bits >> 23) - 23, bits >> 23), lanes);\n"
"    lanes f = float_of((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;\n"
"    lanes s = f * f;\n"
"    lanes p = f * -0.0763447955f + 0.127615601f;\n"
"    p = p * f - 0.13160181f;\n"
"    p = p * f + 0.142017603f;\n"
"    p = p * f - 0.166233584f;\n"
"    p = p * f + 0.200012267f;\n"
"    p = p * f - 0.250008196f;\n"
"    p = p * f + 0.333333313f;\n"
"    lanes y = f + (f * s * p - n * 2.12194440e-4f - 0.5f * s) + n * 0.693359375f;\n"
"    y = select(x == 0.0f, splat(-__builtin_inff()), select(x == __builtin_inff(), x, y));\n"
"    return select(x >= 0.0f, y, splat(__builtin_nanf(\"\")));\n"
"}\n"},

[MATH_POW] = {"pow_lanes", 2, {MATH_ABS, MATH_SCALE},
"/* a^b = 2^(b log2 |a|), the exponent in double; a < 0 needs an integer b. At most 1.4 ulp off. Special cases as in\n"
" * C's pow. */\n"
"static inline lanes pow_lanes(lanes a, lanes b)\n"
"{\n"
"    typedef double wide __attribute__((vector_size(2 * sizeof(lanes))));\n"
"    typedef long long longs __attribute__((vector_size(2 * sizeof(lanes))));\n"
"    const lanes zero = {0}, one = splat(1.0f);\n"
"    const lanes infinity = splat(__builtin_inff()), nan = splat(__builtin_nanf(\"\"));\n"
"    lanes x = abs_lanes(a);\n"
"    union { wide number; longs bits; } m = {__builtin_convertvector(x, wide)};\n"
"    longs bits = m.bits - 0x3fe6a09e667f3bcd;\n"
"    m.bits = (bits & 0xfffffffffffff) + 0x3fe6a09e667f3bcd; /* the number is between sqrt(1/2) and sqrt(2) */\n"
"    wide s = (m.number - 1.0) / (m.number + 1.0), u = s * s;\n"
"    wide log2 = u * 0.22195308321368668 + 0.2623081892525388; /* 2 / ln(2) * atanh(s) / s */\n"
"    log2 = log2 * u + 0.3205988979753252;\n"
"    log2 = log2 * u + 0.4121985831111324;\n"
"    log2 = log2 * u + 0.57707801635558536;\n"
"    log2 = log2 * u + 0.9617966939259756;\n"
"    log2 = log2 * u + 2.8853900817779268;\n"
"    wide t = (log2 * s + __builtin_convertvector(bits >> 52, wide)) * __builtin_convertvector(b, wide);\n"
"    wide whole = t + 6755399441055744.0;\n"
"    whole -= 6755399441055744.0;\n"
"    lanes r = __builtin_convertvector(t - whole, lanes), n = __builtin_convertvector(whole, lanes);\n"
"    n = select(n > -200.0f, select(n < 200.0f, n, splat(200.0f)), splat(-200.0f));\n"
"    lanes p = r * 0.000153532630f + 0.00133990031f;\n"
"    p = p * r + 0.00961843878f;\n"
"    p = p * r + 0.0555033199f;\n"
"    p = p * r + 0.240226477f;\n"
"    p = p * r + 0.693147182f;\n"
"    p = p * r + 1.0f;\n"
"    lanes y = scale_by_power(p, __builtin_convertvector(n, ints));\n"
"    y = select(n == 200.0f, infinity, select(n == -200.0f, zero, y));\n"
"    y = select(x == 0.0f, select(b < 0.0f, infinity, zero), y);\n"
"    y = select(x == infinity, select(b < 0.0f, zero, infinity), y);\n"
"    ints even = abs_lanes(b) >= 16777216.0f; /* so large that it is an even integer */\n"
"    ints integer = __builtin_convertvector(select(abs_lanes(b) < 16777216.0f, b, zero), ints);\n"
"    y = float_of(bits_of(y) ^ (bits_of(a) & (integer << 31)));\n"
"    y = select((a < 0.0f) & (x != infinity) & (even == 0) & (__builtin_convertvector(integer, lanes) != b), nan, y);\n"
"    y = select((a != a) | (b != b), nan, y);\n"
"    return select((b == 0.0f) | (a == 1.0f) | ((x == 1.0f) & even), one, y);\n"
"}\n"},

[MATH_TANH] = {"tanh_lanes", 3, {MATH_ABS, MATH_SIGNED, MATH_EXP},
"/* Odd polynomial below 0.625, 1 - 2 / (e^2x + 1) above. At most 1.5 ulp off. */\n"
"static inline lanes tanh_lanes(lanes x)\n"
"{\n"
"    lanes a = abs_lanes(x), s = x * x;\n"
"    lanes p = s * -0.00551518984f + 0.0204694439f;\n"
"    p = p * s - 0.0536880307f;\n"
"    p = p * s + 0.133308306f;\n"
"    p = p * s - 0.333332598f;\n"
"    lanes small = p * (s * x) + x;\n"
"    lanes large = 1.0f - 2.0f / (exp_lanes(2.0f * a) + 1.0f);\n"
"    return select(a < 0.625f, small, with_sign(large, x));\n"
"}\n"},

[MATH_ERF] = {"erf_lanes", 2, {MATH_ABS, MATH_SIGNED},
"/* Odd polynomial below 1, 1 - 1 / p^16 above. At most 4.7 ulp off, 2.8e-7 absolute. */\n"
"static inline lanes erf_lanes(lanes x)\n"
"{\n"
"    lanes a = abs_lanes(x), s = x * x;\n"
"    lanes q = s * -0.000563143112f + 0.00491755363f;\n"
"    q = q * s - 0.0267113131f;\n"
"    q = q * s + 0.112801805f;\n"
"    q = q * s - 0.37612325f;\n"
"    q = q * s + 0.128379121f;\n"
"    lanes p = a * 9.91568522e-5f - 0.000170257627f;\n"
"    p = p * a + 0.00159860181f;\n"
"    p = p * a + 0.00682272762f;\n"
"    p = p * a + 0.0445759818f;\n"
"    p = p * a + 0.0693897977f;\n"
"    p = p * a + 1.00023115f;\n"
"    p *= p;\n"
"    p *= p;\n"
"    p *= p;\n"
"    p *= p;\n"
"    return select(a < 1.0f, q * x + x, with_sign(1.0f - 1.0f / p, x));\n"
"}\n"},

[MATH_SINE_AT] = {"sine_at", 1, {MATH_ABS},
"/* sin(x + quarter * pi / 2). x = n pi/2 + r with |r| <= pi/4, n and r found in double: at most 1.4e-7 off up to\n"
" * |x| = 2^30, NaN beyond. */\n"
"static inline lanes sine_at(lanes x, int quarter)\n"
"{\n"
"    typedef double wide __attribute__((vector_size(2 * sizeof(lanes))));\n"
"    x = select(abs_lanes(x) < 1073741824.0f, x, splat(__builtin_nanf(\"\")));\n"
"    wide x2 = __builtin_convertvector(x, wide);\n"
"    wide n = x2 * 0.63661977236758138 + 6755399441055744.0;\n"
"    n -= 6755399441055744.0;\n"
"    lanes r = __builtin_convertvector(x2 - n * 1.5707963267341256 - n * 6.0771005065061922e-11, lanes);\n"
"    ints turn = __builtin_convertvector(n, ints) + quarter;\n"
"    lanes s = r * r;\n"
"    lanes p = s * -0.000195147877f + 0.00833215751f;\n"
"    p = p * s - 0.166666552f;\n"
"    lanes q = s * 2.44325911e-5f - 0.00138873118f;\n"
"    q = q * s + 0.0416666456f;\n"
"    lanes y = select((turn & 1) != 0, q * (s * s) - 0.5f * s + 1.0f, p * (s * r) + r);\n"
"    return float_of(bits_of(y) ^ ((turn & 2) << 30));\n"
"}\n"},

[MATH_SIN] = {"sin_lanes", 1, {MATH_SINE_AT},
"static inline lanes sin_lanes(lanes x) { return sine_at(x, 0); }\n"},

[MATH_COS] = {"cos_lanes", 1, {MATH_SINE_AT},
"static inline lanes cos_lanes(lanes x) { return sine_at(x, 1); }\n"},

[MATH_SIGMOID] = {"sigmoid", 1, {MATH_EXP},
"/* 1 / (1 + e^-x). At most 2.8 ulp off where the result is a normal number. */\n"
"static inline lanes sigmoid(lanes x) { return 1.0f / (1.0f + exp_lanes(-x)); }\n"},

[MATH_SILU] = {"silu", 1, {MATH_EXP},
"/* x / (1 + e^-x), 0 at -inf. At most 3 ulp off above x = -87. */\n"
"static inline lanes silu(lanes x)\n"
"{\n"
"    x = select(x < -100.0f, splat(-100.0f), x);\n"
"    return x / (1.0f + exp_lanes(-x));\n"
"}\n"},

[MATH_GELU] = {"gelu", 1, {MATH_ABS},
"/* x Phi(x) = max(x, 0) - |x| Phi(-|x|), where a Phi(-a) = a / (2 p(a)^16) to 2.5e-7. At most 6e-7 off. */\n"
"static inline lanes gelu(lanes x)\n"
"{\n"
"    lanes a = abs_lanes(x);\n"
"    a = select(a > 20.0f, splat(20.0f), a);\n"
"    lanes p = a * 6.3324469e-6f + 4.13879316e-5f;\n"
"    p = p * a + 5.97064172e-5f;\n"
"    p = p * a + 0.00324933045f;\n"
"    p = p * a + 0.0211572889f;\n"
"    p = p * a + 0.0498641394f;\n"
"    p = p * a + 1.0f;\n"
"    p *= p;\n"
"    p *= p;\n"
"    p *= p;\n"
"    p *= p;\n"
"    return select(x < 0.0f, (lanes){0}, x) - 0.5f * a / p;\n"
"}\n"},

[MATH_GELU_TANH] = {"gelu_tanh", 1, {MATH_EXP},
"/* x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3), 0 at -inf. At most 1.4e-7 max(1, |x|) off. */\n"
"static inline lanes gelu_tanh(lanes x)\n"
"{\n"
"    x = select(x < -100.0f, splat(-100.0f), x);\n"
"    return x / (1.0f + exp_lanes(x * (x * x * -0.0713548163f - 1.59576912f)));\n"
"}\n"},

[MATH_ROUND_BF16] = {"round_bf16", 0, {0},
"/* The nearest number of 8 bits, of two the even one; a NaN stays one. Exact: bf16 is the upper half of a float. */\n"
"static inline lanes round_bf16(lanes x)\n"
"{\n"
"    ints bits = bits_of(x), half = 0x7fff + ((bits >> 16) & 1);\n"
"    return select(x == x, float_of((bits + half) & -0x10000), x);\n"
"}\n"},
};
/* clang-format on */

const char *math_name(MathFunction f)
{
    return texts[f].name;
}

const char *math_use(Emitter *e, MathFunction f)
{
    e->math[f] = true;
    for (int i = 0; i < texts[f].n_needs; i++)
        math_use(e, texts[f].needs[i]);
    return texts[f].name;
}

bool math_of_op(Op op, MathFunction *out)
{
    static const struct {
        Op op;
        MathFunction function;
    } rows[] = {
        {OP_maximum, MATH_MAX},     {OP_minimum, MATH_MIN}, {OP_abs, MATH_ABS},   {OP_exp, MATH_EXP},
        {OP_log, MATH_LOG},         {OP_pow, MATH_POW},     {OP_sqrt, MATH_SQRT}, {OP_rsqrt, MATH_RSQRT},
        {OP_tanh, MATH_TANH},       {OP_erf, MATH_ERF},     {OP_sin, MATH_SIN},   {OP_cos, MATH_COS},
        {OP_sigmoid, MATH_SIGMOID}, {OP_silu, MATH_SILU},   {OP_gelu, MATH_GELU}, {OP_gelu_tanh, MATH_GELU_TANH},
        {OP_round_bf16, MATH_ROUND_BF16},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].op == op) {
            *out = rows[i].function;
            return true;
        }
    return false;
}

/* Each line combines x with itself turned by half of what is left; in the end every lane holds the result. */
static void across(int lanes, MathFunction f, Text *out)
{
    const char *says = f == MATH_SUM_ACROSS   ? "The sum of all lanes, as a fixed tree."
                       : f == MATH_MAX_ACROSS ? "The largest of all lanes; NaN if one is."
                                              : "The largest of all lanes; a NaN may or may not win.";
    text_add(out, "/* %s */\nstatic inline float %s(lanes x)\n{\n", says, texts[f].name);
    if (f != MATH_SUM_ACROSS && lanes > 1)
        text_add(out, "    lanes y;\n");
    for (int step = lanes / 2; step > 0; step /= 2) {
        text_add(out, "    %s= __builtin_shufflevector(x, x", f == MATH_SUM_ACROSS ? "x +" : "y ");
        for (int i = 0; i < lanes; i++)
            text_add(out, ", %d", (i + step) % lanes);
        text_add(out, ");\n");
        if (f != MATH_SUM_ACROSS)
            text_add(out, f == MATH_MAX_ACROSS ? "    x = max_lanes(x, y);\n" : "    x = select(x > y, x, y);\n");
    }
    text_add(out, "    return x%s;\n}\n", lanes > 1 ? "[0]" : "");
}

/* "__builtin_shufflevector(a, b, ..)": of every four lanes those of `pick`, b's where it is 4 or more. */
static void put_picked(int lanes, const char *a, const char *b, const int *pick, Text *out)
{
    text_add(out, "__builtin_shufflevector(%s, %s", a, b);
    for (int i = 0; i < lanes; i++)
        text_add(out, ", %d", i / 4 * 4 + pick[i % 4] % 4 + (pick[i % 4] < 4 ? 0 : lanes));
    text_add(out, ")");
}

/* Pairs first, so that each line adds halves of two vectors and half as many are left; then as `across`. */
static void sums_across(int lanes, Text *out)
{
    static const struct {
        const char *to, *a, *b;
        int pick[2][4];
    } lines[] = {
        {"const lanes low", "x[0]", "x[1]", {{0, 4, 1, 5}, {2, 6, 3, 7}}},
        {"const lanes high", "x[2]", "x[3]", {{0, 4, 1, 5}, {2, 6, 3, 7}}},
        {"lanes sum", "low", "high", {{0, 1, 4, 5}, {2, 3, 6, 7}}},
    };
    text_add(out, "/* The sums of all lanes of four vectors, as fixed trees. */\n"
                  "static inline void sums_across(const lanes *x, float *to)\n{\n");
    if (lanes < 4) {
        text_add(out, "    for (ptrdiff_t i = 0; i < 4; i++)\n        to[i] = %s;\n}\n", lanes > 1 ? "x[i][0] + x[i][1]" : "x[i]");
        return;
    }
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        text_add(out, "    %s = ", lines[i].to);
        put_picked(lanes, lines[i].a, lines[i].b, lines[i].pick[0], out);
        text_add(out, " +\n        ");
        put_picked(lanes, lines[i].a, lines[i].b, lines[i].pick[1], out);
        text_add(out, ";\n");
    }
    for (int step = lanes / 2; step >= 4; step /= 2) {
        text_add(out, "    sum += __builtin_shufflevector(sum, sum");
        for (int i = 0; i < lanes; i++)
            text_add(out, ", %d", (i + step) % lanes);
        text_add(out, ");\n");
    }
    text_add(out, "#pragma GCC unroll 4\n    for (ptrdiff_t i = 0; i < 4; i++)\n        to[i] = sum[i];\n}\n");
}

/* Of the functions marked those that are called, and what these need; they stand before it. */
static void choose(Emitter *e, const char *rest, bool *used)
{
    Map words = words_of(e->cx, rest);
    memset(used, 0, MATH_COUNT * sizeof *used);
    for (int f = MATH_COUNT - 1; f >= 0; f--) {
        used[f] |= e->math[f] && map_get(&words, texts[f].name);
        for (int i = 0; used[f] && i < texts[f].n_needs; i++)
            used[texts[f].needs[i]] = true;
    }
}

void emit_math(Emitter *e, const char *rest, Text *out)
{
    bool used[MATH_COUNT];
    memcpy(used, e->math, sizeof used);
    if (rest)
        choose(e, rest, used);
    for (int f = 0; f < MATH_COUNT; f++) {
        if (!used[f])
            continue;
        if (texts[f].text)
            text_add(out, "%s\n", e->target->lanes > 1 ? texts[f].text : one_lane(e->cx->arena, texts[f].text));
        else {
            f == MATH_SUMS_ACROSS ? sums_across(e->target->lanes, out) : across(e->target->lanes, (MathFunction)f, out);
            text_char(out, '\n');
        }
    }
}
