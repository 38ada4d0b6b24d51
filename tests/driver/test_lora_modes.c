/* Adapters merged, beside the weights, and one for each row of a batch: the modes against PEFT's outputs and against each other. What a row of a batch
 * gets is to the bit what it gets alone: adapters of other rows are masked to exact zeros, and a base without its adapter is the base. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/compile.h"
#include "runtime/attar.h"
#include "runtime/checkpoint.h"
#include "tests/driver/made_adapter.h"

#define GOLDEN SOURCE_DIR "/tests/golden/"

typedef struct Golden { Arena arena; Names names; Diags diags; Context cx; HostTensor *all; int count; } Golden;
typedef struct Output { int64_t count; float *data; } Output;

/* whole: a tensor that the adapter brings as it is, which rows cannot choose */
static const struct { const char *name, *model, *output, *adapters[3], *whole; double bound; } folders[] = {
    {"lora-llama", "llama", "logits", {"adapter"}, NULL, 1.1e-5},
    {"lora-llama-dora", "llama", "logits", {"adapter"}, NULL, 9.6e-6},
    {"lora-llama-patterns", "llama", "logits", {"adapter"}, NULL, 1.3e-5},
    {"lora-llama-embedding", "llama", "logits", {"adapter"}, "model.embed_tokens.weight", 1.2e-5},
    {"lora-gpt2", "gpt2", "logits", {"adapter"}, NULL, 8.6e-6},
    {"lora-bert", "bert", "pooled", {"adapter"}, "pooler.dense.bias", 1.9e-6},
    {"lora-two", "llama", "logits", {"adapter-a:0.7", "adapter-b:1.5"}, NULL, 1e-5},
};
enum { FOLDERS = sizeof folders / sizeof *folders, MOST_INPUTS = 4 };

static void golden_open(Golden *g, const char *folder)
{
    char path[512];
    snprintf(path, sizeof path, GOLDEN "%s/golden.safetensors", folder);
    memset(g, 0, sizeof *g);
    g->names.map = map_new(&g->arena);
    g->diags.arena = &g->arena;
    g->cx = (Context){&g->arena, &g->diags, &g->names};
    g->all = safetensors_load(&g->cx, path, &g->count);
    ck_assert_ptr_nonnull(g->all);
}

/* The choices as paths; `only` >= 0: that one alone. */
static attar_status try_compile(int folder, const char *mode, int only, attar_model **m, attar_error *error)
{
    char model[512], weights[512], paths[3][512];
    const char *lora[4] = {NULL};
    int n = 0;
    snprintf(model, sizeof model, SOURCE_DIR "/models/%s.attar", folders[folder].model);
    snprintf(weights, sizeof weights, GOLDEN "%s", folders[folder].name);
    for (int i = 0; i < 3 && folders[folder].adapters[i]; i++) {
        snprintf(paths[i], sizeof paths[i], GOLDEN "%s/%s", folders[folder].name, folders[folder].adapters[i]);
        if (only < 0 || only == i)
            lora[n++] = paths[i];
    }
    attar_options o = {.model = model, .weights = weights, .threads = 1, .lora = mode ? lora : NULL, .lora_mode = mode};
    return attar_compile(&o, m, error);
}

static attar_model *compile(int folder, const char *mode, int only)
{
    attar_model *m = NULL;
    attar_error error = {0};
    ck_assert_msg(try_compile(folder, mode, only, &m, &error) == ATTAR_OK, "%s", error.message ? error.message : "");
    return m;
}

