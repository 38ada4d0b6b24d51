/* Who waits for whom in an emitted entry: how often all threads meet, what comes out when some are late or never
 * come, and what ThreadSanitizer finds. */
#include "tests/codegen/emit_test.h"

/* An encoder: attention reads keys of all rows, everything else stays within a row. */
static const char encoder[] =
    "kernels Enc(x: f32[B, S, D])\n"
    "  dims    B = 1..4  S = 1..80  D = 16  F = 40  H = 2  K = 8  T = S  W = 8\n"
    "  last  = repeat i < 3 carries y = x {\n"
    "    wq    = weight key=\"layers.{i}.q\" : f32[H, K, D]\n"
    "    wk    = weight key=\"layers.{i}.k\" : f32[H, K, D]\n"
    "    wv    = weight key=\"layers.{i}.v\" : f32[H, K, D]\n"
    "    qkv   = gemm y, wq, wk, wv over=D weights=3 (q1: f32[B, S, H, K], k1: f32[B, S, H, K], v1: f32[B, S, H, K]) "
    "{\n"
    "      return q1, k1, v1\n"
    "    }\n"
    "    q     = get qkv index=0 : f32[B, S, H, K]\n"
    "    k     = get qkv index=1 : f32[B, S, H, K]\n"
    "    v     = get qkv index=2 : f32[B, S, H, K]\n"
    "    kk    = view k : f32[B, T, H, K]\n"
    "    vv    = view v : f32[B, T, H, W]\n"
    "    a     = attend q, kk, vv over=K keys=T scale=0.35 (s) {\n"
    "      return s\n"
    "    } : f32[B, S, H, W]\n"
    "    aa    = view a : f32[B, S, H, K]\n"
    "    wo    = weight key=\"layers.{i}.o\" : f32[D, H, K]\n"
    "    o     = gemm aa, wo, y over=[H, K] weights=1 (acc: f32[B, S, D], r: f32[B, S, D]) {\n"
    "      sum = add acc, r : f32[B, S, D]\n"
    "      return sum\n"
    "    } : f32[B, S, D]\n"
    "    n     = rowwise o over=D (p: f32[B, S, D]) {\n"
    "      m = mean p over=D : f32[B, S]\n"
    "      c = sub p, m : f32[B, S, D]\n"
    "      return c\n"
    "    } : f32[B, S, D]\n"
    "    wu    = weight key=\"layers.{i}.u\" : f32[F, D]\n"
    "    h     = gemm n, wu over=D weights=1 (acc2: f32[B, S, F]) {\n"
    "      t = tanh acc2 : f32[B, S, F]\n"
    "      return t\n"
    "    } : f32[B, S, F]\n"
    "    wd    = weight key=\"layers.{i}.d\" : f32[D, F]\n"
    "    d     = gemm h, wd, n over=F weights=1 (acc3: f32[B, S, D], r3: f32[B, S, D]) {\n"
    "      e = add acc3, r3 : f32[B, S, D]\n"
    "      return e\n"
    "    } : f32[B, S, D]\n"
    "    yield d\n"
    "  } : f32[B, S, D]\n"
    "  out   = map last (f: f32[B, S, D]) {\n"
    "    g = neg f : f32[B, S, D]\n"
    "    return g\n"
    "  } : f32[B, S, D]\n"
    "  return out = out\n";

/* A row of a value is looked up by an index: it may be any other thread's. */
static const char looks_up[] = "kernels Look(x: f32[B, S, D], ids: i32[B, S])\n"
                               "  dims    B = 1..4  S = 1..80  D = 16  F = 16\n"
                               "  w     = weight key=\"w\" : f32[F, D]\n"
                               "  y     = gemm x, w over=D weights=1 (acc: f32[B, S, F]) {\n"
                               "    t = tanh acc : f32[B, S, F]\n"
                               "    return t\n"
                               "  } : f32[B, S, F]\n"
                               "  z     = map y, ids (p: f32[B, S, F], i: i32[B, S]) {\n"
                               "    g = gather p, i over=S : f32[B, S, F]\n"
                               "    return g\n"
                               "  } : f32[B, S, F]\n"
                               "  u     = gemm z, w over=F weights=1 (acc2: f32[B, S, D]) {\n"
                               "    return acc2\n"
                               "  } : f32[B, S, D]\n"
                               "  return u = u\n";

