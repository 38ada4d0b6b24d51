/* codebook_attend: emitted C against the float64 interpreter, over lengths on both sides of every tile and block, with 1
 * to 3 threads and the same bits. */
#include "emit_test.h"

typedef struct Shape {
    const char *name;
    int g, r, k, w, n;  /* key heads, query heads to each, sizes of keys and values, codes */
    const char *axes;   /* of the codebook: "" or "G, " */
    const char *inputs, *roles, *names, *attributes;
} Shape;

#define BIAS ", b: f32[G, R, D]"
#define KEEP ", keep: i32[B, T]"
static const Shape shapes[] = {
    {"full", 2, 1, 32, 32, 32, "", "", "", "", ""},
    {"full_padded", 2, 3, 20, 12, 13, "G, ", KEEP, ", keep", ", keep", "scale=0.25"},
    {"causal", 2, 1, 64, 64, 64, "", "", "", "", "causal=true scale=0.125"},
    {"causal_groups", 1, 3, 16, 40, 50, "G, ", "", "", "", "causal=true block=16"},
    {"causal_padded", 2, 2, 8, 5, 7, "", KEEP, ", keep", ", keep", "causal=true"},
    {"bias", 2, 2, 16, 20, 12, "", BIAS, ", bias", ", b", "causal=true block=8 scale=0.25"},
    {"bias_long", 1, 1, 32, 32, 48, "", BIAS, ", bias", ", b", "causal=true block=50"},
    {"bias_one", 1, 2, 8, 8, 16, "G, ", BIAS, ", bias", ", b", "causal=true block=1"},
    {"bias_padded", 2, 2, 16, 16, 20, "", BIAS KEEP, ", bias, keep", ", b, keep", "causal=true block=20"},
    {"exact", 2, 2, 32, 32, 32, "G, ", "", "", "", "causal=true block=32 recent=keys scale=0.5"},
    {"exact_odd", 1, 3, 20, 24, 9, "", "", "", "", "causal=true block=7 recent=keys"},
    {"exact_bias", 2, 1, 16, 16, 16, "", BIAS, ", bias", ", b", "causal=true block=60 recent=keys"},
    {"exact_padded", 2, 2, 8, 12, 17, "G, ", BIAS KEEP, ", bias, keep", ", b, keep", "causal=true block=13 recent=keys"},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static int64_t state_size(const Shape *s)
{
    const char *at = strstr(s->attributes, "block=");
    bool exact = strstr(s->attributes, "recent=keys"), near = exact || strstr(s->roles, "bias");
    return s->n * (s->w + 1) + (near ? 2 * atoi(at + 6) * (1 + s->w + (exact ? s->k : 0)) : 0);
}

/* `keys`: the size of T; NULL: there is a state, and T = S. */
static const char *model_text(Trial *t, const Shape *s, const char *keys)
{
    Text out = text_new(&t->arena);
    const char *more = keys ? "" : ", layer", *layer = keys ? "" : ", l", *cache = keys ? "" : "start=1 cache=kv.s";
    const char *turned = *s->axes ? "G, K, N" : "K, N";
    text_add(&out, "kernels test(q: f32[B, S, G, R, K], k: f32[B, T, G, K], v: f32[B, T, G, W], c: f32[%s]%s)\n", turned, s->inputs);
    text_add(&out, "  dims B = 1..  S = 1..  past = 0..  T = %s  G = %d  R = %d  K = %d  W = %d  N = %d  D = 11\n", keys ? keys : "S", s->g, s->r, s->k,
             s->w, s->n);
    if (!keys)
        text_add(&out, "  cache kv.s f32[B, G, state=%lld] state x 3\n  l = const value=1 : i32\n", (long long)state_size(s));
    text_add(&out, "  rows = transpose c : f32[%sN, K]\n", s->axes);
    text_add(&out, "  o = codebook_attend q, k, v, rows%s%s over=K keys=T queries=S roles=[codebook%s%s] %s %s : f32[B, S, G, R, W]\n",
             s->names, layer, s->roles, more, s->attributes, cache);
    text_add(&out, "  return o\n");
    return out.data;
}

static void shape_check(const Shape *s, const Target *target)
{
    static const int64_t lengths[][3] = {{1, 0, 1}, {1, 36, 1}, {7, 9, 2}, {48, 0, 1}, {49, 48, 1}, {64, 0, 2}, {150, 0, 1}, {30, 171, 1}};
    Trial t;
    trial_open(&t, target);
    t.below = 2; /* keep: 0 and 1 */
    trial_load(&t, model_text(&t, s, "past+S"));
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        trial_check(&t, (int64_t[]){lengths[i][2], lengths[i][0], lengths[i][1]}, 5e-6);
    trial_close(&t);
}

START_TEST(forms)
{
    shape_check(&shapes[_i], target_native());
}
END_TEST

/* Rows that stand before the first key are zeros; any number of rows where the mask is not causal. */
START_TEST(rows_before_keys)
{
    for (int i = 0; i < SHAPES; i++) {
        Trial t;
        trial_open(&t, target_native());
        t.below = 2;
        trial_load(&t, model_text(&t, &shapes[i], "1.."));
        trial_check(&t, (int64_t[]){2, 70, 0, 9}, 5e-6);
        trial_check(&t, (int64_t[]){1, 5, 0, 60}, 5e-6);
        trial_close(&t);
    }
}
END_TEST

/* Calls of several lengths over one state, whose memory holds NaN before: each as the interpreter's. Then as one call. */
START_TEST(states)
{
    static const int64_t calls[][8] = {{130}, {1, 1, 1, 47, 1, 60, 19, 0}, {64, 65, 1, 0}};
    const Shape *s = &shapes[_i];
    for (int c = 0; c < 3 && strstr(s->attributes, "causal"); c++) {
        Trial t;
        trial_open(&t, target_native());
        t.below = 2;
        trial_load(&t, model_text(&t, s, NULL));
        for (int64_t i = 0, past = 0; i < 8 && calls[c][i]; past += calls[c][i++])
            trial_check(&t, (int64_t[]){2, calls[c][i], past}, 5e-6);
        trial_open_caches(&t, (int64_t[]){2, 1, 0}); /* afresh */
        trial_check(&t, (int64_t[]){2, 9, 0}, 5e-6);
        trial_close(&t);
    }
}
END_TEST

/* A million keys through one state: counts are exact, means as near as their updates allow. */
START_TEST(a_million_keys)
{
    enum { PART = 50000, TIMES = 20, CODES = 3 };
    const Shape s = {"many", 1, 1, 2, 4, CODES, "", "", "", "", "causal=true"};
    const int64_t codes[CODES][2] = {{-1, 0}, {1, 0}, {8, 8}};
    HostTensor in[4], out;
    double sums[CODES][4] = {{0}}, counts[CODES] = {0};
    Trial t;
    trial_open(&t, target_native());
    trial_load(&t, model_text(&t, &s, NULL));
    const Plan *p = &t.out.plan;
    trial_open_caches(&t, (int64_t[]){1, PART, 0});
    for (int64_t past = 0; past < (int64_t)PART * TIMES; past += PART) {
        const int64_t sizes[] = {1, PART, past};
        for (int i = 0; i < 4; i++)
            in[i] = trial_input(&t, &p->inputs[i], sizes);
        for (int i = 0; i < 2 * CODES; i++)
            host_set(&in[3], i, (double)codes[i % CODES][i / CODES]); /* [K, N] */
        for (int64_t j = 0; j < PART; j++) {
            int code = host_get(&in[1], 2 * j) > -0.5; /* three of four keys are code 1 */
            host_set(&in[1], 2 * j, code ? 0.75 : -0.75);
            host_set(&in[1], 2 * j + 1, 0);
            counts[code]++;
            for (int w = 0; w < 4; w++)
                sums[code][w] += host_get(&in[2], 4 * j + w);
        }
        out = trial_output(&t, &p->outputs[0], sizes);
        ck_assert_int_eq(trial_run(&t, sizes, in, &out, 1), 0);
    }
    const float *state = (const float *)(const void *)t.cache_memory[0] + 2 * CODES * 5; /* of layer 1 + 1 */
    for (int c = 0; c < CODES; c++) {
        ck_assert_msg(state[c] == (float)counts[c], "code %d occurs %.0f times, not %.0f", c, state[c], counts[c]);
        for (int w = 0; w < 4 && counts[c] > 0; w++)
            ck_assert_double_eq_tol(state[CODES + 4 * c + w], sums[c][w] / counts[c], 2e-6);
    }
    ck_assert(counts[1] > 700000 && state[2] == 0);
    trial_close(&t);
}
END_TEST

/* Keys that are not kept hold NaN, and so does the last value: only the last row may see one. */
START_TEST(poison)
{
    static const int with_keep[] = {4, 8, 12};
    for (int i = 0; i < 3; i++) {
        const int64_t sizes[] = {2, 90, 0}, last = 89;
        const Shape *s = &shapes[with_keep[i]];
        HostTensor in[8], out;
        Trial t;
        trial_open(&t, target_native());
        t.below = 2;
        trial_load(&t, model_text(&t, s, "past+S"));
        const Plan *p = &t.out.plan;
        int keep = p->n_inputs - 1;
        for (int k = 0; k < p->n_inputs; k++)
            in[k] = trial_input(&t, &p->inputs[k], sizes);
        for (int64_t key = 0; key < 2 * 90; key++) {
            if (key % 90 == last)
                host_set(&in[keep], key, 1);
            for (int x = 0; x < s->g * s->k && !host_get(&in[keep], key); x++)
                host_set(&in[1], key * s->g * s->k + x, NAN);
            for (int x = 0; x < s->g * s->w && (!host_get(&in[keep], key) || key % 90 == last); x++)
                host_set(&in[2], key * s->g * s->w + x, NAN);
        }
        out = trial_output(&t, &p->outputs[0], sizes);
        ck_assert_int_eq(trial_run(&t, sizes, in, &out, 2), 0);
        Value *want = interpret(&t.cx, t.g, &(Bindings){.sizes = sizes, .inputs = in}, &t.arena);
        trial_compare(&t, s->name, &out, want, 5e-6);
        int64_t row = (int64_t)s->g * s->r * s->w;
        for (int64_t x = 0; x < 2 * 90 * row; x++)
            ck_assert(isnan(want->data[x]) == (x / row % 90 == last));
        trial_close(&t);
    }
}
END_TEST

START_TEST(narrow_vectors)
{
    for (int i = 0; i < target_count; i++)
        if (target_runs_here(&targets[i]))
            for (int s = 1; s < SHAPES; s += 2)
                shape_check(&shapes[s], &targets[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codebook");
    TCase *cases = tcase_create("codebook");
    tcase_set_timeout(cases, 300);
    tcase_add_loop_test(cases, forms, 0, SHAPES);
    tcase_add_loop_test(cases, states, 0, SHAPES);
    tcase_add_test(cases, rows_before_keys);
    tcase_add_test(cases, a_million_keys);
    tcase_add_test(cases, poison);
    tcase_add_test(cases, narrow_vectors);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
