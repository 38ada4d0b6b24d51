/* linear_attend against its definition written out plainly here, whatever the features and the mask; sums kept from
 * call to call against all keys at once; and what must not change a row: later keys, padding, other documents. */
#include "ir_test.h"

enum { B = 2, G = 2, R = 3, K = 4, W = 3, F = 5, MOST = 12 };

/* Queries in groups of three heads for each head of keys; the axes of q, k and v in three different orders. */
static const char *const dims = "  dims    B = 1..4  S = 1..12  T = 1..12  past = 0..64  F = 5  G = 2  K = 4  R = 3  W = 3\n";
static const char *const dims_of_states = "  dims    B = 1..4  S = 1..12  past = 0..64  F = 5  G = 2  K = 4  R = 3  T = S  W = 3\n";
static const char *const params = "q: f32[R, S, B, K, G], k: f32[B, T, G, K], v: f32[G, T, W, B], w: f32[G, F, K]";

enum { IN_Q, IN_K, IN_V, IN_W };

typedef struct Setting {
    const char *features;       /* attributes */
    const char *roles;          /* after w, if the features need it: "keep, prefix" */
    const char *inputs;         /* the same as parameters of the graph */
    bool projects;
} Setting;

static const Setting all_features[] = {
    {"features=none", NULL, NULL, false},
    {"features=elu1 scale=0.25", NULL, NULL, false},
    {"features=relu eps=0.001", NULL, NULL, false},
    {"features=relu eps=0.001 ratio=0.5 scale=0.5", NULL, NULL, true},
    {"features=positive scale=0.5", NULL, NULL, true},
    {"features=hyperbolic scale=0.5", NULL, NULL, true},
    {"features=codes scale=0.5 tau=0.75", NULL, NULL, true},
};
enum { N_FEATURES = sizeof all_features / sizeof *all_features };

static const char *text_of(Bench *t, const Setting *s, const char *more)
{
    Text text = text_new(&t->arena);
    text_add(&text, "graph T(%s%s%s)\n%s", params, s->inputs ? ", " : "", s->inputs ? s->inputs : "",
             strstr(more, "cache=") ? dims_of_states : dims);
    text_add(&text, "  o = linear_attend q, k, v%s", s->projects ? ", w" : "");
    for (const char *p = s->inputs; p; p = strstr(p, "], ") ? strstr(p, "], ") + 3 : NULL) /* the names alone */
        text_add(&text, ", %.*s", (int)strcspn(p, ":"), p);
    text_add(&text, " over=K keys=T queries=S");
    if (s->projects || s->roles)
        text_add(&text, " roles=[%s%s%s]", s->projects ? "projection" : "", s->projects && s->roles ? ", " : "",
                 s->roles ? s->roles : "");
    text_add(&text, " %s %s\n  return o\n", s->features, more);
    return text.data;
}

static void begin(Bench *t, const Setting *s, const char *more, int64_t rows, int64_t keys)
{
    Bench scratch;
    bench_open(&scratch);
    bench_begin(t, text_of(&scratch, s, more), (int64_t[]){B, rows, keys, 0});
    bench_close(&scratch);
}

static int64_t rows_of(const Bench *t)
{
    return t->sizes[1];
}

static int64_t keys_of(const Bench *t)
{
    return t->sizes[2];
}

static double q_at(const Bench *t, int64_t b, int64_t g, int64_t r, int64_t s, int64_t k)
{
    return bench_in(t, IN_Q, (((r * rows_of(t) + s) * B + b) * K + k) * G + g);
}

static int64_t k_index(const Bench *t, int64_t b, int64_t g, int64_t j, int64_t k)
{
    return ((b * keys_of(t) + j) * G + g) * K + k;
}

static int64_t v_index(const Bench *t, int64_t b, int64_t g, int64_t j, int64_t x)
{
    return ((g * keys_of(t) + j) * W + x) * B + b;
}

