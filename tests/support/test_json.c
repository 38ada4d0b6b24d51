/* JSON: what is accepted, what is refused, and where the message points. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/json.h"

typedef struct Sample {
    const char *text;
    size_t size;
} Sample;
#define S(text) {text, sizeof text - 1}

static const Sample good[] = {
    S("[]"),
    S("{}"),
    S("[[]   ]"),
    S("[\"\"]"),
    S(" [1] "),
    S("[1\n]"),
    S("\t[1]\r\n"),
    S("null"),
    S("true"),
    S("\"asd\""),
    S("42"),
    S("-0.1"),
    S("\"\""),
    S("[null, 1, \"1\", {}]"),
    S("[false]"),
    S("[ 4]"),
    S("[-0]"),
    S("[-123]"),
    S("[-1]"),
    S("[20e1]"),
    S("[0e+1]"),
    S("[0e1]"),
    S("[1E22]"),
    S("[1E-2]"),
    S("[1E+2]"),
    S("[123e45]"),
    S("[123.456e78]"),
    S("[1e-2]"),
    S("[1e+2]"),
    S("[123]"),
    S("[123.456789]"),
    S("[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]"),
    S("[9223372036854775807]"),
    S("[-9223372036854775808]"),
    S("{\"asd\":\"sdf\", \"dfg\":\"fgh\"}"),
    S("{\"asd\":\"sdf\"}"),
    S("{\"\":0}"),
    S("{\"min\": -1.0e+28, \"max\": 1.0e+28}"),
    S("{\"a\":[]}"),
    S("{\n\"a\": \"b\"\n}"),
    S("{\"x\":[{\"id\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}], \"id\": "
      "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}"),
    S("[\"\\u0060\\u012a\\u12AB\"]"),
    S("[\"\\uD801\\udc37\"]"),
    S("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"),
    S("[\"\\\\u0000\"]"),
    S("[\"a/*b*/c/*d//e\"]"),
    S("[\"\\\\a\"]"),
    S("[\"\\\\n\"]"),
    S("[\"\\u0012\"]"),
    S("[\"\\uFFFF\"]"),
    S("[ \"asd\"]"),
    S("[\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"]"),
    S("[\"\x7f\"]"),
    S("[\"\\u0061\\u30af\\u30EA\\u30b9\"]"),
    S("[\"new\\u00A0line\"]"),
    S("[\"\\u0821\"]"),
    S("[\"\\u200B\"]"),
    S("[\"[{[\"]"),
    S("[\"}]\\\"[\"]"),
};

static const Sample bad[] = {
    S(""),
    S(" "),
    S("["),
    S("]"),
    S("[1"),
    S("[1 true]"),
    S("[\"\": 1]"),
    S("[\"\"],"),
    S("[,1]"),
    S("[1,,2]"),
    S("[\"x\",,]"),
    S("[\"x\"]]"),
    S("[\"\",]"),
    S("[\"x\""),
    S("[x"),
    S("[3[4]]"),
    S("[1:2]"),
    S("[,]"),
    S("[-]"),
    S("[   , \"\"]"),
    S("[1,]"),
    S("[*]"),
    S("[1,\n1\n,1"),
    S("[{}"),
    S("[fals]"),
    S("[nul]"),
    S("[tru]"),
    S("123\0"),
    S("[++1234]"),
    S("[+1]"),
    S("[+Inf]"),
    S("[-01]"),
    S("[-1.0.]"),
    S("[-2.]"),
    S("[-NaN]"),
    S("[.-1]"),
    S("[.2e-3]"),
    S("[0.1.2]"),
    S("[0.3e+]"),
    S("[0.3e]"),
    S("[0.e1]"),
    S("[0E+]"),
    S("[0E]"),
    S("[0e]"),
    S("[1.0e+]"),
    S("[1.0e-]"),
    S("[1 000.0]"),
    S("[1eE2]"),
    S("[2.e+3]"),
    S("[2.e3]"),
    S("[9.e+]"),
    S("[Inf]"),
    S("[NaN]"),
    S("[Infinity]"),
    S("[-Infinity]"),
    S("[0x1]"),
    S("[0x42]"),
    S("[1+2]"),
    S("[- 1]"),
    S("[-012]"),
    S("[-.123]"),
    S("[1ea]"),
    S("[1.]"),
    S("[.123]"),
    S("[1.2a-3]"),
    S("[1.8011670033376514H-308]"),
    S("[012]"),
    S("[\"x\", truth]"),
    S("{[: \"x\"}"),
    S("{\"x\", null}"),
    S("{\"x\"::\"b\"}"),
    S("{\"a\":\"a\" 123}"),
    S("{key: 'value'}"),
    S("{\"a\" b}"),
    S("{:\"b\"}"),
    S("{\"a\""),
    S("{\"a\":"),
    S("{1:1}"),
    S("{9999E9999:1}"),
    S("{null:null,null:null}"),
    S("{\"id\":0,,,,,}"),
    S("{'a':0}"),
    S("{\"id\":0,}"),
    S("{\"a\":\"b\"}/**/"),
    S("{\"a\":\"b\"}#"),
    S("{\"a\":\"b\",,\"c\":\"d\"}"),
    S("{a: \"b\"}"),
    S("{\"a\":\"a"),
    S("{ \"foo\" : \"bar\", \"a\" }"),
    S("{\"a\":\"b\"}#{}"),
    S("[\"\\uD800\\\"]"),
    S("[\"\\uD800\\u\"]"),
    S("[\"\\uD800\\u1\"]"),
    S("[\"\\x00\"]"),
    S("[\"\\\\\\\"]"),
    S("[\"\\\t\"]"),
    S("[\"\\\"]"),
    S("[\"\\u00A\"]"),
    S("[\"\\uD834\\uDd\"]"),
    S("[\"\\uD800\\uD800\\x\"]"),
    S("[\"\\a\"]"),
    S("[\"\\uqqqq\"]"),
    S("[\\u0020\"asd\"]"),
    S("[\\n]"),
    S("\""),
    S("['single quote']"),
    S("abc"),
    S("[\"a\0a\"]"),
    S("[\"new\nline\"]"),
    S("[\"\t\"]"),
    S("\"\\UA66D\""),
    S("\"\"x"),
    S("<.>"),
    S("[<null>]"),
    S("[1]x"),
    S("[1]]"),
    S("[][]"),
    S("{}}"),
    S("[True]"),
    S("1]"),
    S("{\"x\": true,"),
    S("[[]"),
    S("2@"),
    S("{}#"),
    S("\xef\xbb\xbf{}"),
    S("\xef\xbb"),
    S("[\xe2\x81\xa0]"),
    S("[\f]"),
    S("\xc3\xa5"),
    S("\"\xff\""),
    S("[\"\xed\xa0\x80\"]"),
    S("[\"\xc0\xaf\"]"),
    S("[\"\xf4\x90\x80\x80\"]"),
    S("[\"\xe6\x97\xa5\xd1\xfa\"]"),
    S("[\"\xe0\x80\x80\"]"),
    S("{\"a\":1,\"a\":2}"),
    S("{\"a\":1,\"\\u0061\":2}"),
    S("{\"\\u0000\":1}"),
    S("{\"a\\u0000b\":1}"),
    S("[\"\\u0000\"]"),
    S("[\"\\uD888\\u1234\"]"),
    S("[\"\\uDADA\"]"),
    S("[\"\\uDd1e\\uD834\"]"),
    S("[1e400]"),
    S("[-1e+9999]"),
    S("[9223372036854775808]"),
    S("[-9223372036854775809]"),
    S("[1]\0"),
    S("[]\0[]"),
    S("[100000000000000000000]"),
    S("[1\0]"),
    S("[1\0,2]"),
    S("[\0]"),
};