/* Inputs of the golden file, `keep` all true where the model wants one, and which adapter each row takes (NULL: no such input). */
static attar_status try_run(const attar_model *m, const Golden *g, const int32_t *adapter, const char *output, Output *out, attar_error *error)
{
    static bool keep[64];
    attar_tensor inputs[MOST_INPUTS];
    const attar_tensor *outputs;
    int n = 0;
    memset(keep, 1, sizeof keep);
    for (int i = 0; i < attar_input_count(m); i++) {
        const char *name = attar_input_name(m, i);
        attar_tensor t = {.name = name, .dtype = "bool", .rank = 2, .dims = {2, 11}, .data = keep};
        for (int k = 0; k < g->count; k++)
            if (!strncmp(g->all[k].name, "input.", 6) && !strcmp(g->all[k].name + 6, name)) {
                t = (attar_tensor){.name = name, .dtype = dtype_name(g->all[k].dtype), .rank = g->all[k].rank, .data = g->all[k].data};
                memcpy(t.dims, g->all[k].dims, sizeof t.dims);
            }
        if (!strcmp(name, "adapter"))
            t = (attar_tensor){.name = name, .dtype = "i32", .rank = 1, .dims = {2}, .data = (void *)(uintptr_t)adapter};
        ck_assert_int_lt(n, MOST_INPUTS);
        inputs[n++] = t;
    }
    attar_session *s;
    ck_assert_int_eq(attar_session_new(m, attar_has_cache(m) ? 2 : 0, 1, &s, NULL), ATTAR_OK);
    attar_status status = attar_run(s, inputs, n, &outputs, error);
    for (int i = 0; status == ATTAR_OK && i < attar_output_count(m); i++) {
        if (strcmp(attar_output_name(m, i), output))
            continue;
        out->count = 1;
        for (int d = 0; d < outputs[i].rank; d++)
            out->count *= outputs[i].dims[d];
        out->data = malloc((size_t)out->count * sizeof(float));
        memcpy(out->data, outputs[i].data, (size_t)out->count * sizeof(float));
    }
    attar_session_free(s);
    return status;
}

static Output run(const attar_model *m, const Golden *g, const int32_t *adapter, const char *output)
{
    Output out = {0};
    attar_error error = {0};
    ck_assert_msg(try_run(m, g, adapter, output, &out, &error) == ATTAR_OK, "%s", error.message ? error.message : "");
    ck_assert_ptr_nonnull(out.data);
    return out;
}

/* Compiles, runs once and lets go. */
static Output run_once(int folder, const char *mode, int only, const Golden *g)
{
    attar_model *m = compile(folder, mode, only);
    Output out = run(m, g, NULL, folders[folder].output);
    attar_model_free(m);
    return out;
}

static double apart(const Output *a, const float *b)
{
    double most = 0;
    for (int64_t i = 0; i < a->count; i++)
        most = fmax(most, fabs((double)a->data[i] - (double)b[i]));
    return most;
}

static const float *golden_output(const Golden *g, const char *name)
{
    for (int i = 0; i < g->count; i++)
        if (!strncmp(g->all[i].name, "output.", 7) && !strcmp(g->all[i].name + 7, name))
            return g->all[i].data;
    ck_abort_msg("no output %s", name);
    return NULL;
}

/* Merged and beside: both within the folder's bound of PEFT, so within twice that of each other; and not the base. */
START_TEST(merged_and_beside_are_peft)
{
    Golden g;
    golden_open(&g, folders[_i].name);
    const float *want = golden_output(&g, folders[_i].output), *base = golden_output(&g, "base");
    Output merged = run_once(_i, "merge", -1, &g), beside = run_once(_i, "side", -1, &g);
    ck_assert_double_le(apart(&merged, want), folders[_i].bound);
    ck_assert_double_le(apart(&beside, want), folders[_i].bound);
    ck_assert_double_le(apart(&beside, merged.data), 2 * folders[_i].bound);
    ck_assert_double_gt(apart(&beside, base), 1e-2);
    free(merged.data);
    free(beside.data);
    arena_free(&g.arena);
}
END_TEST

/* Every pair of choices of two rows: each row has the bits of the run in which all rows take its adapter; 0 those of the model without adapters. */
START_TEST(rows_choose)
{
    Golden g;
    if (folders[_i].whole) {
        attar_model *m = NULL;
        attar_error error = {0};
        ck_assert_int_eq(try_compile(_i, "slots", -1, &m, &error), ATTAR_INPUT);
        ck_assert_msg(strstr(error.message, "E0691") && strstr(error.message, folders[_i].whole), "%s", error.message);
        attar_error_clear(&error);
        return;
    }
    golden_open(&g, folders[_i].name);
    int n = folders[_i].adapters[1] ? 2 : 1;
    Output alone[3] = {run_once(_i, NULL, -1, &g)};
    for (int k = 0; k < n; k++)
        alone[k + 1] = run_once(_i, "side", k, &g);
    attar_model *slots = compile(_i, "slots", -1);
    ck_assert_double_le(apart(&alone[0], golden_output(&g, "base")), 2 * folders[_i].bound);
    for (int32_t pair = 0; pair < (n + 1) * (n + 1); pair++) {
        int32_t adapter[2] = {pair % (n + 1), pair / (n + 1)};
        Output both = run(slots, &g, adapter, folders[_i].output);
        for (int row = 0; row < 2; row++) {
            size_t half = (size_t)both.count / 2;
            ck_assert_msg(!memcmp(both.data + row * half, alone[adapter[row]].data + row * half, half * sizeof(float)), "row %d of (%d, %d)", row,
                          (int)adapter[0], (int)adapter[1]);
        }
        free(both.data);
    }
    attar_model_free(slots);
    for (int k = 0; k <= n; k++)
        free(alone[k].data);
    arena_free(&g.arena);
}
END_TEST

