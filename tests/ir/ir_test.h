/* Helpers of the IR's tests: a graph from text, random inputs of the right sizes, one call of the interpreter. */
#ifndef ATTAR_TESTS_IR_TEST_H
#define ATTAR_TESTS_IR_TEST_H

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ir/interpret.h"

typedef struct Bench {
    Arena arena, work;
    Names names;
    Diags diags;
    Context cx;
    Graph *g;
    int64_t sizes[8];
    HostTensor in[8];
    Bindings bind;
    uint64_t state;
} Bench;

static inline void bench_open(Bench *t)
{
    memset(t, 0, sizeof *t);
    t->names.map = map_new(&t->arena);
    t->diags.arena = &t->arena;
    t->cx = (Context){&t->arena, &t->diags, &t->names};
    t->state = 1;
}

static inline void bench_close(Bench *t)
{
    arena_free(&t->work);
    arena_free(&t->arena);
}

static inline const char *bench_said(const Bench *t)
{
    return t->diags.first ? t->diags.first->message : "(nothing)";
}

static inline Graph *bench_read(Bench *t, const char *text)
{
    Source *s = arena_alloc(&t->arena, sizeof *s);
    *s = (Source){"test.ir", text, strlen(text)};
    return graph_read(&t->cx, s);
}

static inline uint64_t bench_random(Bench *t)
{
    t->state = t->state * 6364136223846793005u + 1442695040888963407u;
    return t->state >> 33;
}

/* f32: multiples of 1/64 between -2 and 2; i32: -3 .. 3; bool: both. */
static inline double bench_number(Bench *t, DType dtype)
{
    uint64_t r = bench_random(t);
    if (dtype == DT_BOOL)
        return (double)(r % 2);
    if (dtype == DT_I32)
        return (double)(int64_t)(r % 7) - 3;
    return ((double)(r % 257) - 128) / 64;
}

/* Reads the graph, binds the sizes of its symbols in their order, fills the inputs. */
static inline void bench_begin(Bench *t, const char *text, const int64_t *sizes)
{
    bench_open(t);
    t->g = bench_read(t, text);
    ck_assert_msg(t->g != NULL, "%s", bench_said(t));
    for (int i = 0; i < t->g->n_symbols; i++)
        t->sizes[i] = sizes[i];
    for (int i = 0; i < t->g->n_params; i++) {
        const Type *type = t->g->params[i]->type;
        HostTensor *h = &t->in[i];
        *h = (HostTensor){.name = t->g->params[i]->name, .dtype = type->dtype, .rank = type->rank};
        for (int a = 0; a < type->rank; a++)
            h->dims[a] = extent_value(type->axis[a].size, t->g, t->sizes);
        int64_t count = host_count(h);
        h->data = arena_array(&t->arena, (size_t)count + 1, 8);
        for (int64_t k = 0; k < count; k++)
            host_set(h, k, bench_number(t, type->dtype));
    }
    t->bind = (Bindings){.sizes = t->sizes, .inputs = t->in};
    t->bind.caches = interpret_caches(t->g, t->sizes, &t->arena);
}

static inline void bench_set(Bench *t, int input, const double *numbers, int64_t count)
{
    ck_assert_int_eq(host_count(&t->in[input]), count);
    for (int64_t i = 0; i < count; i++)
        host_set(&t->in[input], i, numbers[i]);
}

static inline double bench_in(const Bench *t, int input, int64_t index)
{
    return host_get(&t->in[input], index);
}

static inline Value *bench_run(Bench *t)
{
    Value *results = interpret(&t->cx, t->g, &t->bind, &t->work);
    ck_assert_msg(results != NULL, "%s", bench_said(t));
    ck_assert_int_eq(t->diags.errors, 0);
    return results;
}

static inline bool same_number(double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    return a == b || fabs(a - b) <= 1e-12 * fmax(1, fmax(fabs(a), fabs(b)));
}

static inline void check_numbers(const Value *v, const double *want, int64_t count)
{
    ck_assert_int_eq(v->count, count);
    for (int64_t i = 0; i < count; i++)
        ck_assert_msg(same_number(v->data[i], want[i]), "element %lld is %.17g, not %.17g", (long long)i, v->data[i],
                      want[i]);
}

static inline int run_cases(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *cases = tcase_create(name);
    tcase_set_timeout(cases, 120);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(cases, tests[i]);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}

#define RUN_CASES(name, ...)                                                                                           \
    int main(void)                                                                                                     \
    {                                                                                                                  \
        const TTest *const tests[] = {__VA_ARGS__};                                                                    \
        return run_cases(name, tests, sizeof tests / sizeof *tests);                                                   \
    }

/* The node of this name, bodies included, or NULL. */
static inline Node *find(Graph *g, const char *name)
{
    for (Node *n = g->first; n; n = n->next) {
        if (n->name && !strcmp(n->name, name))
            return n;
        Node *inside = n->body ? find(n->body, name) : NULL;
        if (inside)
            return inside;
    }
    return NULL;
}

#endif
