/* codebook_attend in the interpreter: against dense attention over quantised keys written out here, and its two forms
 * (the definition over all keys, the state row by row) against each other. */
#include "ir_test.h"

enum { B = 2, G = 2, R = 2, K = 5, W = 3, N = 7, D = 6, T = 23 };

/* Queries, keys and values of T positions, codebook and bias as `text` names them; `cache`: a state instead of keys
 * before the rows. */
static const char *graph_text(Bench *t, const char *axes, const char *inputs, const char *roles, const char *names,
                              const char *attributes, int64_t state)
{
    Text s = text_new(&t->arena);
    text_add(&s, "graph T(q: f32[B, S, G, R, K], k: f32[B, T, G, K], v: f32[B, T, G, W], c: f32[%sN, K]%s)\n", axes, inputs);
    text_add(&s, "  dims B = 1..  S = 1..  T = %s  past = 0..  G = 2  R = 2  K = 5  W = 3  N = 7  D = 6\n",
             state ? "S" : "1..");
    if (state)
        text_add(&s, "  cache kv f32[B, G, state=%lld] state x 3\n", (long long)state);
    text_add(&s, "  l = const value=1 : i32\n");
    text_add(&s, "  o = codebook_attend q, k, v, c%s over=K keys=T queries=S roles=[codebook%s] %s : f32[B, S, G, R, W]\n",
             names, roles, attributes);
    text_add(&s, "  return o\n");
    return s.data;
}

/* ---- written out --------------------------------------------------------------------------------------------------- */

typedef struct Wanted {
    bool causal, near, exact, own; /* near: blocks count; own: a codebook for each head */
    int64_t block;
    int bias, keep, mask; /* numbers of inputs, 0: none */
    double scale;
} Wanted;

static const double *floats(Bench *t, int input)
{
    int64_t count = host_count(&t->in[input]);
    double *all = arena_array(&t->work, (size_t)count, sizeof *all);
    for (int64_t i = 0; i < count; i++)
        all[i] = bench_in(t, input, i);
    return all;
}

static int nearest_code(const double *key, const double *codes)
{
    int best = 0;
    double least = INFINITY;
    for (int s = 0; s < N; s++) {
        double far = 0;
        for (int i = 0; i < K; i++)
            far += (key[i] - codes[s * K + i]) * (key[i] - codes[s * K + i]);
        if (far < least) {
            least = far;
            best = s;
        }
    }
    return best;
}

static double *dense(Bench *t, const Wanted *w, int64_t batch, int64_t rows, int64_t keys)
{
    const double *q = floats(t, 0), *k = floats(t, 1), *v = floats(t, 2), *c = floats(t, 3);
    double *out = arena_array(&t->work, (size_t)(batch * rows * G * R * W), sizeof *out), score[1024];
    for (int64_t b = 0; b < batch; b++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t h = 0; h < G * R; h++) {
                int64_t g = h / R, p = keys - rows + i;
                double top = -INFINITY, sum = 0;
                for (int64_t j = 0; j < keys; j++) {
                    const double *key = k + ((b * keys + j) * G + g) * K, *codes = c + (w->own ? g * N * K : 0);
                    bool near = w->block && (p < 0 ? -((-p + w->block - 1) / w->block) : p / w->block) - 1 <= j / w->block;
                    bool seen = !(w->causal && j > p) && !(w->keep && !bench_in(t, w->keep, b * keys + j)) &&
                                !(w->mask && !bench_in(t, w->mask, (b * rows + i) * keys + j));
                    const double *read = near && w->exact ? key : codes + nearest_code(key, codes) * K;
                    score[j] = 0;
                    for (int x = 0; x < K; x++)
                        score[j] += q[((b * rows + i) * G * R + h) * K + x] * read[x];
                    score[j] *= w->scale;
                    int64_t d = p - j < 0 ? 0 : p - j > D - 1 ? D - 1 : p - j;
                    if (near && w->bias)
                        score[j] += bench_in(t, w->bias, h * D + d);
                    score[j] = seen ? score[j] : -INFINITY;
                    top = fmax(top, score[j]);
                }
                double *to = out + ((b * rows + i) * G * R + h) * W;
                memset(to, 0, W * sizeof *to);
                for (int64_t j = 0; j < keys; j++) {
                    if (score[j] == -INFINITY)
                        continue;
                    double weight = exp(score[j] - top);
                    sum += weight;
                    for (int x = 0; x < W; x++)
                        to[x] += weight * v[((b * keys + j) * G + g) * W + x];
                }
                for (int x = 0; x < W; x++)
                    to[x] = sum > 0 ? to[x] / sum : 0;
            }
    return out;
}

