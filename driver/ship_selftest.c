/* selftest.c of a built model: a call, what it should give, and a program that makes the call through NAME.h alone. */
#include <math.h>
#include <string.h>

#include "driver/ship.h"
#include "driver/signature.h"

/* ---- the fixed parts --------------------------------------------------------------------------------------------- */

static const char head[] =
    "#include <math.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n\n#include \"@.h\"\n";

static const char tools[] =
    "typedef struct Tensor {\n"
    "    const char *name;\n"
    "    const void *data;               /* of an output what is expected, in double */\n"
    "    char kind;                      /* float 'f', int32_t 'i', int64_t 'l', unsigned char 'b' */\n"
    "    ptrdiff_t outer, steps, inner;  /* steps: positions along the axis that calls go along; 0: it has none */\n"
    "    double tolerance;\n"
    "} Tensor;\n\n";

static const char memory[] =
    "static struct @ model;\n"
    "static void *kept[256];\n"
    "static int n_kept;\n\n"
    "/* Memory until `forget`, at an odd address if `off` is odd. */\n"
    "static void *room(size_t bytes, size_t off)\n{\n"
    "    char *memory = n_kept < 256 ? malloc(bytes + 64 + off) : NULL;\n"
    "    if (!memory) {\n        puts(\"not enough memory\");\n        exit(2);\n    }\n"
    "    kept[n_kept++] = memory;\n"
    "    memset(memory, 0x5a, bytes + 64 + off);\n"
    "    return memory + (64 - (uintptr_t)memory % 64) % 64 + off;\n}\n\n"
    "static void forget(void)\n{\n    while (n_kept)\n        free(kept[--n_kept]);\n}\n\n"
    "static size_t bytes_of(const Tensor *t) { return t->kind == 'l' ? 8 : t->kind == 'b' ? 1 : 4; }\n\n"
    "static size_t count_of(const Tensor *t, ptrdiff_t steps)\n{\n"
    "    return (size_t)(t->outer * (t->steps ? steps : 1) * t->inner);\n}\n\n"
    "/* Positions at .. at + steps of an input. */\n"
    "static void *part(const Tensor *t, ptrdiff_t at, ptrdiff_t steps)\n{\n"
    "    size_t inner = bytes_of(t) * (size_t)t->inner, row = inner * (size_t)(t->steps ? steps : 1);\n"
    "    char *to = room(bytes_of(t) * count_of(t, steps), 0);\n"
    "    for (ptrdiff_t i = 0; i < t->outer; i++)\n"
    "        memcpy(to + (size_t)i * row, (const char *)t->data + inner * (size_t)(t->steps ? i * t->steps + at : i), row);\n"
    "    return to;\n}\n\n";

static const char comparing[] =
    "static double element(const Tensor *t, const void *data, size_t i)\n{\n"
    "    return t->kind == 'f' ? (double)((const float *)data)[i] : t->kind == 'i' ? (double)((const int32_t *)data)[i]\n"
    "         : t->kind == 'l' ? (double)((const int64_t *)data)[i] : (double)((const unsigned char *)data)[i];\n}\n\n"
    "/* The largest difference from what is expected at the positions at .. at + steps. */\n"
    "static double difference(const Tensor *t, const void *got, ptrdiff_t at, ptrdiff_t steps)\n{\n"
    "    const double *want = t->data;\n"
    "    ptrdiff_t length = t->steps ? steps : 1;\n"
    "    double most = 0;\n"
    "    for (ptrdiff_t i = 0; i < t->outer; i++)\n"
    "        for (ptrdiff_t s = 0; s < length; s++)\n"
    "            for (ptrdiff_t j = 0; j < t->inner; j++) {\n"
    "                double g = element(t, got, (size_t)((i * length + s) * t->inner + j));\n"
    "                double w = want[(t->steps ? i * t->steps + at + s : i) * t->inner + j], off = fabs(g - w);\n"
    "                if (isinf(w) ? g == w : isnan(w) ? isnan(g) : off <= most)\n                    continue;\n"
    "                most = isnan(off) ? INFINITY : off;\n            }\n"
    "    return most;\n}\n\n"
    "static double worst, allowed = 1; /* of the output that was nearest to its tolerance, or farthest beyond it */\n\n"
    "static int report(const char *how, const double *off)\n{\n"
    "    int failed = 0;\n"
    "    for (int i = 0; i < OUTPUTS; i++) {\n"
    "        const double most = outputs[i].tolerance;\n"
    "        const int good = off[i] <= most;\n"
    "        failed += !good;\n"
    "        printf(\"%-16s %-20s max error %-10.3g tolerance %-10.3g %s\\n\", outputs[i].name, how, off[i], most, good ? \"PASS\" : \"FAIL\");\n"
    "        if (off[i] * allowed > worst * most || !good)\n            worst = off[i], allowed = most;\n    }\n"
    "    return failed;\n}\n\n"
    "static int fail(const char *what, int error)\n{\n"
    "    printf(\"%s: %s\\n\", what, @_error_text(error));\n    return 1;\n}\n\n";

