/* The emitted vector functions against double libm, for every target that this machine can run: the bounds that their
 * comments state.
 *
 * Every 997th float by default; ATTAR_SWEEP=31 takes every 31st, ATTAR_SWEEP=all every one (minutes a function),
 * ATTAR_SWEEP=exp_lanes every one in that function alone. */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include "codegen/emit.h"
#include "native.h"

enum { CHUNK = 4096 };
typedef void (*Unary)(const float *x, float *y);

static double r_exp2(double x)
{
    return x < -126.5 ? 0 : exp2(x);
}
static double r_weight(double x)
{
    return x < -102 ? 0 : exp2(x);
}
static double r_rsqrt(double x)
{
    return 1 / sqrt(x);
}
static double r_sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}
static double r_silu(double x)
{
    return x == -INFINITY ? 0 : x / (1 + exp(-x));
}
static double r_gelu(double x)
{
    return x < -40 ? 0 : 0.5 * x * erfc(-x * M_SQRT1_2);
}
static double r_gelu_tanh(double x)
{
    return x < -40 ? 0 : 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
static double r_sin(double x)
{
    return fabs(x) < 0x1p30 ? sin(x) : NAN;
}
static double r_cos(double x)
{
    return fabs(x) < 0x1p30 ? cos(x) : NAN;
}

/* Eight digits of two, fewer below 2^-126; what rounds to 2^128 is infinite. */
static double r_round_bf16(double x)
{
    int e;
    frexp(x, &e);
    double step = ldexp(1, e - 8 > -133 ? e - 8 : -133), y = isfinite(x) ? rint(x / step) * step : x;
    return fabs(y) < 0x1p128 ? y : copysign(INFINITY, y);
}

/* ulp counts results that are normal numbers, for x from `low` on; absolute is |error|, divided by |x| > 1 if `scaled`.
 * 0: no such bound. */
typedef struct Row {
    MathFunction f;
    double (*reference)(double);
    double ulp, absolute, low, high;
    bool scaled;
} Row;
static const Row rows[] = {
    {MATH_ABS, fabs, 0.01, 0, -INFINITY, INFINITY, false},
    {MATH_SQRT, sqrt, 0.51, 0, -INFINITY, INFINITY, false},
    {MATH_RSQRT, r_rsqrt, 1.6, 0, -INFINITY, INFINITY, false},
    {MATH_EXP2, r_exp2, 2.4, 0, -INFINITY, 127, false},
    {MATH_WEIGHT, r_weight, 2.4, 0, -INFINITY, 127, false},
    {MATH_EXP, exp, 1.1, 0, -INFINITY, INFINITY, false},
    {MATH_LOG, log, 1, 0, -INFINITY, INFINITY, false},
    {MATH_TANH, tanh, 1.5, 0, -INFINITY, INFINITY, false},
    {MATH_ERF, erf, 4.7, 2.8e-7, -INFINITY, INFINITY, false},
    {MATH_SIN, r_sin, 0, 1.4e-7, -INFINITY, INFINITY, false},
    {MATH_COS, r_cos, 0, 1.4e-7, -INFINITY, INFINITY, false},
    {MATH_SIGMOID, r_sigmoid, 2.8, 1e-7, -INFINITY, INFINITY, false},
    {MATH_SILU, r_silu, 3, 1.4e-7, -87, INFINITY, true},
    {MATH_GELU, r_gelu, 0, 6e-7, -INFINITY, INFINITY, false},
    {MATH_GELU_TANH, r_gelu_tanh, 0, 1.4e-7, -INFINITY, INFINITY, true},
    {MATH_ROUND_BF16, r_round_bf16, 0.01, 1e-45, -INFINITY, INFINITY, false},
};
enum { ROWS = sizeof rows / sizeof *rows };

typedef struct Library {
    const Target *target;
    void *handle;
    Unary f[ROWS];
    double ulp[ROWS], absolute[ROWS];
} Library;

/* Prelude, all vector functions and a loop around each. */
static const char *library_text(const Target *target, Arena *arena)
{
    Context cx = {.arena = arena};
    EmitOptions options = {.target = target};
    Emitter e = {.cx = &cx, .options = &options, .target = target};
    Text rest = text_new(arena), all = text_new(arena);
    for (int f = 0; f < MATH_COUNT; f++)
        math_use(&e, (MathFunction)f);
    emit_math(&e, NULL, &rest);
    for (int i = 0; i < ROWS; i++)
        text_add(&rest,
                 "void sweep_%s(const float *x, float *y);\nvoid sweep_%s(const float *x, float *y)\n{\n    for (int i "
                 "= 0; i < %d; i += LANES)\n"
                 "        *(lanes_at *)(y + i) = %s(*(const lanes_at *)(x + i));\n}\n",
                 math_name(rows[i].f), math_name(rows[i].f), CHUNK, math_name(rows[i].f));
    text_add(&rest,
             "void sweep_two(int f, const float *x, const float *y, float *z);\nvoid sweep_two(int f, const float *x, "
             "const float *y, float *z)\n{\n"
             "    for (int i = 0; i < %d; i += LANES) {\n        lanes a = *(const lanes_at *)(x + i), b = *(const "
             "lanes_at *)(y + i);\n"
             "        *(lanes_at *)(z + i) = f == 0 ? pow_lanes(a, b) : f == 1 ? max_lanes(a, b) : min_lanes(a, b);\n  "
             "  }\n}\n",
             CHUNK);
    text_add(&rest,
             "void sweep_ints(int f, const int *x, const int *y, int *z);\nvoid sweep_ints(int f, const int *x, const "
             "int *y, int *z)\n{\n"
             "    for (int i = 0; i < %d; i += LANES) {\n        ints a = *(const ints_at *)(x + i), b = *(const "
             "ints_at *)(y + i);\n"
             "        *(ints_at *)(z + i) = f == 0 ? int_div(a, b) : f == 1 ? int_mod(a, b) : f == 2 ? int_max(a, b) : "
             "int_min(a, b);\n    }\n}\n",
             CHUNK);
    text_add(&rest, "float sweep_across(int f, const float *x);\nfloat sweep_across(int f, const float *x)\n{\n    "
                    "lanes a = *(const lanes_at *)x;\n"
                    "    return f == 0 ? sum_across(a) : f == 1 ? max_across(a) : top_across(a);\n}\n");
    text_add(&rest, "void sweep_sums(const float *x, float *y);\nvoid sweep_sums(const float *x, float *y)\n{\n"
                    "    lanes a[4];\n    for (int i = 0; i < 4; i++)\n        a[i] = *(const lanes_at *)(x + i * LANES);\n"
                    "    sums_across(a, y);\n}\n");
    emit_prelude(&e, rest.data, &all);
    text_put(&all, rest.data, rest.length);
    return all.data;
}

static int load_all(Library *out)
{
    int n = 0;
    for (int t = 0; t < target_count; t++) {
        Arena arena = {0};
        if (!target_runs_here(&targets[t]))
            continue;
        Library *l = &out[n++];
        *l = (Library){.target = &targets[t]};
        l->handle = native_load(library_text(&targets[t], &arena), "math", &targets[t], NULL);
        ck_assert_msg(l->handle != NULL, "the functions do not compile for %s", targets[t].name);
        for (int i = 0; i < ROWS; i++) {
            char name[64];
            snprintf(name, sizeof name, "sweep_%s", math_name(rows[i].f));
            l->f[i] = (Unary)dlsym(l->handle, name);
            ck_assert_ptr_nonnull(l->f[i]);
        }
        arena_free(&arena);
    }
    return n;
}

static double ulp_of(double r)
{
    float a = fmaxf(fabsf((float)r), 0x1p-126f);
    return (double)nextafterf(a, INFINITY) - a;
}

/* Updates the worst errors; false if the result is of the wrong kind (NaN, infinity, garbage below the normal
 * numbers). */
static bool judge(const Row *row, float x, float y, double r, double *ulp, double *absolute)
{
    if (isnan(x) || isnan(r) || isnan(y))
        return isnan(y) && (isnan(x) || isnan(r));
    if (isinf((float)r) || isinf(y)) /* one ulp below the largest float may round to infinity */
        return y == (float)r || fabs(r) > 3.40282e38;
    double error = fabs(y - r);
    if (fabs(r) < 0x1p-126)
        return error <= 0x1p-126 || (row->absolute > 0 && error <= row->absolute);
    if (row->ulp > 0 && x >= row->low)
        *ulp = fmax(*ulp, error / ulp_of(r));
    if (row->absolute > 0)
        *absolute = fmax(*absolute, row->scaled ? error / fmax(1, fabs((double)x)) : error);
    return true;
}

static void sweep(const Row *row, Library *libraries, int n, uint64_t step)
{
    static float x[CHUNK], y[CHUNK];
    static double want[CHUNK];
    static const float edges[] = {
        0.0f,          -0.0f,          INFINITY,   -INFINITY, 1,          -1,          0x1p-149f, -0x1p-149f, 0x1p-126f,
        3.4028235e38f, -3.4028235e38f, 88.722839f, 88.72284f, -87.33655f, -103.97208f, -126.5f,   -126,       -127,
        127,           0.625f,         20,         -20,       -100,       0.5f,        1.5f};
    int i = (int)(row - rows);
    uint64_t bits = 0;
    for (bool first = true; bits < (1ull << 32); first = false) {
        int count = 0;
        for (; first && count < (int)(sizeof edges / sizeof *edges); count++)
            x[count] = edges[count] > row->high ? 0 : edges[count];
        for (; count < CHUNK; bits += step) {
            uint32_t word = (uint32_t)bits;
            memcpy(&x[count], &word, sizeof word);
            if (bits >= (1ull << 32))
                x[count] = 1;
            count += !(x[count] > row->high);
        }
        for (int j = 0; j < CHUNK; j++)
            want[j] = row->reference(x[j]);
        for (int l = 0; l < n; l++) {
            libraries[l].f[i](x, y);
            for (int j = 0; j < CHUNK; j++)
                if (!judge(row, x[j], y[j], want[j], &libraries[l].ulp[i], &libraries[l].absolute[i]))
                    ck_abort_msg("%s: %s(%.9g) is %.9g, not %.9g", libraries[l].target->name, math_name(row->f), x[j],
                                 y[j], want[j]);
        }
    }
}

START_TEST(stated_bounds_hold)
{
    Library libraries[8];
    const char *mode = getenv("ATTAR_SWEEP");
    int n = load_all(libraries);
    for (int i = 0; i < ROWS; i++) {
        if (mode && !atoi(mode) && strcmp(mode, "all") && strcmp(mode, math_name(rows[i].f)))
            continue;
        sweep(&rows[i], libraries, n, !mode ? 997 : atoi(mode) ? (uint64_t)atoi(mode) : 1);
        for (int l = 0; l < n; l++) {
            const Library *b = &libraries[l];
            printf("%-10s %-12s", b->target->name, math_name(rows[i].f));
            if (rows[i].ulp > 0)
                printf(" %6.3f ulp (bound %.3g)", b->ulp[i], rows[i].ulp);
            if (rows[i].absolute > 0)
                printf(" %.3g absolute (bound %.3g)", b->absolute[i], rows[i].absolute);
            printf("\n");
            ck_assert_msg(b->ulp[i] <= rows[i].ulp && b->absolute[i] <= rows[i].absolute,
                          "%s is worse than its comment says", math_name(rows[i].f));
        }
    }
}
END_TEST

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 32);
}