START_TEST(a_choice_out_of_range)
{
    Golden g;
    golden_open(&g, "lora-two");
    attar_model *m = compile(FOLDERS - 1, "slots", -1);
    for (int32_t bad = -1; bad <= 3; bad += 4) {
        int32_t adapter[2] = {1, bad};
        Output out = {0};
        attar_error error = {0};
        ck_assert_int_eq(try_run(m, &g, adapter, "logits", &out, &error), ATTAR_INPUT);
        ck_assert_msg(strstr(error.message, "E0610") && strstr(error.message, "adapter"), "%s", error.message);
        attar_error_clear(&error);
    }
    attar_model_free(m);
    arena_free(&g.arena);
}
END_TEST

/* ---- a table that embedding and head share -------------------------------------------------------------------------- */

#define IN_EMBEDDING {"model.embed_tokens", 0, 97, 60, true}
#define IN_HEAD {"lm_head", 0, 60, 97, false}
#define IN_QUERIES {"model.layers.%d.self_attn.q_proj", 2, 60, 80, false}
static const struct { MadeSite sites[3]; int n; } tied[] = {
    {{IN_EMBEDDING, IN_QUERIES}, 2}, {{IN_HEAD, IN_QUERIES}, 2}, {{IN_EMBEDDING, IN_HEAD, IN_QUERIES}, 3}};
enum { TIED = sizeof tied / sizeof *tied };

/* llama-tied with the folders, NULL-terminated. */
static Output run_tied(const char *const *lora, const char *mode, const Golden *g, const int32_t *adapter)
{
    attar_options o = {.model = SOURCE_DIR "/models/llama.attar", .weights = GOLDEN "llama-tied", .threads = 1, .lora = lora, .lora_mode = mode};
    attar_model *m = NULL;
    attar_error error = {0};
    ck_assert_msg(attar_compile(&o, &m, &error) == ATTAR_OK, "%s", error.message ? error.message : "");
    Output out = run(m, g, adapter, "logits");
    attar_model_free(m);
    return out;
}

/* Merged, where embedding and head become two tables, and beside the one that both read: the same model. In slots, each row has the bits of its adapter
 * beside the table alone. */
START_TEST(tied_tables)
{
    char folder[] = "/tmp/attar-tied-XXXXXX", first[64], second[64];
    Golden g;
    golden_open(&g, "llama-tied");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(first, sizeof first, "%s/b", folder);
    snprintf(second, sizeof second, "%s/a", folder);
    ck_assert(made_adapter(&g.cx, first, 1, 4, "", tied[_i].sites, tied[_i].n));
    ck_assert(made_adapter(&g.cx, second, 2, 3, "\"use_rslora\": true, ", tied[TIED - 1 - _i].sites, tied[TIED - 1 - _i].n));
    const char *both[] = {first, second, NULL}, *one[] = {first, NULL}, *other[] = {second, NULL}, *none[] = {NULL};
    Output base = run_tied(none, NULL, &g, NULL), merged = run_tied(both, "merge", &g, NULL), beside = run_tied(both, "side", &g, NULL);
    ck_assert_double_le(apart(&beside, merged.data), 2e-5);
    ck_assert_double_gt(apart(&beside, base.data), 1e-2);
    Output alone[] = {base, run_tied(one, "side", &g, NULL), run_tied(other, "side", &g, NULL)};
    for (int k = 0; k < 3; k++) {
        int32_t adapter[2] = {k, (k + 1) % 3}; /* in the order of the list, not of the paths */
        Output rows = run_tied(both, "slots", &g, adapter);
        size_t half = (size_t)rows.count / 2;
        for (int row = 0; row < 2; row++)
            ck_assert_msg(!memcmp(rows.data + row * half, alone[adapter[row]].data + row * half, half * sizeof(float)), "row %d: %d", row, adapter[row]);
        free(rows.data);
    }
    for (int k = 0; k < 3; k++)
        free(alone[k].data);
    free(merged.data);
    free(beside.data);
    for (int k = 0; k < 2; k++) {
        remove(arena_print(&g.arena, "%s/adapter_config.json", both[k]));
        remove(arena_print(&g.arena, "%s/adapter_model.safetensors", both[k]));
        remove(both[k]);
    }
    remove(folder);
    arena_free(&g.arena);
}
END_TEST