static const char at_once[] =
    "static int at_once(void)\n{\n"
    "    void *results[OUTPUTS];\n"
    "    double off[OUTPUTS];\n"
    "    int error = call(0, STEPS, results);\n"
    "    if (error)\n        return fail(\"all at once\", error);\n"
    "    for (int i = 0; i < OUTPUTS; i++)\n        off[i] = difference(&outputs[i], results[i], 0, STEPS);\n"
    "    int failed = report(\"all at once\", off);\n"
    "!"
    "    forget();\n    return failed;\n}\n\n";

static const char more_threads[] =
    "    for (int threads = 2; threads <= 3 && !failed; threads++) {\n"
    "        void *again[OUTPUTS];\n"
    "        error = start(threads);\n"
    "        if (!error)\n            error = call(0, STEPS, again);\n"
    "        for (int i = 0; i < OUTPUTS && !error; i++)\n"
    "            if (memcmp(results[i], again[i], bytes_of(&outputs[i]) * count_of(&outputs[i], STEPS)) != 0) {\n"
    "                printf(\"%s: %d threads give other bits than one\\n\", outputs[i].name, threads);\n                failed++;\n            }\n"
    "        if (error)\n            failed = fail(\"on several threads\", error);\n"
    "        stop();\n    }\n"
    "    if (!failed)\n        puts(\"2 and 3 threads: the same bits as one\");\n";

static const char in_steps[] =
    "/* Position by position, with the cache. */\n"
    "static int in_steps(void)\n{\n"
    "    double off[OUTPUTS] = {0};\n"
    "    for (ptrdiff_t at = 0; at < STEPS; at++) {\n"
    "        void *results[OUTPUTS];\n"
    "        int error = step(at, 1, results);\n"
    "        if (error)\n            return fail(\"position by position\", error);\n"
    "        for (int i = 0; i < OUTPUTS; i++)\n"
    "            if (outputs[i].steps || at == STEPS - 1)\n                off[i] = fmax(off[i], difference(&outputs[i], results[i], at, 1));\n"
    "        forget();\n    }\n"
    "    return report(\"position by position\", off);\n}\n\n";