static bool same(double a, double b)
{
    return isnan(a) ? isnan(b) : a == b;
}

START_TEST(two_arguments)
{
    static const float edges[] = {0.0f,  -0.0f,    1,         -1,  2,         -2,    3,        -3,       0.5f,
                                  -0.5f, INFINITY, -INFINITY, NAN, 0x1p-149f, 3e38f, 16777215, 16777216, -16777215};
    enum { E = sizeof edges / sizeof *edges };
    static float a[CHUNK], b[CHUNK], y[CHUNK];
    Library libraries[8];
    int n = load_all(libraries);
    for (int l = 0; l < n; l++) {
        void (*two)(int, const float *, const float *, float *) =
            (void (*)(int, const float *, const float *, float *))dlsym(libraries[l].handle, "sweep_two");
        double worst = 0;
        int wrong = 0;
        uint64_t state = 1;
        for (int round = 0; round < 200; round++) {
            for (int i = 0; i < CHUNK; i++) {
                uint32_t u = next_random(&state), v = next_random(&state);
                a[i] = round ? (float)(u & 0xffff) / 100 - (float)(round % 2 * 300) : edges[i % E];
                b[i] = round ? (round % 3 ? (float)(v & 0xffff) / 1000 - 32 : (float)((int)(v & 31) - 16))
                             : edges[i / E % E];
                if (round % 5 == 4) {
                    memcpy(&a[i], &u, sizeof u);
                    b[i] = ldexpf(b[i], -(int)(u & 7));
                }
            }
            two(0, a, b, y);
            for (int i = 0; i < CHUNK; i++) {
                double r = pow(a[i], b[i]);
                bool infinite = isinf((float)r) || isinf(y[i]);
                if (isnan(r) != isnan(y[i]) || (infinite && y[i] != (float)r && fabs(r) <= 3.40282e38))
                    ck_abort_msg("pow(%.9g, %.9g) is %.9g, not %.9g", a[i], b[i], y[i], r);
                if (!isnan(r) && !infinite)
                    worst = fmax(worst, fabs(y[i] - r) / ulp_of(r));
            }
            two(1, a, b, y);
            for (int i = 0; i < CHUNK; i++)
                wrong += !same(y[i], isnan(a[i]) || isnan(b[i]) ? NAN : a[i] > b[i] ? a[i] : b[i]);
            two(2, a, b, y);
            for (int i = 0; i < CHUNK; i++)
                wrong += !same(y[i], isnan(a[i]) || isnan(b[i]) ? NAN : a[i] < b[i] ? a[i] : b[i]);
        }
        printf("%-10s %-12s %6.3f ulp (bound 1.4)\n", libraries[l].target->name, "pow_lanes", worst);
        ck_assert(worst <= 1.4 && wrong == 0);
    }
}
END_TEST

