/* The map, the interner, and spelling suggestions. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "support/names.h"

START_TEST(map_keeps_order_and_replaces)
{
    Arena a = {0};
    Map m = map_new(&a);
    char key[32];
    static int values[3000];
    ck_assert_ptr_null(map_get(&m, "absent"));
    ck_assert(!map_has(&m, "absent"));
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "key.%d", i);
        map_set(&m, key, &values[i]);
    }
    memset(key, 0, sizeof key); /* keys were copied */
    ck_assert_uint_eq(m.count, 3000);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "key.%d", i);
        ck_assert_ptr_eq(map_get(&m, key), &values[i]);
        ck_assert_str_eq(m.entries[i].key, key);
    }
    map_set(&m, "key.7", &values[0]);
    ck_assert_uint_eq(m.count, 3000);
    ck_assert_ptr_eq(map_get(&m, "key.7"), &values[0]);
    ck_assert_ptr_eq(map_get_n(&m, "key.7777", 5), &values[0]);
    ck_assert_ptr_null(map_get_n(&m, "key.7777", 3));
    map_set(&m, "", &values[1]);
    ck_assert_ptr_eq(map_get(&m, ""), &values[1]);
    map_set(&m, "null", NULL);
    ck_assert(map_has(&m, "null"));
    arena_free(&a);
}
END_TEST

START_TEST(names_are_one_pointer)
{
    Arena a = {0};
    Names n = {map_new(&a)};
    char spelled[] = "hidden";
    const char *first = name_of(&n, spelled);
    spelled[0] = 'H';
    ck_assert_str_eq(first, "hidden");
    ck_assert_ptr_eq(name_of(&n, "hidden"), first);
    ck_assert_ptr_eq(name_of_n(&n, "hidden_size", 6), first);
    ck_assert_ptr_ne(name_of(&n, "Hidden"), first);
    ck_assert_ptr_eq(name_of_n(&n, "ab\0cd", 5), name_of(&n, "ab")); /* a name ends at a NUL */
    for (int i = 0; i < 10000; i++) {
        char text[16];
        snprintf(text, sizeof text, "n%d", i);
        name_of(&n, text);
    }
    ck_assert_ptr_eq(name_of(&n, "hidden"), first);
    arena_free(&a);
}
END_TEST

static const struct {
    const char *word, *candidates[5], *nearest;
} words[] = {
    {"layer_norm", {"rmsnorm", "layernorm", "linear"}, "layernorm"},
    {"atention", {"attention", "append"}, "attention"},
    {"lienar", {"linear", "lines"}, "linear"}, /* a transposition counts one */
    {"id", {"ids", "mask"}, "ids"},
    {"LayerNorm", {"layernorm", "LayerNorm2x"}, "layernorm"}, /* letter case costs nothing */
    {"q", {"k", "v", "x"}, NULL},                             /* one letter is no evidence */
    {"d", {"D", "B"}, "D"},
    {"zebra", {"linear", "softmax"}, NULL},
    {"softmax", {"softmax", "softmix"}, "softmix"}, /* not the word itself */
    {"", {"a", "b"}, NULL},
    {"abcdef", {"abc"}, NULL},
    {"model.layers.0.self_attn.q.weight",
     {"model.layers.0.self_attn.q_proj.weight", "model.norm.weight"},
     "model.layers.0.self_attn.q_proj.weight"},
};

START_TEST(nearest_word)
{
    size_t count = 0;
    while (count < 5 && words[_i].candidates[count])
        count++;
    const char *found = name_nearest(words[_i].word, words[_i].candidates, count);
    if (!words[_i].nearest)
        ck_assert_msg(!found, "%s suggests %s", words[_i].word, found);
    else
        ck_assert_pstr_eq(found, words[_i].nearest);
}
END_TEST

START_TEST(nearest_of_long_words)
{
    char longest[400];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    const char *candidates[] = {longest, "linear"};
    ck_assert_pstr_eq(name_nearest("linaer", candidates, 2), "linear");
    ck_assert_ptr_null(name_nearest(longest, candidates, 2));
    ck_assert_ptr_null(name_nearest("x", NULL, 0));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("names");
    TCase *c = tcase_create("all");
    tcase_add_test(c, map_keeps_order_and_replaces);
    tcase_add_test(c, names_are_one_pointer);
    tcase_add_loop_test(c, nearest_word, 0, sizeof words / sizeof *words);
    tcase_add_test(c, nearest_of_long_words);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