static json_t *read_sample(Diags *d, Sample s)
{
    char *exact = malloc(s.size + 1); /* nothing readable behind the text */
    memcpy(exact, s.text, s.size);
    json_t *root = json_read_text(d, "E0590", "x.json", exact, s.size, 16);
    free(exact);
    return root;
}

START_TEST(good_text_is_read)
{
    Arena a = {0};
    Diags d = {.arena = &a};
    json_t *root = read_sample(&d, good[_i]);
    ck_assert_msg(root != NULL, "%s: %s", good[_i].text, d.first ? d.first->message : "");
    ck_assert_ptr_null(d.first);
    json_decref(root);
    arena_free(&a);
}
END_TEST

START_TEST(bad_text_is_refused_with_one_message)
{
    Arena a = {0};
    Diags d = {.arena = &a};
    ck_assert_msg(!read_sample(&d, bad[_i]), "%s", bad[_i].text);
    ck_assert_int_eq(d.errors, 1);
    ck_assert_str_eq(d.first->code, "E0590");
    ck_assert_str_eq(d.first->file, "x.json");
    for (const char *c = d.first->message; *c; c++)
        ck_assert_int_ge((unsigned char)*c, ' ');
    arena_free(&a);
}
END_TEST

static json_t *nested(Diags *d, const char *open, const char *inside, const char *close, int levels, int max)
{
    Text t = text_new(d->arena);
    for (int i = 0; i < levels; i++)
        text_add(&t, "%s", open);
    text_add(&t, "%s", inside);
    for (int i = 0; i < levels; i++)
        text_add(&t, "%s", close);
    return json_read_text(d, "E0590", "deep.json", t.data, t.length, max);
}