static const char caller[] =
    "#ifndef __wasm__\n"
    "typedef struct Task {\n    void (*body)(void *work, ptrdiff_t thread);\n    void *work;\n    ptrdiff_t thread;\n} Task;\n\n"
    "static void *run_task(void *state)\n{\n    Task *t = state;\n    t->body(t->work, t->thread);\n    return NULL;\n}\n"
    "#endif\n\n"
    "/* As a caller's threads would: each thread's part on a thread of its own. */\n"
    "static void parallel(void *state, void (*body)(void *work, ptrdiff_t thread), void *work, ptrdiff_t threads)\n{\n"
    "    (void)state;\n"
    "#ifndef __wasm__\n"
    "    pthread_t started[16];\n    Task tasks[16];\n    ptrdiff_t n = 0;\n"
    "    for (ptrdiff_t t = 1; t < threads; t++) {\n"
    "        tasks[n] = (Task){body, work, t};\n"
    "        if (pthread_create(&started[n], NULL, run_task, &tasks[n]) == 0)\n            n++;\n"
    "        else\n            body(work, t);\n    }\n"
    "    body(work, 0);\n"
    "    while (n)\n        pthread_join(started[--n], NULL);\n"
    "#else\n"
    "    for (ptrdiff_t t = 0; t < threads; t++)\n        body(work, t);\n"
    "#endif\n}\n\n"
    "static int start(int threads) { return @_use_threads(&model, threads, parallel, NULL); }\n\n"
    "static void stop(void) { @_use_threads(&model, 1, NULL, NULL); }\n\n";

static const char pool[] =
    "static struct @_pool pool;\n\n"
    "static int start(int threads)\n{\n"
    "    int error = @_pool_start(&pool, threads);\n"
    "    return error ? error : @_use_threads(&model, threads, @_pool_parallel, &pool);\n}\n\n"
    "static void stop(void)\n{\n    @_use_threads(&model, 1, NULL, NULL);\n    @_pool_stop(&pool);\n}\n\n";

static const char reading[] =
    "/* The weights at a multiple of 64 bytes; *bytes is how many there are. */\n"
    "static void *read_weights(const char *path, size_t *bytes)\n{\n"
    "    FILE *f = fopen(path, \"rb\");\n"
    "    void *weights = aligned_alloc(64, (@@_WEIGHTS_BYTES + 128) / 64 * 64);\n"
    "    if (!f || !weights) {\n        printf(\"%s: %s\\n\", path, f ? \"not enough memory\" : \"cannot be opened\");\n        exit(2);\n    }\n"
    "    *bytes = fread(weights, 1, @@_WEIGHTS_BYTES + 64, f);\n"
    "    fclose(f);\n    return weights;\n}\n\n";

static const char main_from_file[] =
    "int main(int argc, char **argv)\n{\n"
    "    size_t bytes;\n"
    "    if (argc != 2) {\n        puts(\"usage: selftest @.weights\");\n        return 2;\n    }\n"
    "    void *weights = read_weights(argv[1], &bytes);\n";

static const char main_embedded[] =
    "int main(void)\n{\n"
    "    const unsigned char *weights = @_weights;\n"
    "    const size_t bytes = @@_WEIGHTS_BYTES;\n";

static const char ending[] =
    "    int error = @_open(&model, weights, bytes);\n"
    "    if (!error)\n        error = @_check(&model);\n"
    "    int failed = error ? fail(\"the weights\", error) : at_once();\n";

static const char verdict[] =
    "    printf(\"%s max error %.3g (tolerance %.3g)\\n\", failed ? \"FAIL\" : \"PASS\", worst, allowed);\n"
    "    return failed != 0;\n}\n";

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void put_number(Text *out, DType kind, bool expected, double value)
{
    if (isnan(value))
        text_add(out, "NAN");
    else if (isinf(value))
        text_add(out, value > 0 ? "INFINITY" : "-INFINITY");
    else if (expected)
        text_add(out, "%.10g%s", value, value == floor(value) && fabs(value) < 1e9 ? ".0" : "");
    else if (kind == DT_F32)
        text_add(out, "%.8ef", value);
    else
        text_add(out, "%lld", (long long)value);
}

static const char *c_type(DType t)
{
    return t == DT_F32 ? "float" : t == DT_I32 ? "int32_t" : t == DT_I64 ? "int64_t" : "unsigned char";
}

static char kind_of(DType t)
{
    return t == DT_F32 ? 'f' : t == DT_I32 ? 'i' : t == DT_I64 ? 'l' : 'b';
}

