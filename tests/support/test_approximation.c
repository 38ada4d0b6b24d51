/* Records of approximations: when one is over its bound, what is said of it, for people and for programs. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "support/approximation.h"

static Arena arena;

static Approximations fresh(void)
{
    return (Approximations){.arena = &arena};
}

static Approximation *add(Approximations *all, const char *where, double measured, double bound)
{
    Approximation *a = approximation_add(all, "linearize-performer", where, "features=256, seed=7");
    a->error = "relative error of the output";
    a->measured = measured;
    a->bound = bound;
    a->bound_name = "max_err";
    return a;
}

START_TEST(over_its_bound)
{
    Approximations all = fresh();
    Approximation *a = approximation_add(&all, "lowrank", "up", "rank=4");
    ck_assert(!approximation_over(a)); /* nothing was promised */
    a->bound = 0.5;
    ck_assert(approximation_over(a)); /* a promise, and no figure for it */
    a->predicted = 0.4;
    ck_assert(!approximation_over(a));
    a->measured = 0.6; /* what was measured counts more than what was predicted */
    ck_assert(approximation_over(a));
    a->measured = 0.5;
    ck_assert(!approximation_over(a));
    a->measured = INFINITY;
    ck_assert(approximation_over(a));
    arena_free(&arena);
}
END_TEST

START_TEST(one_error_for_a_request)
{
    Approximations all = fresh();
    Diags d = {.arena = &arena};
    ck_assert(approximations_check(&d, &all));
    add(&all, "layer.0", 0.01, 0.02);
    ck_assert(approximations_check(&d, &all));
    ck_assert_int_eq(d.errors, 0);
    for (int i = 1; i < 9; i++)
        add(&all, arena_print(&arena, "layer.%d", i), 0.02 + 0.01 * i, 0.02)->help = "features=1024 gives 0.013";
    Approximation *other = approximation_add(&all, "lowrank", "up", "rank=4");
    other->bound = 0.1;
    other->predicted = 0.2;
    ck_assert(!approximations_check(&d, &all));
    ck_assert_int_eq(d.errors, 2);
    ck_assert_int_eq(diag_exit_status(&d), 1);
    Text text = text_new(&arena);
    diag_render(&d, &text, false);
    ck_assert_ptr_nonnull(strstr(text.data, "error[E0901]: `linearize-performer` (features=256, seed=7) exceeds its bound: max_err = 0.0200"));
    const char *worst = strstr(text.data, "layer.8: relative error of the output 0.1000 measured");
    ck_assert_ptr_nonnull(worst);
    ck_assert(strstr(text.data, "layer.7: ") > worst);
    ck_assert_ptr_null(strstr(text.data, "layer.3: "));
    ck_assert_ptr_nonnull(strstr(text.data, "and 3 more"));
    ck_assert_ptr_nonnull(strstr(text.data, "features=1024 gives 0.013"));
    ck_assert_ptr_nonnull(strstr(text.data, "`lowrank` (rank=4)"));
    arena_free(&arena);
}
END_TEST

START_TEST(what_is_said)
{
    Approximations all = fresh();
    Approximation *a = add(&all, "layer \"0\"", 0.0123, 0.02);
    a->predicted = 1e-5;
    a->measured_on = "64 rows of calib.safetensors";
    Text text = text_new(&arena);
    approximation_print(a, &text);
    ck_assert_str_eq(text.data, "linearize-performer of layer \"0\" (features=256, seed=7): relative error of the output 0.0123 measured on "
                                "64 rows of calib.safetensors, 1.00e-05 predicted; max_err 0.0200");
    a->measured = 0.5;
    text = text_new(&arena);
    approximation_print(a, &text);
    ck_assert_ptr_nonnull(strstr(text.data, "max_err 0.0200 EXCEEDED"));
    text = text_new(&arena);
    a->predicted = INFINITY;
    approximation_json(a, "m", &text);
    json_t *json = json_loads(text.data, 0, NULL);
    ck_assert_ptr_nonnull(json);
    ck_assert_str_eq(json_string_value(json_object_get(json, "where")), "layer \"0\"");
    ck_assert_double_eq(json_real_value(json_object_get(json, "measured")), 0.5);
    ck_assert(json_is_null(json_object_get(json, "predicted")));
    ck_assert(json_is_true(json_object_get(json, "over")));
    json_decref(json);
    arena_free(&arena);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("approximation");
    TCase *t = tcase_create("approximation");
    tcase_add_test(t, over_its_bound);
    tcase_add_test(t, one_error_for_a_request);
    tcase_add_test(t, what_is_said);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