static double out_at(const Bench *t, const Value *v, int64_t b, int64_t g, int64_t r, int64_t s, int64_t x)
{
    return v->data[(((r * rows_of(t) + s) * B + b) * G + g) * W + x];
}

/* ---- the definition ---------------------------------------------------------------------------------------------- */

/* The features of a head's vector: exponentials as they are, so inputs must be small. */
static int64_t features(const Bench *t, int64_t g, const double *x, bool key, double *to)
{
    const Node *n = t->g->results[0].value;
    double scale = attr_float(n, ATTR_scale, 1), eps = attr_float(n, ATTR_eps, 0), ratio = attr_float(n, ATTR_ratio, 1),
           tau = attr_float(n, ATTR_tau, 1), wx[F], norm = 0, sum = 0;
    for (int64_t k = 0; k < K; k++)
        norm += scale * x[k] * x[k];
    for (int64_t f = 0; f < F; f++) {
        wx[f] = 0;
        for (int64_t k = 0; k < K; k++)
            wx[f] += bench_in(t, IN_W, (g * F + f) * K + k) * x[k];
    }
    if (node_features(n, "none") || node_features(n, "elu1") || (node_features(n, "relu") && !role_of(n, "projection"))) {
        for (int64_t k = 0; k < K; k++) {
            double y = x[k] * sqrt(scale);
            to[k] = node_features(n, "none")   ? y
                    : node_features(n, "elu1") ? (y > 0 ? y + 1 : exp(y))
                                               : fmax(y, 0) + eps;
        }
        return K;
    }
    for (int64_t f = 0; f < F; f++) {
        if (node_features(n, "relu"))
            to[f] = fmax(ratio * sqrt(scale) * wx[f], 0) + eps;
        else if (node_features(n, "positive"))
            to[f] = exp(sqrt(scale) * wx[f] - norm / 2);
        else if (node_features(n, "hyperbolic")) {
            to[f] = exp(sqrt(scale) * wx[f] - norm / 2);
            to[f + F] = exp(-sqrt(scale) * wx[f] - norm / 2);
        } else if (!key)
            to[f] = exp(scale * wx[f]);
        else {
            double far = 0;
            for (int64_t k = 0; k < K; k++)
                far += pow(x[k] - bench_in(t, IN_W, (g * F + f) * K + k), 2);
            sum += to[f] = exp(-far / (2 * tau * tau));
        }
    }
    for (int64_t f = 0; f < F && sum > 0; f++)
        to[f] /= sum;
    return node_features(n, "hyperbolic") ? 2 * F : F;
}

typedef bool (*Sees)(const Bench *t, int64_t b, int64_t position, int64_t key);

static void check_definition(const Bench *t, const Value *v, Sees sees)
{
    for (int64_t i = 0; i < B * G * R * rows_of(t); i++) {
        int64_t b = i % B, g = i / B % G, r = i / B / G % R, s = i / B / G / R, count;
        double x[K], fq[2 * F], fk[2 * F], sum = 0, above[W] = {0};
        for (int64_t k = 0; k < K; k++)
            x[k] = q_at(t, b, g, r, s, k);
        count = features(t, g, x, false, fq);
        for (int64_t j = 0; j < keys_of(t); j++) {
            double weight = 0;
            if (!sees(t, b, keys_of(t) - rows_of(t) + s, j))
                continue;
            for (int64_t k = 0; k < K; k++)
                x[k] = bench_in(t, IN_K, k_index(t, b, g, j, k));
            features(t, g, x, true, fk);
            for (int64_t f = 0; f < count; f++)
                weight += fq[f] * fk[f];
            sum += weight;
            for (int64_t y = 0; y < W; y++)
                above[y] += weight * bench_in(t, IN_V, v_index(t, b, g, j, y));
        }
        for (int64_t y = 0; y < W; y++) {
            double want = sum == 0 ? 0 : above[y] / sum, is = out_at(t, v, b, g, r, s, y);
            double size = node_features(t->g->results[0].value, "none") ? 1 + fabs(above[y]) / fmax(sum * sum, 1e-9) : 1;
            ck_assert_msg(fabs(is - want) <= 1e-12 * (fabs(want) + size), "%s: row %d of %d/%d/%d: %.17g, not %.17g",
                          attr_name(t->g->results[0].value, ATTR_features), (int)s, (int)b, (int)g, (int)r, is, want);
        }
    }
}