START_TEST(whole_numbers)
{
    static int a[CHUNK], b[CHUNK], y[CHUNK];
    Library libraries[8];
    int n = load_all(libraries);
    for (int l = 0; l < n; l++) {
        void (*ints)(int, const int *, const int *, int *) =
            (void (*)(int, const int *, const int *, int *))dlsym(libraries[l].handle, "sweep_ints");
        uint64_t state = 7;
        for (int i = 0; i < CHUNK; i++) {
            a[i] = i < 1024 ? i % 32 - 16 : (int)next_random(&state);
            b[i] = i < 1024 ? i / 32 - 16 : (int)next_random(&state);
            b[i] = b[i] == 0 || b[i] == -1 ? 5 : b[i];
        }
        ints(0, a, b, y);
        for (int i = 0; i < CHUNK; i++)
            ck_assert_int_eq(y[i], (int)floor((double)a[i] / b[i]));
        ints(1, a, b, y);
        for (int i = 0; i < CHUNK; i++)
            ck_assert_int_eq(y[i], (int)(a[i] - floor((double)a[i] / b[i]) * b[i]));
        ints(2, a, b, y);
        for (int i = 0; i < CHUNK; i++)
            ck_assert_int_eq(y[i], a[i] > b[i] ? a[i] : b[i]);
        ints(3, a, b, y);
        for (int i = 0; i < CHUNK; i++)
            ck_assert_int_eq(y[i], a[i] < b[i] ? a[i] : b[i]);
    }
}
END_TEST