/* How often `word` stands in the entry's loop. */
static int count_in_layer(const char *text, const char *word)
{
    const char *loop = strstr(text, "for (ptrdiff_t layer = 0"), *end = loop ? strstr(loop, "\n    }\n") : NULL;
    int count = 0;
    ck_assert_ptr_nonnull(end);
    for (const char *p = loop; (p = strstr(p, word)) && p < end; p++)
        count++;
    return count;
}

START_TEST(test_meetings)
{
    Trial t;
    trial_open(&t, target_native());
    trial_load(&t, encoder);
    ck_assert_int_eq(count_in_layer(t.out.text, " meet(&team)"), 1);
    ck_assert_int_eq(count_in_layer(t.out.text, " settle(&team)"), 1);
    ck_assert_int_eq(count_in_layer(t.out.text, " follow(&team)"), 6); /* what a round leaves is copied here */
    ck_assert_int_eq(count_in_layer(t.out.text, "while (help(&team"), 1);
    trial_close(&t);
}
END_TEST

/* Rows of one thread and more, too few rows for all; threads that are late, dawdle, or do not come at all. */
/* While its last panel is multiplied, each product asks for the first panel of the next one, the last of a round for the
 * first of the next round. Of three products side by side only the first thread's are known. */
START_TEST(test_next_products)
{
    Trial t;
    char text[sizeof encoder], *size;
    strcpy(text, encoder);
    while ((size = strstr(text, "D = 16"))) /* sums of 16 are too short to ask for anything */
        memcpy(size, "D = 32", 6);
    trial_open(&t, target_native());
    trial_load(&t, text);
    ck_assert_ptr_nonnull(strstr(t.out.text, " v, i_o + layer * "));
    ck_assert_ptr_nonnull(strstr(t.out.text, " h, i_d + layer * "));
    const char *last = strstr(t.out.text, " enc_d(h, "), *own = last ? strstr(last, "team.part ? (const void *)(i_d + layer * ") : NULL;
    ck_assert_ptr_nonnull(own);
    const char *first = strstr(own, ") : i_q + (layer + 1) % 3 * ");
    ck_assert(first && first < strstr(last, ";"));
    trial_close(&t);
}
END_TEST

START_TEST(test_late)
{
    static const int64_t sizes[][2] = {{1, 1}, {1, 2},  {1, 3},  {2, 1}, {1, 7},
                                       {3, 5}, {1, 37}, {2, 40}, {4, 9}, {1, 80}};
    Trial t;
    trial_open(&t, target_native());
    t.dawdle = _i > 0;
    trial_load(&t, encoder);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (unsigned absent = 0; absent < 8; absent += 2) {
            t.absent = absent;
            trial_check(&t, sizes[i], 1e-4);
        }
    trial_close(&t);
}
END_TEST

START_TEST(test_looks_up)
{
    Trial t;
    trial_open(&t, target_native());
    t.dawdle = true;
    t.below = 20;
    trial_load(&t, looks_up);
    const char *meets = strstr(t.out.text, "    meet(&team);\n    "), *follows = strstr(t.out.text, "look_z(y");
    ck_assert(meets && follows && meets < follows);
    for (int64_t s = 20; s <= 80; s += 20)
        trial_check(&t, (int64_t[]){2, s}, 1e-4);
    trial_close(&t);
}
END_TEST

