/* linear_attend: all features and masks, over lengths on both sides of every edge of tiles and chunks, against the
 * interpreter; the same bits for every number of threads. */
#include "tests/codegen/emit_test.h"

typedef struct Shape {
    const char *name, *features; /* "positive scale=0.25" */
    int g, r, k, w,
        f; /* key heads, query heads to each, sizes of a head and of a value; rows of the projection, 0: none */
    const char *inputs, *roles; /* ", keep: i32[B, T]", "keep" */
    const char *attributes;     /* " causal=true" */
    bool cross;                 /* T is a size of its own instead of past + S */
    double norm;                /* factor on q and k, 0: 1 */
    double tolerance;           /* 0: 1e-5 */
} Shape;

#define KEEP ", keep: i32[B, T]"
#define DOCUMENT ", document: i32[B, T]"
#define PREFIX ", prefix: i32[B]"
#define OFFSET ", offset: f32[B, T, G]"
#define CAUSAL " causal=true"

static const Shape shapes[] = {
    {"positive", "positive scale=0.25", 2, 1, 16, 16, 24, "", "", "", true, 0, 0},
    {"positive_cross_grouped", "positive scale=0.125", 2, 3, 20, 24, 37, "", "", "", true, 0, 0},
    {"positive_causal", "positive scale=0.25", 2, 1, 16, 20, 24, "", "", CAUSAL, false, 0, 0},
    {"positive_64", "positive scale=0.125", 1, 1, 64, 64, 256, "", "", CAUSAL, false, 0, 0},
    {"positive_full_64", "positive scale=0.125", 1, 2, 64, 64, 130, KEEP, "keep", "", true, 0, 0},
    {"positive_tiny", "positive", 1, 1, 3, 1, 1, "", "", CAUSAL, false, 0, 0},
    {"positive_large", "positive scale=0.25", 2, 1, 16, 20, 24, "", "", CAUSAL, false, 10, 1e-4},
    {"positive_larger", "positive scale=0.25", 1, 2, 16, 8, 9, KEEP, "keep", CAUSAL, false, 24, 1e-3},
    {"positive_larger_full", "positive scale=0.25", 1, 2, 16, 8, 9, KEEP, "keep", "", true, 24, 1e-3},
    {"positive_keep", "positive scale=0.25", 2, 2, 16, 20, 24, KEEP, "keep", "", true, 0, 0},
    {"positive_keep_causal", "positive scale=0.25", 1, 2, 16, 20, 33, KEEP, "keep", CAUSAL, false, 0, 0},
    {"positive_prefix", "positive scale=0.25", 2, 1, 16, 20, 24, PREFIX, "prefix", CAUSAL, false, 0, 0},
    {"positive_document", "positive scale=0.25", 2, 2, 16, 20, 24, DOCUMENT, "document", "", false, 0, 0},
    {"positive_document_causal", "positive scale=0.25", 2, 1, 16, 20, 24, DOCUMENT, "document", CAUSAL, false, 0, 0},
    {"positive_all", "positive scale=0.25", 1, 2, 16, 20, 24, KEEP PREFIX DOCUMENT OFFSET,
     "keep, prefix, document, offset", CAUSAL, false, 0, 0},
    {"positive_all_full", "positive scale=0.25", 1, 2, 16, 20, 24, KEEP DOCUMENT OFFSET, "keep, document, offset", "",
     false, 3, 4e-5},
    {"positive_offset", "positive scale=0.25", 2, 1, 16, 20, 24, OFFSET, "offset", CAUSAL, false, 0, 0},
    {"positive_eps", "positive scale=0.25 eps=0.0001", 2, 2, 16, 20, 24, "", "", "", true, 0, 0},
    {"positive_eps_keep", "positive scale=0.25 eps=0.01", 1, 1, 20, 20, 27, KEEP, "keep", "", true, 0, 0},
    {"hyperbolic", "hyperbolic scale=0.25", 2, 1, 16, 20, 24, KEEP, "keep", "", true, 0, 0},
    {"hyperbolic_causal", "hyperbolic scale=0.25", 1, 2, 20, 16, 21, KEEP, "keep", CAUSAL, false, 0, 0},
    {"hyperbolic_odd", "hyperbolic scale=0.25", 1, 1, 5, 7, 5, "", "", CAUSAL, false, 8, 1e-4},
    {"relu", "relu eps=0.001 ratio=0.5 scale=0.25", 2, 1, 16, 20, 24, KEEP, "keep", "", true, 0, 0},
    {"relu_causal", "relu eps=0.001", 1, 2, 16, 20, 23, "", "", CAUSAL, false, 0, 0},
    {"relu_plain", "relu eps=0.001 ratio=2", 2, 1, 20, 20, 0, KEEP, "keep", CAUSAL, false, 0, 0},
    {"elu", "elu1", 2, 1, 20, 12, 0, KEEP, "keep", "", true, 0, 0},
    {"elu_causal", "elu1 scale=2", 2, 2, 16, 20, 0, KEEP DOCUMENT, "keep, document", CAUSAL, false, 0, 0},
    {"none", "none", 1, 1, 16, 20, 0, "", "", CAUSAL, false, 0, 0},
    {"none_full", "none scale=0.5", 1, 2, 20, 20, 0, KEEP, "keep", "", true, 0, 0},
    {"codes", "codes tau=1 scale=0.25", 2, 1, 16, 20, 24, KEEP, "keep", "", true, 0, 0},
    {"codes_causal", "codes tau=0.5 scale=0.25", 1, 2, 20, 20, 30, KEEP, "keep", CAUSAL, false, 0, 2e-5},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* `own`: every key head has a projection of its own. */
static const char *text_of(const Shape *s, Arena *arena, bool own)
{
    Text t = text_new(arena);
    const char *roles = s->roles;
    text_add(&t, "kernels Test(q: f32[B, S, G, R, K], k: f32[B, T, G, K], v: f32[B, T, G, W]%s)\n", s->inputs);
    text_add(&t, "  dims    B = 1..4  S = 1..2048  past = 0..2048  T = %s  G = %d  R = %d  K = %d  W = %d  F = %d\n",
             s->cross ? "1..2048" : "past+S", s->g, s->r, s->k, s->w, s->f ? s->f : 1);
    if (s->f) {
        text_add(&t, "  w     = weight key=\"w\" factor=3.4 : f32[%sF, K]\n", own ? "G, " : "");
        roles = roles[0] ? arena_print(arena, "projection, %s", roles) : "projection";
    }
    text_add(&t, "  o     = linear_attend q, k, v%s%s%s over=K keys=T queries=S", s->f ? ", w" : "",
             s->roles[0] ? ", " : "", s->roles);
    if (roles[0])
        text_add(&t, " roles=[%s]", roles);
    text_add(&t, " features=%s%s : f32[B, S, G, R, W]\n  return o = o\n", s->features, s->attributes);
    return t.data;
}

/* ---- inputs ------------------------------------------------------------------------------------------------------ */

/* Rows of k and v that are not kept hold NaN: nobody may read them. */
static void poison(HostTensor *inputs, const HostTensor *keep)
{
    int64_t each[2], rows = host_count(keep);
    for (int i = 0; i < 2; i++)
        each[i] = host_count(&inputs[1 + i]) / rows;
    for (int64_t row = 0; row < rows; row++)
        for (int i = 0; i < 2 && host_get(keep, row) == 0; i++)
            for (int64_t j = 0; j < each[i]; j++)
                host_set(&inputs[1 + i], row * each[i] + j, j % 3 ? NAN : INFINITY);
}

static void fill(Trial *t, const Shape *s, const int64_t *sizes, HostTensor *inputs)
{
    const Plan *p = &t->out.plan;
    double norm = s->norm > 0 ? s->norm : 1;
    for (int i = 0; i < p->n_inputs; i++) {
        HostTensor *h = &inputs[i];
        *h = trial_input(t, &p->inputs[i], sizes);
        for (int64_t j = 0; j < host_count(h); j++) {
            double x = host_get(h, j);
            if (!strcmp(h->name, "q") || !strcmp(h->name, "k"))
                host_set(h, j, (float)(norm * (strncmp(s->features, "none", 4) ? x : fabs(x))));
            else if (!strcmp(h->name, "keep")) /* the last entry has next to no keys */
                host_set(h, j,
                         h->dims[0] > 1 && j >= host_count(h) / h->dims[0] * (h->dims[0] - 1) ? j % 50 == 7 : x > 1);
            else if (!strcmp(h->name, "prefix"))
                host_set(h, j, x * 23);
            else if (!strcmp(h->name, "document") &&
                     j % 7 > 2) /* mostly neighbours, some ids come back, some are large */
                host_set(h, j, (double)(j / 40) * 1000003);
        }
    }
    for (int i = 0; i < p->n_inputs; i++)
        if (!strcmp(inputs[i].name, "keep"))
            poison(inputs, &inputs[i]);
}

/* ---- one size ---------------------------------------------------------------------------------------------------- */

static void check_size(Trial *t, const Shape *s, const int64_t *sizes)
{
    HostTensor inputs[16], first = {0};
    Arena work = {0};
    const char *what = arena_print(&t->arena, "%s, %s: B=%d S=%d past=%d T=%d", s->name, t->target->name, (int)sizes[0],
                                   (int)sizes[1], (int)sizes[2], (int)sizes[3]);
    fill(t, s, sizes, inputs);
    Bindings b = {.sizes = sizes, .inputs = inputs, .weight = trial_weight};
    Value *want = interpret(&t->cx, t->g, &b, &work);
    ck_assert_msg(want != NULL, "%s: %s", what, trial_said(t));
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        HostTensor out = trial_output(t, &t->out.plan.outputs[0], sizes);
        ck_assert_int_eq(trial_run(t, sizes, inputs, &out, threads), 0);
        trial_compare(t, what, &out, want, s->tolerance > 0 ? s->tolerance : 1e-5);
        if (threads == 1)
            first = out;
        ck_assert_msg(!memcmp(first.data, out.data, (size_t)want->count * 4), "%s: %d threads change bits", what,
                      threads);
    }
    arena_free(&work);
}