/* ---- the definition ------------------------------------------------------------------------------------------------- */

typedef struct Form {
    const char *axes, *inputs, *roles, *names, *attributes;
    Wanted w;
} Form;

#define BIAS ", b: f32[G, R, D]"
#define KEEP ", keep: i32[B, T]"
static const Form forms[] = {
    {"", "", "", "", "", {.scale = 1}},
    {"", "", "", "", "causal=true scale=0.5", {.causal = true, .scale = 0.5}},
    {"G, ", "", "", "", "causal=true", {.causal = true, .own = true, .scale = 1}},
    {"", BIAS, ", bias", ", b", "causal=true block=4", {.causal = true, .block = 4, .bias = 4, .scale = 1}},
    {"", BIAS, ", bias", ", b", "causal=true block=1", {.causal = true, .block = 1, .bias = 4, .scale = 1}},
    {"", BIAS, ", bias", ", b", "causal=true block=3 recent=keys",
     {.causal = true, .block = 3, .bias = 4, .exact = true, .scale = 1}},
    {"G, ", "", "", "", "causal=true block=5 recent=keys scale=2",
     {.causal = true, .block = 5, .exact = true, .own = true, .scale = 2}},
    {"", KEEP, ", keep", ", keep", "", {.keep = 4, .scale = 1}},
    {"", BIAS KEEP, ", bias, keep", ", b, keep", "causal=true block=4 scale=-1",
     {.causal = true, .block = 4, .bias = 4, .keep = 5, .scale = -1}},
    {"", KEEP, ", keep", ", keep", "causal=true block=6 recent=keys",
     {.causal = true, .block = 6, .exact = true, .keep = 4, .scale = 1}},
    {"", ", m: bool[B, S, T]", ", mask", ", m", "", {.mask = 4, .scale = 1}},
    {"", BIAS ", m: bool[B, S, T]", ", bias, mask", ", b, m", "block=4",
     {.block = 4, .bias = 4, .mask = 5, .scale = 1}},
};
enum { FORMS = sizeof forms / sizeof *forms };

static void drop_some(Bench *t, int input)
{
    for (int64_t i = 0; input && i < host_count(&t->in[input]); i++)
        host_set(&t->in[input], i, bench_random(t) % 3 != 0);
}

START_TEST(definition)
{
    static const int64_t lengths[][2] = {{1, 1}, {1, T}, {5, 9}, {T, T}, {9, 5}};
    const Form *f = &forms[_i];
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        Bench t;
        bench_open(&t);
        const char *text = graph_text(&t, f->axes, f->inputs, f->roles, f->names, f->attributes, 0);
        text = strdup(text);
        bench_close(&t);
        bench_begin(&t, text, (int64_t[]){B, lengths[i][0], lengths[i][1], 0});
        drop_some(&t, f->w.keep);
        Value *o = bench_run(&t);
        check_numbers(o, dense(&t, &f->w, B, lengths[i][0], lengths[i][1]), B * lengths[i][0] * G * R * W);
        free((void *)(uintptr_t)text);
        bench_close(&t);
    }
}
END_TEST

/* ---- the state ------------------------------------------------------------------------------------------------------ */

static int64_t state_size(const Form *f)
{
    bool near = f->w.block && (f->w.bias || f->w.exact);
    return N * (W + 1) + (near ? 2 * f->w.block * (1 + W + (f->w.exact ? K : 0)) : 0);
}