static bool sees_all(const Bench *t, int64_t b, int64_t position, int64_t key)
{
    (void)t, (void)b, (void)position, (void)key;
    return true;
}

static bool sees_before(const Bench *t, int64_t b, int64_t position, int64_t key)
{
    (void)t, (void)b;
    return key <= position;
}

START_TEST(features_of_every_kind)
{
    Bench t;
    for (int causal = 0; causal < 2; causal++) {
        begin(&t, &all_features[_i], causal ? "causal=true" : "", 5, causal ? 9 : 7);
        check_definition(&t, bench_run(&t), causal ? sees_before : sees_all);
        bench_close(&t);
    }
}
END_TEST

/* ---- masks ------------------------------------------------------------------------------------------------------- */

enum { IN_FIRST = 4 };

static bool sees_kept(const Bench *t, int64_t b, int64_t position, int64_t key)
{
    (void)position;
    return bench_in(t, IN_FIRST, b * keys_of(t) + key) != 0;
}

static bool sees_prefix(const Bench *t, int64_t b, int64_t position, int64_t key)
{
    return key <= position || (double)key < bench_in(t, IN_FIRST, b);
}

static bool sees_document(const Bench *t, int64_t b, int64_t position, int64_t key)
{
    double here = bench_in(t, IN_FIRST, b * keys_of(t) + key);
    return here == bench_in(t, IN_FIRST, b * keys_of(t) + position);
}

static bool sees_document_before(const Bench *t, int64_t b, int64_t position, int64_t key)
{
    return key <= position && sees_document(t, b, position, key);
}

static bool sees_masked(const Bench *t, int64_t b, int64_t position, int64_t key)
{
    int64_t s = position - (keys_of(t) - rows_of(t));
    return bench_in(t, IN_FIRST, (s * keys_of(t) + key) * B + b) != 0;
}

static const struct {
    const char *roles, *inputs, *more;
    Sees sees;
    double numbers[B * MOST];
} masks[] = {
    {"keep", "p: i32[B, T]", "", sees_kept, {0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0}},
    {"prefix", "p: i32[B]", "causal=true", sees_prefix, {6, 1}},
    {"document", "p: i32[B, T]", "", sees_document, {7, 7, 2, 2, 2, 7, 7, 9, 1, 2, 1, 2, 1, 2, 2, 2}},
    {"document", "p: i32[B, T]", "causal=true", sees_document_before, {7, 7, 2, 2, 2, 7, 7, 9, 1, 2, 1, 2, 1, 2, 2, 2}},
};
enum { N_MASKS = sizeof masks / sizeof *masks };

START_TEST(masks_of_every_kind)
{
    for (int f = 0; f < N_FEATURES; f++) {
        Setting s = all_features[f];
        s.roles = masks[_i].roles;
        s.inputs = masks[_i].inputs;
        Bench t;
        begin(&t, &s, masks[_i].more, 6, 8);
        bench_set(&t, IN_FIRST, masks[_i].numbers, host_count(&t.in[IN_FIRST]));
        check_definition(&t, bench_run(&t), masks[_i].sees);
        bench_close(&t);
    }
}
END_TEST

START_TEST(any_condition)
{
    for (int f = 0; f < N_FEATURES; f++) {
        Setting s = all_features[f];
        s.roles = "mask";
        s.inputs = "p: bool[S, T, B]";
        Bench t;
        begin(&t, &s, "", 6, 8);
        for (int64_t j = 0; j < 8 * B; j++)
            host_set(&t.in[IN_FIRST], 2 * 8 * B + j, 0); /* a row that sees no key */
        Value *v = bench_run(&t);
        check_definition(&t, v, sees_masked);
        ck_assert(out_at(&t, v, 1, 1, 1, 2, 0) == 0);
        bench_close(&t);
    }
}
END_TEST

