/* Diagnostics: the rendered text to the letter, order, limits, JSON, exit status, and the table of codes. */
#include <check.h>
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/diag.h"

typedef struct Bench {
    Arena arena;
    Diags diags;
} Bench;

static void setup(Bench *b)
{
    memset(b, 0, sizeof *b);
    b->diags.arena = &b->arena;
}

static Source source_of(const char *path, const char *text)
{
    return (Source){path, text, strlen(text)};
}

/* The span of the n-th occurrence (from 0) of `part`. */
static Span find(const Source *s, const char *part, int n)
{
    const char *at = strstr(s->text, part);
    while (at && n-- > 0)
        at = strstr(at + 1, part);
    ck_assert_ptr_nonnull(at);
    uint32_t begin = (uint32_t)(at - s->text);
    return (Span){s, begin, begin + (uint32_t)strlen(part)};
}

static void check_text(Bench *b, const char *want)
{
    Text t = text_new(&b->arena);
    diag_render(&b->diags, &t, false);
    ck_assert_str_eq(t.data, want);
    arena_free(&b->arena);
}

static const char llama[] = "\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n"
                            "  q = linear(x, \"q_proj\", (H, D)) |> rope(pos, theta, scaling)\n\n\n\n"
                            "  a = attention(q, k, v, mask=causal & window(win))\n";

START_TEST(labels_on_two_lines)
{
    Bench b;
    setup(&b);
    Source s = source_of("llama.attar", llama);
    Diag *d =
        diag_error(&b.diags, "E0101", find(&s, "q, k", 0), "`attention` needs `q` and `k` to share their last axis");
    d->at.end = d->at.begin + 1;
    diag_caret(d, "f32[B, S, H=32, D=4096]");
    diag_label(d, find(&s, "D", 0), "`q` gets the axis `D` = 4096 here");
    Span k = find(&s, "k, v", 0);
    k.end = k.begin + 1;
    diag_label(d, k, "f32[B, T, G=8, K=128]");
    diag_help(d, "did you mean `(H, K)` on line 16?");
    diag_note(d, "first line\nsecond line");
    check_text(&b, "error[E0101]: `attention` needs `q` and `k` to share their last axis\n"
                   "  --> llama.attar:20:17\n"
                   "   |\n"
                   "16 |   q = linear(x, \"q_proj\", (H, D)) |> rope(pos, theta, scaling)\n"
                   "   |                               - `q` gets the axis `D` = 4096 here\n"
                   "20 |   a = attention(q, k, v, mask=causal & window(win))\n"
                   "   |                 ^  - f32[B, T, G=8, K=128]\n"
                   "   |                 |\n"
                   "   |                 f32[B, S, H=32, D=4096]\n"
                   "   = note: first line\n"
                   "           second line\n"
                   "   = help: did you mean `(H, K)` on line 16?\n");
}
END_TEST

START_TEST(three_labels_on_a_line)
{
    Bench b;
    setup(&b);
    Source s = source_of("m.attar", "y = a + b + c\n");
    Diag *d = diag_error(&b.diags, "E0101", find(&s, "a", 0), "three");
    diag_caret(d, "one");
    diag_label(d, find(&s, "b", 0), "two");
    diag_label(d, find(&s, "c", 0), "three");
    diag_label(d, find(&s, "y", 0), "zero");
    check_text(&b, "error[E0101]: three\n"
                   "  --> m.attar:1:5\n"
                   "   |\n"
                   " 1 | y = a + b + c\n"
                   "   | -   ^   -   - three\n"
                   "   | |   |   |\n"
                   "   | |   |   two\n"
                   "   | |   one\n"
                   "   | zero\n");
}
END_TEST

START_TEST(nested_and_equal_spans)
{
    Bench b;
    setup(&b);
    Source s = source_of("m.attar", "y = foo(bar)\n");
    Diag *d = diag_warning(&b.diags, "W0701", find(&s, "foo(bar)", 0), "nested");
    diag_caret(d, "outer");
    diag_label(d, find(&s, "bar", 0), "inner");
    check_text(&b, "warning[W0701]: nested\n"
                   "  --> m.attar:1:5\n"
                   "   |\n"
                   " 1 | y = foo(bar)\n"
                   "   |     ^^^^^^^^\n"
                   "   |     |   |\n"
                   "   |     |   inner\n"
                   "   |     outer\n");
}
END_TEST

