/* Requests to linearize: what is read, what is refused and with which words. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "support/linearize.h"

static Arena arena;

static const struct {
    const char *text, *spelled;
} good[] = {
    {"performer", "performer:features=256,seed=0"},
    {"performer:seed=7,features=64", "performer:features=64,seed=7"},
    {"performer:trained", "performer:features=256,seed=0,trained"},
    {"performer:max_err=2e-2,layers=2-5", "performer:features=256,seed=0,layers=2-5,max_err=0.02"},
    {"performer:layers=0+2-5+9,heads=3", "performer:features=256,seed=0,layers=0+2-5+9,heads=3"},
    {"performer:seed=9223372036854775807", "performer:features=256,seed=9223372036854775807"},
    {"vq", "vq:codes=256,block=256,seed=0"},
    {"vq:codes=16,block=0,max_err=0.1", "vq:codes=16,block=0,seed=0,max_err=0.1"},
};

START_TEST(reads)
{
    LinearizeSpec s, again;
    const char *why = "";
    ck_assert_msg(linearize_read(&arena, good[_i].text, &s, &why), "%s: %s", good[_i].text, why);
    ck_assert_str_eq(s.text, good[_i].spelled);
    ck_assert(linearize_read(&arena, s.text, &again, &why));
    ck_assert_str_eq(again.text, s.text);
    arena_free(&arena);
}
END_TEST

static const struct {
    const char *text, *why;
} bad[] = {
    {"", "`performer` or `vq`, not ``"},
    {"performers", "not `performers`"},
    {"performer:", "nothing follows"},
    {"performer:features=0", "from 1 to 65536, not 0"},
    {"performer:features=-1", "from 1 to 65536, not -1"},
    {"performer:features=2147483648", "from 1 to 65536, not 2147483648"},
    {"performer:features=99999999999999999999", "from 1 to 65536"},
    {"performer:features=many", "a whole number known at compile time, not `many`"},
    {"performer:features=256.5", "not `256.5`"},
    {"performer:features", "needs a value"},
    {"performer:features=64,features=64", "given twice"},
    {"performer:feature=64", "did you mean `features`?"},
    {"performer:codes=64", "performer has no `codes`"},
    {"vq:features=64", "vq has no `features`"},
    {"vq:trained", "the codes of vq are made from the calibration's keys"},
    {"performer:seed=-1", "from 0 to"},
    {"performer:layers=5-2", "the range `5-2` is empty"},
    {"performer:layers=", "names none"},
    {"performer:layers=1+", "missing behind `+`"},
    {"performer:layers=-1", "`layers` is a whole number"},
    {"performer:max_err=0", "a number above 0"},
    {"performer:max_err=nan", "a number above 0"},
    {"performer:max_err=inf", "a number above 0"},
    {"performer:trained=yes", "takes no value"},
    {"performer:trained,max_err=0.1", "measures nothing"},
    {"performer:seed=1,", "nothing follows the last `,`"},
    {"performer:=3", "a key is missing"},
};

START_TEST(refuses)
{
    LinearizeSpec s;
    const char *why = NULL;
    ck_assert_msg(!linearize_read(&arena, bad[_i].text, &s, &why), "%s", bad[_i].text);
    ck_assert_ptr_nonnull(why);
    ck_assert_msg(strstr(why, bad[_i].why) != NULL, "%s: %s", bad[_i].text, why);
    arena_free(&arena);
}
END_TEST

START_TEST(what_is_meant)
{
    LinearizeSpec s;
    const char *why;
    ck_assert(linearize_read(&arena, "performer:layers=0+2-5", &s, &why));
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(linearize_in(&s.layers, i), i == 0 || (i >= 2 && i <= 5));
    ck_assert(linearize_in(&s.heads, 12));
    ck_assert(isnan(s.max_err));
    ck_assert_str_eq(linearize_setting(&arena, &s), "features=256, seed=0, layers=0+2-5");
    ck_assert_str_eq(linearize_pass(s.kind), "linearize-performer");
    arena_free(&arena);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("linearize");
    TCase *t = tcase_create("linearize");
    tcase_add_loop_test(t, reads, 0, sizeof good / sizeof *good);
    tcase_add_loop_test(t, refuses, 0, sizeof bad / sizeof *bad);
    tcase_add_test(t, what_is_meant);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
