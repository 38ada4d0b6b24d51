/* attend: KERNEL text -> C -> clang -> run, against the float64 interpreter, over sizes on both sides of every tile's
 * edge.
 *
 * One compile serves all sizes of a shape. Keys and values hold NaN and infinity at some places: the interpreter says
 * which results may see them. Every run is repeated with 2 and 3 threads and must give the same bits. */
#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include "codegen/codegen.h"
#include "ir/interpret.h"
#include "native.h"

typedef struct Shape {
    const char *name;
    int g, r, k, w;     /* key heads, query heads to each, size of a head, size of a value */
    const char *inputs; /* extra inputs of the model: ", keep: bool[B, T]" */
    const char *names;  /* ", keep" */
    const char *params; /* of the body */
    const char *body;   /* lines and `return` */
    bool poison;
    double tolerance; /* 0: 2e-6 */
    bool second;      /* the body takes s or s2, the score of q2 and k2 */
} Shape;

#define POSITIONS "i = iota start=past : i32[S]\n j = iota : i32[T]\n none = const value=-inf : f32\n"
#define CAUSAL POSITIONS "c = le j, i\n"
#define CLIPPED \
    "d = sub i, j\n low = const value=-4 : i32\n high = const value=4 : i32\n l = maximum d, low\n m = minimum l, high\n" \
    " h = add m, high\n"
#define MASKED(condition) "f = where " condition ", s, none\n return f\n"