START_TEST(an_offset_multiplies_a_key)
{
    Setting s = {"features=positive scale=0.5", "offset", "p: f32[B, T, G]", true};
    Bench t, other;
    begin(&t, &s, "causal=true", 6, 6);
    begin(&other, &all_features[4], "causal=true", 6, 6);
    /* the same key three times weighs as much as once with log 3 */
    double three[B * 6 * G] = {0};
    for (int64_t b = 0; b < B; b++)
        for (int64_t g = 0; g < G; g++) {
            three[(b * 6 + 1) * G + g] = log(3);
            three[(b * 6 + 4) * G + g] = three[(b * 6 + 5) * G + g] = -INFINITY;
            for (int64_t j = 2; j < 6; j++) /* keys 1, 1, 1, then 2 and 3 of the other */
                for (int64_t x = 0; x < K; x++)
                    host_set(&other.in[IN_K], k_index(&other, b, g, j, x),
                             bench_in(&t, IN_K, k_index(&t, b, g, j < 4 ? 1 : j - 2, x)));
            for (int64_t j = 2; j < 6; j++)
                for (int64_t x = 0; x < W; x++)
                    host_set(&other.in[IN_V], v_index(&other, b, g, j, x),
                             bench_in(&t, IN_V, v_index(&t, b, g, j < 4 ? 1 : j - 2, x)));
        }
    bench_set(&t, IN_FIRST, three, B * 6 * G);
    Value *v = bench_run(&t), *w = bench_run(&other);
    for (int64_t x = 0; x < W; x++)
        ck_assert_double_eq_tol(out_at(&t, v, 1, 0, 2, 5, x), out_at(&other, w, 1, 0, 2, 5, x), 1e-6); /* log 3 in f32 */
    bench_close(&t);
    bench_close(&other);
}
END_TEST

/* ---- eps > 0 with positive features: as in the published code ------------------------------------------------------ */

START_TEST(positive_features_with_eps)
{
    Setting s = {"features=positive scale=0.5 eps=0.0001", "keep", "p: i32[B, T]", true};
    Bench t;
    begin(&t, &s, "", 3, 5);
    bench_set(&t, IN_FIRST, (double[]){1, 1, 0, 1, 1, 1, 1, 1, 0, 0}, 10);
    host_set(&t.in[IN_K], k_index(&t, 0, 1, 2, 0), 100); /* a key that none sees: not the largest either */
    Value *v = bench_run(&t);
    int64_t b = 0, g = 1, r = 2, row = 1;
    double u[6][F], half[6], most = -INFINITY, top = -INFINITY, sum = 0, above = 0;
    for (int64_t j = 0; j <= 5; j++) { /* the last is the query */
        half[j] = 0;
        for (int64_t k = 0; k < K; k++)
            half[j] += 0.25 * pow(j < 5 ? bench_in(&t, IN_K, k_index(&t, b, g, j, k)) : q_at(&t, b, g, r, row, k), 2);
        for (int64_t f = 0; f < F; f++) {
            u[j][f] = 0;
            for (int64_t k = 0; k < K; k++)
                u[j][f] += sqrt(0.5) * bench_in(&t, IN_W, (g * F + f) * K + k) *
                           (j < 5 ? bench_in(&t, IN_K, k_index(&t, b, g, j, k)) : q_at(&t, b, g, r, row, k));
            if (j < 5 && j != 2)
                most = fmax(most, u[j][f]);
            if (j == 5)
                top = fmax(top, u[j][f]);
        }
    }
    for (int64_t j = 0; j < 5; j++)
        for (int64_t f = 0; f < F && j != 2; f++) {
            double weight = (exp(u[5][f] - half[5] - top) + 1e-4) * (exp(u[j][f] - half[j] - most) + 1e-4);
            sum += weight;
            above += weight * bench_in(&t, IN_V, v_index(&t, b, g, j, 1));
        }
    ck_assert_double_eq_tol(out_at(&t, v, b, g, r, row, 1), above / sum, 1e-12);
    bench_close(&t);
}
END_TEST

