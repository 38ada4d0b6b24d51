/* Arena, growing text, and numbers as text. */
#include <check.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "support/text.h"

START_TEST(allocations_are_zeroed_aligned_and_apart)
{
    Arena a = {0};
    char *before = NULL;
    for (size_t size = 0; size < 3000; size += 7) {
        char *p = arena_alloc(&a, size);
        ck_assert_uint_eq((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < size; i++)
            ck_assert_int_eq(p[i], 0);
        memset(p, 0x5a, size);
        if (before && size > 7)
            ck_assert_int_eq(before[size - 8], 0x5a);
        before = p;
    }
    ck_assert_uint_ge(a.used, 3000u / 7 * 1500 / 2);
    arena_free(&a);
    ck_assert_ptr_null(a.blocks);
    ck_assert_uint_eq(a.used, 0);
    ck_assert_ptr_nonnull(arena_alloc(&a, 10));
    arena_free(&a);
}
END_TEST

START_TEST(large_requests_do_not_waste_the_current_block)
{
    Arena a = {0};
    char *small = arena_alloc(&a, 16);
    char *large = arena_alloc(&a, 10 << 20);
    memset(large, 1, 10 << 20);
    char *next = arena_alloc(&a, 16);
    ck_assert_int_eq(*small, 0);
    ck_assert_int_eq(*next, 0);
    arena_free(&a);
}
END_TEST

static void give_up(void *state)
{
    longjmp(*(jmp_buf *)state, 1);
}

START_TEST(impossible_sizes_reach_the_handler)
{
    const size_t counts[] = {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 8 + 1, (size_t)1 << 63};
    for (size_t i = 0; i < 4; i++) {
        jmp_buf back;
        Arena a = {.on_oom = give_up, .oom_state = &back};
        volatile bool reached = false;
        if (setjmp(back) == 0)
            arena_array(&a, counts[i], 8);
        else
            reached = true;
        ck_assert(reached);
        arena_free(&a);
    }
}
END_TEST

START_TEST(room_grows_and_keeps)
{
    Arena a = {0};
    int *items = NULL;
    size_t capacity = 0;
    for (int i = 0; i < 5000; i++) {
        items = arena_room(&a, items, (size_t)i, &capacity, sizeof *items);
        items[i] = i;
    }
    for (int i = 0; i < 5000; i++)
        ck_assert_int_eq(items[i], i);
    int *shorter = arena_grow(&a, items, 5000, 10, sizeof *items);
    ck_assert_int_eq(shorter[9], 9);
    ck_assert_str_eq(arena_copy(&a, "abcdef", 3), "abc");
    ck_assert_str_eq(arena_print(&a, "%s-%d", "x", 7), "x-7");
    arena_free(&a);
}
END_TEST

START_TEST(text_grows_and_pads)
{
    Arena a = {0};
    Text t = text_new(&a);
    ck_assert_str_eq(t.data, "");
    for (int i = 0; i < 1000; i++)
        text_add(&t, "%d,", i % 10);
    ck_assert_uint_eq(t.length, 2000);
    ck_assert_str_eq(t.data + 1996, "8,9,");
    text_char(&t, '\n');
    text_add(&t, "ab");
    ck_assert_uint_eq(text_column(&t), 2);
    text_pad(&t, 6);
    text_char(&t, '|');
    text_pad(&t, 3);
    ck_assert_str_eq(t.data + 2001, "ab    |");
    char *big = malloc(100001);
    memset(big, 'x', 100000);
    big[100000] = 0;
    text_add(&t, "%s", big);
    ck_assert_uint_eq(t.length, 2001 + 7 + 100000);
    free(big);
    arena_free(&a);
}
END_TEST

static const struct {
    double value;
    const char *text;
} doubles[] = {
    {0, "0"},
    {-0.0, "-0"},
    {1, "1"},
    {-12, "-12"},
    {0.1, "0.1"},
    {1e-5, "1e-05"},
    {1000000, "1000000"},
    {10000.0, "10000"},
    {0.5, "0.5"},
    {1e22, "1e+22"},
    {1.0 / 3, "0.3333333333333333"},
    {4503599627370497, "4503599627370497"},
    {5e-324, "5e-324"},
    {DBL_MAX, "1.7976931348623157e+308"},
    {INFINITY, "inf"},
    {-INFINITY, "-inf"},
    {NAN, "nan"},
    {0.1 + 0.2, "0.30000000000000004"},
    {2.5, "2.5"},
};

START_TEST(doubles_are_shortest)
{
    Arena a = {0};
    Text t = text_new(&a);
    text_double(&t, doubles[_i].value);
    ck_assert_str_eq(t.data, doubles[_i].text);
    arena_free(&a);
}
END_TEST

static const struct {
    float value;
    const char *text;
} floats[] = {
    {0.1f, "0.1"},    {1.0f / 3, "0.33333334"}, {16777216, "16777216"},     {3e7f, "3e+07"},
    {3e38f, "3e+38"}, {1e-45f, "1e-45"},        {FLT_MIN, "1.1754944e-38"}, {0.7071067811865476f, "0.70710677"},
    {100, "100"},     {-INFINITY, "-inf"},
};

START_TEST(floats_are_shortest)
{
    Arena a = {0};
    Text t = text_new(&a);
    text_float(&t, floats[_i].value);
    ck_assert_str_eq(t.data, floats[_i].text);
    arena_free(&a);
}
END_TEST

static uint64_t random_bits(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

START_TEST(numbers_read_back)
{
    uint64_t state = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        Arena a = {0};
        Text t = text_new(&a);
        uint64_t bits = random_bits(&state);
        double d;
        memcpy(&d, &bits, sizeof d);
        uint32_t half = (uint32_t)(bits >> 16);
        float f;
        memcpy(&f, &half, sizeof f);
        if (isfinite(d)) {
            text_double(&t, d);
            ck_assert_msg(strtod(t.data, NULL) == d, "%a printed as %s", d, t.data);
            ck_assert_uint_le(t.length, 24);
        }
        t = text_new(&a);
        if (isfinite(f)) {
            text_float(&t, f);
            ck_assert_msg(strtof(t.data, NULL) == f, "%a printed as %s", (double)f, t.data);
            ck_assert_uint_le(t.length, 16);
        }
        arena_free(&a);
    }
}
END_TEST

START_TEST(a_decimal_comma_changes_nothing)
{
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8"))
        return;
    Arena a = {0};
    Text t = text_new(&a);
    text_double(&t, 0.25);
    ck_assert_str_eq(t.data, "0.25");
    ck_assert_double_eq(text_to_double("0.25", NULL), 0.25);
    arena_free(&a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("arena and text");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, allocations_are_zeroed_aligned_and_apart);
    tcase_add_test(c, large_requests_do_not_waste_the_current_block);
    tcase_add_test(c, impossible_sizes_reach_the_handler);
    tcase_add_test(c, room_grows_and_keeps);
    tcase_add_test(c, text_grows_and_pads);
    tcase_add_loop_test(c, doubles_are_shortest, 0, sizeof doubles / sizeof *doubles);
    tcase_add_loop_test(c, floats_are_shortest, 0, sizeof floats / sizeof *floats);
    tcase_add_test(c, numbers_read_back);
    tcase_add_test(c, a_decimal_comma_changes_nothing);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
