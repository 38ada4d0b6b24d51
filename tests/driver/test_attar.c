/* The public interface on real folders: outputs against the goldens, every kind of wrong call, memory that runs out. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/attar.h"
#include "runtime/checkpoint.h"

#define GOLDEN SOURCE_DIR "/tests/golden/"

typedef struct Golden { Arena arena; Names names; Diags diags; Context cx; HostTensor *all; int count; } Golden;

static void golden_open(Golden *g, const char *path)
{
    memset(g, 0, sizeof *g);
    g->names.map = map_new(&g->arena);
    g->diags.arena = &g->arena;
    g->cx = (Context){&g->arena, &g->diags, &g->names};
    g->all = safetensors_load(&g->cx, path, &g->count);
    ck_assert_ptr_nonnull(g->all);
}

static attar_tensor golden_tensor(const Golden *g, const char *prefix, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "%s.%s", prefix, name);
    for (int i = 0; i < g->count; i++)
        if (!strcmp(g->all[i].name, key)) {
            attar_tensor t = {.name = name, .dtype = dtype_name(g->all[i].dtype), .rank = g->all[i].rank, .data = g->all[i].data};
            memcpy(t.dims, g->all[i].dims, sizeof t.dims);
            return t;
        }
    ck_abort_msg("no tensor %s", key);
    return (attar_tensor){0};
}

static attar_model *compile(const char *model, const char *folder)
{
    attar_options o = {.model = model, .weights = folder, .threads = 2};
    attar_model *m = NULL;
    attar_error error = {0};
    attar_status status = attar_compile(&o, &m, &error);
    ck_assert_msg(status == ATTAR_OK, "%s", error.message ? error.message : "no message");
    ck_assert_ptr_nonnull(m);
    return m;
}

static attar_model *compile_bert(void) { return compile(SOURCE_DIR "/models/bert.attar", GOLDEN "bert"); }

static attar_session *open_session(const attar_model *m, int64_t batch, int threads)
{
    attar_session *s;
    attar_error error = {0};
    ck_assert_msg(attar_session_new(m, batch, threads, &s, &error) == ATTAR_OK, "%s", error.message ? error.message : "");
    return s;
}

static double worst(const attar_tensor *got, const attar_tensor *want)
{
    ck_assert_int_eq(got->rank, want->rank);
    int64_t count = 1;
    for (int i = 0; i < got->rank; i++) {
        ck_assert_int_eq(got->dims[i], want->dims[i]);
        count *= got->dims[i];
    }
    double off = 0;
    for (int64_t i = 0; i < count; i++)
        off = fmax(off, fabs((double)((float *)got->data)[i] - (double)((float *)want->data)[i]));
    return off;
}

START_TEST(bert_as_golden)
{
    Golden g;
    golden_open(&g, GOLDEN "bert/golden.safetensors");
    attar_model *m = compile_bert();
    ck_assert_int_eq(attar_input_count(m), 3);
    ck_assert(!attar_has_cache(m));
    ck_assert_int_eq(attar_cache_capacity(m), 0);
    ck_assert_ptr_null(attar_input_name(m, 3));
    ck_assert_ptr_null(attar_output_name(m, -1));
    attar_tensor inputs[3];
    for (int i = 0; i < 3; i++)
        inputs[i] = golden_tensor(&g, "input", attar_input_name(m, i));
    for (int threads = 1; threads <= 2; threads++) {
        attar_session *s = open_session(m, 0, threads);
        for (int again = 0; again < 2; again++) {
            const attar_tensor *y;
            attar_error error = {0};
            ck_assert_msg(attar_run(s, inputs, 3, &y, &error) == ATTAR_OK, "%s", error.message ? error.message : "");
            for (int i = 0; i < attar_output_count(m); i++) {
                ck_assert_str_eq(y[i].name, attar_output_name(m, i));
                attar_tensor want = golden_tensor(&g, "output", y[i].name);
                ck_assert_double_le(worst(&y[i], &want), 1e-5);
            }
        }
        attar_session_free(s);
    }
    attar_model_free(m);
    arena_free(&g.arena);
}
END_TEST

/* i64 ids are taken where i32 is declared, if they fit. */
START_TEST(wide_ids)
{
    attar_model *m = compile(SOURCE_DIR "/models/gpt2.attar", GOLDEN "gpt2");
    attar_session *s = open_session(m, 1, 1);
    int64_t wide[4] = {1, 2, 3, 4};
    int32_t narrow[4] = {1, 2, 3, 4};
    attar_tensor ids = {.name = "ids", .dtype = "i64", .rank = 2, .dims = {1, 4}, .data = wide};
    const attar_tensor *y;
    ck_assert_int_eq(attar_run(s, &ids, 1, &y, NULL), ATTAR_OK);
    size_t bytes = 4 * (size_t)y->dims[2] * sizeof(float);
    float *first = malloc(bytes);
    memcpy(first, y->data, bytes);
    attar_session_reset(s);
    ids.dtype = "i32";
    ids.data = narrow;
    ck_assert_int_eq(attar_run(s, &ids, 1, &y, NULL), ATTAR_OK);
    ck_assert_mem_eq(first, y->data, bytes);
    attar_session_reset(s);
    ids.dtype = "i64";
    ids.data = wide;
    wide[2] = (int64_t)1 << 40;
    attar_error error = {0};
    ck_assert_int_eq(attar_run(s, &ids, 1, &y, &error), ATTAR_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "ids"));
    attar_error_clear(&error);
    free(first);
    attar_session_free(s);
    attar_model_free(m);
}
END_TEST

