/* Line diffs: a patch made of one gives the other text back, no script is longer than it has to be, and people see
 * what changed. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "support/linediff.h"

static const LineDiffLook plain = {.context = 3};

static const char *diff_of(Arena *a, const char *before, const char *after, const LineDiffLook *look)
{
    Text out = text_new(a);
    bool differ = linediff(before, after, look, &out);
    ck_assert(differ == (out.length > 0));
    return out.data ? out.data : "";
}

/* clang-format off */
static const struct { const char *before, *after, *diff; } cases[] = {
    {"", "", ""},
    {"a\nb\n", "a\nb\n", ""},
    {"a\nb", "a\nb\n", ""},
    {"", "a\n", "@@ -0,0 +1 @@\n+a\n"},
    {"a\n", "", "@@ -1 +0,0 @@\n-a\n"},
    {"a\nb\nc\n", "a\nx\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"},
    {"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n", "1\n2\n3\n4\nx\n6\n7\n8\n9\n10\n11\n12\n13\n15\n16\n",
     "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n@@ -11,6 +11,5 @@\n 11\n 12\n 13\n-14\n 15\n 16\n"},
    {"1\n2\n3\n4\n5\n6\n7\n8\n", "x\n2\n3\n4\n5\n6\n7\ny\n",
     "@@ -1,8 +1,8 @@\n-1\n+x\n 2\n 3\n 4\n 5\n 6\n 7\n-8\n+y\n"},
    {"a\nb\nc\na\nb\nb\na\n", "c\nb\na\nb\na\nc\n", NULL},
};
/* clang-format on */

START_TEST(test_unified)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Arena a = {0};
        if (cases[i].diff)
            ck_assert_str_eq(diff_of(&a, cases[i].before, cases[i].after, &plain), cases[i].diff);
        arena_free(&a);
    }
}
END_TEST

START_TEST(test_names_and_spaces)
{
    Arena a = {0};
    LineDiffLook look = {"old", "new", 0, false, false};
    ck_assert_str_eq(diff_of(&a, "a\nb  = 1\n", "a\nb = 1\n", &look), "--- old\n+++ new\n@@ -2 +2 @@\n-b  = 1\n+b = 1\n");
    look.any_space = true;
    ck_assert_str_eq(diff_of(&a, "a\nb  = 1\n", "a\nb = 1  \n", &look), "");
    ck_assert_str_eq(diff_of(&a, "bc\n", "b c\n", &look), "--- old\n+++ new\n@@ -1 +1 @@\n-bc\n+b c\n");
    arena_free(&a);
}
END_TEST

/* Only the words that differ are reversed, in the line that begins alike; lines with nothing in common are not. */
START_TEST(test_colour)
{
    Arena a = {0};
    LineDiffLook look = {.context = 0, .colour = true};
    ck_assert_str_eq(diff_of(&a, "x = add a, b\n", "x = add a.1,  b\n", &look),
                     "\033[36m@@ -1 +1 @@\033[0m\n"
                     "\033[31m-x = add \033[7ma\033[27m, b\033[0m\n"
                     "\033[32m+x = add \033[7ma.1\033[27m,  b\033[0m\n");
    ck_assert_str_eq(diff_of(&a, "one two\n", "3 4 5\n", &look),
                     "\033[36m@@ -1 +1 @@\033[0m\n\033[31m-one two\033[0m\n\033[32m+3 4 5\033[0m\n");
    ck_assert_str_eq(diff_of(&a, "y = 1\nx = mul a, b\n", "x = mul a, c\n", &look),
                     "\033[36m@@ -1,2 +1 @@\033[0m\n\033[31m-y = 1\033[0m\n"
                     "\033[31m-x = mul a, \033[7mb\033[27m\033[0m\n\033[32m+x = mul a, \033[7mc\033[27m\033[0m\n");
    arena_free(&a);
}
END_TEST

/* ---- random texts ------------------------------------------------------------------------------------------------ */

static const char *random_text(Arena *a, int lines, int kinds)
{
    Text t = text_new(a);
    text_add(&t, "%s", "");
    for (int i = 0; i < lines; i++)
        text_add(&t, "%d\n", rand() % kinds);
    return t.data ? t.data : "";
}

static const char *line_at(const char *text, int line)
{
    for (; line > 1; line--)
        text = strchr(text, '\n') + 1;
    return text;
}

/* What `patch` makes of the text. Counts the lines that were removed or added. */
static const char *patched(Arena *a, const char *before, const char *diff, int *edits)
{
    Text t = text_new(a);
    int done = 1;
    for (const char *p = diff; *p; p = strchr(p, '\n') + 1) {
        int length = (int)strcspn(p, "\n") + 1, from, count = 1;
        if (*p == '@') {
            sscanf(p, "@@ -%d,%d", &from, &count);
            const char *start = line_at(before, done), *end = line_at(before, count ? from : from + 1);
            text_put(&t, start, (size_t)(end - start));
            done = count ? from : from + 1;
            continue;
        }
        if (*p != '+') {
            ck_assert(!strncmp(line_at(before, done), p + 1, (size_t)length - 1));
            done++;
        }
        if (*p != '-')
            text_put(&t, p + 1, (size_t)length - 1);
        *edits += *p != ' ';
    }
    text_add(&t, "%s", line_at(before, done));
    return t.data;
}

/* Lines that are not in a longest common subsequence, by the definition. */
static int fewest_edits(const char *a, const char *b)
{
    static int common[64][64];
    int n = 0, m = 0;
    for (const char *p = a; *p; p++)
        n += *p == '\n';
    for (const char *p = b; *p; p++)
        m += *p == '\n';
    memset(common, 0, sizeof common);
    for (int i = 1; i <= n; i++)
        for (int j = 1; j <= m; j++) {
            bool same = atoi(line_at(a, i)) == atoi(line_at(b, j));
            int without = common[i - 1][j] > common[i][j - 1] ? common[i - 1][j] : common[i][j - 1];
            common[i][j] = same ? common[i - 1][j - 1] + 1 : without;
        }
    return n + m - 2 * common[n][m];
}

START_TEST(test_random)
{
    srand(1);
    for (int round = 0; round < 4000; round++) {
        Arena a = {0};
        int kinds = 2 + rand() % 30;
        const char *before = random_text(&a, rand() % 50, kinds), *after = random_text(&a, rand() % 50, kinds);
        LineDiffLook look = {.context = rand() % 4};
        int edits = 0;
        const char *diff = diff_of(&a, before, after, &look), *got = patched(&a, before, diff, &edits);
        ck_assert_msg(!strcmp(got, after), "round %d: %s", round, diff);
        ck_assert_msg(edits == fewest_edits(before, after), "round %d: %d edits, not %d: %s", round, edits,
                      fewest_edits(before, after), diff);
        arena_free(&a);
    }
}
END_TEST

/* Two long texts with nothing in common take neither long nor much. */
START_TEST(test_far_apart)
{
    Arena a = {0};
    Text x = text_new(&a), y = text_new(&a);
    for (int i = 0; i < 20000; i++) {
        text_add(&x, "%d\n", i);
        text_add(&y, "%d\n", i + 100000);
    }
    int edits = 0;
    const char *got = patched(&a, x.data, diff_of(&a, x.data, y.data, &plain), &edits);
    ck_assert_str_eq(got, y.data);
    ck_assert_int_eq(edits, 40000);
    arena_free(&a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("line diffs");
    TCase *t = tcase_create("linediff");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_unified);
    tcase_add_test(t, test_names_and_spaces);
    tcase_add_test(t, test_colour);
    tcase_add_test(t, test_random);
    tcase_add_test(t, test_far_apart);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