/* Copies positions first .. first + n of an input of T positions. */
static void part(Bench *to, const Bench *from, int input, int64_t first, int64_t n)
{
    int64_t inner = host_count(&from->in[input]) / (B * T);
    for (int64_t b = 0; b < B; b++)
        for (int64_t i = 0; i < n * inner; i++)
            host_set(&to->in[input], b * n * inner + i, bench_in(from, input, (b * T + first) * inner + i));
}

static void same_inputs(Bench *to, const Bench *from, int input)
{
    for (int64_t i = 0; i < host_count(&from->in[input]); i++)
        host_set(&to->in[input], i, bench_in(from, input, i));
}

/* T positions in calls of the lengths given, over one state, as all at once. */
static void check_calls(const Form *f, const int64_t *calls)
{
    Bench all, t;
    char text[2][2048];
    bench_open(&all);
    snprintf(text[0], sizeof text[0], "%s", graph_text(&all, f->axes, f->inputs, f->roles, f->names, f->attributes, 0));
    const char *more = arena_print(&all.arena, "%s, layer", f->roles), *names = arena_print(&all.arena, "%s, l", f->names),
               *attributes = arena_print(&all.arena, "%s cache=kv", f->attributes);
    snprintf(text[1], sizeof text[1], "%s", graph_text(&all, f->axes, f->inputs, more, names, attributes, state_size(f)));
    bench_close(&all);
    bench_begin(&all, text[0], (int64_t[]){B, T, T, 0});
    drop_some(&all, f->w.keep);
    Value *want = bench_run(&all), *caches = NULL;
    Arena kept = {0};
    for (int64_t past = 0, call = 0; past < T; past += calls[call++]) {
        int64_t n = calls[call], order[] = {B, n, past};
        bench_begin(&t, text[1], order);
        ck_assert_int_eq(t.g->n_symbols, 3);
        if (!past) {
            caches = interpret_caches(t.g, t.sizes, &kept);
            for (int64_t i = 0; i < caches[0].count; i++)
                caches[0].data[i] = NAN; /* a fresh state is fresh whatever memory holds */
        }
        t.bind.caches = caches;
        for (int i = 0; i < 3; i++)
            part(&t, &all, i, past, n);
        same_inputs(&t, &all, 3);
        if (f->w.bias)
            same_inputs(&t, &all, f->w.bias);
        if (f->w.keep)
            part(&t, &all, f->w.keep, past, n);
        Value *o = bench_run(&t);
        for (int64_t b = 0; b < B; b++)
            for (int64_t i = 0; i < n * G * R * W; i++) {
                double got = o->data[b * n * G * R * W + i], wanted = want->data[(b * T + past) * G * R * W + i];
                ck_assert_msg(same_number(got, wanted), "%s, position %lld: %.17g, not %.17g", f->attributes,
                              (long long)past + i / (G * R * W), got, wanted);
            }
        bench_close(&t);
    }
    arena_free(&kept);
    bench_close(&all);
}

