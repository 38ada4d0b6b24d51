/* Maps, rows, reductions, moves, caches and repeats: emitted C against the interpreter. */
#include "tests/codegen/cases.h"
#include "tests/codegen/emit_test.h"

START_TEST(test_caches) {
    for (int i = 0; i < target_count; i++) {
        if (!target_runs_here(&targets[i]))
            continue;
        for (int64_t b = 1; b <= 2; b++) {
            Trial t;
            trial_open(&t, &targets[i]);
            trial_load(&t, caches);
            trial_check(&t, (int64_t[]){b, 30, 0}, 1e-6);
            trial_check(&t, (int64_t[]){b, 5, 30}, 1e-6);
            trial_check(&t, (int64_t[]){b, 1, 35}, 1e-6);
            trial_check(&t, (int64_t[]){b, 34, 36}, 1e-6);
            trial_close(&t);
        }
    }
}
END_TEST

/* Sizes on both sides of a choice's limit; without a tolerance, since nothing rounds. */
START_TEST(test_choices) {
    static const int64_t sizes[][3] = {{1, 1, 0}, {2, 1, 1}, {1, 3, 17}, {2, 3, 18}, {1, 3, 70}, {1, 4, 70}, {2, 40, 0}, {1, 2, 3}};
    for (int i = 0; i < target_count; i++) {
        if (!target_runs_here(&targets[i]))
            continue;
        Trial t;
        trial_open(&t, &targets[i]);
        trial_load(&t, choices);
        const char *other = strstr(t.out.text, "} else {\n            while (take(&team, "), *line = other ? strchr(other + 9, '\n') : NULL;
        ck_assert(line && !strncmp(line, "\n                k_m(", 21));
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
            trial_check(&t, sizes[k], 0);
        trial_close(&t);
    }
}
END_TEST

static void check_case(const Case *c, const Target *target) {
    Trial t;
    trial_open(&t, target);
    trial_load(&t, c->text);
    for (int64_t b = 1; b <= 3; b += 2)
        for (int64_t s = 1; s <= 20; s += s < 5 ? 1 : 5)
            trial_check(&t, (int64_t[]){b, s}, c->tolerance);
    trial_close(&t);
}

START_TEST(test_cases) {
    for (int i = 0; i < target_count; i++)
        if (target_runs_here(&targets[i]))
            check_case(&cases[_i], &targets[i]);
}
END_TEST

/* Keys one number wide, several heads: the rounded length of a head's panels is one factor of the addresses. */
static const char narrow[] =
    "kernels Narrow(x: f32[B, S, G, R, Q], k: f32[B, S, G, R, Q], v: f32[B, S, G, W])\n"
    "  dims    B = 1..4  S = 1..40  G = 2  Q = 1  R = 2  T = S  W = 5\n"
    "  kk    = view k : f32[B, T, G, R, Q]\n"
    "  vv    = view v : f32[B, T, G, W]\n"
    "  kp    = map kk keys=T layout=panels (m) { return m } : f32[B, T, G, R, Q]\n"
    "  a     = attend x, kp, vv over=Q keys=T scale=0.125 (s) {\n"
    "    i = iota start=0 : i32[S]\n"
    "    j = iota start=0 : i32[T]\n"
    "    m1 = le j, i : bool[T, S]\n"
    "    n = const value=-inf : f32\n"
    "    r = where m1, s, n : f32[B, S, G, R, T]\n"
    "    return r\n"
    "  } : f32[B, S, G, R, W]\n"
    "  return a = a\n";

START_TEST(test_narrow_keys) {
    Trial t;
    trial_open(&t, target_native());
    trial_load(&t, narrow);
    for (int64_t b = 1; b <= 3; b++)
        for (int64_t s = 1; s <= 40; s += 6)
            trial_check(&t, (int64_t[]){b, s}, 1e-5);
    trial_close(&t);
}
END_TEST

static const char long_rows[] =
    "kernels Rows(x: f32[B, S, D])\n"
    "  dims    B = 1..4  S = 1..40  D = %d\n"
    "  y     = rowwise x over=D (a: f32[B, S, D]) {\n"
    "    q = mul a, a : f32[B, S, D]\n"
    "    m = mean q over=D : f32[B, S]\n"
    "    n = mul a, m : f32[B, S, D]\n"
    "    return n\n"
    "  } : f32[B, S, D]\n"
    "  return y = y\n";

/* Long rows ask for the next ones, of x and of y, as far ahead as 768 numbers at least; short rows and short vectors do not. */
START_TEST(test_next_rows) {
    static const struct { int row, ahead; } sizes[] = {{100, 0}, {300, 900}, {1000, 1000}};
    for (int i = 0; i < 3 * target_count; i++) {
        const Target *target = &targets[i / 3];
        const int row = sizes[i % 3].row, ahead = sizes[i % 3].ahead;
        if (!target_runs_here(target))
            continue;
        Trial t;
        trial_open(&t, target);
        trial_load(&t, arena_print(&t.arena, long_rows, row));
        const bool asks = ahead && target->lanes >= 8;
        for (int k = 0; k < 2; k++) {
            const char *line = arena_print(&t.arena, "__builtin_prefetch(%s + row * %d + d + %d);", k ? "y" : "x", row, ahead);
            ck_assert_msg(!strstr(t.out.text, line) == !asks, "%s, rows of %d: %s", target->name, row, line);
        }
        trial_check(&t, (int64_t[]){2, 5}, 1e-5);
        trial_close(&t);
    }
}
END_TEST

/* Threads that come late, dawdle in any part, or do not come at all: trial_check wants the bits of one thread. */
START_TEST(test_late_threads) {
    static const char *const texts[] = {caches, choices};
    for (unsigned i = 0; i < 2; i++) {
        Trial t;
        trial_open(&t, target_native());
        t.dawdle = true;
        trial_load(&t, texts[i]);
        for (int round = 0; round < 12; round++) {
            t.absent = (unsigned)round % 4 * 2;                 /* nobody, thread 1, thread 2, both */
            trial_check(&t, (int64_t[]){2, 1 + round * 2, 0}, 1e-6);
        }
        trial_close(&t);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("loops");
    TCase *c = tcase_create("loops");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_narrow_keys);
    tcase_add_loop_test(c, test_cases, 0, sizeof cases / sizeof *cases);
    tcase_add_test(c, test_caches);
    tcase_add_test(c, test_next_rows);
    tcase_add_test(c, test_late_threads);
    tcase_add_test(c, test_choices);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
