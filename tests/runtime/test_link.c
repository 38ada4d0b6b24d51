/* The linker of compiled units: objects that need each other, what it refuses, and objects damaged byte by byte. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/compiler.h"
#include "runtime/link.h"

enum { UNITS = 3 };
static const char *const texts[UNITS] = {
    "extern int kept[4]; int third(int); static const char *const names[] = {\"a\", \"bc\", \"def\"};\n"
    "double scaled(int i) { return i * 0.3; }\n"
    "int first(int i) { kept[i & 3] += i; return names[i % 3][0] + third(i); }\n",
    "int kept[4] = {1, 2, 3, 4};\nvoid *memset(void *, int, unsigned long);\n"
    "int third(int i) { char room[200]; memset(room, i, sizeof room); return room[i & 63] + kept[i & 3]; }\n",
    "int absent(void); int lost(void) { return absent(); }\n",
};

typedef struct Trial {
    Arena arena;
    Diags diags;
    Context cx;
    CodeUnit units[UNITS];
    CompilerJob jobs[UNITS];
    LinkObject objects[UNITS];
    char message[LINK_MESSAGE];
} Trial;

static void trial_open(Trial *t, const char *const *flags)
{
    memset(t, 0, sizeof *t);
    t->diags.arena = &t->arena;
    t->cx = (Context){.arena = &t->arena, .diags = &t->diags};
    for (int i = 0; i < UNITS; i++) {
        t->units[i] = (CodeUnit){"unit", texts[i], strlen(texts[i])};
        t->jobs[i].unit = &t->units[i];
    }
    Compiler clang;
    ck_assert(compiler_find(&t->cx, NULL, &clang) && compiler_run(&t->cx, &clang, flags, t->jobs, UNITS, 1, 60));
    for (int i = 0; i < UNITS; i++)
        t->objects[i] = (LinkObject){t->jobs[i].object, t->jobs[i].bytes};
}

static void trial_close(Trial *t)
{
    for (int i = 0; i < UNITS; i++)
        free(t->jobs[i].object);
    arena_free(&t->arena);
}

static const char *const independent[] = {"-O2", "-fPIC", "-fno-plt", NULL}, *const plain[] = {"-O0", NULL};

START_TEST(links_and_runs)
{
    Trial t;
    trial_open(&t, _i ? plain : independent);
    Code *code = code_link(t.objects, 2, t.message);
    ck_assert_msg(code != NULL, "%s", t.message);
    Code *other = code_link(t.objects, 2, t.message); /* with variables of its own */
    ck_assert_msg(other != NULL, "%s", t.message);
    trial_close(&t);
    int (*first)(int) = (int (*)(int))code_symbol(code, "first"),
        (*again)(int) = (int (*)(int))code_symbol(other, "first");
    double (*scaled)(int) = (double (*)(int))code_symbol(code, "scaled");
    int *kept = code_symbol(code, "kept");
    ck_assert(first && scaled && kept && first != again);
    ck_assert_int_eq(first(5), 'd' + 5 + 7);
    ck_assert_int_eq(first(5), 'd' + 5 + 12);
    ck_assert_int_eq(again(5), 'd' + 5 + 7);
    ck_assert_int_eq(kept[1], 12);
    ck_assert(scaled(10) == 10 * 0.3);
    ck_assert_ptr_null(code_symbol(code, "names"));
    ck_assert_ptr_null(code_symbol(code, "memset"));
    code_free(code);
    ck_assert_int_eq(again(5), 'd' + 5 + 12);
    code_free(other);
    code_free(NULL);
}
END_TEST

static void refuses(Trial *t, const LinkObject *objects, int n, const char *why)
{
    ck_assert_ptr_null(code_link(objects, n, t->message));
    ck_assert_msg(strstr(t->message, why) != NULL, "no `%s` in: %s", why, t->message);
}

START_TEST(refused)
{
    Trial t;
    trial_open(&t, independent);
    refuses(&t, t.objects, 1, "the symbol `kept` is not defined");
    refuses(&t, t.objects, 3, "the symbol `absent` is not defined");
    refuses(&t, (LinkObject[]){t.objects[0], t.objects[1], t.objects[1]}, 3, "` is defined twice");
    t.jobs[0].object[18] ^= 1; /* e_machine */
    refuses(&t, t.objects, 2, "it is for another machine");
    trial_close(&t);
}
END_TEST

/* Whatever the bytes are: code or a reason, and nothing outside of them is read. The code is not run. */
START_TEST(damaged)
{
    Trial t;
    trial_open(&t, independent);
    int linked = 0, not_linked = 0;
    for (int o = 0; o < 2; o++)
        for (size_t at = 0; at < t.jobs[o].bytes; at++)
            for (int bit = 0; bit < 8; bit += 3) {
                const char *symbol;
                t.jobs[o].object[at] ^= (unsigned char)(1 << bit);
                t.message[0] = 0;
                if (object_is_whole(t.jobs[o].object, t.jobs[o].bytes, &symbol)) {
                    Code *code = code_link(t.objects, 2, t.message);
                    ck_assert(code || t.message[0]);
                    linked += code != NULL;
                    not_linked += !code;
                    code_free(code);
                }
                t.jobs[o].object[at] ^= (unsigned char)(1 << bit);
            }
    ck_assert(linked > 100 && not_linked > 100);
    trial_close(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("link");
    TCase *c = tcase_create("link");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, links_and_runs, 0, 2);
    tcase_add_test(c, refused);
    tcase_add_test(c, damaged);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