static void put_values(Text *out, const char *name, DType kind, bool expected, const PlanTensor *p, const HostTensor *t)
{
    int64_t count = host_count(t);
    size_t line = out->length;
    text_add(out, "static const %s %s[] = { /* %s %s[", expected ? "double" : c_type(kind), name, p->name, dtype_name(p->dtype));
    for (int a = 0; a < t->rank; a++)
        text_add(out, "%s%lld", a ? ", " : "", (long long)t->dims[a]);
    text_add(out, "] */");
    for (int64_t j = 0; j < count || !j; j++) {
        bool turn = !j || out->length - line > 100;
        if (turn)
            line = out->length;
        text_add(out, turn ? "\n    " : " ");
        put_number(out, kind, expected, j < count ? host_get(t, j) : 0);
        text_char(out, ',');
    }
    text_add(out, "\n};\n");
}

static void put_row(const Shipment *s, Text *out, const char *values, const PlanTensor *p, const HostTensor *t, double tolerance)
{
    int axis = s->test.step < 0 ? -1 : signature_axis(p, s->test.step);
    int64_t outer = 1, inner = 1;
    for (int a = 0; a < t->rank; a++)
        *(a < axis ? &outer : &inner) *= a == axis ? 1 : t->dims[a];
    text_add(out, "    {\"%s\", %s, '%c', %lld, %lld, %lld, %.10g},\n", p->name, values, kind_of(p->dtype), (long long)outer,
             axis < 0 ? 0ll : (long long)t->dims[axis], (long long)inner, tolerance);
}

static void put_tables(const Shipment *s, Text *out)
{
    Arena *a = &s->c->arena;
    const Plan *p = s->code->plan;
    Text rows = text_new(a);
    text_add(&rows, "static const Tensor inputs[] = {\n");
    for (int i = 0; i < p->n_inputs; i++) {
        const char *name = arena_print(a, "input_%s", s->code->inputs[i]);
        put_values(out, name, p->inputs[i].dtype, false, &p->inputs[i], &s->test.inputs[i]);
        put_row(s, &rows, name, &p->inputs[i], &s->test.inputs[i], 0);
    }
    text_add(&rows, "};\n\nenum { OUTPUTS = %d };\nstatic const Tensor outputs[OUTPUTS] = {\n", p->n_outputs);
    for (int i = 0; i < p->n_outputs; i++) {
        const char *name = arena_print(a, "expected_%s", s->code->outputs[i]);
        put_values(out, name, p->outputs[i].dtype, true, &p->outputs[i], &s->test.wanted[i]);
        put_row(s, &rows, name, &p->outputs[i], &s->test.wanted[i], s->test.tolerance[i]);
    }
    text_add(out, "\n%s};\n\n", rows.data);
    text_add(out, "enum { STEPS = %lld };\n\n", s->test.step < 0 ? 1ll : (long long)s->test.sizes[s->test.step]);
}

/* ---- the call ---------------------------------------------------------------------------------------------------- */

static void put_dims(const Shipment *s, Text *out)
{
    const Plan *p = s->code->plan;
    int n = 0;
    text_add(out, "    const struct %s_dims dims = {", s->code->name);
    for (int i = 0; i < p->n_symbols; i++)
        if (s->code->dims[i]) {
            text_add(out, n++ ? ", .%s = " : ".%s = ", s->code->dims[i]);
            text_add(out, i == s->test.step ? "steps" : "%lld", (long long)s->test.sizes[i]);
        }
    text_add(out, "%s};\n", n ? "" : "0");
}

