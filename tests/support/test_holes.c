/* Keys with holes: what is a hole of the round and what of a stacked axis, filling them, ranges for messages. */
#include <check.h>
#include <string.h>

#include "support/holes.h"

START_TEST(holes_are_read)
{
    static const struct {
        const char *text;
        bool round;
        int64_t factor, offset;
    } cases[] = {{"a.{i}.b", true, 1, 0},   {"{i+3}", true, 1, 3},      {"x{2*i}", true, 2, 0},   {"{12*i+7}.w", true, 12, 7},
                 {"{i-1}", true, 1, -1},    {"{E}", false, 0, 0},       {"{index}", false, 0, 0}, {"{2*i+}", false, 0, 0},
                 {"{i+3x}", false, 0, 0},   {"{2*n+1}", false, 0, 0},   {"{}", false, 0, 0}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        Hole h;
        ck_assert(hole_next(cases[k].text, &h));
        ck_assert_msg(h.round == cases[k].round, "%s", cases[k].text);
        ck_assert_int_eq(*h.begin, '{');
        ck_assert_int_eq(h.end[-1], '}');
        ck_assert_int_eq(hole_of_round(cases[k].text), cases[k].round);
        ck_assert_int_eq(hole_of_stack(cases[k].text), !cases[k].round);
        if (h.round)
            ck_assert(h.factor == cases[k].factor && h.offset == cases[k].offset);
    }
    Hole h;
    ck_assert(!hole_next("model.norm.weight", &h));
    ck_assert(!hole_next("open.{i", &h));
    ck_assert(!hole_of_round("a.b") && !hole_of_stack("a.b"));
    ck_assert(hole_of_round("l.{i}.e.{E}") && hole_of_stack("l.{i}.e.{E}"));
}
END_TEST

START_TEST(holes_are_filled)
{
    Arena a = {0};
    static const struct {
        const char *key;
        int64_t round, position;
        const char *want;
    } cases[] = {{"w", 3, 4, "w"},
                 {"l.{i}.w", 3, 4, "l.3.w"},
                 {"l.{i+3}.e.{E}.w", 2, 17, "l.5.e.17.w"},
                 {"l.{2*i+1}.{i}.w", 4, -1, "l.9.4.w"},
                 {"l.{i}.e.{E}.w", -1, -1, "l.{i}.e.{E}.w"},
                 {"l.{i}.e.{E}", 2, -1, "l.2.e.{E}"},
                 {"{E}.l.{i}", -1, 0, "0.l.{i}"}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        ck_assert_str_eq(hole_fill(&a, cases[k].key, cases[k].round, cases[k].position), cases[k].want);
    ck_assert_str_eq(hole_ranges(&a, "l.{2*i+1}.e.{E}.w", 3, 8), "l.{1..5}.e.{0..7}.w");
    static const int64_t numbers[][2] = {{1, 0}, {1, 5}, {2, 0}, {3, 7}};
    for (int k = 0; k < 4; k++) {
        Hole h;
        ck_assert(hole_next(hole_print(&a, numbers[k][0], numbers[k][1]), &h));
        ck_assert(h.round && h.factor == numbers[k][0] && h.offset == numbers[k][1]);
    }
    arena_free(&a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("holes");
    TCase *c = tcase_create("all");
    tcase_add_test(c, holes_are_read);
    tcase_add_test(c, holes_are_filled);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
