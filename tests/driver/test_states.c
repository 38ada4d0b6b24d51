/* Sessions whose caches are states of constant size, whatever kernel keeps them: rows in several calls against all at
 * once, against growing caches, from a fresh start, and cut. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/attar.h"

enum { B = 2, H = 4, G = 2, K = 8, ALL = 23, CAPACITY = 64 };

/* Two layers; the second's queries are the first's result. Codes and projections are numbers known at compile time. */
static const char text[] =
    "let H = 4; let G = 2; let K = 8; let N = 16\n"
    "cache kv[2] { k: [B, T <= 64, G, K]; v: [B, T <= 64, G, K] }\n"
    "let causal = fn(i, j) => j <= i\n"
    "model A(q: f32[B, S, H, K], k: f32[B, S, G, K], v: f32[B, S, G, K]) -> (o: f32[B, S, H, K], p: f32[B, S, H, K]) {\n"
    "  codes = sin((0..N) * 1.7 + (0..K) * 2.3) as [N, K]\n"
    "  k0, v0 = kv[0].append(k, v)\n"
    "  o = attention(q, k0, v0, mask=causal, kernel=%s)\n"
    "  k1, v1 = kv[1].append(v, k)\n"
    "  p = attention(o, k1, v1, mask=causal, kernel=%s)\n"
    "  return o, p\n"
    "}\n";

static const char *const kernels[] = {
    "elu1()",
    "performer(codes)",
    "hyperbolic(codes)",
    "relu_features(codes, eps=0.001)",
    "soft_codes(codes, tau=0.5)",
    "codebook(codes)",
    "codebook(codes, chunk=4, recent=\"keys\")",
};
enum { N_KERNELS = sizeof kernels / sizeof *kernels };

static attar_model *compile(const char *kernel, const char *const *off)
{
    char path[] = "/tmp/attar-states-XXXXXX.attar";
    int fd = mkstemps(path, 6);
    ck_assert_int_ge(fd, 0);
    FILE *f = fdopen(fd, "w");
    fprintf(f, text, kernel, kernel);
    ck_assert_int_eq(fclose(f), 0);
    attar_options o = {.model = path, .threads = 2, .passes_off = off};
    attar_model *m = NULL;
    attar_error error = {0};
    attar_status status = attar_compile(&o, &m, &error);
    unlink(path);
    ck_assert_msg(status == ATTAR_OK, "%s: %s", kernel, error.message ? error.message : "");
    return m;
}

static attar_session *open_session(const attar_model *m)
{
    attar_session *s = NULL;
    ck_assert_int_eq(attar_session_new(m, B, 2, &s, NULL), ATTAR_OK);
    return s;
}

/* The number of input `which` for a head's element at a position. */
static float number(int which, int b, int64_t at, int head, int k)
{
    double x = 1 + which * 7919 + b * 104729 + (double)at * 1299709 + head * 15485863 + k * 32452843;
    return (float)(sin(x * 0.37) * 1.5);
}

static attar_status run(attar_session *s, int64_t first, int64_t rows, float *o, float *p, attar_error *error)
{
    static float data[3][B * (CAPACITY + 1) * H * K];
    static const char *const names[] = {"q", "k", "v"};
    attar_tensor in[3];
    for (int i = 0; i < 3; i++) {
        int heads = i ? G : H;
        for (int64_t at = 0; at < B * rows * heads * K; at++)
            data[i][at] = number(i, (int)(at / K / heads / rows), first + at / K / heads % rows, (int)(at / K % heads), (int)(at % K));
        in[i] = (attar_tensor){.name = names[i], .dtype = "f32", .rank = 4, .dims = {B, rows, heads, K}, .data = data[i]};
    }
    const attar_tensor *y;
    attar_status status = attar_run(s, in, 3, &y, error);
    float *to[] = {o, p};
    for (int i = 0; i < 2 && status == ATTAR_OK; i++)
        for (int b = 0; b < B; b++) /* rows of ALL in the caller's memory */
            memcpy(to[i] + ((size_t)b * ALL + (size_t)first) * H * K, (float *)y[i].data + (size_t)b * (size_t)rows * H * K,
                   (size_t)rows * H * K * sizeof(float));
    return status;
}