static const int64_t lengths[] = {1, 2, 5, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 130, 200};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static void check_shape(const Shape *s, const Target *target, bool own, int stride)
{
    Trial t;
    trial_open(&t, target);
    trial_load(&t, text_of(s, &t.arena, own));
    bool wide = s->k * s->f > 4000;
    for (int i = 0; i < LENGTHS; i += stride)
        for (int past = 0; past < 3; past++) {
            int64_t rows = lengths[i], before = past == 2 ? 70 : past * 3,
                    keys = s->cross ? lengths[(i * 7 + past * 3) % LENGTHS] : rows + before;
            if ((i + past) % 2 || (wide && rows > 70))
                continue;
            check_size(&t, s, (int64_t[]){1 + (i + past) % 3, rows, before, keys});
        }
    if (!s->cross)
        check_size(&t, s, (int64_t[]){1, 1, 600, 601});
    trial_close(&t);
}

START_TEST(every_shape)
{
    check_shape(&shapes[_i], target_native(), _i % 2, 1);
}
END_TEST

START_TEST(narrower_targets)
{
    for (int t = 0; t < target_count; t++)
        if (&targets[t] != target_native() && target_runs_here(&targets[t]))
            check_shape(&shapes[_i], &targets[t], _i % 2 == 0, 4);
}
END_TEST