START_TEST(depth_is_bounded)
{
    Arena a = {0};
    Diags d = {.arena = &a};
    json_t *root = nested(&d, "[", "", "]", 8, 8);
    ck_assert_ptr_nonnull(root);
    json_decref(root);
    root = nested(&d, "{\"[[[[\":", "1", "}", 8, 8); /* brackets in strings do not count */
    ck_assert_ptr_nonnull(root);
    json_decref(root);
    ck_assert_ptr_null(nested(&d, "[", "", "]", 9, 8));
    ck_assert_str_eq(d.first->message, "JSON nested deeper than 8 levels");
    ck_assert_str_eq(d.first->where, "line 1, column 9");
    ck_assert_ptr_null(nested(&d, "[\n", "", "", 1000000, 8));
    ck_assert_str_eq(d.last->where, "line 9, column 1");
    ck_assert_ptr_null(nested(&d, "{\"a\":", "", "", 100000, 8));
    arena_free(&a);
}
END_TEST

START_TEST(places_are_named)
{
    Arena a = {0};
    Diags d = {.arena = &a};
    ck_assert_ptr_null(json_read_text(&d, "E0590", "config.json", "{\n  \"a\": 1,\n  \"b\": }\n", 21, 4));
    ck_assert_msg(strncmp(d.first->where, "line 3, ", 8) == 0, "%s", d.first->where);
    ck_assert_ptr_null(json_read_text(&d, "E0590", "config.json", "{\"k\":1,\n\"k\":2}", 14, 4));
    ck_assert_msg(strstr(d.last->message, "duplicate") != NULL, "%s", d.last->message);
    ck_assert_msg(strncmp(d.last->where, "line 2, ", 8) == 0, "%s", d.last->where);
    arena_free(&a);
}
END_TEST

START_TEST(whole_and_real_stay_apart)
{
    Arena a = {0};
    Diags d = {.arena = &a};
    static const char text[] =
        "{\"n\": 32, \"r\": 32.0, \"deep\": {\"er\": {\"x\": true}}, \"nothing\": null, \"list\": [1]}";
    json_t *root = json_read_text(&d, "E0590", "c", text, sizeof text - 1, 8);
    ck_assert(json_is_integer(json_at(root, "n")));
    ck_assert(json_is_real(json_at(root, "r")));
    ck_assert(json_is_true(json_at(root, "deep.er.x")));
    ck_assert_ptr_null(json_at(root, "deep.er.y"));
    ck_assert_ptr_null(json_at(root, "deep.er.x.z"));
    ck_assert_ptr_null(json_at(root, "nothing"));
    ck_assert_ptr_null(json_at(root, "nothing.at"));
    ck_assert_ptr_null(json_at(root, "list.0"));
    ck_assert_ptr_null(json_at(root, "absent"));
    ck_assert_ptr_null(json_at(NULL, "absent"));
    ck_assert_ptr_eq(json_at(root, ""), root);
    json_decref(root);
    arena_free(&a);
}
END_TEST

START_TEST(files_are_bounded)
{
    Arena a = {0};
    Diags d = {.arena = &a};
    char folder[] = "/tmp/attar-json-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    const char *file = arena_print(&a, "%s/x.json", folder), *fifo = arena_print(&a, "%s/fifo", folder);
    FILE *f = fopen(file, "w");
    fputs("{\"a\": [1, 2, 3]}", f);
    fclose(f);
    json_t *root = json_read_file(&d, "E0590", file, 16, 4);
    ck_assert_ptr_nonnull(root);
    json_decref(root);
    ck_assert_ptr_null(json_read_file(&d, "E0590", file, 15, 4));
    ck_assert_str_eq(d.last->message, "too large: 16 bytes, at most 15 are allowed");
    ck_assert_ptr_null(json_read_file(&d, "E0590", folder, 15, 4));
    ck_assert_str_eq(d.last->message, "not a regular file");
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    ck_assert_ptr_null(json_read_file(&d, "E0590", fifo, 15, 4));
    ck_assert_str_eq(d.last->message, "not a regular file");
    unlink(fifo);
    unlink(file);
    ck_assert_ptr_null(json_read_file(&d, "E0590", file, 15, 4));
    ck_assert_str_eq(d.last->message, "cannot be opened: No such file or directory");
    rmdir(folder);
    arena_free(&a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("json");
    TCase *c = tcase_create("all");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, good_text_is_read, 0, sizeof good / sizeof *good);
    tcase_add_loop_test(c, bad_text_is_refused_with_one_message, 0, sizeof bad / sizeof *bad);
    tcase_add_test(c, depth_is_bounded);
    tcase_add_test(c, places_are_named);
    tcase_add_test(c, whole_and_real_stay_apart);
    tcase_add_test(c, files_are_bounded);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