/* ---- norms near 24 ----------------------------------------------------------------------------------------------- */

/* Products of features as sums of exponentials in long double, counted from the largest: an independent way. */
static void check_large(const Bench *t, const Value *v)
{
    for (int64_t s = 0; s < rows_of(t); s++) {
        long double most = -INFINITY, sum = 0, above = 0, exponent[MOST][F];
        for (int64_t j = 0; j <= s; j++)
            for (int64_t f = 0; f < F; f++) {
                exponent[j][f] = 0;
                for (int64_t k = 0; k < K; k++) {
                    long double w = bench_in(t, IN_W, (1 * F + f) * K + k), y = bench_in(t, IN_K, k_index(t, 1, 1, j, k)),
                                x = q_at(t, 1, 1, 2, s, k);
                    exponent[j][f] += w * (x + y) - y * y / 2;
                }
                most = exponent[j][f] > most ? exponent[j][f] : most;
            }
        for (int64_t j = 0; j <= s; j++)
            for (int64_t f = 0; f < F; f++) {
                sum += expl(exponent[j][f] - most);
                above += expl(exponent[j][f] - most) * bench_in(t, IN_V, v_index(t, 1, 1, j, 0));
            }
        ck_assert_double_eq_tol(out_at(t, v, 1, 1, 2, s, 0), (double)(above / sum), 1e-11);
    }
}

static void enlarge(Bench *t, int input, double by)
{
    for (int64_t i = 0; i < host_count(&t->in[input]); i++)
        host_set(&t->in[input], i, by * bench_in(t, input, i));
}

START_TEST(norms_of_any_size)
{
    static const double sizes[] = {1, 12, 40, 400};
    Setting s = {"features=positive", NULL, NULL, true};
    Bench t;
    begin(&t, &s, "causal=true", 10, 10);
    enlarge(&t, IN_Q, sizes[_i]);
    enlarge(&t, IN_K, sizes[_i]);
    check_large(&t, bench_run(&t));
    bench_close(&t);
}
END_TEST

/* ---- states ------------------------------------------------------------------------------------------------------ */

static int64_t state_of(const Setting *s)
{
    int64_t f = !s->projects ? K : strstr(s->features, "hyperbolic") ? 2 * F : F;
    return f * (W + 1 + (strstr(s->features, "positive") || strstr(s->features, "hyperbolic")));
}

static void copy_input(Bench *part, const Bench *all, int input, int64_t first)
{
    const HostTensor *from = &all->in[input], *to = &part->in[input];
    for (int64_t i = 0; i < host_count(to); i++) {
        int64_t index = 0, rest = i, step = 1;
        for (int a = to->rank - 1; a >= 0; a--) {
            bool moves = to->dims[a] == part->sizes[1] && from->dims[a] == all->sizes[1];
            index += (rest % to->dims[a] + (moves ? first : 0)) * step;
            rest /= to->dims[a];
            step *= from->dims[a];
        }
        host_set(&part->in[input], i, host_get(from, index));
    }
}