START_TEST(caches_grow_and_shrink)
{
    attar_model *m = compile(SOURCE_DIR "/models/llama.attar", GOLDEN "llama");
    ck_assert(attar_has_cache(m));
    ck_assert_int_eq(attar_cache_capacity(m), 64);
    attar_session *s = open_session(m, 1, 2);
    int32_t tokens[8] = {5, 9, 2, 7, 1, 3, 8, 4};
    attar_tensor ids = {.name = "ids", .dtype = "i32", .rank = 2, .dims = {1, 8}, .data = tokens};
    const attar_tensor *y;
    ck_assert_int_eq(attar_run(s, &ids, 1, &y, NULL), ATTAR_OK);
    ck_assert_int_eq(attar_session_length(s), 8);
    size_t width = (size_t)y->dims[2];
    float *all = malloc(8 * width * sizeof *all);
    memcpy(all, y->data, 8 * width * sizeof *all);
    attar_session_truncate(s, 3);
    ck_assert_int_eq(attar_session_length(s), 3);
    for (int i = 3; i < 8; i++) {
        attar_tensor one = {.name = "ids", .dtype = "i32", .rank = 2, .dims = {1, 1}, .data = &tokens[i]};
        ck_assert_int_eq(attar_run(s, &one, 1, &y, NULL), ATTAR_OK);
        for (size_t k = 0; k < width; k++)
            ck_assert_float_eq_tol(((float *)y->data)[k], all[(size_t)i * width + k], 1e-4f);
    }
    attar_session_reset(s);
    ck_assert_int_eq(attar_session_length(s), 0);
    attar_error error = {0};
    int32_t many[65] = {0};
    attar_tensor too_long = {.name = "ids", .dtype = "i32", .rank = 2, .dims = {1, 65}, .data = many};
    ck_assert_int_eq(attar_run(s, &too_long, 1, &y, &error), ATTAR_INPUT);
    ck_assert_ptr_nonnull(strstr(error.message, "64"));
    ck_assert_int_eq(attar_session_length(s), 0);
    attar_error_clear(&error);
    free(all);
    attar_session_free(s);
    attar_model_free(m);
}
END_TEST

/* ---- wrong calls ------------------------------------------------------------------------------------------------- */

