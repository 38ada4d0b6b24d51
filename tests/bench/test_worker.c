/* The worker's attention cases against attention computed here in double: every mask and score, grouped heads, an odd head size. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/worker.h"

enum { L = 40, D = 20, H = 4, WINDOW = 7, DOCUMENTS = 3 };

typedef struct Setting {
    const char *mask, *score;
    int groups;
} Setting;

static const Setting settings[] = {
    {"full", "plain", 4},     {"causal", "plain", 2},  {"window", "plain", 1},
    {"document", "plain", 4}, {"causal", "softcap", 4}, {"causal", "alibi", 2},
};

static char folder[] = "/tmp/test_workerXXXXXX";
static float q[H * L * D], k[H * L * D], v[H * L * D];

static Context context(Arena *a, Names *n, Diags *d)
{
    *d = (Diags){.arena = a};
    n->map = map_new(a);
    return (Context){.arena = a, .diags = d, .names = n};
}

static void write_inputs(int groups)
{
    Arena arena = {0};
    Names names;
    Diags diags;
    Context cx = context(&arena, &names, &diags);
    float *const data[] = {q, k, v};
    static const char letters[] = "qkv";
    for (int n = 0; n < 3; n++) {
        int heads = n ? groups : H;
        for (int i = 0; i < heads * L * D; i++)
            data[n][i] = (float)(rand() % 2001 - 1000) / 400;
        for (int i = 0; i < INPUTS; i++) {
            char path[256];
            snprintf(path, sizeof path, "%s/%c.%d.npy", folder, letters[n], i);
            HostTensor t = {.dtype = DT_F32, .rank = 4, .dims = {1, heads, L, D}, .data = data[n]};
            ck_assert(npy_save(&cx, path, &t));
        }
    }
    arena_free(&arena);
}

static bool seen(const char *mask, int i, int j)
{
    if (!strcmp(mask, "full"))
        return true;
    return j <= i && (strcmp(mask, "window") || i - j < WINDOW) &&
           (strcmp(mask, "document") || i * DOCUMENTS / L == j * DOCUMENTS / L);
}

static double expected(const Setting *s, int h, int i, int d)
{
    double scores[L], most = -INFINITY, sum = 0, out = 0;
    int g = h * s->groups / H;
    for (int j = 0; j < L; j++) {
        double x = 0;
        for (int e = 0; e < D; e++)
            x += (double)q[(h * L + i) * D + e] * k[(g * L + j) * D + e];
        x /= sqrt(D);
        if (!strcmp(s->score, "softcap"))
            x = 50 * tanh(x / 50);
        if (!strcmp(s->score, "alibi"))
            x += pow(2, -8.0 / H * (h + 1)) * (j - i);
        scores[j] = seen(s->mask, i, j) ? x : -INFINITY;
        most = fmax(most, scores[j]);
    }
    for (int j = 0; j < L; j++) {
        double p = exp(scores[j] - most);
        sum += p;
        out += p * v[(g * L + j) * D + d];
    }
    return out / sum;
}

START_TEST(attention_is_attention)
{
    const Setting *s = &settings[_i];
    char message[MESSAGE] = "", line[512], path[256];
    write_inputs(s->groups);
    snprintf(line, sizeof line, "attention inputs=%s H=%d G=%d L=%d D=%d mask=%s score=%s window=%d documents=%d", folder, H,
             s->groups, L, D, s->mask, s->score, WINDOW, DOCUMENTS);
    snprintf(path, sizeof path, "%s/y.npy", folder);
    Job job = {.threads = 2};
    ck_assert_msg(job_load(&job, line, message), "%s", message);
    ck_assert_msg(job_before(&job, 0, message) && job_run(&job, 0, message) && job_save(&job, path, message), "%s", message);
    HostTensor y;
    ck_assert(npy_load(&job.cx, path, &y));
    ck_assert_int_eq(y.dims[1], H);
    ck_assert_int_eq(y.dims[2], L);
    for (int h = 0; h < H; h++)
        for (int i = 0; i < L; i++)
            for (int d = 0; d < D; d++)
                ck_assert_double_eq_tol(((const float *)y.data)[(h * L + i) * D + d], expected(s, h, i, d), 2e-6);
    job_close(&job);
}
END_TEST

/* What is wrong is said, and the next load works. */
START_TEST(refuses)
{
    static const char *const lines[][2] = {
        {"attention inputs=%s H=4 G=4 L=41 D=20", "q should be f32 [1, 4, 41, 20]"},
        {"attention inputs=%s H=4 G=4 L=40 D=20 mask=spiral", "no mask `spiral` here"},
        {"attention inputs=%s H=4 G=4 L=40 D=20 score=loud", "no score `loud` here"},
        {"attention inputs=%s H=four", "H=four is no number"},
        {"guess inputs=%s", "no workload `guess` here"},
        {"decode inputs=%s quant=q8_0", "no q8_0 here"},
        {"attention inputs=%s/none H=4 G=4 L=40 D=20", "cannot open"},
    };
    Job job = {.threads = 1};
    write_inputs(4);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char message[MESSAGE] = "", line[512];
        snprintf(line, sizeof line, lines[i][0], folder);
        ck_assert(!job_load(&job, line, message));
        ck_assert_msg(strstr(message, lines[i][1]), "%s", message);
        job_close(&job);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("worker");
    TCase *cases = tcase_create("worker");
    if (!mkdtemp(folder))
        return 1;
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, attention_is_attention, 0, sizeof settings / sizeof *settings);
    tcase_add_test(cases, refuses);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return failed || system(command) ? 1 : 0;
}