START_TEST(states)
{
    const Form *f = &forms[_i];
    if (!f->w.causal)
        return;
    check_calls(f, (const int64_t[]){T});
    check_calls(f, (const int64_t[]){5, 1, 1, 9, 7});
    check_calls(f, (const int64_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
}
END_TEST

/* ---- what the definition promises ------------------------------------------------------------------------------------- */

#define HEAD "graph T(q: f32[S, K], k: f32[T, K], v: f32[T, W], c: f32[N, K])\n  dims S = 1..  T = 1..  K = 2  W = 1  N = 3\n"
#define NODE "  o = codebook_attend q, k, v, c over=K keys=T queries=S roles=[codebook] "

/* Equally near codes: the first. A code that nothing is near: no weight. A key that is no number: neither is what reads it. */
START_TEST(ties_and_empty_codes)
{
    Bench t;
    bench_begin(&t, HEAD NODE "causal=true : f32[S, W]\n  return o\n", (int64_t[]){3, 3});
    bench_set(&t, 0, (double[]){1, 0, 0, 1, 1, 0}, 6);
    bench_set(&t, 1, (double[]){0, 0, 0, 0, NAN, 0}, 6);
    bench_set(&t, 2, (double[]){1, 5, 7}, 3);
    bench_set(&t, 3, (double[]){1, 0, -1, 0, 9, 9}, 6);
    Value *o = bench_run(&t);
    ck_assert(o->data[0] == 1 && o->data[1] == 3 && isnan(o->data[2]));
    bench_set(&t, 1, (double[]){0, 0, -0.5, 0, 0.5, 0}, 6); /* codes 0, 1, 0 */
    o = bench_run(&t);
    double e = exp(1), f = exp(-1);
    check_numbers(o, (double[]){1, 3, (e * 1 + f * 5 + e * 7) / (2 * e + f)}, 3);
    bench_close(&t);
}
END_TEST

/* Without a bias the blocks mean nothing; with a change of a later key no earlier row changes. */
START_TEST(blocks_and_causality)
{
    static const char *const blocks[] = {"causal=true", "causal=true block=1", "causal=true block=4", "causal=true block=99",
                                         "causal=true block=2 recent=keys"};
    Value *first = NULL;
    Bench t[5];
    for (int i = 0; i < 5; i++) {
        char text[1024];
        snprintf(text, sizeof text, HEAD NODE "%s : f32[S, W]\n  return o\n", blocks[i]);
        bench_begin(&t[i], text, (int64_t[]){11, 11});
        Value *o = bench_run(&t[i]);
        first = i ? first : o;
        if (i < 4)
            check_numbers(o, first->data, 11);
        double before[11];
        memcpy(before, o->data, sizeof before);
        host_set(&t[i].in[1], 2 * 7, 1.75);
        host_set(&t[i].in[2], 7, 100);
        o = bench_run(&t[i]);
        check_numbers(&(Value){.count = 7, .data = o->data}, before, 7);
        ck_assert(o->data[7] != before[7]);
    }
    for (int i = 0; i < 5; i++)
        bench_close(&t[i]);
}
END_TEST

/* A million equal keys through a state: the count is exact, the mean stays what it is. */
START_TEST(a_million_keys)
{
    enum { PART = 50000, TIMES = 20 };
    Bench t;
    bench_begin(&t, "graph T(q: f32[S, K], k: f32[T, K], v: f32[T, W], c: f32[N, K])\n"
                    "  dims S = 1..  T = S  past = 0..  K = 2  W = 1  N = 3\n  cache kv f32[state=6] state x 1\n"
                    "  l = const value=0 : i32\n"
                    "  o = codebook_attend q, k, v, c, l over=K keys=T queries=S roles=[codebook, layer] causal=true cache=kv : f32[S, W]\n"
                    "  return o\n",
                (int64_t[]){PART, 0});
    for (int64_t i = 0; i < PART; i++) {
        host_set(&t.in[1], 2 * i, i % 2 ? 1 : -1);
        host_set(&t.in[2], i, i % 2 ? 3 : -5);
    }
    bench_set(&t, 3, (double[]){-1, 0, 1, 0, 8, 8}, 6);
    for (int i = 0; i < 2 * PART; i++)
        host_set(&t.in[0], i, 0);
    for (int i = 0; i < TIMES; i++) {
        t.sizes[1] = (int64_t)i * PART;
        Value *o = bench_run(&t);
        ck_assert(fabs(o->data[PART - 1] - -1) < 1e-12);
        arena_free(&t.work);
    }
    const double *state = t.bind.caches[0].data;
    check_numbers(&(Value){.count = 6, .data = t.bind.caches[0].data}, (double[]){500000, 500000, 0, -5, 3, 0}, 6);
    ck_assert(state[2] == 0);
    bench_close(&t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("interpret_codebook");
    TCase *cases = tcase_create("interpret_codebook");
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, definition, 0, FORMS);
    tcase_add_loop_test(cases, states, 0, FORMS);
    tcase_add_test(cases, ties_and_empty_codes);
    tcase_add_test(cases, blocks_and_causality);
    tcase_add_test(cases, a_million_keys);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