static void refused(attar_options o, attar_status status, const char *word)
{
    attar_model *m = (attar_model *)&o;
    attar_error error = {0};
    ck_assert_int_eq(attar_compile(&o, &m, &error), status);
    ck_assert_ptr_null(m);
    ck_assert_int_eq(error.status, status);
    ck_assert_msg(strstr(error.message, word) != NULL, "`%s` is not in: %s", word, error.message);
    attar_error_clear(&error);
    ck_assert_ptr_null(error.message);
    ck_assert_int_eq(attar_compile(&o, &m, NULL), status);
}

START_TEST(wrong_files)
{
    const char *bert = SOURCE_DIR "/models/bert.attar";
    const char *const unknown[] = {"no-such-pass", NULL}, *const needed[] = {"lower", NULL};
    refused((attar_options){.model = NULL}, ATTAR_USAGE, "model");
    refused((attar_options){.model = "/nonexistent/m.attar"}, ATTAR_MODEL, "/nonexistent/m.attar");
    refused((attar_options){.model = SOURCE_DIR}, ATTAR_MODEL, "directory");
    refused((attar_options){.model = bert, .weights = "/nonexistent"}, ATTAR_INPUT, "/nonexistent");
    refused((attar_options){.model = bert, .weights = GOLDEN "bert", .config = "/nonexistent.json"}, ATTAR_INPUT, "/nonexistent.json");
    const char *const twice[] = {GOLDEN "bert", NULL};
    refused((attar_options){.model = bert, .weights = GOLDEN "bert", .more_weights = twice}, ATTAR_INPUT, "E0436");
    refused((attar_options){.model = SOURCE_DIR "/models/optimizers.attar"}, ATTAR_MODEL, "AdamW");
    refused((attar_options){.model = SOURCE_DIR "/models/optimizers.attar", .model_name = "AdamV"}, ATTAR_MODEL, "AdamW");
    refused((attar_options){.model = bert, .weights = GOLDEN "bert", .passes_off = unknown}, ATTAR_USAGE, "pass");
    refused((attar_options){.model = bert, .weights = GOLDEN "bert", .passes_off = needed}, ATTAR_USAGE, "pass");
    refused((attar_options){.model = bert, .weights = GOLDEN "bert", .clang = "/nonexistent/clang", .no_cache = true}, ATTAR_ENVIRONMENT, "clang");
}
END_TEST

static void refused_run(attar_session *s, const attar_tensor *inputs, int count, const char *word)
{
    const attar_tensor *y = inputs;
    attar_error error = {0};
    ck_assert_int_eq(attar_run(s, inputs, count, &y, &error), ATTAR_INPUT);
    ck_assert_ptr_null(y);
    ck_assert_msg(strstr(error.message, word) != NULL, "`%s` is not in: %s", word, error.message);
    attar_error_clear(&error);
    ck_assert_int_eq(attar_run(s, inputs, count, &y, NULL), ATTAR_INPUT);
}

START_TEST(wrong_inputs)
{
    attar_model *m = compile(SOURCE_DIR "/models/gpt2.attar", GOLDEN "gpt2");
    attar_session *s = open_session(m, 1, 1);
    int32_t tokens[4] = {1, 2, 3, 4};
    float floats[4] = {1, 2, 3, 4};
    const attar_tensor good = {.name = "ids", .dtype = "i32", .rank = 2, .dims = {1, 4}, .data = tokens};
    attar_tensor t = good;
    refused_run(s, NULL, 0, "ids");
    t.name = "words";
    refused_run(s, &t, 1, "ids");
    t = good;
    t.dtype = "f32";
    t.data = floats;
    refused_run(s, &t, 1, "f32");
    t.dtype = "complex";
    refused_run(s, &t, 1, "complex");
    t.dtype = NULL;
    refused_run(s, &t, 1, "ids");
    t = good;
    t.rank = 1;
    t.dims[0] = 4;
    refused_run(s, &t, 1, "ids");
    t.rank = 9;
    refused_run(s, &t, 1, "9");
    t.rank = -1;
    refused_run(s, &t, 1, "-1");
    t = good;
    t.dims[1] = 33;
    refused_run(s, &t, 1, "S");
    t = good;
    tokens[2] = 97;
    refused_run(s, &t, 1, "97");
    tokens[2] = -1;
    refused_run(s, &t, 1, "-1");
    tokens[2] = 3;
    attar_tensor twice[2] = {good, good};
    refused_run(s, twice, 2, "ids");
    const attar_tensor *y;
    ck_assert_int_eq(attar_run(s, &good, 1, &y, NULL), ATTAR_OK);
    attar_session_free(s);
    attar_model_free(m);
}
END_TEST