START_TEST(far_lines_are_elided)
{
    Bench b;
    setup(&b);
    Source s = source_of("m.attar", "a\nb\nc\nd\ne\nf\ng\nh\n");
    Diag *d = diag_error(&b.diags, "E0101", find(&s, "h", 0), "far");
    diag_label(d, find(&s, "a", 0), "first");
    diag_label(d, find(&s, "f", 0), "second");
    check_text(&b, "error[E0101]: far\n"
                   "  --> m.attar:8:1\n"
                   "   |\n"
                   " 1 | a\n"
                   "   | - first\n"
                   " 6 | f\n"
                   "   | - second\n"
                   " 8 | h\n"
                   "   | ^\n");
    setup(&b);
    d = diag_error(&b.diags, "E0101", find(&s, "h", 0), "far");
    diag_label(d, find(&s, "b", 0), NULL);
    check_text(&b, "error[E0101]: far\n"
                   "  --> m.attar:8:1\n"
                   "   |\n"
                   " 2 | b\n"
                   "   | -\n"
                   "...\n"
                   " 8 | h\n"
                   "   | ^\n");
}
END_TEST

START_TEST(columns_of_tabs_wide_and_combining)
{
    Bench b;
    setup(&b);
    Source s = source_of("m.attar", "\tx\t= \"日本\" # e\xcc\x81 y\n");
    Diag *d = diag_error(&b.diags, "E0101", find(&s, "\"日本\"", 0), "wide");
    diag_caret(d, "here");
    diag_label(d, find(&s, "x", 0), "name");
    diag_error(&b.diags, "E0101", find(&s, "y", 0), "combining");
    check_text(&b, "error[E0101]: wide\n"
                   "  --> m.attar:1:6\n"
                   "   |\n"
                   " 1 |     x   = \"日本\" # e\xcc\x81 y\n"
                   "   |     -     ^^^^^^ here\n"
                   "   |     |\n"
                   "   |     name\n"
                   "\n"
                   "error[E0101]: combining\n"
                   "  --> m.attar:1:16\n"
                   "   |\n"
                   " 1 |     x   = \"日本\" # e\xcc\x81 y\n"
                   "   |                      ^\n");
}
END_TEST

START_TEST(nothing_dangerous_reaches_the_terminal)
{
    Bench b;
    setup(&b);
    Source s = source_of("m\x1b[31m.attar", "a \x1b[1m b \xff c \xe2\x80\xae d\n");
    diag_error(&b.diags, "E0101", find(&s, "d", 0), "message \x07 with \xe2\x80\xae and \xc0\xaf");
    check_text(&b, "error[E0101]: message ? with ? and ??\n"
                   "  --> m?[31m.attar:1:16\n"
                   "   |\n"
                   " 1 | a ?[1m b ? c ? d\n"
                   "   |                ^\n");
}
END_TEST

START_TEST(long_lines_are_windowed)
{
    Bench b;
    setup(&b);
    char line[1001];
    memset(line, 'x', 1000);
    line[1000] = 0;
    memcpy(line + 500, "HERE", 4);
    memcpy(line + 520, "THERE", 5);
    Source s = source_of("m.attar", line);
    Diag *d = diag_error(&b.diags, "E0101", find(&s, "HERE", 0), "long");
    diag_caret(d, "one");
    diag_label(d, find(&s, "THERE", 0), "two");
    Text t = text_new(&b.arena);
    diag_render(&b.diags, &t, false);
    for (char *l = strtok(t.data, "\n"); l; l = strtok(NULL, "\n"))
        ck_assert_uint_le(strlen(l), 5 + 6 + 120);
    arena_free(&b.arena);
    setup(&b);
    d = diag_error(&b.diags, "E0101", (Span){&s, 990, 1000}, "end");
    t = text_new(&b.arena);
    diag_render(&b.diags, &t, false);
    const char *last = strrchr(t.data, '|');
    ck_assert_uint_eq(strcspn(last, "^"), 1 + 4 + 110);
    ck_assert_uint_eq(strspn(last + 115, "^"), 10);
    arena_free(&b.arena);
}
END_TEST

START_TEST(files_and_several_sources)
{
    Bench b;
    setup(&b);
    Source s = source_of("m.attar", "y = softmax(x)\r\n"), std = source_of("std.attar", "one\ntwo\n");
    diag_file_error(&b.diags, "E0590", "config.json", "line 3, column 4", "not valid JSON");
    diag_file_error(&b.diags, "E0590", "config.json", NULL, "too large");
    Diag *d = diag_error(&b.diags, "E0101", find(&s, "softmax", 0), "both");
    diag_label(d, find(&std, "two", 0), "defined here");
    check_text(&b, "error[E0101]: both\n"
                   "  --> m.attar:1:5\n"
                   "   |\n"
                   " 1 | y = softmax(x)\n"
                   "   |     ^^^^^^^\n"
                   "  ::: std.attar:2:1\n"
                   "   |\n"
                   " 2 | two\n"
                   "   | --- defined here\n"
                   "\n"
                   "error[E0590]: not valid JSON\n"
                   "  --> config.json: line 3, column 4\n"
                   "\n"
                   "error[E0590]: too large\n"
                   "  --> config.json\n");
}
END_TEST

