/* Helpers of the passes' tests: contexts, models of the golden folders with random weights, runs of the interpreter,
 * comparison. */
#ifndef ATTAR_TESTS_PASSES_TEST_H
#define ATTAR_TESTS_PASSES_TEST_H

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "frontend/frontend.h"
#include "ir/interpret.h"
#include "passes/passes.h"

typedef struct Fixture {
    Arena arena;
    Names names;
    Diags diags;
    Context cx;
    Remarks remarks;
} Fixture;

static inline void fixture_open(Fixture *f)
{
    memset(f, 0, sizeof *f);
    f->names.map = map_new(&f->arena);
    f->diags.arena = &f->arena;
    f->cx = (Context){&f->arena, &f->diags, &f->names};
    f->remarks.arena = &f->arena;
}

static inline void fixture_close(Fixture *f)
{
    arena_free(&f->arena);
}

static inline const char *fixture_said(Fixture *f)
{
    Text t = text_new(&f->arena);
    diag_render(&f->diags, &t, false);
    return t.data ? t.data : "";
}

static inline const Source *fixture_file(Fixture *f, const char *path)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s cannot be opened", path);
    Text t = text_new(&f->arena);
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, file)) > 0;)
        text_put(&t, buffer, n);
    fclose(file);
    Source *s = arena_alloc(&f->arena, sizeof *s);
    *s = (Source){arena_print(&f->arena, "%s", path), t.data ? t.data : "", t.length};
    return s;
}

static inline bool fixture_read(Context *cx, void *state, const char *path, Source *out)
{
    (void)cx;
    *out = *fixture_file(state, path);
    return true;
}

/* models/NAME.attar with the config of a golden folder; GRAPH level. */
static inline Graph *fixture_model(Fixture *f, const char *model, const char *golden)
{
    char path[512];
    snprintf(path, sizeof path, SOURCE_DIR "/tests/golden/%s/config.json", golden);
    ModelOptions options = {.config_path = path, .n_checkpoint = -1, .read = fixture_read, .state = f};
    options.config = json_read_file(&f->diags, "E0590", path, 1 << 20, 64);
    snprintf(path, sizeof path, SOURCE_DIR "/models/%s.attar", model);
    Model out;
    bool good = model_load(&f->cx, fixture_file(f, path), &options, &out);
    ck_assert_msg(good, "%s", fixture_said(f));
    json_decref(options.config);
    return out.graph;
}

/* A number in [-1, 1] that depends on text and index only. */
static inline double hashed(const char *text, int64_t index)
{
    uint64_t h = 14695981039346656037u;
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * 1099511628211u;
    h = (h ^ (uint64_t)index) * 0x9e3779b97f4a7c15u;
    h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
    return (double)((h ^ (h >> 32)) >> 11) * 0x1p-53 * 2 - 1;
}

static inline bool hashed_weight(void *state, const char *key, double *out, int64_t count)
{
    (void)state;
    for (int64_t i = 0; i < count; i++)
        out[i] = 0.5 * hashed(key, i);
    return true;
}

typedef struct Call {
    const char *name;
    int64_t size;
} Call; /* a symbol's size in one call */

typedef struct Run {
    Fixture *f;
    Value *caches;
    int64_t *sizes;
    HostTensor *inputs;
} Run;

static inline Run run_new(Fixture *f, const Graph *g, const Call *call, int n)
{
    Run r = {.f = f};
    r.sizes = arena_array(&f->arena, (size_t)g->n_symbols + 1, sizeof *r.sizes);
    for (int i = 0; i < g->n_symbols; i++) {
        r.sizes[i] = g->symbols[i]->low > 0 ? g->symbols[i]->low : 0;
        for (int k = 0; k < n; k++)
            if (!strcmp(g->symbols[i]->name, call[k].name))
                r.sizes[i] = call[k].size;
    }
    r.inputs = arena_array(&f->arena, (size_t)g->n_params + 1, sizeof *r.inputs);
    for (int i = 0; i < g->n_params; i++) {
        const Node *p = g->params[i];
        HostTensor *h = &r.inputs[i];
        *h = (HostTensor){.name = p->name, .dtype = p->type->dtype, .rank = p->type->rank};
        for (int a = 0; a < p->type->rank; a++)
            h->dims[a] = extent_value(p->type->axis[a].size, g, r.sizes);
        h->data = arena_array(&f->arena, (size_t)host_count(h) + 1, 8);
        for (int64_t k = 0; k < host_count(h); k++) {
            double x = hashed(p->name, k);
            host_set(h, k, h->dtype == DT_BOOL ? x > -0.6 : dtype_is_float(h->dtype) ? x : (double)(k % 2));
        }
    }
    r.caches = interpret_caches(g, r.sizes, &f->arena);
    return r;
}

static inline Value *run_graph(const Run *r, const Graph *g)
{
    Bindings b = {.sizes = r->sizes, .inputs = r->inputs, .weight = hashed_weight, .caches = r->caches, .spoil = true};
    Value *v = interpret(&r->f->cx, g, &b, &r->f->arena);
    ck_assert_msg(v != NULL, "%s", fixture_said(r->f));
    return v;
}

/* Largest difference relative to the largest magnitude; infinity if sizes or NaNs differ. */
static inline double difference(const Value *a, const Value *b)
{
    double most = 0, size = 1;
    if (a->count != b->count)
        return INFINITY;
    for (int64_t i = 0; i < a->count; i++) {
        if (isnan(a->data[i]) != isnan(b->data[i]))
            return INFINITY;
        if (isnan(a->data[i]) || a->data[i] == b->data[i])
            continue;
        most = fmax(most, fabs(a->data[i] - b->data[i]));
        size = fmax(size, fabs(a->data[i]));
    }
    return most / size;
}

static inline void check_near(const Graph *g, const Value *want, const Value *got, const char *when, double most)
{
    for (int i = 0; i < g->n_results; i++) {
        double d = difference(&want[i], &got[i]);
        ck_assert_msg(d <= most, "%s: %s differs by %g", when, g->results[i].name ? g->results[i].name : "a result", d);
    }
}

static inline void check_same(const Graph *g, const Value *want, const Value *got, const char *when)
{
    check_near(g, want, got, when, 1e-9);
}

static inline int run_suite(const char *name, const TTest *const *tests, const int *loops, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *cases = tcase_create(name);
    tcase_set_timeout(cases, 120);
    for (size_t i = 0; i < count; i++) {
        if (loops[i])
            tcase_add_loop_test(cases, tests[i], 0, loops[i]);
        else
            tcase_add_test(cases, tests[i]);
    }
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

#endif