/* Rows in several calls, of which each sees what the state holds and its own keys; against all at once. */
static void check_calls(const Setting *s, const char *more, const double *numbers, const int64_t *rows, double size)
{
    enum { ALL = 11 };
    Bench whole, part;
    Setting with = *s;
    Text inputs, roles, attributes;
    begin(&whole, s, more, ALL, ALL);
    inputs = text_new(&whole.arena);
    roles = text_new(&whole.arena);
    attributes = text_new(&whole.arena);
    text_add(&inputs, "%s%sn: i32", s->inputs ? s->inputs : "", s->inputs ? ", " : "");
    text_add(&roles, "%s%slayer", s->roles ? s->roles : "", s->roles ? ", " : "");
    text_add(&attributes, "%s cache=st", more);
    with.inputs = inputs.data;
    with.roles = roles.data;
    if (numbers)
        bench_set(&whole, IN_FIRST, numbers, host_count(&whole.in[IN_FIRST]));
    enlarge(&whole, IN_Q, size);
    enlarge(&whole, IN_K, size);
    Value *want = bench_run(&whole);
    Value caches = {0};
    for (int64_t past = 0, call = 0; past < ALL; past += rows[call++]) {
        Bench scratch;
        bench_open(&scratch);
        Text text = text_new(&scratch.arena);
        const char *plain = text_of(&scratch, &with, attributes.data), *body = strstr(plain, "  o = ");
        text_add(&text, "%.*s  cache   st f32[B, G, state=%lld] state x 3\n%s", (int)(body - plain), plain,
                 (long long)state_of(s), body);
        bench_begin(&part, text.data, (int64_t[]){B, rows[call], past});
        for (int i = 0; i < part.g->n_params - 1; i++)
            copy_input(&part, &whole, i, past);
        host_set(&part.in[part.g->n_params - 1], 0, 1);
        if (past == 0) {
            caches = part.bind.caches[0];
            caches.data = arena_array(&whole.arena, (size_t)caches.count, sizeof *caches.data);
            for (int64_t i = 0; i < caches.count; i++)
                caches.data[i] = NAN; /* whatever memory holds */
        }
        part.bind.caches = &caches;
        Value *v = bench_run(&part);
        for (int64_t i = 0; i < B * G * R * rows[call] * W; i++) {
            int64_t x = i % W, b = i / W % B, g = i / W / B % G, r = i / W / B / G % R, row = i / W / B / G / R;
            double is = out_at(&part, v, b, g, r, row, x), should = out_at(&whole, want, b, g, r, past + row, x),
                   about = node_features(part.g->results[0].value, "none") ? 1e-8 : 1e-12;
            ck_assert_msg(fabs(is - should) <= about * fmax(1, fabs(should)), "%s, row %d + %d: %.17g, not %.17g",
                          s->features, (int)past, (int)row, is, should);
        }
        ck_assert(isnan(caches.data[0]) && isnan(caches.data[caches.count - 1])); /* other layers */
        bench_close(&part);
        bench_close(&scratch);
    }
    bench_close(&whole);
}

START_TEST(states_hold_what_came_before)
{
    static const int64_t calls[][12] = {{11}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {4, 1, 3, 1, 2}};
    for (int c = 0; c < 3; c++) {
        const Setting *s = &all_features[_i];
        check_calls(s, "causal=true", NULL, calls[c], 1);
        if (!strstr(s->features, "none"))
            check_calls(s, "causal=true", NULL, calls[c], 15);
        Setting kept = *s;
        kept.roles = "keep";
        kept.inputs = "p: i32[B, T]";
        check_calls(&kept, "causal=true", (double[]){0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0},
                    calls[c], 1);
    }
}
END_TEST

START_TEST(a_prefix_that_came_in_the_first_call)
{
    Setting s = {"features=hyperbolic scale=0.5", "prefix", "p: i32[B]", true};
    check_calls(&s, "causal=true", (double[]){5, 2}, (int64_t[]){5, 1, 2, 3}, 1);
}
END_TEST

START_TEST(a_layer_that_is_not_there)
{
    Bench t;
    bench_begin(&t,
                "graph T(q: f32[S, K], k: f32[T, K], v: f32[T, W], n: i32)\n  dims S = 1..  past = 0..  K = 2  T = S  W = 1\n"
                "  cache st f32[state=4] state x 2\n"
                "  o = linear_attend q, k, v, n over=K keys=T queries=S features=elu1 roles=layer cache=st causal=true\n"
                "  return o\n",
                (int64_t[]){1, 0});
    host_set(&t.in[3], 0, 2);
    ck_assert(!interpret(&t.cx, t.g, &t.bind, &t.work));
    ck_assert_str_eq(bench_said(&t), "layer 2 of the cache `st`, which has 2");
    bench_close(&t);
}
END_TEST