START_TEST(spans_at_the_edges)
{
    Bench b;
    setup(&b);
    Source empty = source_of("empty.attar", "");
    diag_error(&b.diags, "E0101", (Span){&empty, 0, 0}, "nothing");
    diag_error(&b.diags, "E0101", (Span){&empty, 99, 120}, "beyond");
    Source two = source_of("two.attar", "abc\ndef");
    diag_error(&b.diags, "E0101", (Span){&two, 1, 6}, "two lines");
    diag_error(&b.diags, "E0101", (Span){&two, 7, 7}, "end of file");
    check_text(&b, "error[E0101]: nothing\n  --> empty.attar:1:1\n   |\n 1 |\n   | ^\n\n"
                   "error[E0101]: beyond\n  --> empty.attar:1:1\n   |\n 1 |\n   | ^\n\n"
                   "error[E0101]: two lines\n  --> two.attar:1:2\n   |\n 1 | abc\n   |  ^^\n\n"
                   "error[E0101]: end of file\n  --> two.attar:2:4\n   |\n 2 | def\n   |    ^\n");
}
END_TEST

START_TEST(twenty_errors_in_order)
{
    Bench b;
    setup(&b);
    char text[200];
    memset(text, '\n', sizeof text - 1);
    text[199] = 0;
    Source s = source_of("m.attar", text);
    for (uint32_t i = 100; i > 0; i--)
        diag_error(&b.diags, "E0101", (Span){&s, i, i}, "number %u", i);
    diag_warning(&b.diags, "W0701", (Span){&s, 150, 150}, "late");
    Text t = text_new(&b.arena);
    diag_render(&b.diags, &t, false);
    int shown = 0;
    for (const char *at = t.data; (at = strstr(at, "error[")) != NULL; at++) {
        char want[64];
        snprintf(want, sizeof want, "error[E0101]: number %d\n", ++shown);
        ck_assert_int_eq(strncmp(at, want, strlen(want)), 0);
    }
    ck_assert_int_eq(shown, 20);
    ck_assert_ptr_nonnull(strstr(t.data, "warning[W0701]: late\n"));
    const char *tail = "\n... 80 more errors\n";
    ck_assert_str_eq(t.data + t.length - strlen(tail), tail);
    arena_free(&b.arena);
}
END_TEST

START_TEST(colour_only_if_asked)
{
    Bench b;
    setup(&b);
    Source s = source_of("m.attar", "abc\n");
    diag_caret(diag_error(&b.diags, "E0101", find(&s, "b", 0), "x"), "label");
    Text plain = text_new(&b.arena), colour = text_new(&b.arena), stripped = text_new(&b.arena);
    diag_render(&b.diags, &plain, false);
    diag_render(&b.diags, &colour, true);
    ck_assert_ptr_null(strchr(plain.data, '\033'));
    for (const char *c = colour.data; *c; c++) {
        if (*c == '\033')
            c = strchr(c, 'm');
        else
            text_char(&stripped, *c);
    }
    ck_assert_str_eq(stripped.data, plain.data);
    ck_assert_uint_gt(colour.length, plain.length);
    arena_free(&b.arena);
}
END_TEST

START_TEST(json_lines)
{
    Bench b;
    setup(&b);
    Source s = source_of("m.attar", "é = \"x\"\n");
    Diag *d = diag_error(&b.diags, "E0101", find(&s, "\"x\"", 0), "a \"quoted\" message \xff");
    diag_caret(d, "label");
    diag_help(d, "help");
    diag_file_warning(&b.diags, "W0701", "f", "byte 1", "second");
    Text t = text_new(&b.arena);
    diag_render_json(&b.diags, &t);
    char *second = strchr(t.data, '\n') + 1;
    json_t *one = json_loadb(t.data, (size_t)(second - t.data), JSON_REJECT_DUPLICATES, NULL);
    json_t *two = json_loads(second, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(one);
    ck_assert_ptr_nonnull(two);
    ck_assert_str_eq(json_string_value(json_object_get(one, "level")), "error");
    ck_assert_str_eq(json_string_value(json_object_get(one, "message")), "a \"quoted\" message ?");
    const char *rendered = json_string_value(json_object_get(one, "rendered"));
    ck_assert_str_eq(rendered, "error[E0101]: a \"quoted\" message ?\n  --> m.attar:1:5\n   |\n 1 | é = \"x\"\n   |    "
                               " ^^^ label\n   = help: help\n");
    json_t *span = json_array_get(json_object_get(one, "spans"), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(span, "byte_start")), 5);
    ck_assert_int_eq(json_integer_value(json_object_get(span, "byte_end")), 8);
    ck_assert_int_eq(json_integer_value(json_object_get(span, "column")), 5);
    ck_assert_str_eq(json_string_value(json_object_get(two, "where")), "byte 1");
    json_decref(one);
    json_decref(two);
    arena_free(&b.arena);
}
END_TEST

