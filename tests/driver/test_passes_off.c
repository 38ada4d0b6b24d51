/* Every model with each optional pass off alone: outputs within the bounds of golden.json, all positions at once and
 * the last ones as a second call on the cache. Passes whose absence leaves the same C are compiled once. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "driver/compile.h"

static const struct {
    const char *model, *golden;
} models[] = {{"bert", "bert"},     {"gpt2", "gpt2"},   {"llama", "llama"},
              {"llama", "mistral"}, {"llama", "qwen2"}, {"deepseek", "deepseek-v3-dense"},
              {"gptj", "gptj"}};
enum { N_MODELS = sizeof models / sizeof models[0], MAX_INPUTS = 4, SECOND_CALL = 3 };

typedef struct Golden {
    Compilation *c;
    HostTensor *all;
    int count;
    json_t *outputs;
    const char *what;
} Golden;

static const char *said(Compilation *c)
{
    Text t = text_new(&c->arena);
    diag_render(&c->diags, &t, false);
    return t.data ? t.data : "";
}

static HostTensor *named(const Golden *g, const char *prefix, const char *name)
{
    char key[80];
    snprintf(key, sizeof key, "%s.%s", prefix, name);
    for (int i = 0; i < g->count; i++)
        if (!strcmp(g->all[i].name, key))
            return &g->all[i];
    ck_abort_msg("%s: no tensor %s", g->what, key);
    return NULL;
}

/* Positions from .. from + n of a tensor [B, S, ..]; the tensor itself if it has no S. */
static HostTensor cut(Arena *arena, const HostTensor *t, int64_t from, int64_t n)
{
    HostTensor out = *t;
    int64_t inner = 1;
    for (int i = 2; i < t->rank; i++)
        inner *= t->dims[i];
    out.dims[1] = n;
    out.data = arena_array(arena, (size_t)host_count(&out) + 1, dtype_size(t->dtype));
    for (int64_t b = 0; b < t->dims[0]; b++)
        for (int64_t k = 0; k < n * inner; k++)
            host_set(&out, b * n * inner + k, host_get(t, (b * t->dims[1] + from) * inner + k));
    return out;
}

static void compare(const Golden *g, const HostTensor *got, const HostTensor *want, const char *name)
{
    double most = json_number_value(json_object_get(json_object_get(g->outputs, name), "atol"));
    ck_assert_msg(most > 0, "%s: golden.json has no bound for %s", g->what, name);
    ck_assert_int_eq(host_count(got), host_count(want));
    for (int64_t i = 0; i < host_count(want); i++) {
        double d = fabs(host_get(got, i) - host_get(want, i));
        ck_assert_msg(d <= most, "%s: %s differs by %g, allowed are %g", g->what, name, d, most);
    }
}

/* Runs positions from .. from + n (all of them if the model has no cache) and compares every output. */
static void call(Golden *g, Session *s, int64_t from, int64_t n)
{
    const Graph *model = g->c->model.graph;
    HostTensor in[MAX_INPUTS];
    const HostTensor *out = NULL;
    bool whole = !model->n_caches;
    ck_assert_int_le(model->n_params, MAX_INPUTS);
    for (int i = 0; i < model->n_params; i++) {
        HostTensor *t = named(g, "input", model->params[i]->name);
        in[i] = whole ? *t : cut(&g->c->arena, t, from, n);
        in[i].name = model->params[i]->name;
    }
    ck_assert_msg(session_run(&g->c->cx, s, in, model->n_params, &out), "%s: %s", g->what, said(g->c));
    for (int i = 0; i < model->n_results; i++) {
        const char *name = model->results[i].name;
        HostTensor *want = named(g, "output", name), part = whole ? *want : cut(&g->c->arena, want, from, n);
        compare(g, &out[i], &part, name);
    }
}

static void run(Golden *g)
{
    HostTensor *ids = named(g, "input", "ids");
    bool cached = g->c->model.graph->n_caches > 0;
    Session *s = session_new(&g->c->cx, &g->c->program, cached ? ids->dims[0] : 0, 2, NULL);
    ck_assert_msg(s != NULL, "%s: %s", g->what, said(g->c));
    call(g, s, 0, cached ? ids->dims[1] - SECOND_CALL : ids->dims[1]);
    if (cached)
        call(g, s, ids->dims[1] - SECOND_CALL, SECOND_CALL);
    session_free(s);
}

static json_t *bounds(const char *folder)
{
    char path[600];
    json_error_t error;
    snprintf(path, sizeof path, "%s/golden.json", folder);
    json_t *j = json_load_file(path, 0, &error);
    ck_assert_msg(j != NULL, "%s: %s", path, error.text);
    return j;
}

/* One model without one pass (PASS_COUNT: with all). The C it becomes; NULL if `seen` holds that already. */
static char *check_without(int model, int pass, char *const *seen, int n)
{
    char file[512], folder[512], what[128];
    snprintf(file, sizeof file, SOURCE_DIR "/models/%s.attar", models[model].model);
    snprintf(folder, sizeof folder, SOURCE_DIR "/tests/golden/%s", models[model].golden);
    snprintf(what, sizeof what, "%s without %s", models[model].golden,
             pass < PASS_COUNT ? pass_info[pass].name : "nothing");
    CompileOptions o = {.model = file, .weights = folder, .threads = 1};
    if (pass < PASS_COUNT)
        o.passes.off[pass] = true;
    Compilation c;
    compile_begin(&c);
    ck_assert_msg(compile_load(&c, &o) && compile_passes(&c, &o) && compile_emit(&c, &o), "%s: %s", what, said(&c));
    for (int i = 0; i < n; i++)
        if (!strcmp(seen[i], c.emitted.text)) {
            compile_free(&c);
            return NULL;
        }
    ck_assert_msg(compile_build(&c, &o), "%s: %s", what, said(&c));
    json_t *json = bounds(folder);
    Golden g = {.c = &c, .outputs = json_object_get(json, "outputs"), .what = what};
    char golden[600];
    snprintf(golden, sizeof golden, "%s/golden.safetensors", folder);
    g.all = safetensors_load(&c.cx, golden, &g.count);
    ck_assert_msg(g.all != NULL, "%s", said(&c));
    run(&g);
    char *text = strdup(c.emitted.text);
    json_decref(json);
    compile_free(&c);
    return text;
}

START_TEST(test_each_off)
{
    char *seen[PASS_COUNT + 1];
    int n = 0;
    for (int pass = PASS_COUNT; pass >= 0; pass--) {
        if (pass < PASS_COUNT && !compile_may_turn_off((PassId)pass))
            continue;
        char *text = check_without(_i, pass, seen, n);
        if (text)
            seen[n++] = text;
    }
    ck_assert_int_gt(n, 3); /* some passes do something for every model */
    while (n > 0)
        free(seen[--n]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("passes off");
    TCase *t = tcase_create("passes off");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, test_each_off, 0, N_MODELS);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
