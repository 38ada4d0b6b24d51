/* Studies: what is recommended, and how the numbers are shown. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "driver/study.h"

static Arena arena;
static Diags diags;
static Context cx;
static Study study;

static void add_layer(int64_t number, const double *measured /* [settings][2 heads] */)
{
    StudyLayer *l = study_layer(&study);
    *l = (StudyLayer){.number = number, .where = "layer <a & b>", .shape = {32, 32, true}, .heads = 2, .group = 3, .choice = -1};
    l->head = arena_array(&arena, 2, sizeof *l->head);
    for (int k = 0; k < study.n_settings; k++)
        for (int h = 0; h < 2; h++)
            l->head[h].of[k] = (HeadError){.query_norm = 1.5, .key_norm = 1.25, .predicted = 0.5 * pow(10, h), .measured = measured[2 * k + h],
                                           .variation = 0.125, .rows = 128};
}

static void begin(void)
{
    arena = (Arena){0};
    diags = (Diags){.arena = &arena};
    cx = (Context){.arena = &arena, .diags = &diags};
    study_begin(&study, &cx);
    study.model = "models/<llama>.attar";
    study.measured_on = "4 x 512 positions of held.txt";
    study.length = 2048;
    study.max_err = 0.2;
    ck_assert(study_setting(&study, false, 64, 0));
    ck_assert(study_setting(&study, false, 256, 0));
    ck_assert(study_setting(&study, true, 128, 64));
}

static void end(void) { arena_free(&arena); }

START_TEST(what_is_recommended)
{
    static const double good[] = {0.1, 0.15, 0.02, 0.03, 0.01, 0.01}, middling[] = {0.1, 0.3, 0.02, 0.1, 0.3, 0.3}, bad[] = {3, 4, 0.1, 2, 0.3, 0.1};
    add_layer(0, good);
    add_layer(1, good);
    add_layer(2, bad);
    add_layer(3, middling);
    add_layer(4, good);
    study_recommend(&study);
    ck_assert_int_eq(study.layers[0].choice, 0);
    ck_assert_int_eq(study.layers[2].choice, -1);
    ck_assert_int_eq(study.layers[3].choice, 1);
    const char **requests;
    ck_assert_int_eq(study_requests(&study, &requests), 2);
    ck_assert_str_eq(requests[0], "performer:features=64,layers=0-1+4,max_err=0.2");
    ck_assert_str_eq(requests[1], "performer:features=256,layers=3,max_err=0.2");
    ck_assert_ptr_null(study_annotation(&study));
    study.layers[3].choice = -1;
    ck_assert_str_eq(study_annotation(&study), "@linearize(performer, features=64, layers=[0-1, 4], max_err=0.2)");
    study.length = 128; /* nothing pays there */
    study_recommend(&study);
    ck_assert_int_eq(study_requests(&study, &requests), 0);
    ck_assert_ptr_null(study_annotation(&study));
    ck_assert_double_eq_tol(study_median(&study, &study.layers[2], 1), 1.05, 1e-12);
    ck_assert_double_eq_tol(study_worst(&study, &study.layers[2], 1), 2, 1e-12);
}
END_TEST

START_TEST(speed_and_state)
{
    static const double good[] = {0.1, 0.15, 0.02, 0.03, 0.01, 0.01};
    add_layer(0, good);
    for (int k = 0; k < study.n_settings; k++) {
        int64_t pays = study_pays(&study.layers[0], &study.settings[k]);
        ck_assert(study_speed(&study.layers[0], &study.settings[k], pays) > 1 && study_speed(&study.layers[0], &study.settings[k], pays - 16) <= 1);
    }
    ck_assert(study_state(&study.layers[0], &study.settings[0]) == 4 * 64 * 34);
    ck_assert(study_state(&study.layers[0], &study.settings[2]) == 4 * (128 * 33 + 128 * 65));
    while (study.n_settings < STUDY_SETTINGS)
        ck_assert(study_setting(&study, false, 8, 0));
    ck_assert(!study_setting(&study, false, 8, 0));
}
END_TEST

static void has(const char *text, const char *part) { ck_assert_msg(strstr(text, part), "`%s` is not in\n%s", part, text); }

static const char *shown(void (*show)(Study *, Text *))
{
    Text out = text_new(&arena);
    show(&study, &out);
    return out.data;
}

static void fill(void)
{
    static const double a[] = {0.1, 0.15, 0.02, 0.03, 0.01, 0.01}, b[] = {4.75, 12345678, 0.1, INFINITY, 0.3, 0.1};
    add_layer(0, a);
    add_layer(1, b);
    StudyLayer *l = study_layer(&study);
    l->number = 2;
    l->where = "decoder";
    l->refused = "its mask is a window";
    static StudyText texts[] = {{"0", {1.5, 1.25, NAN}}, {"all", {2.5, 2.25, 3}}};
    study.texts = texts;
    study.n_texts = 2;
    study.unit = "byte";
    study.exact_bits = 1.125;
    study_recommend(&study);
}

START_TEST(text_for_terminals)
{
    fill();
    const char *t = shown(study_print);
    has(t, "performer, features");
    has(t, "0.12/0.15*");
    has(t, "1e+07");
    has(t, "inf");
    has(t, "2        stays exact: its mask is a window");
    has(t, "exact: 1.125");
    has(t, "--linearize performer:features=64,layers=0,max_err=0.2");
    for (const char *line = t; *line; line = strchr(line, '\n') + 1)
        ck_assert_msg(strcspn(line, "\n") <= 132, "too long: %.140s", line);
}
END_TEST

/* Every element that is opened is closed, in order; nothing comes from elsewhere; names are escaped. */
START_TEST(page_of_html)
{
    fill();
    const char *page = shown(study_page), *open[32];
    int depth = 0;
    has(page, "models/&#60;llama&#62;.attar");
    has(page, "&#60;a &#38; b&#62;");
    has(page, "&infin;");
    ck_assert_ptr_null(strstr(page, "http"));
    ck_assert_ptr_null(strstr(page, "nan"));
    ck_assert_ptr_null(strstr(page, "src="));
    for (const char *at = strchr(page, '<'); at; at = strchr(at + 1, '<')) {
        size_t length = strcspn(at + 1, " >/");
        const char *close = strchr(at, '>');
        if (at[1] == '!' || !strncmp(at, "<meta", 5) || close[-1] == '/')
            continue;
        if (at[1] != '/') {
            ck_assert_int_lt(depth, 32);
            open[depth++] = at + 1;
            continue;
        }
        length = strcspn(at + 2, " >");
        ck_assert_msg(depth && !strncmp(open[depth - 1], at + 2, length) && strcspn(open[depth - 1], " >") == length, "%.60s", at);
        depth--;
    }
    ck_assert_int_eq(depth, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("study");
    TCase *tests = tcase_create("study");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, what_is_recommended);
    tcase_add_test(tests, speed_and_state);
    tcase_add_test(tests, text_for_terminals);
    tcase_add_test(tests, page_of_html);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