/* `step` (a decoder's) goes on from the cache, `call` begins anew. */
static void put_call(const Shipment *s, bool step, Text *out)
{
    const Plan *p = s->code->plan;
    bool caches = s->code->caches;
    int batch = signature_batch(p);
    text_add(out, "static int %s(ptrdiff_t at, ptrdiff_t steps, void **results)\n{\n", step ? "step" : "call");
    put_dims(s, out);
    text_add(out, "    const struct %s_inputs in = {", s->code->name);
    for (int i = 0; i < p->n_inputs; i++)
        text_add(out, "%s.%s = part(&inputs[%d], at, steps)", i ? ", " : "", s->code->inputs[i], i);
    text_add(out, "};\n    for (int i = 0; i < OUTPUTS; i++)\n        results[i] = room(bytes_of(&outputs[i]) * count_of(&outputs[i], steps), 0);\n");
    text_add(out, "    const struct %s_outputs out = {", s->code->name);
    for (int i = 0; i < p->n_outputs; i++)
        text_add(out, "%s.%s = results[%d]", i ? ", " : "", s->code->outputs[i], i);
    text_add(out, "};\n");
    ship_named(s, out, "    const size_t bytes = @_arena_bytes(&model, &dims);\n    if (!bytes)\n        return @@_BAD_DIMS;\n");
    if (caches && step)
        ship_named(s, out, "    static struct @_cache cache;\n    static void *held;\n");
    else if (caches)
        ship_named(s, out, "    struct @_cache cache;\n");
    const char *rows = caches ? arena_print(&s->c->arena, "%lld", batch < 0 ? 1ll : (long long)s->test.sizes[batch]) : "";
    if (caches) {
        const char *where = step ? "held" : "room(held, 4)";
        text_add(out, step ? "    if (!at) {\n        const size_t needed = %s_cache_bytes(&model, %s);\n        free(held);\n        held = malloc(needed);\n"
                             "        int error = held ? %s_cache_open(&model, &cache, %s, needed, %s) : %s_SMALL_ARENA;\n"
                             "        if (error)\n            return error;\n    }\n"
                           : "    const size_t held = %s_cache_bytes(&model, %s);\n    int error = %s_cache_open(&model, &cache, %s, held, %s);\n"
                             "    if (error)\n        return error;\n",
                 s->code->name, rows, s->code->name, where, rows, s->code->upper);
    }
    text_add(out, "    return %s_%s(&model, %sroom(bytes, 4), bytes, &in, &dims, &out);\n}\n\n", s->code->name, step ? "step" : "run", caches ? "&cache, " : "");
}

static void put_at_once(const Shipment *s, Text *out)
{
    const char *cut = strchr(at_once, '!');
    text_put(out, at_once, (size_t)(cut - at_once));
    text_add(out, "%s%s", s->threads ? more_threads : "", cut + 1);
}

const char *ship_selftest(const Shipment *s)
{
    Text out = text_new(&s->c->arena);
    ship_named(s, &out, "/* selftest.c: whether @ computes here what it should. `make check` runs it.\n *\n");
    text_add(&out, " * Inputs: %s. Expected: %s.\n", s->test.origin,
             s->c->approximations.count ? "what the model gives in float64 with its approximations" : "what the model gives in float64");
    ship_named(s, &out, s->embed ? " *\n *     ./selftest                      PASS or FAIL in the last line, exit status 0 or 1; 2 if it cannot be run */\n"
                                 : " *\n *     ./selftest @.weights            PASS or FAIL in the last line, exit status 0 or 1; 2 if it cannot be run */\n");
    ship_named(s, &out, head);
    if (s->threads == SHIP_THREADS_CALLER)
        text_add(&out, "#ifndef __wasm__\n#include <pthread.h>\n#endif\n");
    text_add(&out, "\n%s", tools);
    put_tables(s, &out);
    ship_named(s, &out, memory);
    ship_named(s, &out, comparing);
    if (s->threads)
        ship_named(s, &out, s->threads == SHIP_THREADS_CALLER ? caller : pool);
    put_call(s, false, &out);
    put_at_once(s, &out);
    if (s->test.in_steps) {
        put_call(s, true, &out);
        ship_named(s, &out, in_steps);
    }
    if (!s->embed)
        ship_named(s, &out, reading);
    ship_named(s, &out, s->embed ? main_embedded : main_from_file);
    ship_named(s, &out, ending);
    if (s->test.in_steps)
        text_add(&out, "    if (!error)\n        failed += in_steps();\n");
    if (!s->embed)
        text_add(&out, "    free(weights);\n");
    text_add(&out, "%s", verdict);
    return out.data;
}