static const Shape shapes[] = {
    {"plain", 2, 1, 32, 32, "", "", "", "return s\n", false, 0, false},
    {"plain128", 1, 2, 128, 128, "", "", "", "return s\n", false, 0, false},
    {"causal", 2, 3, 64, 64, "", "", "", CAUSAL MASKED("c"), true, 0, false},
    {"causal8", 1, 1, 8, 8, "", "", "", CAUSAL MASKED("c"), true, 0, false},
    {"causal20", 2, 1, 20, 20, "", "", "", CAUSAL MASKED("c"), true, 0, false},
    {"causal_wide", 1, 1, 40, 280, "", "", "", CAUSAL MASKED("c"), true, 0, false}, /* several groups of columns */
    {"window", 1, 2, 16, 80, "", "", "",
     CAUSAL "d = sub i, j\n n = const value=7 : i32\n e = lt d, n\n a = and c, e\n" MASKED("a"), true, 0, false},
    {"padding", 2, 2, 32, 64, ", keep: bool[B, T]", ", keep", ", m: bool[B, T]",
     "none = const value=-inf : f32\n" MASKED("m"), true, 0, false},
    {"causal_padding", 2, 1, 16, 32, ", keep: bool[B, T]", ", keep", ", m: bool[B, T]",
     CAUSAL "a = and m, c\n" MASKED("a"), true, 0, false},
    {"nested", 1, 1, 32, 20, ", keep: bool[B, T]", ", keep", ", m: bool[B, T]",
     CAUSAL "f = where c, s, none\n n = not m\n h = where n, none, f\n return h\n", true, 0, false},
    {"either", 1, 2, 32, 32, ", keep: bool[B, T]", ", keep", ", m: bool[B, T]", CAUSAL "a = or m, c\n" MASKED("a"),
     true, 0, false},
    {"not", 1, 1, 32, 32, ", keep: bool[B, T]", ", keep", ", m: bool[B, T]",
     CAUSAL "n = not m\n d = lt i, j\n o = or n, d\n a = not o\n" MASKED("a"), true, 0, false},
    {"lengths", 2, 1, 32, 32, ", length: i32[B]", ", length", ", n: i32[B]", POSITIONS "a = lt j, n\n" MASKED("a"),
     true, 0, false},
    {"rows", 1, 2, 32, 32, ", alive: bool[B, S]", ", alive", ", m: bool[B, S]", CAUSAL "a = and m, c\n" MASKED("a"),
     true, 0, false},
    {"exactly", 1, 1, 16, 16, "", "", "", POSITIONS "a = eq i, j\n" MASKED("a"), true, 0, false},
    {"any", 2, 2, 16, 16, ", mask: bool[B, S, T]", ", mask", ", m: bool[B, S, T]",
     "none = const value=-inf : f32\n" MASKED("m"), true, 0, false},
    {"document", 1, 2, 32, 32, ", here: i32[B, S], there: i32[B, T]", ", here, there", ", a: i32[B, S], b: i32[B, T]",
     CAUSAL "e = eq a, b\n d = and e, c\n" MASKED("d"), true, 0, false},
    {"bias", 2, 2, 32, 32, ", bias: f32[G, R, S, T]", ", bias", ", b: f32[G, R, S, T]", "f = add s, b\n return f\n",
     false, 0, false},
    {"bias_causal", 1, 2, 32, 32, ", bias: f32[T, R]", ", bias", ", b: f32[T, R]",
     CAUSAL "x = add s, b\n f = where c, x, none\n return f\n", true, 0, false},
    {"softcap", 2, 1, 32, 32, "", "", "",
     CAUSAL "n = const value=5 : f32\n x = div s, n\n y = tanh x\n z = mul y, n\n f = where c, z, none\n return f\n",
     true, 0, false},
    {"alibi", 2, 2, 32, 32, ", slope: f32[G, R]", ", slope", ", m: f32[G, R]",
     CAUSAL "d = sub j, i\n e = cast d : f32[T, S]\n x = mul e, m\n y = add s, x\n f = where c, y, none\n return f\n",
     true, 1e-5, false}, /* scores up to 140 */
    {"by_query", 2, 2, 16, 32, ", near: f32[B, S, G, R, P]", ", near", ", n: f32[B, S, G, R, P]",
     CAUSAL CLIPPED "r = gather n, h over=P\n x = add s, r\n f = where c, x, none\n return f\n", true, 4e-6, false},
    {"by_key", 1, 2, 32, 20, ", near: f32[B, T, G, P]", ", near", ", n: f32[B, T, G, P]",
     POSITIONS CLIPPED "r = gather n, h over=P\n x = add s, r\n return x\n", false, 4e-6, false},
    {"second", 2, 1, 32, 32, "", "", "",
     CAUSAL "d = sub i, j\n n = const value=40 : i32\n e = lt d, n\n x = where e, s, s2\n f = where c, x, none\n return f\n",
     true, 0, true},
    {"second_window", 1, 3, 20, 24, "", "", "",
     CAUSAL "d = sub i, j\n n = const value=7 : i32\n e = lt d, n\n x = where e, s2, s\n m = const value=90 : i32\n"
            " g = lt d, m\n h = and c, g\n f = where h, x, none\n return f\n",
     true, 0, true},
    {"second_padding", 2, 2, 16, 16, ", keep: bool[B, T]", ", keep", ", m: bool[B, T]",
     CAUSAL "d = sub i, j\n n = const value=33 : i32\n e = lt d, n\n x = where e, s, s2\n a = and m, c\n"
            " y = tanh x\n f = where a, y, none\n return f\n",
     true, 0, true},
    {"second_data", 1, 2, 32, 32, ", near: bool[B, T]", ", near", ", m: bool[B, T]",
     CAUSAL "x = where m, s, s2\n f = where c, x, none\n return f\n", true, 0, true},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* ---- one compiled shape ------------------------------------------------------------------------------------------ */

typedef int (*Entry)(const void *call, ptrdiff_t thread);
typedef size_t (*ArenaBytes)(const int64_t *sizes, ptrdiff_t threads);

typedef struct Bench {
    Arena arena;
    Names names;
    Diags diags;
    Context cx;
    Graph *model;
    Emitted emitted;
    void *library;
    Entry run;
    ArenaBytes arena_bytes;
    uint64_t state;
    HostTensor in[8];
    float *floats[8]; /* the inputs as the compiled code reads them */
} Bench;

/* `cross`: T is a size of its own instead of past + S. `rows`: keys as they come, not in panels. Otherwise the
 * logarithm of each row's sum is asked for too. */
static const char *text_of_model(const Shape *s, bool cross, bool rows, Arena *arena)
{
    const char *t = cross ? "T" : "past+S";
    Text out = text_new(arena);
    const char *second = s->second ? ", q2: f32[B, S, G, R, K], k2: f32[B, T, G, K]" : "";
    text_add(&out, "kernels test(q: f32[B, S, G, R, K], k: f32[B, T, G, K], v: f32[B, T, G, W]%s%s)\n", s->inputs,
             second);
    text_add(&out, "  dims B = 1..  S = 1..  past = 0..  %s  G = %d  P = 9  R = %d  K = %d  W = %d\n",
             cross ? "T = 1.." : "T = past+S", s->g, s->r, s->k, s->w);
    for (int i = 0; i < 1 + s->second; i++)
        text_add(&out, "  region %d = %d bytes * B * %s to 32, bound 64\n", i, s->g * s->k * 4, t);
    if (s->second && !rows)
        text_add(&out,
                 "  keys2 = map k2 layout=panels keys=T (key2: f32[B, T, G, K]) { return key2 } : f32[B, T, G, K] @1+0\n");
    if (!rows)
        text_add(&out,
             "  keys = map k layout=panels keys=T (key: f32[B, T, G, K]) { return key } : f32[B, T, G, K] @0+0\n");
    const bool over = rows && s->k == s->w; /* the result lies over a copy of q, and is copied */
    if (over)
        text_add(&out, "  region %d = %d bytes * B * S to 32, bound 64\n  mine = map q (one: f32[B, S, G, R, K]) { return one } : f32[B, S, G, R, K] @%d+0\n",
                 1 + s->second, s->g * s->r * s->k * 4, 1 + s->second);
    const char *place = !rows ? "" : over ? arena_print(arena, " : f32[B, S, G, R, W] @%d+0", 1 + s->second) : " : f32[B, S, G, R, W] @output.0";
    text_add(&out,
             "  out = attend %s, %s, v%s%s over=K keys=T scale=%.9g%s%s (s: f32[B, G, S, R, T]%s%s) {\n %s  }%s\n", over ? "mine" : "q",
             rows ? "k" : "keys", s->names, !s->second ? "" : rows ? ", q2, k2" : ", q2, keys2", 1 / sqrt(s->k),
             s->second ? " second=true" : "", rows ? "" : " lse=true", s->params,
             s->second ? ", s2: f32[B, G, S, R, T]" : "", s->body, place);
    if (over)
        text_add(&out, "  all = map out (two: f32[B, S, G, R, W]) { return two } : f32[B, S, G, R, W] @output.0\n  return all\n");
    else if (rows)
        text_add(&out, "  return out\n");
    else
        text_add(&out, "  sums = get out index=0 : f32[B, S, G, R, W] @output.0\n"
                       "  lse = get out index=1 : f32[B, S, G, R] @output.1\n  return sums, lse\n");
    return out.data;
}

static const char *model_text(const Shape *s, bool cross, Arena *arena)
{
    return text_of_model(s, cross, false, arena);
}

static void bench_open(Bench *b, const char *text, const Target *target)
{
    *b = (Bench){.state = 12345};
    b->names.map = map_new(&b->arena);
    b->diags.arena = &b->arena;
    b->cx = (Context){&b->arena, &b->diags, &b->names};
    Source source = {"test.ir", text, strlen(text)};
    b->model = graph_read(&b->cx, &source);
    for (int i = 0; b->model && i < b->model->n_params; i++)
        b->model->params[i]->place = (Place){.kind = PLACE_INPUT, .index = i};
    EmitOptions options = {.target = target, .split = true};
    bool good = b->model && (graph_count_uses(b->model), codegen_emit(&b->cx, b->model, &options, &b->emitted));
    if (!good) {
        Text said = text_new(&b->arena);
        diag_render(&b->diags, &said, false);
        ck_abort_msg("%s\n%s", said.data, text);
    }
}

static void bench_compile(Bench *b, const char *name, const Target *target)
{
    b->library = native_load(b->emitted.text, name, target, NULL);
    ck_assert_msg(b->library != NULL, "%s does not compile for %s", name, target->name);
    b->run = (Entry)dlsym(b->library, "test_run");
    b->arena_bytes = (ArenaBytes)dlsym(b->library, "test_arena_bytes");
    ck_assert(b->run && b->arena_bytes);
}

static void bench_close(Bench *b)
{
    if (b->library)
        dlclose(b->library);
    arena_free(&b->arena);
}

static uint32_t bench_random(Bench *b)
{
    b->state = b->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(b->state >> 33);
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

typedef struct Worker {
    Entry run;
    const void *call;
    ptrdiff_t thread;
} Worker;

static void *work(void *state)
{
    Worker *w = state;
    w->run(w->call, w->thread);
    return NULL;
}

static void run_compiled(Bench *b, const int64_t *sizes, float *const *out, ptrdiff_t threads)
{
    static _Alignas(128) char meet[4 * 256];
    static int64_t fault[4];
    union {
        void *pointer;
        ptrdiff_t size;
    } call[32];
    size_t bytes = (b->arena_bytes(sizes, threads) + 63) / 64 * 64;
    void *arena = aligned_alloc(64, bytes);
    memset(meet, 0, sizeof meet);
    memset(arena, 0xff, bytes); /* NaN everywhere */
    for (int i = 0; i < b->emitted.plan.n_slots; i++) {
        Slot s = b->emitted.plan.slots[i];
        switch (s.kind) {
        case SLOT_INPUT:
            call[i].pointer = b->in[s.index].dtype == DT_F32 ? (void *)b->floats[s.index] : b->in[s.index].data;
            break;
        case SLOT_OUTPUT: call[i].pointer = out[s.index]; break;
        case SLOT_ARENA: call[i].pointer = arena; break;
        case SLOT_SIZE: call[i].size = sizes[s.index]; break;
        case SLOT_THREADS: call[i].size = threads; break;
        case SLOT_MEET: call[i].pointer = meet; break;
        case SLOT_FAULT: call[i].pointer = fault; break;
        default: call[i].pointer = NULL;
        }
    }
    Worker workers[4];
    pthread_t others[4];
    for (ptrdiff_t i = 0; i < threads; i++)
        workers[i] = (Worker){b->run, call, i};
    for (ptrdiff_t i = 1; i < threads; i++)
        ck_assert(pthread_create(&others[i], NULL, work, &workers[i]) == 0);
    work(&workers[0]);
    for (ptrdiff_t i = 1; i < threads; i++)
        pthread_join(others[i], NULL);
    free(arena);
}

/* Exactly as many bytes as the tensor has, so that a sanitizer sees every step beyond it. */
static void fill_inputs(Bench *b, const Shape *s, const int64_t *sizes)
{
    for (int i = 0; i < b->model->n_params; i++) {
        const Type *type = b->model->params[i]->type;
        HostTensor *t = &b->in[i];
        *t = (HostTensor){.name = b->model->params[i]->name, .dtype = type->dtype, .rank = type->rank};
        for (int d = 0; d < type->rank; d++)
            t->dims[d] = extent_value(type->axis[d].size, b->model, sizes);
        int64_t count = host_count(t);
        t->data = malloc((size_t)count * dtype_size(t->dtype));
        for (int64_t j = 0; j < count; j++) {
            uint32_t u = bench_random(b);
            double value = t->dtype == DT_F32    ? ((double)(u % 4096) - 2048) / 1024
                           : t->dtype == DT_BOOL ? u % 8 < 5
                                                 : (double)(u % 6);
            if (t->dtype == DT_BOOL && t->dims[0] > 1 && j >= count - count / t->dims[0])
                value = u % 64 == 0; /* the last batch has next to no keys */
            if (s->poison && (i == 1 || i == 2) && u % 997 == 0)
                value = i == 1 || u % 3 ? NAN : u % 2 ? INFINITY : -INFINITY;
            host_set(t, j, value);
        }
        b->floats[i] = t->data;
    }
}

static void free_inputs(Bench *b)
{
    for (int i = 0; i < b->model->n_params; i++)
        free(b->in[i].data);
}

/* Results of the model, each in memory of its own, filled with a pattern. */
typedef struct Results {
    float *at[2];
    size_t bytes[2];
} Results;

static Results results_new(const Bench *b, const int64_t *sizes, int pattern)
{
    Results r = {0};
    for (int k = 0; k < b->model->n_results; k++) {
        const Type *type = b->model->results[k].value->type;
        r.bytes[k] = sizeof(float);
        for (int d = 0; d < type->rank; d++)
            r.bytes[k] *= (size_t)extent_value(type->axis[d].size, b->model, sizes);
        r.at[k] = malloc(r.bytes[k]);
        memset(r.at[k], pattern, r.bytes[k]);
    }
    return r;
}

static void results_free(Results *r)
{
    free(r->at[0]);
    free(r->at[1]);
}

static void compare_result(const Bench *b, const Shape *s, const Target *target, const int64_t *sizes, int result,
                           const float *out, const Value *want)
{
    double tolerance = s->tolerance > 0 ? s->tolerance : 2e-6;
    for (int64_t i = 0; i < want->count; i++) {
        double error = fabs(out[i] - want->data[i]), size = result ? fmax(1, fabs(want->data[i])) : 1;
        bool good = isnan(want->data[i])   ? isnan(out[i])
                    : isinf(want->data[i]) ? out[i] == want->data[i]
                                           : error <= tolerance * size;
        if (!good)
            ck_abort_msg("%s, %s: B=%d S=%d past=%d, element %lld of %s is %.9g, not %.9g", s->name, target->name,
                         (int)sizes[0], (int)sizes[1], (int)sizes[2], (long long)i,
                         b->model->results[result].value->name, out[i], want->data[i]);
    }
}

/* The interpreter's results on the inputs, compared with the compiled code's. */
static void compare(Bench *b, const Shape *s, const Target *target, const int64_t *sizes)
{
    Arena work_arena = {0};
    Bindings bindings = {.sizes = sizes, .inputs = b->in};
    Value *want = interpret(&b->cx, b->model, &bindings, &work_arena);
    ck_assert_ptr_nonnull(want);
    Results out = results_new(b, sizes, 0x5a);
    run_compiled(b, sizes, out.at, 1);
    for (int k = 0; k < b->model->n_results; k++)
        compare_result(b, s, target, sizes, k, out.at[k], &want[k]);
    for (ptrdiff_t threads = 2; threads <= 3; threads++) {
        Results again = results_new(b, sizes, 0xa5);
        run_compiled(b, sizes, again.at, threads);
        for (int k = 0; k < b->model->n_results; k++)
            if (memcmp(out.at[k], again.at[k], out.bytes[k]))
                ck_abort_msg("%s: other bits with %d threads", s->name, (int)threads);
        results_free(&again);
    }
    results_free(&out);
    arena_free(&work_arena);
}

static void check_size(Bench *b, const Shape *s, const Target *target, const int64_t *sizes)
{
    fill_inputs(b, s, sizes);
    compare(b, s, target, sizes);
    free_inputs(b);
}

static const int64_t lengths[] = {1, 2, 7, 8, 9, 31, 32, 33, 37, 64, 100};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

static void check_shape(const Shape *s, const Target *target, bool all)
{
    Bench b;
    Arena arena = {0};
    bench_open(&b, model_text(s, false, &arena), target);
    bench_compile(&b, s->name, target);
    for (int i = 0; i < LENGTHS; i++)
        for (int past = 0; past < 3; past++)
            if (all || (i + past) % 2 == 0)
                check_size(&b, s, target, (int64_t[]){1 + (i + past) % 3, lengths[i], past == 2 ? 5 : past});
    check_size(&b, s, target, (int64_t[]){1, 1, 600});
    check_size(&b, s, target, (int64_t[]){1, 20, 1040});
    bench_close(&b);
    arena_free(&arena);
}

START_TEST(every_shape)
{
    check_shape(&shapes[_i], target_native(), _i % 5 == 2);
}
END_TEST

/* The same with keys in rows, at sizes on both sides of a tile's and a vector's edge. */
static void check_key_rows(const Shape *s, const Target *target)
{
    static const int64_t sizes[][3] = {{2, 1, 0}, {1, 2, 5}, {2, 3, 31}, {1, 7, 1}, {3, 9, 0},
                                       {1, 1, 600}, {1, 20, 1040}};
    Bench b;
    Arena arena = {0};
    bench_open(&b, text_of_model(s, false, true, &arena), target);
    ck_assert_ptr_null(strstr(b.emitted.text, "panel_step"));
    bench_compile(&b, arena_print(&arena, "%s_rows", s->name), target);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_size(&b, s, target, sizes[i]);
    bench_close(&b);
    arena_free(&arena);
}

START_TEST(keys_in_rows)
{
    check_key_rows(&shapes[_i], target_native());
    for (int t = 0; t < target_count; t++)
        if (!strcmp(shapes[_i].name, "causal20") && &targets[t] != target_native() && target_runs_here(&targets[t]))
            check_key_rows(&shapes[_i], &targets[t]);
}
END_TEST

START_TEST(narrower_targets)
{
    static const char *const some[] = {"causal20", "window", "padding", "alibi", "second_window"};
    for (int t = 0; t < target_count; t++)
        for (size_t i = 0; i < sizeof some / sizeof *some; i++)
            for (int s = 0; s < SHAPES; s++)
                if (&targets[t] != target_native() && target_runs_here(&targets[t]) && !strcmp(shapes[s].name, some[i]))
                    check_shape(&shapes[s], &targets[t], false);
}
END_TEST

START_TEST(long_rows)
{
    static const char *const some[] = {"plain", "causal", "window", "causal_padding"};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        for (int s = 0; s < SHAPES; s++) {
            Bench b;
            Arena arena = {0};
            if (strcmp(shapes[s].name, some[i]))
                continue;
            bench_open(&b, model_text(&shapes[s], false, &arena), target_native());
            bench_compile(&b, shapes[s].name, target_native());
            check_size(&b, &shapes[s], target_native(), (int64_t[]){1, 600, 0});
            bench_close(&b);
            arena_free(&arena);
        }
}
END_TEST

START_TEST(keys_of_another_length)
{
    static const int64_t many[] = {1, 15, 16, 17, 32, 511, 512, 513, 545, 1025};
    for (int s = 0; s < SHAPES; s++) {
        Bench b;
        Arena arena = {0};
        if (strcmp(shapes[s].name, "padding") && strcmp(shapes[s].name, "plain128"))
            continue;
        bench_open(&b, model_text(&shapes[s], true, &arena), target_native());
        bench_compile(&b, shapes[s].name, target_native());
        for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
            check_size(&b, &shapes[s], target_native(), (int64_t[]){1, 1, 0, many[i]});
            check_size(&b, &shapes[s], target_native(), (int64_t[]){2, 11, 0, many[i]});
        }
        bench_close(&b);
        arena_free(&arena);
    }
}
END_TEST

/* Batch entry number n has the 3 x 3 mask whose bits are n; masked for all rows: NaN in k and v. */
START_TEST(all_masks_of_3_by_3)
{
    const Shape *s = &shapes[0];
    for (int i = 0; i < SHAPES; i++)
        if (!strcmp(shapes[i].name, "any"))
            s = &shapes[i];
    Bench b;
    Arena arena = {0};
    Shape clean = *s;
    clean.poison = false;
    bench_open(&b, model_text(s, false, &arena), target_native());
    bench_compile(&b, s->name, target_native());
    const int64_t sizes[] = {512, 3, 0};
    fill_inputs(&b, &clean, sizes);
    for (int n = 0; n < 512; n++)
        for (int t = 0; t < 3; t++) {
            for (int row = 0; row < 3; row++)
                host_set(&b.in[3], n * 9 + row * 3 + t, n >> (row * 3 + t) & 1);
            bool read = n >> t & 1 || n >> (3 + t) & 1 || n >> (6 + t) & 1;
            for (int i = 1; i <= 2 && !read; i++) {
                int64_t inner = b.in[i].dims[2] * b.in[i].dims[3];
                for (int64_t j = 0; j < inner; j++)
                    host_set(&b.in[i], (n * 3 + t) * inner + j, NAN);
            }
        }
    compare(&b, s, target_native(), sizes);
    /* masked rows are zeros, never -0, and the logarithm of their sum is -inf */
    float zeros[2 * 2 * 16] = {0};
    Results out = results_new(&b, sizes, 0);
    run_compiled(&b, sizes, out.at, 1);
    for (int n = 0; n < 512; n++)
        for (int row = 0; row < 3; row++) {
            bool empty = !(n >> (row * 3) & 7);
            ck_assert(!empty || !memcmp(out.at[0] + (n * 3 + row) * 64, zeros, sizeof zeros));
            for (int h = 0; h < 4; h++)
                ck_assert(empty == (out.at[1][(n * 3 + row) * 4 + h] == -INFINITY));
        }
    results_free(&out);
    free_inputs(&b);
    bench_close(&b);
    arena_free(&arena);
}
END_TEST

/* Large and small scores: the largest is subtracted, nothing overflows; a row may hold one key that matters. */
START_TEST(extreme_scores)
{
    Bench b;
    Arena arena = {0};
    bench_open(&b, model_text(&shapes[2], false, &arena), target_native());
    bench_compile(&b, shapes[2].name, target_native());
    static const double scales[] = {0x1p-100, 0x1p-12, 30, 300, 0x1p50};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        Shape clean = shapes[2];
        clean.poison = false;
        const int64_t sizes[] = {1, 40, 3};
        fill_inputs(&b, &clean, sizes);
        for (int64_t j = 0; j < host_count(&b.in[0]); j++)
            host_set(&b.in[0], j, host_get(&b.in[0], j) * scales[i]);
        if (i < 2)
            compare(&b, &clean, target_native(), sizes);
        else { /* e^s is as inexact as s is large: only that results are averages of v */
            Results out = results_new(&b, sizes, 0);
            run_compiled(&b, sizes, out.at, 1);
            for (int j = 0; j < 40 * 6 * 64; j++)
                ck_assert(out.at[0][j] >= -2.00001f && out.at[0][j] <= 2.00001f);
            results_free(&out);
        }
        free_inputs(&b);
    }
    bench_close(&b);
    arena_free(&arena);
}
END_TEST