START_TEST(across_lanes)
{
    Library libraries[8];
    int n = load_all(libraries);
    for (int l = 0; l < n; l++) {
        float (*across)(int, const float *) = (float (*)(int, const float *))dlsym(libraries[l].handle, "sweep_across");
        int lanes = libraries[l].target->lanes;
        for (int at = 0; at < lanes; at++) {
            float x[16];
            for (int i = 0; i < lanes; i++)
                x[i] = (float)(-1 - i);
            ck_assert(across(0, x) == (float)(-lanes * (lanes + 1) / 2));
            x[at] = 3;
            ck_assert(across(1, x) == 3 && across(2, x) == 3);
            x[at] = NAN;
            ck_assert(isnan(across(0, x)) && isnan(across(1, x)));
        }
    }
}
END_TEST

/* Every lane counts once, in the sum of its own vector: powers of two show each of them. */
START_TEST(sums_of_four)
{
    Library libraries[8];
    int n = load_all(libraries);
    for (int l = 0; l < n; l++) {
        int lanes = libraries[l].target->lanes;
        void (*sums)(const float *, float *) = (void (*)(const float *, float *))dlsym(libraries[l].handle, "sweep_sums");
        for (int vector = 0; vector < 4; vector++) {
            float x[4 * 16] = {0}, y[4] = {0};
            for (int i = 0; i < lanes; i++)
                x[vector * lanes + i] = (float)(1 << i);
            sums(x, y);
            for (int i = 0; i < 4; i++)
                ck_assert_float_eq(y[i], i == vector ? (float)((1 << lanes) - 1) : 0);
        }
    }
}
END_TEST

/* Other text gets of the emitted file what it names, and nothing else. */
START_TEST(for_other_text)
{
    Arena arena = {0};
    Context cx = {.arena = &arena};
    for (int t = 0; t < target_count; t++) {
        if (!target_runs_here(&targets[t]))
            continue;
        const char *text = codegen_helped(&cx, &targets[t],
                                          "float raised(float x);\nfloat raised(float x)\n{\n"
                                          "    lanes y = exp2_lanes(splat(x));\n    return *(float *)&y;\n}\n");
        ck_assert_ptr_nonnull(strstr(text, "lanes exp2_lanes("));
        ck_assert_ptr_null(strstr(text, "erf"));
        ck_assert_ptr_null(strstr(text, "load_part"));
        void *library = native_load(text, "helped", &targets[t], NULL);
        ck_assert_ptr_nonnull(library);
        float (*raised)(float);
        void *symbol = dlsym(library, "raised");
        memcpy(&raised, &symbol, sizeof raised);
        ck_assert(raised(3) == 8 && raised(-1) == 0.5f);
        dlclose(library);
    }
    arena_free(&arena);
}
END_TEST

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    Suite *suite = suite_create("math");
    TCase *cases = tcase_create("math");
    tcase_set_timeout(cases, getenv("ATTAR_SWEEP") ? 36000 : 120);
    tcase_add_test(cases, stated_bounds_hold);
    tcase_add_test(cases, two_arguments);
    tcase_add_test(cases, whole_numbers);
    tcase_add_test(cases, across_lanes);
    tcase_add_test(cases, sums_of_four);
    tcase_add_test(cases, for_other_text);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