typedef struct Rows { float o[B * ALL * H * K], p[B * ALL * H * K]; } Rows;

static void run_parts(attar_session *s, const int64_t *parts, Rows *to)
{
    attar_error error = {0};
    for (int64_t at = attar_session_length(s); at < ALL; at += *parts++)
        ck_assert_msg(run(s, at, *parts, to->o, to->p, &error) == ATTAR_OK, "%s", error.message);
}

static void check_close(const char *what, const Rows *a, const Rows *b, double tolerance)
{
    for (size_t i = 0; i < B * ALL * H * K; i++) {
        ck_assert_msg(fabs((double)a->o[i] - (double)b->o[i]) <= tolerance, "%s: o[%zu] is %g, not %g", what, i,
                      (double)a->o[i], (double)b->o[i]);
        ck_assert_msg(fabs((double)a->p[i] - (double)b->p[i]) <= tolerance, "%s: p[%zu] is %g, not %g", what, i,
                      (double)a->p[i], (double)b->p[i]);
    }
}

START_TEST(calls_go_on)
{
    static const int64_t parts[][ALL] = {{1, 4, 7, 1, 1, 9}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}};
    static Rows whole, some, grown;
    attar_model *m = compile(kernels[_i], NULL), *plain = compile(kernels[_i], (const char *const[]){"linear-attention", NULL});
    ck_assert_int_eq(attar_cache_capacity(m), CAPACITY);
    attar_session *s = open_session(m), *g = open_session(plain);
    run_parts(s, (int64_t[]){ALL}, &whole);
    run_parts(g, (int64_t[]){ALL}, &grown);
    check_close(kernels[_i], &whole, &grown, 1e-4);
    for (int i = 0; i < 2; i++) {
        attar_session_reset(s);
        memset(&some, 0, sizeof some);
        run_parts(s, parts[i], &some);
        check_close(kernels[_i], &some, &whole, 1e-4);
    }
    attar_session_free(g);
    attar_session_free(s);
    attar_model_free(plain);
    attar_model_free(m);
}
END_TEST

static void check_refused(attar_session *s, int64_t first, int64_t rows, const char *word)
{
    static float none[2][B * (ALL + CAPACITY) * H * K];
    attar_error error = {0};
    ck_assert_int_eq(run(s, first, rows, none[0], none[1], &error), ATTAR_INPUT);
    ck_assert_msg(strstr(error.message, word) != NULL, "`%s` is not in: %s", word, error.message);
    attar_error_clear(&error);
}

/* Whatever a state holds, a session that begins again gives the same bits. */
START_TEST(sessions_begin_again)
{
    static Rows first, again;
    attar_model *m = compile(kernels[_i], NULL);
    attar_session *s = open_session(m);
    run_parts(s, (int64_t[]){5, ALL - 5}, &first);
    check_refused(s, 0, CAPACITY - ALL + 1, "the model takes 64 (23 filled)");
    attar_session_truncate(s, 5);
    ck_assert_int_eq(attar_session_length(s), 5);
    check_refused(s, 5, 1, "cut to 5 positions");
    for (int i = 0; i < 2; i++) {
        if (i)
            attar_session_truncate(s, 0);
        else
            attar_session_reset(s);
        memset(&again, 0, sizeof again);
        run_parts(s, (int64_t[]){5, ALL - 5}, &again);
        ck_assert_mem_eq(&first, &again, sizeof first);
    }
    attar_session_free(s);
    attar_model_free(m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("states");
    TCase *t = tcase_create("states");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, calls_go_on, 0, N_KERNELS);
    tcase_add_loop_test(t, sessions_begin_again, 0, N_KERNELS);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
