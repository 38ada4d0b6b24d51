/* Nothing is approximated without being asked, and what is shows in the emitted C, in attar.h and in the exit status. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "driver/compile.h"
#include "runtime/attar.h"

static const CompileOptions options = {
    .model = SOURCE_DIR "/models/bert.attar", .weights = SOURCE_DIR "/tests/golden/bert", .threads = 1};

static void load(Compilation *c)
{
    compile_begin(c);
    ck_assert(compile_load(c, &options) && compile_passes(c, &options));
}

START_TEST(not_asked)
{
    Compilation c;
    load(&c);
    ck_assert(compile_emit(&c, &options));
    ck_assert_uint_eq(c.approximations.count, 0);
    ck_assert_ptr_null(strstr(c.emitted.text, "APPROXIMATED"));
    for (int i = 0; i < pipeline_length; i++)
        ck_assert(!c.times[i].changed || pass_info[pipeline[i].id].kind != PASS_APPROX);
    compile_free(&c);

    attar_options o = {.model = options.model, .weights = options.weights, .threads = 1};
    attar_model *m = NULL;
    attar_approximation a;
    ck_assert_int_eq(attar_compile(&o, &m, NULL), ATTAR_OK);
    ck_assert_int_eq(attar_approximation_count(m), 0);
    ck_assert(!attar_approximation_at(m, 0, &a) && !attar_approximation_at(m, -1, &a));
    attar_model_free(m);
}
END_TEST

START_TEST(in_the_header)
{
    Compilation c;
    load(&c);
    Approximation *a = approximation_add(&c.approximations, "lowrank", "up", "rank=4");
    a->measured = 0.015625;
    a->bound = 0.1;
    ck_assert(compile_emit(&c, &options));
    const char *line = strstr(c.emitted.text, "APPROXIMATED"), *end = strstr(c.emitted.text, "*/");
    ck_assert_ptr_nonnull(line);
    ck_assert(line < end);
    ck_assert_ptr_nonnull(strstr(line, "lowrank of up (rank=4): error 0.0156 measured; bound 0.1000"));
    compile_free(&c);
}
END_TEST

START_TEST(over_its_bound)
{
    Compilation c;
    load(&c);
    Approximation *a = approximation_add(&c.approximations, "lowrank", "up", "rank=4");
    a->measured = 0.2;
    a->bound = 0.1;
    ck_assert(!compile_emit(&c, &options));
    ck_assert_ptr_null(c.emitted.text);
    ck_assert_str_eq(c.diags.first->code, "E0901");
    ck_assert_int_eq(diag_exit_status(&c.diags), 1);
    compile_free(&c);
}
END_TEST

/* The same through attar.h: what is asked for is told, and what is over its bound is refused. */
START_TEST(through_the_interface)
{
    const char *asked[] = {"vq:codes=8,block=0,max_err=2", NULL}, *too_little[] = {"vq:codes=2,block=0,max_err=0.001", NULL};
    attar_options o = {.model = options.model,
                       .weights = options.weights,
                       .threads = 1,
                       .linearize = asked,
                       .calibrate = SOURCE_DIR "/tests/golden/bert/golden.safetensors"};
    attar_model *m = NULL;
    attar_error error = {0};
    ck_assert_msg(attar_compile(&o, &m, &error) == ATTAR_OK, "%s", error.message ? error.message : "");
    ck_assert_int_eq(attar_approximation_count(m), 2);
    for (int i = 0; i < 2; i++) {
        attar_approximation a;
        ck_assert(attar_approximation_at(m, i, &a));
        ck_assert_str_eq(a.kind, "linearize-vq");
        ck_assert_str_eq(a.setting, "codes=8, block=0, seed=0");
        ck_assert_double_eq(a.bound, 2);
        ck_assert(a.measured > 0.05 && a.measured < 1 && isnan(a.predicted));
        ck_assert_ptr_nonnull(strstr(a.measured_on, "golden.safetensors"));
    }
    attar_model_free(m);
    o.linearize = too_little;
    ck_assert_int_eq(attar_compile(&o, &m, &error), ATTAR_MODEL);
    ck_assert_ptr_nonnull(strstr(error.message, "E0901"));
    attar_error_clear(&error);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("approximate");
    TCase *t = tcase_create("approximate");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, not_asked);
    tcase_add_test(t, in_the_header);
    tcase_add_test(t, over_its_bound);
    tcase_add_test(t, through_the_interface);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
