/* Weights kept in bf16 and f16: the same bits as weights that are widened when they are packed, for every number of rows, in products of one and
 * several weights, turned results, tables and tied ones; half the memory; and f32 where a tensor is f32. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "approx/approx.h"
#include "driver/compile.h"
#include "tests/driver/folder.h"

enum { D = 48, K = 32, F = 37, V = 43, LAYERS = 2, MOST = 16 };

/* Odd widths (V, F), two weights in one result (gate, up), turned columns (q), a table that is looked up alone and one that is the head too. */
static const char model_text[] = "let D = 48\nlet K = 32\nlet F = 37\nlet V = 43\nlet H = 2\n"
                                 "model M(ids: i32[S]) -> (y: f32[S, V], q: f32[S, H, K], z: f32[S, V]) {\n"
                                 "  x = embed(ids, \"table\", V, D)\n"
                                 "  repeat i < 2 at \"layer.{i}\" {\n"
                                 "    h = rmsnorm(x, \"norm\", eps=1e-6)\n"
                                 "    g = silu(linear(h, \"gate\", F)) * linear(h, \"up\", F)\n"
                                 "    x = x + linear(g, \"down\", D, bias=true)\n"
                                 "  }\n"
                                 "  q = rope(linear(x, \"turned\", (H, K)), 0..S)\n"
                                 "  w = embed(ids, \"tied\", V, D)\n"
                                 "  return linear(x, \"head\", V), q, linear(w * x, \"tied\", V)\n}\n";