static void add_main(const Trial *t, Text *out)
{
    const Plan *p = &t->out.plan;
    text_add(
        out,
        "#include <pthread.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <stdlib.h>\n"
        "struct enc_call;\nint enc_run(const struct enc_call *, ptrdiff_t);\nsize_t enc_arena_bytes(const int64_t *, "
        "ptrdiff_t);\n"
        "static void *slots[%d];\n"
        "static void *work(void *thread) { enc_run((const struct enc_call *)slots, (ptrdiff_t)thread); return NULL; }\n"
        "int main(void)\n{\n    static float x[4 * 80 * 16], y[4 * 80 * 16], weights[%llu];\n"
        "    static _Alignas(128) char meet[3 * 256];\n    static int64_t fault[4];\n"
        "    const int64_t sizes[] = {2, 40};\n    pthread_t other[2];\n"
        "    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++)\n        weights[i] = (float)(i %% 13) * "
        "0.01f;\n"
        "    for (int i = 0; i < 4 * 80 * 16; i++)\n        x[i] = (float)(i %% 7);\n",
        p->n_slots, (unsigned long long)p->weight_bytes / 4);
    for (int i = 0; i < p->n_slots; i++) {
        Slot s = p->slots[i];
        const char *what = s.kind == SLOT_INPUT     ? "x"
                           : s.kind == SLOT_OUTPUT  ? "y"
                           : s.kind == SLOT_WEIGHTS ? "weights"
                           : s.kind == SLOT_ARENA   ? "aligned_alloc(64, (enc_arena_bytes(sizes, 3) + 63) / 64 * 64)"
                           : s.kind == SLOT_MEET    ? "meet"
                           : s.kind == SLOT_THREADS ? "(void *)3"
                           : s.kind == SLOT_FAULT   ? "fault"
                           : s.index                ? "(void *)sizes[1]"
                                                    : "(void *)sizes[0]";
        text_add(out, "    slots[%d] = %s;\n", i, what);
    }
    text_add(out,
             "    for (ptrdiff_t i = 0; i < 2; i++)\n        pthread_create(&other[i], NULL, work, (void *)(i + 1));\n"
             "    work(NULL);\n    for (int i = 0; i < 2; i++)\n        pthread_join(other[i], NULL);\n    return "
             "fault[0] != 0;\n}\n");
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert(f && fputs(text, f) >= 0 && !fclose(f));
}

/* As a program of its own: the sanitizer has to be there from the start. */
START_TEST(test_races)
{
    Trial t;
    trial_open(&t, target_native());
    t.dawdle = true;
    trial_load(&t, encoder);
    Text text = text_new(&t.arena);
    add_main(&t, &text);
    char source[512], caller[512], program[512];
    snprintf(source, sizeof source, "%s/schedule.%d.c", BUILD_DIR, (int)getpid());
    snprintf(caller, sizeof caller, "%s/schedule-main.%d.c", BUILD_DIR, (int)getpid());
    snprintf(program, sizeof program, "%s/schedule.%d", BUILD_DIR, (int)getpid());
    write_text(source, t.out.text);
    write_text(caller, text.data);
    const char *arguments[64] = {"clang-19", "-g",   "-O1", "-std=gnu11", "-fsanitize=thread",
                                 source,     caller, "-o",  program,      "-lpthread"};
    for (int j = 0, n = 10; target_native()->flags[j]; j++)
        if (!strncmp(target_native()->flags[j], "-m", 2))
            arguments[n++] = target_native()->flags[j];
    ck_assert_int_eq(native_run(arguments), 0);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(native_run((const char *const[]){program, NULL}), 0);
    unlink(program);
    unlink(source);
    unlink(caller);
    trial_close(&t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("schedule");
    TCase *c = tcase_create("schedule");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_meetings);
    tcase_add_test(c, test_next_products);
    tcase_add_loop_test(c, test_late, 0, 2);
    tcase_add_test(c, test_looks_up);
    tcase_add_test(c, test_races);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