/* ---- under a sanitizer, as a program of its own ------------------------------------------------------------------ */

/* A main that runs the model on exactly as much memory as it may touch, for many sizes. */
static void add_main(Bench *b, Text *t)
{
    text_add(t, "\nvoid *malloc(size_t);\nvoid *aligned_alloc(size_t, size_t);\nvoid free(void *);\n");
    text_add(t, "static const int64_t lengths[] = {1, 2, 5, 7, 8, 9, 16, 31, 33, 64, 600};\n");
    text_add(
        t,
        "#include <stddef.h>\n#include <stdint.h>\n"
        "int main(void)\n{\n    for (int i = 0; i < 11; i++)\n        for (int64_t past = 0; past < 6; past += 5) {\n");
    text_add(t, "            int64_t B = 2, S = lengths[i], sizes[] = {B, S, past};\n");
    text_add(t, "            unsigned state = 1;\n            int64_t fault[4] = {0};\n            static "
                "_Alignas(128) char meet[256];\n");
    text_add(t,
             "            void *arena = aligned_alloc(64, (test_arena_bytes(sizes, 1) + 63) / 64 * 64);\n            "
             "void *call[%d] = {0};\n",
             b->emitted.plan.n_slots);
    for (int i = 0; i < b->emitted.plan.n_slots; i++) {
        Slot s = b->emitted.plan.slots[i];
        const PlanTensor *p = s.kind == SLOT_INPUT ? &b->emitted.plan.inputs[s.index]
                                                   : &b->emitted.plan.outputs[s.kind == SLOT_OUTPUT ? s.index : 0];
        const Type *type = s.kind == SLOT_INPUT    ? b->model->params[s.index]->type
                           : s.kind == SLOT_OUTPUT ? b->model->results[s.index].value->type
                                                   : NULL;
        if (s.kind == SLOT_INPUT || s.kind == SLOT_OUTPUT) {
            text_add(t, "            size_t n%d = 1", i);
            for (int d = 0; d < type->rank; d++) {
                Text size = text_new(&b->arena);
                extent_print(type->axis[d].size, &size);
                text_add(t, " * (size_t)(%s)", size.data);
            }
            const char *c = p->dtype == DT_F32 ? "float" : p->dtype == DT_BOOL ? "unsigned char" : "int";
            text_add(t, ";\n            %s *p%d = malloc(n%d * sizeof *p%d);\n            call[%d] = p%d;\n", c, i, i,
                     i, i, i);
            text_add(t,
                     "            for (size_t j = 0; j < n%d; j++)\n                p%d[j] = (%s)((state = state * "
                     "1664525u + 1013904223u) >> 8) %s;\n",
                     i, i, p->dtype == DT_F32 ? "float" : "int", p->dtype == DT_F32 ? "* 1e-7f" : "% 2");
        } else if (s.kind == SLOT_SIZE || s.kind == SLOT_THREADS) {
            text_add(t, "            call[%d] = (void *)(intptr_t)%s;\n", i,
                     s.kind == SLOT_THREADS ? "1" : arena_print(&b->arena, "sizes[%d]", s.index));
        } else {
            text_add(t, "            call[%d] = %s;\n", i,
                     s.kind == SLOT_ARENA   ? "arena"
                     : s.kind == SLOT_MEET  ? "meet"
                     : s.kind == SLOT_FAULT ? "fault"
                                            : "NULL");
        }
    }
    text_add(t, "            test_run((const struct test_call *)call, 0);\n            free(arena);\n");
    for (int i = 0; i < b->emitted.plan.n_slots; i++)
        if (b->emitted.plan.slots[i].kind == SLOT_INPUT || b->emitted.plan.slots[i].kind == SLOT_OUTPUT)
            text_add(t, "            free(p%d);\n", i);
    text_add(t, "        }\n    return 0;\n}\n");
}