/* ---- states ------------------------------------------------------------------------------------------------------ */

#define KEPT_KEEP ", keep: i32[B, N]"
#define KEPT_OFFSET ", offset: f32[B, N, G]"

static const Shape kept[] = {
    {"kept_positive", "positive scale=0.25", 2, 1, 16, 16, 24, "", "", "", false, 0, 0},
    {"kept_positive_grouped", "positive scale=0.25", 2, 3, 20, 20, 37, "", "", "", false, 0, 0},
    {"kept_positive_seven", "positive scale=0.125", 1, 7, 64, 64, 48, KEPT_KEEP KEPT_OFFSET, "keep, offset", "", false,
     0, 0},
    {"kept_positive_many", "positive scale=0.25", 1, 20, 16, 5, 3, PREFIX, "prefix", "", false, 0, 0},
    {"kept_positive_large", "positive scale=0.25", 2, 1, 16, 33, 24, KEPT_KEEP, "keep", "", false, 12, 3e-4},
    {"kept_hyperbolic", "hyperbolic scale=0.25", 1, 2, 16, 20, 21, KEPT_KEEP, "keep", "", false, 0, 0},
    {"kept_relu", "relu eps=0.001 ratio=0.5", 2, 1, 20, 20, 23, KEPT_KEEP, "keep", "", false, 0, 0},
    {"kept_elu", "elu1 scale=0.5", 1, 3, 20, 70, 0, "", "", "", false, 0, 0},
    {"kept_none", "none", 1, 1, 16, 16, 0, KEPT_KEEP, "keep", "", false, 0, 0},
    {"kept_codes", "codes tau=1 scale=0.25", 1, 2, 16, 20, 29, KEPT_KEEP, "keep", "", false, 0, 2e-5},
};
enum { KEPT = sizeof kept / sizeof *kept };

static void kept_layer(const Shape *s, Text *t, const char *name, const char *layer, int start)
{
    text_add(t, "  %s = linear_attend q, k, v%s%s%s, %s over=K keys=N queries=S roles=[%s%s%slayer]", name,
             s->f ? ", w" : "", s->roles[0] ? ", " : "", s->roles, layer, s->f ? "projection, " : "", s->roles,
             s->roles[0] ? ", " : "");
    text_add(t, " features=%s start=%d causal=true cache=st : f32[B, S, G, R, W]\n", s->features, start);
}

