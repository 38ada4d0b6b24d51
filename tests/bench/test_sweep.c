/* The sweep's shapes: always the same, of every kind that it promises, and models that read as sound. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "bench/sweep.h"

START_TEST(the_same_again)
{
    char first[160], again[160];
    for (uint64_t i = 0; i < 50; i++) {
        Shape a = shape_draw(7, i), b = shape_draw(7, i);
        shape_show(&a, first, sizeof first);
        shape_show(&b, again, sizeof again);
        ck_assert_str_eq(first, again);
    }
}
END_TEST

START_TEST(odd_sizes_are_among_them)
{
    int head80 = 0, ffn1000 = 0, s37 = 0, batch3 = 0, five_over_one = 0, v50257 = 0;
    for (uint64_t i = 0; i < 200; i++) {
        Shape s = shape_draw(7, i);
        head80 += s.K == 80;
        ffn1000 += s.F == 1000;
        s37 += s.S == 37;
        batch3 += s.B == 3;
        five_over_one += s.H == 5 && s.G == 1;
        v50257 += s.V == 50257;
        ck_assert_int_eq(s.H % s.G, 0);
    }
    ck_assert(head80 && ffn1000 && s37 && batch3 && five_over_one && v50257);
}
END_TEST

START_TEST(models_are_sound)
{
    ShapeFiles files;
    Compilation c;
    compile_begin(&c);
    Shape s = shape_draw(7, (uint64_t)_i);
    s.layers = 1 + _i % 3;
    ck_assert(shape_write(&c.cx, &s, &files));
    CompileOptions o = {.model = files.model, .weights = files.weights};
    bool good = compile_load(&c, &o) && compile_passes(&c, &o) && compile_emit(&c, &o);
    Text t = text_new(&c.arena);
    diag_render(&c.diags, &t, false);
    shape_remove(&files);
    ck_assert_msg(good, "%s", t.data);
    compile_free(&c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sweep");
    TCase *cases = tcase_create("sweep");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, the_same_again);
    tcase_add_test(cases, odd_sizes_are_among_them);
    tcase_add_loop_test(cases, models_are_sound, 0, 24);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? 1 : 0;
}