START_TEST(sanitized)
{
    static const char *const some[] = {"causal20", "causal_padding", "bias_causal", "document", "second_padding"};
    for (size_t i = 0; i < 2 * sizeof some / sizeof *some; i++)
        for (int s = 0; s < SHAPES; s++) {
            Bench b;
            Arena arena = {0};
            if (strcmp(shapes[s].name, some[i / 2]))
                continue;
            bench_open(&b, text_of_model(&shapes[s], false, i % 2, &arena), target_native());
            Text t = text_new(&arena);
            text_put(&t, b.emitted.text, b.emitted.length);
            add_main(&b, &t);
            char source[512], program[512];
            snprintf(source, sizeof source, "%s/attend-%d.%d.c", BUILD_DIR, (int)i, (int)getpid());
            snprintf(program, sizeof program, "%s/attend-%d.%d", BUILD_DIR, (int)i, (int)getpid());
            FILE *f = fopen(source, "w");
            ck_assert(f && fputs(t.data, f) >= 0 && !fclose(f));
            const char *arguments[64] = {
                "clang-19", "-g", "-O1",  "-std=gnu11", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                source,     "-o", program};
            for (int j = 0, n = 9; target_native()->flags[j]; j++)
                if (!strncmp(target_native()->flags[j], "-m", 2))
                    arguments[n++] = target_native()->flags[j];
            ck_assert_int_eq(native_run(arguments), 0);
            ck_assert_int_eq(native_run((const char *const[]){program, NULL}), 0);
            unlink(program);
            unlink(source);
            bench_close(&b);
            arena_free(&arena);
        }
}
END_TEST

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    Suite *suite = suite_create("attend");
    const struct {
        const char *name;
        const TTest *test;
        int rounds;
    } rows[] = {
        {"shapes", every_shape, SHAPES},      {"targets", narrower_targets, 1},  {"long", long_rows, 1},
        {"cross", keys_of_another_length, 1}, {"masks", all_masks_of_3_by_3, 1}, {"extreme", extreme_scores, 1},
        {"rows", keys_in_rows, SHAPES},       {"sanitized", sanitized, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TCase *cases = tcase_create(rows[i].name);
        tcase_set_timeout(cases, 300);
        tcase_add_loop_test(cases, rows[i].test, 0, rows[i].rounds);
        suite_add_tcase(suite, cases);
    }
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
