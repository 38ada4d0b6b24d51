/* Element types: every half against an independent definition, every conversion exhaustively where 16 bits allow it. */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "support/dtype.h"

/* The value of a 16-bit format by its definition: (-1)^s * 2^e * fraction. */
static double value_of(uint16_t bits, int digits)
{
    int exponent_bits = 15 - digits, bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = bits >> digits & ((1 << exponent_bits) - 1);
    double fraction = bits & ((1 << digits) - 1), sign = bits & 0x8000 ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1)
        return fraction != 0 ? NAN : sign * INFINITY;
    if (exponent == 0)
        return sign * ldexp(fraction, 1 - bias - digits);
    return sign * ldexp(1 + ldexp(fraction, -digits), exponent - bias);
}

START_TEST(every_half_widens_to_its_value)
{
    for (uint32_t bits = 0; bits < 65536; bits++) {
        double f16 = value_of((uint16_t)bits, 10), bf16 = value_of((uint16_t)bits, 7);
        double a = (double)half_to_float((uint16_t)bits), b = (double)bfloat_to_float((uint16_t)bits);
        ck_assert_msg(isnan(f16) ? isnan(a) : a == f16 && signbit(a) == signbit(f16), "f16 %04x", bits);
        ck_assert_msg(isnan(bf16) ? isnan(b) : b == bf16 && signbit(b) == signbit(bf16), "bf16 %04x", bits);
    }
}
END_TEST

static uint16_t stored(DType t, double value)
{
    uint16_t bits = 0xabcd;
    HostTensor h = {.dtype = t, .rank = 0, .data = &bits};
    host_set(&h, 0, value);
    ck_assert_msg(bits == (t == DT_F16 ? half_nearest(value) : bfloat_nearest(value)), "the quick way gives another %s for %a", dtype_name(t), value);
    return bits;
}

/* Storing every value, every midpoint between neighbours and what lies just beside it gives the nearest, ties to even. */
START_TEST(narrowing_rounds_to_nearest_even)
{
    DType type = _i == 0 ? DT_F16 : DT_BF16;
    int digits = _i == 0 ? 10 : 7;
    uint32_t infinity = (0x7fffu >> digits) << digits;
    for (uint32_t bits = 0; bits < infinity; bits++) {
        double low = value_of((uint16_t)bits, digits);
        double high = bits + 1 < infinity ? value_of((uint16_t)(bits + 1), digits)
                                          : 2 * low - value_of((uint16_t)(bits - 1), digits);
        double middle = (low + high) / 2;
        uint32_t even = bits & 1 ? bits + 1 : bits;
        ck_assert_uint_eq(stored(type, low), bits);
        ck_assert_uint_eq(stored(type, -low), bits | 0x8000);
        ck_assert_msg(stored(type, middle) == even, "the middle above %04x", bits);
        ck_assert_msg(stored(type, nextafter(middle, -1)) == bits, "just below the middle above %04x", bits);
        ck_assert_msg(stored(type, nextafter(middle, INFINITY)) == bits + 1, "just above the middle above %04x", bits);
    }
    ck_assert_uint_eq(stored(type, INFINITY), infinity);
    ck_assert_uint_eq(stored(type, -INFINITY), infinity | 0x8000);
    ck_assert_uint_eq(stored(type, 1e300), infinity);
    ck_assert_uint_eq(stored(type, 1e-300), 0);
    ck_assert_uint_eq(stored(type, -0.0), 0x8000);
    ck_assert(isnan(value_of(stored(type, NAN), digits)));
}
END_TEST

START_TEST(names_and_sizes)
{
    static const struct {
        const char *name;
        size_t size;
        bool is_float;
    } want[DT_COUNT] = {
        {"f32", 4, true},  {"f16", 2, true},  {"bf16", 2, true},  {"f64", 8, true},
        {"i64", 8, false}, {"i32", 4, false}, {"bool", 1, false}, {"u8", 1, false},
    };
    DType t = (DType)_i, back;
    ck_assert_str_eq(dtype_name(t), want[_i].name);
    ck_assert_uint_eq(dtype_size(t), want[_i].size);
    ck_assert_int_eq(dtype_is_float(t), want[_i].is_float);
    ck_assert(dtype_from_name(want[_i].name, &back));
    ck_assert_int_eq(back, t);
    ck_assert(!dtype_from_name("F32", &back));
    ck_assert(!dtype_from_name("", &back));
}
END_TEST

/* get(set(x)) for values that every type holds; data is not aligned. */
START_TEST(elements_round_trip)
{
    DType t = (DType)_i;
    unsigned char bytes[8 * 5 + 1] = {0};
    HostTensor h = {.dtype = t, .rank = 1, .dims = {5}, .data = bytes + 1};
    for (int k = 0; k < 5; k++)
        host_set(&h, k, k & 1);
    for (int k = 0; k < 5; k++)
        ck_assert_double_eq(host_get(&h, k), k & 1);
    host_set(&h, 2, t == DT_BOOL ? 1 : 100);
    ck_assert_double_eq(host_get(&h, 2), t == DT_BOOL ? 1 : 100);
    ck_assert_double_eq(host_get(&h, 1), 1);
    ck_assert_double_eq(host_get(&h, 3), 1);
}
END_TEST

START_TEST(integers_saturate)
{
    static const struct {
        DType t;
        double value, want;
    } rows[] = {
        {DT_I32, 3e9, 2147483647},
        {DT_I32, -3e9, -2147483648.0},
        {DT_I32, -1.9, -1},
        {DT_I32, NAN, 0},
        {DT_U8, 300, 255},
        {DT_U8, -5, 0},
        {DT_I64, 1e300, 0x1p63},
        {DT_I64, -1e300, -0x1p63},
        {DT_BOOL, 0.5, 1},
        {DT_BOOL, -0.0, 0},
        {DT_I64, 9007199254740993, 9007199254740992},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t room = 0;
        HostTensor h = {.dtype = rows[i].t, .data = &room};
        host_set(&h, 0, rows[i].value);
        ck_assert_double_eq(host_get(&h, 0), rows[i].want);
    }
}
END_TEST

START_TEST(counts)
{
    HostTensor h = {.rank = 0};
    ck_assert_int_eq(host_count(&h), 1);
    h = (HostTensor){.rank = 3, .dims = {2, 3, 4}};
    ck_assert_int_eq(host_count(&h), 24);
    h = (HostTensor){.rank = 2, .dims = {0, 7}};
    ck_assert_int_eq(host_count(&h), 0);
    h = (HostTensor){.rank = 4, .dims = {65536, 65536, 65536, 65537}};
    ck_assert_int_eq(host_count(&h), -1);
    h = (HostTensor){.rank = 1, .dims = {-1}};
    ck_assert_int_eq(host_count(&h), -1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("element types");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, every_half_widens_to_its_value);
    tcase_add_loop_test(c, narrowing_rounds_to_nearest_even, 0, 2);
    tcase_add_loop_test(c, names_and_sizes, 0, DT_COUNT);
    tcase_add_loop_test(c, elements_round_trip, 0, DT_COUNT);
    tcase_add_test(c, integers_saturate);
    tcase_add_test(c, counts);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