/* So many adapters that each row's is looked up, not all of them computed: of 14, two rows take the first and the last, or none. Embedding, head, products
 * over one axis and over two. */
START_TEST(many_adapters)
{
    enum { MANY = 14 };
    static const MadeSite sites[] = {IN_EMBEDDING, IN_HEAD, IN_QUERIES, {"model.layers.%d.self_attn.o_proj", 2, 80, 60, false}};
    char folder[] = "/tmp/attar-many-XXXXXX";
    const char *all[MANY + 1] = {NULL};
    Golden g;
    golden_open(&g, "llama-tied");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    for (int i = 0; i < MANY; i++) {
        all[i] = arena_print(&g.arena, "%s/%02d", folder, i);
        ck_assert(made_adapter(&g.cx, all[i], (uint64_t)i + 3, 1 + i % 3, "", sites, 4));
    }
    const char *first[] = {all[0], NULL}, *last[] = {all[MANY - 1], NULL}, *none[] = {NULL};
    Output alone[] = {run_tied(none, NULL, &g, NULL), run_tied(first, "side", &g, NULL), run_tied(last, "side", &g, NULL)};
    static const int32_t choices[][2] = {{0, MANY}, {1, 0}, {MANY, 1}};
    ck_assert_double_gt(apart(&alone[1], alone[2].data), 1e-2);
    for (int k = 0; k < 3; k++) {
        Output rows = run_tied(all, "slots", &g, choices[k]);
        int64_t half = rows.count / 2;
        for (int64_t i = 0; i < rows.count; i++) {
            int32_t own = choices[k][i / half];
            ck_assert_double_le(fabs((double)rows.data[i] - (double)alone[own == MANY ? 2 : own].data[i]), 2e-5);
        }
        free(rows.data);
    }
    for (int k = 0; k < 3; k++)
        free(alone[k].data);
    for (int i = 0; i < MANY; i++) {
        remove(arena_print(&g.arena, "%s/adapter_config.json", all[i]));
        remove(arena_print(&g.arena, "%s/adapter_model.safetensors", all[i]));
        remove(all[i]);
    }
    remove(folder);
    arena_free(&g.arena);
}
END_TEST

/* ---- what is refused, and what is chosen ----------------------------------------------------------------------------- */

/* Models that read q_proj in a way that nothing can stand beside, or whose rows have no adapters to choose. */
static const struct { const char *mode, *text, *code, *says; } refused[] = {
    {"side", "(x: f32[B, D]) -> (y: f32[B, E]) {\n  w = weight(\"model.layers.0.self_attn.q_proj.weight\", [E, D])\n"
             "  return dot(x, w, over=D) * sum(w * w, over=D)\n}\n", "E0690", "`mul` reads it, which is no product"},
    {"side", "(x: f32[B, E]) -> (y: f32[B, D]) {\n  return dot(x, weight(\"model.layers.0.self_attn.q_proj.weight\", [E, D]), over=E)\n}\n", "E0690",
     "the product does not sum over its inputs"},
    {"side", "(x: i32[B]) -> (y: f32[B, D]) {\n  return gather(weight(\"model.layers.0.self_attn.q_proj.weight\", [E, D]), x, over=E)\n}\n", "E0690",
     "does not multiply with it"},
    {"slots", "(adapter: f32[B, D]) -> (y: f32[B, E]) {\n  return linear(adapter, \"model.layers.0.self_attn.q_proj\", E)\n}\n", "E0691",
     "has an input `adapter` already"},
    {"slots", "(x: f32[D]) -> (y: f32[E]) {\n  return linear(x, \"model.layers.0.self_attn.q_proj\", E)\n}\n", "E0691", "no batch"},
    {"slots", "(x: f32[B], z: f32[D]) -> (y: f32[B, E]) {\n  return x * linear(z, \"model.layers.0.self_attn.q_proj\", E)\n}\n", "E0690",
     "its input has no batch"},
};
enum { REFUSED = sizeof refused / sizeof *refused };