/* Layer 0 on its own, 1 and 2 as rounds of a repeat: of the same inputs, each with a state of its own. */
static const char *kept_text(const Shape *s, Arena *arena)
{
    Text t = text_new(arena);
    bool hyperbolic = strstr(s->features, "hyperbolic"), tops = hyperbolic || strstr(s->features, "positive");
    int features = s->f ? s->f * (hyperbolic ? 2 : 1) : s->k;
    text_add(&t, "kernels Test(q: f32[B, S, G, R, K], k: f32[B, N, G, K], v: f32[B, N, G, W]%s)\n", s->inputs);
    text_add(&t, "  dims    B = 1..4  S = 1..2048  past = 0..2048  N = S  G = %d  R = %d  K = %d  W = %d  F = %d\n",
             s->g, s->r, s->k, s->w, s->f ? s->f : 1);
    text_add(&t, "  cache   st f32[B, G, state=%d] state x 3\n", features * (s->w + 1 + tops));
    if (s->f)
        text_add(&t, "  w     = weight key=\"w\" factor=3.4 : f32[F, K]\n");
    text_add(&t, "  zero  = const value=0 : i32\n");
    kept_layer(s, &t, "first", "zero", 0);
    text_add(&t, "  last  = repeat i < 2 carries c = first {\n");
    kept_layer(s, &t, "o", "i", 1);
    text_add(&t, "    yield o\n  }\n  return first = first, last = last\n");
    return t.data;
}

static size_t kept_bytes(const Trial *t, const int64_t *sizes)
{
    return (size_t)(t->out.plan.caches[0].layers * (int64_t)t->out.plan.caches[0].bytes_per_row * sizes[0]);
}

/* One call, with each number of threads from the same state: its results, and the state that it leaves. */
static void check_call(Trial *t, const Shape *s, const int64_t *sizes)
{
    HostTensor inputs[16], first[2] = {{0}};
    Arena work = {0};
    const char *what = arena_print(&t->arena, "%s, %s: B=%d S=%d past=%d", s->name, t->target->name, (int)sizes[0],
                                   (int)sizes[1], (int)sizes[2]);
    size_t bytes = kept_bytes(t, sizes);
    void *before = malloc(bytes), *after = malloc(bytes);
    memcpy(before, t->cache_memory[0], bytes);
    fill(t, s, sizes, inputs);
    Bindings b = {.sizes = sizes, .inputs = inputs, .weight = trial_weight, .caches = t->caches};
    Value *want = interpret(&t->cx, t->g, &b, &work);
    ck_assert_msg(want != NULL, "%s: %s", what, trial_said(t));
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        HostTensor out[2];
        memcpy(t->cache_memory[0], before, bytes);
        for (int i = 0; i < 2; i++)
            out[i] = trial_output(t, &t->out.plan.outputs[i], sizes);
        ck_assert_int_eq(trial_run(t, sizes, inputs, out, threads), 0);
        for (int i = 0; i < 2; i++) {
            trial_compare(t, what, &out[i], &want[i], s->tolerance > 0 ? s->tolerance : 1e-5);
            if (threads == 1)
                first[i] = out[i];
            ck_assert_msg(!memcmp(first[i].data, out[i].data, (size_t)want[i].count * 4), "%s: %d threads change bits",
                          what, threads);
        }
        if (threads == 1)
            memcpy(after, t->cache_memory[0], bytes);
        ck_assert_msg(!memcmp(after, t->cache_memory[0], bytes), "%s: %d threads leave another state", what, threads);
    }
    free(before);
    free(after);
    arena_free(&work);
}

static void check_kept(const Shape *s, const Target *target)
{
    static const int64_t calls[] = {1, 1, 3, 1, 64, 1, 1, 130, 1, 17, 2};
    Trial t;
    trial_open(&t, target);
    trial_load(&t, kept_text(s, &t.arena));
    for (int64_t batch = 1; batch < 4; batch += 2) {
        int64_t past = 0;
        trial_open_caches(&t, (int64_t[]){batch, 1, 0, 1}); /* NaN in memory: nobody reads it while past is 0 */
        for (size_t i = batch > 1; i < sizeof calls / sizeof *calls; past += calls[i++])
            check_call(&t, s, (int64_t[]){batch, calls[i], past, calls[i]});
        check_call(&t, s, (int64_t[]){batch, 5, 0, 5}); /* from the start again, whatever memory holds */
        check_call(&t, s, (int64_t[]){batch, 1, 5, 1});
    }
    trial_close(&t);
}

START_TEST(states)
{
    for (int t = 0; t < target_count; t++)
        if (target_runs_here(&targets[t]))
            check_kept(&kept[_i], &targets[t]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("linear");
    TCase *tc = tcase_create("linear");
    tcase_set_timeout(tc, 600);
    tcase_add_loop_test(tc, every_shape, 0, SHAPES);
    tcase_add_loop_test(tc, states, 0, KEPT);
    tcase_add_loop_test(tc, narrower_targets, 0, SHAPES);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