/* ---- what must not matter ---------------------------------------------------------------------------------------- */

START_TEST(later_keys_change_nothing)
{
    Bench t;
    begin(&t, &all_features[_i], "causal=true", 8, 8);
    Value before = *bench_run(&t);
    for (int64_t b = 0; b < B; b++)
        for (int64_t g = 0; g < G; g++) {
            for (int64_t k = 0; k < K; k++)
                host_set(&t.in[IN_K], k_index(&t, b, g, 5, k), 40 + (double)k);
            host_set(&t.in[IN_V], v_index(&t, b, g, 5, 1), NAN);
        }
    Value *after = bench_run(&t);
    for (int64_t i = 0; i < B * G * R * 5 * W; i++) {
        int64_t x = i % W, b = i / W % B, g = i / W / B % G, r = i / W / B / G % R, s = i / W / B / G / R;
        ck_assert(out_at(&t, &before, b, g, r, s, x) == out_at(&t, after, b, g, r, s, x));
    }
    ck_assert(isnan(out_at(&t, after, 0, 0, 0, 5, 1)));
    bench_close(&t);
}
END_TEST

START_TEST(padding_is_not_read)
{
    Setting s = all_features[_i];
    s.roles = "keep";
    s.inputs = "p: i32[B, T]";
    Bench t, less;
    begin(&t, &s, "", 4, 9);
    begin(&less, &all_features[_i], "", 4, 6);
    bench_set(&t, IN_FIRST, (double[]){1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0}, 18);
    for (int i = 0; i < 4; i++)
        for (int64_t at = 0; i != IN_K && i != IN_V && at < host_count(&less.in[i]); at++)
            host_set(&less.in[i], at, bench_in(&t, i, at));
    for (int64_t b = 0; b < B; b++)
        for (int64_t g = 0; g < G; g++)
            for (int64_t j = 0; j < 9; j++)
                for (int64_t x = 0; x < K; x++) {
                    if (j >= 6) {
                        host_set(&t.in[IN_K], k_index(&t, b, g, j, x), x == 0 ? NAN : 90);
                        host_set(&t.in[IN_V], v_index(&t, b, g, j, x % W), NAN);
                        continue;
                    }
                    host_set(&less.in[IN_K], k_index(&less, b, g, j, x), bench_in(&t, IN_K, k_index(&t, b, g, j, x)));
                    host_set(&less.in[IN_V], v_index(&less, b, g, j, x % W),
                             bench_in(&t, IN_V, v_index(&t, b, g, j, x % W)));
                }
    Value *v = bench_run(&t), *w = bench_run(&less);
    check_numbers(v, w->data, w->count);
    bench_close(&t);
    bench_close(&less);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("interpret_linear");
    TCase *cases = tcase_create("interpret_linear");
    tcase_set_timeout(cases, 120);
    tcase_add_loop_test(cases, features_of_every_kind, 0, N_FEATURES);
    tcase_add_loop_test(cases, masks_of_every_kind, 0, N_MASKS);
    tcase_add_test(cases, any_condition);
    tcase_add_test(cases, an_offset_multiplies_a_key);
    tcase_add_test(cases, positive_features_with_eps);
    tcase_add_loop_test(cases, norms_of_any_size, 0, 4);
    tcase_add_loop_test(cases, states_hold_what_came_before, 0, N_FEATURES);
    tcase_add_test(cases, a_prefix_that_came_in_the_first_call);
    tcase_add_test(cases, a_layer_that_is_not_there);
    tcase_add_loop_test(cases, later_keys_change_nothing, 0, N_FEATURES);
    tcase_add_loop_test(cases, padding_is_not_read, 0, N_FEATURES);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