START_TEST(not_beside)
{
    char path[] = "/tmp/attar-beside-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "wb");
    ck_assert_ptr_nonnull(file);
    fprintf(file, "let D = 40\nlet E = 40\nmodel M%s", refused[_i].text);
    fclose(file);
    const char *lora[] = {GOLDEN "lora-llama/adapter", NULL};
    attar_options o = {.model = path, .weights = GOLDEN "lora-llama", .threads = 1, .lora = lora, .lora_mode = refused[_i].mode, .allow_extra = true};
    attar_model *m = NULL;
    attar_error error = {0};
    ck_assert_int_eq(attar_compile(&o, &m, &error), ATTAR_INPUT);
    ck_assert_msg(strstr(error.message, refused[_i].code) && strstr(error.message, refused[_i].says), "%s", error.message);
    attar_error_clear(&error);
    remove(path);
}
END_TEST

/* The first remark of `lora` about how adapters are used. */
static const char *chosen_mode(const char *model, const char *weights, const char *const *lora, Compilation *c)
{
    CompileOptions o = {.model = model, .weights = weights, .lora = lora, .threads = 1};
    compile_begin(c);
    ck_assert(compile_load(c, &o));
    for (size_t i = 0; i < c->remarks.count; i++)
        if (!strcmp(c->remarks.items[i].pass, "lora") && strncmp(c->remarks.items[i].why, "`", 1))
            return c->remarks.items[i].why;
    ck_abort_msg("no remark");
    return NULL;
}

/* Merged; beside where merging would pack a shared table twice that is larger than the factors. */
START_TEST(what_costs_less)
{
    static const MadeSite sites[] = {IN_EMBEDDING};
    static Compilation c;
    char folder[] = "/tmp/attar-cost-XXXXXX";
    Golden g;
    golden_open(&g, "llama-tied");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    const char *plain[] = {GOLDEN "lora-llama/adapter", NULL}, *made[] = {folder, NULL};
    const char *why = chosen_mode(SOURCE_DIR "/models/llama.attar", GOLDEN "lora-llama", plain, &c);
    ck_assert_msg(!strncmp(why, "merged into the weights", 23), "%s", why);
    compile_free(&c);
    for (int rank = 4; rank <= 64; rank *= 16) { /* 97 x 60 numbers, against 157 for each rank */
        ck_assert(made_adapter(&g.cx, folder, 1, rank, "", sites, 1));
        why = chosen_mode(SOURCE_DIR "/models/llama.attar", GOLDEN "llama-tied", made, &c);
        ck_assert_msg(!strncmp(why, rank == 4 ? "beside the weights" : "merged into the weights", 18), "rank %d: %s", rank, why);
        compile_free(&c);
    }
    remove(arena_print(&g.arena, "%s/adapter_config.json", folder));
    remove(arena_print(&g.arena, "%s/adapter_model.safetensors", folder));
    remove(folder);
    arena_free(&g.arena);
}
END_TEST

START_TEST(modes_by_name)
{
    attar_model *m = NULL;
    attar_error error = {0};
    ck_assert_int_eq(try_compile(0, "both", -1, &m, &error), ATTAR_INPUT);
    ck_assert_msg(strstr(error.message, "E0686") && strstr(error.message, "merge, side or slots"), "%s", error.message);
    attar_error_clear(&error);
}
END_TEST

int main(void)
{
    char cache[] = "/tmp/attar-lora-XXXXXX";
    if (!getenv("ATTAR_CACHE_DIR") && mkdtemp(cache))
        setenv("ATTAR_CACHE_DIR", cache, 1);
    Suite *s = suite_create("modes of adapters");
    TCase *c = tcase_create("modes");
    tcase_set_timeout(c, 240);
    tcase_add_loop_test(c, merged_and_beside_are_peft, 0, FOLDERS);
    tcase_add_loop_test(c, rows_choose, 3, FOLDERS); /* the ones before are part of the last */
    tcase_add_loop_test(c, rows_choose, 1, 2);
    tcase_add_test(c, a_choice_out_of_range);
    tcase_add_test(c, modes_by_name);
    tcase_add_loop_test(c, not_beside, 0, REFUSED);
    tcase_add_test(c, what_costs_less);
    suite_add_tcase(s, c);
    TCase *t = tcase_create("tied");
    tcase_set_timeout(t, 240);
    tcase_add_loop_test(t, tied_tables, 0, TIED);
    suite_add_tcase(s, t);
    TCase *many = tcase_create("many");
    tcase_set_timeout(many, 240);
    tcase_add_test(many, many_adapters);
    suite_add_tcase(s, many);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