static const struct Shape {
    const char *name;
    int layers, rank;
    int64_t dims[2];
} shapes[] = {{"table.weight", 0, 2, {V, D}},    {"norm.weight", LAYERS, 1, {D, 0}}, {"gate.weight", LAYERS, 2, {F, D}}, {"up.weight", LAYERS, 2, {F, D}},
              {"down.weight", LAYERS, 2, {D, F}}, {"down.bias", LAYERS, 1, {D, 0}},   {"turned.weight", 0, 2, {2 * K, D}}, {"tied.weight", 0, 2, {V, D}},
              {"head.weight", 0, 2, {V, D}}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Numbers of every size, with the least f16 (subnormal), the largest, zeros of both signs. */
static double number(Random *r, int64_t i)
{
    static const double special[] = {5.9604644775390625e-08, -6.0975551605224609e-05, 0.0, -0.0, 6.103515625e-05};
    return i % 11 < 5 ? special[i % 11] : 0.3 * random_normal(r);
}

/* Weights that `as` does not have exactly are rounded to it first, matrices alone. */
static void write_rounded(Context *cx, DType dtype, const char *other, DType as)
{
    HostTensor all[SHAPES * LAYERS];
    int n = 0;
    for (int s = 0; s < SHAPES; s++) {
        for (int layer = 0; layer < (shapes[s].layers ? shapes[s].layers : 1); layer++) {
            HostTensor *t = &all[n];
            const char *name = shapes[s].layers ? arena_print(cx->arena, "layer.%d.%s", layer, shapes[s].name) : shapes[s].name;
            *t = (HostTensor){.name = name, .dtype = other && !strcmp(name, other) ? DT_F32 : dtype, .rank = shapes[s].rank};
            memcpy(t->dims, shapes[s].dims, sizeof shapes[s].dims);
            t->data = arena_alloc(cx->arena, (size_t)host_count(t) * dtype_size(t->dtype));
            Random r = random_new((uint64_t)++n, 0);
            for (int64_t i = 0; i < host_count(t); i++)
                host_set(t, i, shapes[s].rank > 1 && as != DT_F64 ? dtype_rounded(as, (double)(float)number(&r, i)) : number(&r, i));
        }
    }
    ck_assert(safetensors_save(cx, in_folder("w.safetensors"), all, n));
}

/* All weights in `dtype`, but the tensor called `other` in f32. */
static void write_weights(Context *cx, DType dtype, const char *other)
{
    write_rounded(cx, dtype, other, DT_F64);
}

static const char *said(Compilation *c)
{
    Text t = text_new(&c->arena);
    diag_render(&c->diags, &t, false);
    return t.data ? t.data : "";
}

/* Gains are multiplied into weights only where these are f32: without that pass both kinds of weights are the same numbers. */
static void build(Compilation *c, bool wide, const char *target)
{
    CompileOptions o = {.model = in_folder("m.attar"), .weights = in_folder("w.safetensors"), .threads = 2, .wide_weights = wide, .target = target};
    o.passes.off[PASS_ID_fold_gains] = true;
    compile_begin(c);
    ck_assert_msg(compile_all(c, &o), "%s", said(c));
}

static const HostTensor *run(Compilation *c, int64_t rows, int threads)
{
    int32_t ids[MOST];
    for (int i = 0; i < MOST; i++)
        ids[i] = (i * 29 + 5) % V;
    HostTensor in = {.name = "ids", .dtype = DT_I32, .rank = 1, .dims = {rows}, .data = ids};
    const HostTensor *out;
    Session *s = session_new(&c->cx, &c->program, 0, threads, NULL);
    ck_assert_msg(s && session_run(&c->cx, s, &in, 1, &out), "%s", said(c));
    HostTensor *copy = arena_array(&c->arena, 3, sizeof *copy);
    for (int i = 0; i < 3; i++) {
        copy[i] = out[i];
        size_t bytes = (size_t)host_count(&out[i]) * sizeof(float);
        copy[i].data = memcpy(arena_alloc(&c->arena, bytes), out[i].data, bytes);
    }
    session_free(s);
    return copy;
}

static void same_bits(const HostTensor *a, const HostTensor *b, const char *what, int64_t rows)
{
    for (int i = 0; i < 3; i++) {
        const float *p = a[i].data, *q = b[i].data;
        ck_assert_int_eq(host_count(&a[i]), host_count(&b[i]));
        ck_assert_msg(!memcmp(p, q, (size_t)host_count(&a[i]) * sizeof *p), "%s, %d rows: result %d has other bits", what, (int)rows, i);
        double most = 0;
        for (int64_t k = 0; k < host_count(&a[i]); k++)
            most = p[k] > most ? p[k] : most;
        ck_assert_msg(most > 0.1, "%s, %d rows: result %d is nothing", what, (int)rows, i);
    }
}

static int kept(const Plan *plan, DType dtype)
{
    int n = 0;
    for (int i = 0; i < plan->n_weights; i++)
        n += plan->weights[i].dtype == dtype;
    return n;
}

START_TEST(same_bits_as_widened)
{
    static const DType types[] = {DT_BF16, DT_F16};
    static const char *const more[] = {NULL, "generic"};
    DType dtype = types[_i % 2];
    make_folder();
    write_model(model_text);
    Compilation stored, wide;
    compile_begin(&stored);
    write_weights(&stored.cx, dtype, NULL);
    compile_free(&stored);
    build(&stored, false, more[_i / 2]);
    build(&wide, true, more[_i / 2]);
    ck_assert_int_eq(kept(&wide.emitted.plan, dtype), 0);
    ck_assert_int_eq(kept(&stored.emitted.plan, dtype), 7); /* table, gate, up, down, turned, tied, head; norm and bias are vectors */
    ck_assert_uint_lt(stored.emitted.plan.weight_bytes * 10, wide.emitted.plan.weight_bytes * 6);
    for (int64_t rows = 1; rows <= MOST; rows++) {
        const HostTensor *want = run(&wide, rows, 1);
        same_bits(run(&stored, rows, 1), want, dtype_name(dtype), rows);
        same_bits(run(&stored, rows, 2), want, dtype_name(dtype), rows);
    }
    compile_free(&stored);
    compile_free(&wide);
    remove_folder();
}
END_TEST

START_TEST(one_layer_in_f32)
{ /* a packed weight has one type: that of all of its tensors, or f32 */
    make_folder();
    write_model(model_text);
    Compilation stored, wide;
    compile_begin(&stored);
    write_weights(&stored.cx, DT_BF16, "layer.1.down.weight");
    compile_free(&stored);
    build(&stored, false, NULL);
    build(&wide, true, NULL);
    ck_assert_int_eq(kept(&stored.emitted.plan, DT_BF16), 6);
    for (int64_t rows = 1; rows <= 9; rows++)
        same_bits(run(&stored, rows, 2), run(&wide, rows, 2), "mixed", rows);
    compile_free(&stored);
    compile_free(&wide);
    remove_folder();
}
END_TEST

START_TEST(another_type_than_compiled_for)
{
    make_folder();
    write_model(model_text);
    Compilation c;
    CompileOptions o = {.model = in_folder("m.attar"), .weights = in_folder("w.safetensors"), .threads = 1};
    compile_begin(&c);
    write_weights(&c.cx, DT_BF16, NULL);
    ck_assert_msg(compile_load(&c, &o) && compile_passes(&c, &o) && compile_emit(&c, &o), "%s", said(&c));
    write_weights(&c.cx, DT_F16, NULL);
    Checkpoint *other = checkpoint_open(&c.cx, o.weights);
    Packed p;
    ck_assert(!pack_weights(&c.cx, other, &c.emitted.plan, 1, &p));
    ck_assert_msg(strstr(said(&c), "its type is not the one that the model was compiled for") != NULL, "%s", said(&c));
    checkpoint_close(other);
    compile_free(&c);
    remove_folder();
}
END_TEST

START_TEST(a_gain_makes_it_f32)
{ /* with all passes: no gain goes into a weight that is kept as it is stored, it goes into one that is not */
    make_folder();
    write_model(model_text);
    for (int wide = 0; wide < 2; wide++) {
        Compilation c;
        CompileOptions o = {.model = in_folder("m.attar"), .weights = in_folder("w.safetensors"), .threads = 1, .wide_weights = wide};
        compile_begin(&c);
        write_weights(&c.cx, DT_F16, NULL);
        ck_assert_msg(compile_all(&c, &o), "%s", said(&c));
        int gains = 0;
        for (int i = 0; i < c.emitted.plan.n_weights; i++)
            gains += c.emitted.plan.weights[i].gain != NULL;
        ck_assert_int_eq(gains, wide ? 2 : 0);
        ck_assert_int_eq(kept(&c.emitted.plan, DT_F16), wide ? 0 : 7);
        compile_free(&c);
    }
    remove_folder();
}
END_TEST

START_TEST(rounded_when_asked_for)
{ /* f32 weights rounded to bf16 and f16: the bits of a checkpoint that was converted before; recorded with its error */
    DType dtype = _i ? DT_F16 : DT_BF16;
    CompileOptions o = {.threads = 2, .store = dtype_name(dtype)};
    o.passes.off[PASS_ID_fold_gains] = true;
    char model[128], weights[128];
    make_folder();
    o.model = strcpy(model, in_folder("m.attar")), o.weights = strcpy(weights, in_folder("w.safetensors"));
    write_model(model_text);
    Compilation asked, before;
    compile_begin(&asked);
    write_weights(&asked.cx, DT_F32, NULL);
    ck_assert_msg(compile_all(&asked, &o), "%s", said(&asked));
    ck_assert_int_eq(kept(&asked.emitted.plan, dtype), 7);
    ck_assert_uint_eq(asked.approximations.count, 1);
    const Approximation *a = &asked.approximations.items[0];
    double most = dtype == DT_F16 ? 0x1p-11 : 0x1p-8;
    ck_assert_msg(!strcmp(a->kind, "store") && a->measured > most / 10 && a->measured < most, "%s: %g", a->kind, a->measured);
    const HostTensor *first = run(&asked, 5, 1);
    compile_begin(&before);
    write_rounded(&before.cx, DT_F32, NULL, dtype);
    compile_free(&before);
    build(&before, true, NULL);
    ck_assert_uint_eq(before.approximations.count, 0);
    same_bits(run(&before, 5, 2), first, "rounded", 5);
    compile_free(&before);
    compile_begin(&before); /* nothing to round: nothing to report */
    write_weights(&before.cx, dtype, NULL);
    ck_assert_msg(compile_load(&before, &o), "%s", said(&before));
    ck_assert_uint_eq(before.approximations.count, 0);
    compile_free(&asked);
    compile_free(&before);
    remove_folder();
}
END_TEST

START_TEST(too_large_for_a_half)
{
    make_folder();
    write_model("let D = 2\nmodel M(ids: i32[S]) -> (y: f32[S, D]) {\n  return embed(ids, \"table\", 3, D)\n}\n");
    Compilation c;
    char model[128], weights[128];
    CompileOptions o = {.model = strcpy(model, in_folder("m.attar")), .weights = strcpy(weights, in_folder("w.safetensors")), .threads = 1, .store = "f16"};
    compile_begin(&c);
    float values[6] = {1, 2, 65519, -65504, INFINITY, 3}; /* the third is the largest that rounds to a number; what is infinite stays so */
    HostTensor t = {.name = "table.weight", .dtype = DT_F32, .rank = 2, .dims = {3, 2}, .data = values};
    ck_assert(safetensors_save(&c.cx, o.weights, &t, 1));
    ck_assert_msg(compile_load(&c, &o), "%s", said(&c));
    values[2] = 65520;
    ck_assert(safetensors_save(&c.cx, o.weights, &t, 1));
    compile_free(&c);
    compile_begin(&c);
    ck_assert(!compile_load(&c, &o));
    ck_assert_msg(strstr(said(&c), "E0908") && strstr(said(&c), "an element of 65520 does not fit f16"), "%s", said(&c));
    compile_free(&c);
    remove_folder();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("storage");
    TCase *t = tcase_create("storage");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, same_bits_as_widened, 0, 4);
    tcase_add_test(t, one_layer_in_f32);
    tcase_add_test(t, another_type_than_compiled_for);
    tcase_add_test(t, a_gain_makes_it_f32);
    tcase_add_loop_test(t, rounded_when_asked_for, 0, 2);
    tcase_add_test(t, too_large_for_a_half);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