static const struct {
    const char *code;
    int status;
} statuses[] = {
    {"E0101", 1}, {"E0590", 3}, {"E0421", 3}, {"E0601", 3}, {"E0801", 4}, {"E1001", 4}, {"E9901", 70},
};

START_TEST(exit_status)
{
    Bench b;
    setup(&b);
    ck_assert_int_eq(diag_exit_status(&b.diags), 0);
    diag_file_warning(&b.diags, "W0701", NULL, NULL, "only a warning");
    ck_assert_int_eq(diag_exit_status(&b.diags), 0);
    diag_file_error(&b.diags, statuses[_i].code, NULL, NULL, "first");
    diag_file_error(&b.diags, "E0801", NULL, NULL, "second");
    ck_assert_int_eq(diag_exit_status(&b.diags), statuses[_i].status);
    arena_free(&b.arena);
}
END_TEST

START_TEST(codes_are_sorted_and_explained)
{
    for (size_t i = 0; i < diag_code_count; i++) {
        const CodePage *page = &diag_codes[i];
        if (i > 0)
            ck_assert_msg(strcmp(diag_codes[i - 1].code, page->code) < 0, "%s is out of order", page->code);
        ck_assert_msg(strlen(page->code) == 5 && (page->code[0] == 'E' || page->code[0] == 'W'), "%s", page->code);
        ck_assert_uint_gt(strlen(page->title), 5);
        int lines = 1;
        for (const char *c = page->page; *c; c++)
            lines += *c == '\n';
        ck_assert_msg(lines <= 6, "%s has a page of %d lines", page->code, lines);
        ck_assert_ptr_eq(diag_code(page->code), page);
    }
    ck_assert_ptr_null(diag_code("E0000"));
}
END_TEST

/* Every "E1234" or "W1234" in quotes in one source file has a row. */
static void check_codes_in(const char *path)
{
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    char line[2000];
    while (fgets(line, sizeof line, f))
        for (const char *c = line; (c = strchr(c, '"')) != NULL; c++) {
            if ((c[1] != 'E' && c[1] != 'W') || strspn(c + 2, "0123456789") != 4 || c[6] != '"')
                continue;
            char code[6] = {c[1], c[2], c[3], c[4], c[5], 0};
            ck_assert_msg(diag_code(code) != NULL, "%s uses %s, which has no row in codes.def", path, code);
        }
    fclose(f);
}

START_TEST(every_used_code_has_a_row)
{
    static const char *const folders[] = {"support", "frontend", "ir", "passes", "codegen", "runtime", "driver", "cli"};
    int files = 0;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", SOURCE_DIR, folders[i]);
        DIR *dir = opendir(path);
        ck_assert_ptr_nonnull(dir);
        for (struct dirent *e; (e = readdir(dir)) != NULL;) {
            const char *dot = strrchr(e->d_name, '.');
            if (!dot ||
                (strcmp(dot, ".c") != 0 && strcmp(dot, ".h") != 0 && strcmp(dot, ".l") != 0 && strcmp(dot, ".y") != 0))
                continue;
            snprintf(path, sizeof path, "%s/%s/%s", SOURCE_DIR, folders[i], e->d_name);
            check_codes_in(path);
            files++;
        }
        closedir(dir);
    }
    ck_assert_int_gt(files, 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("diagnostics");
    TCase *c = tcase_create("all");
    tcase_add_test(c, labels_on_two_lines);
    tcase_add_test(c, three_labels_on_a_line);
    tcase_add_test(c, nested_and_equal_spans);
    tcase_add_test(c, far_lines_are_elided);
    tcase_add_test(c, columns_of_tabs_wide_and_combining);
    tcase_add_test(c, nothing_dangerous_reaches_the_terminal);
    tcase_add_test(c, long_lines_are_windowed);
    tcase_add_test(c, files_and_several_sources);
    tcase_add_test(c, spans_at_the_edges);
    tcase_add_test(c, twenty_errors_in_order);
    tcase_add_test(c, colour_only_if_asked);
    tcase_add_test(c, json_lines);
    tcase_add_loop_test(c, exit_status, 0, sizeof statuses / sizeof *statuses);
    tcase_add_test(c, codes_are_sorted_and_explained);
    tcase_add_test(c, every_used_code_has_a_row);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