static void remember(void *state, const char *message)
{
    snprintf(state, 256, "%s", message);
}

START_TEST(warnings_are_handed_over)
{
    char folder[] = "/tmp/attar-test-XXXXXX", file[64], text[256] = "";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/file", folder);
    FILE *f = fopen(file, "w");
    fclose(f);
    attar_options o = {.model = SOURCE_DIR "/models/bert.attar", .weights = GOLDEN "bert", .cache_dir = file, .warn = remember, .warn_state = text};
    attar_model *m;
    ck_assert_int_eq(attar_compile(&o, &m, NULL), ATTAR_OK);
    ck_assert_msg(strstr(text, "warning") != NULL, "got: %s", text);
    attar_model_free(m);
    unlink(file);
    rmdir(folder);
}
END_TEST

START_TEST(null_is_nothing)
{
    attar_error_clear(NULL);
    attar_model_free(NULL);
    attar_session_free(NULL);
}
END_TEST

/* ---- memory that runs out ---------------------------------------------------------------------------------------- */

#ifndef __SANITIZE_ADDRESS__
/* No more address space than what is in use now and `more` bytes. */
static void bound_memory(size_t more)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    ck_assert_int_eq(fscanf(f, "%ld", &pages), 1);
    fclose(f);
    struct rlimit limit = {.rlim_cur = (rlim_t)pages * 4096 + more, .rlim_max = RLIM_INFINITY};
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

START_TEST(no_memory_for_a_model)
{
    char path[] = "/tmp/attar-test-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
    close(fd);
    attar_options o = {.model = path};
    attar_model *m;
    attar_error error = {0};
    bound_memory(256 << 10);
    ck_assert_int_eq(attar_compile(&o, &m, &error), ATTAR_ENVIRONMENT);
    ck_assert_ptr_null(m);
    ck_assert_ptr_nonnull(strstr(error.message, "E1001"));
    attar_error_clear(&error);
    unlink(path);
}
END_TEST

START_TEST(no_memory_for_a_call)
{
    attar_model *m = compile_bert();
    attar_session *s = open_session(m, 0, 1);
    attar_tensor t = {.name = "ids", .dtype = "i32", .rank = 1, .dims = {1}, .data = &t};
    const attar_tensor *y;
    attar_error error = {0};
    bound_memory(4 << 20);
    ck_assert_int_eq(attar_run(s, &t, 1 << 30, &y, &error), ATTAR_ENVIRONMENT);
    ck_assert_ptr_nonnull(strstr(error.message, "out of memory"));
    attar_error_clear(&error);
    refused_run(s, &t, 1, "ids");       /* and the session still works */
    attar_session_free(s);
    attar_model_free(m);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("attar");
    TCase *t = tcase_create("interface");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, bert_as_golden);
    tcase_add_test(t, wide_ids);
    tcase_add_test(t, caches_grow_and_shrink);
    tcase_add_test(t, wrong_files);
    tcase_add_test(t, wrong_inputs);
    tcase_add_test(t, warnings_are_handed_over);
    tcase_add_test(t, null_is_nothing);
#ifndef __SANITIZE_ADDRESS__
    tcase_add_test(t, no_memory_for_a_model);
    tcase_add_test(t, no_memory_for_a_call);
#endif
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
