/* Calibration inputs: a text in windows, tensors by name, and files that will not do. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver/calibration_file.h"

static Compilation c;

static void load(const char *model, const char *weights)
{
    compile_begin(&c);
    CompileOptions o = {.model = model, .weights = weights};
    ck_assert(compile_load(&c, &o));
}

static void load_austen(void) { load(SOURCE_DIR "/models/llama.attar", SOURCE_DIR "/models/austen"); }
static void load_bert(void) { load(SOURCE_DIR "/models/bert.attar", SOURCE_DIR "/tests/golden/bert"); }

static void fails(const char *path, const char *code, const char *says)
{
    CalibrationFile k;
    ck_assert(!calibration_file_load(&c, path, &k));
    ck_assert_ptr_nonnull(c.diags.first);
    ck_assert_str_eq(c.diags.first->code, code);
    ck_assert_int_eq(diag_exit_status(&c.diags), 3);
    Text text = text_new(&c.arena);
    diag_render(&c.diags, &text, false);
    ck_assert_msg(strstr(text.data, says), "%s", text.data);
    ck_assert_msg(strstr(text.data, path), "%s", text.data);
}

START_TEST(text_is_cut_into_windows)
{
    load_austen();
    CalibrationFile k;
    ck_assert(calibration_file_load(&c, SOURCE_DIR "/models/austen/held.txt", &k));
    ck_assert_int_eq(k.sequences, 40);
    ck_assert_int_eq(k.length, 512);
    ck_assert_int_eq(k.n_inputs, 1);
    ck_assert_int_eq(k.vocabulary, 256);
    ck_assert_str_eq(k.unit, "byte");
    ck_assert_str_eq(k.what, "40 x 512 positions of held.txt");
    unsigned char bytes[20480];
    FILE *f = fopen(SOURCE_DIR "/models/austen/held.txt", "rb");
    ck_assert(f && fread(bytes, 1, sizeof bytes, f) == sizeof bytes);
    fclose(f);
    for (int i = 0; i < 20480; i++)
        ck_assert_int_eq(((int32_t *)k.inputs[0].data)[i], bytes[i]);
    HostTensor *part = calibration_file_slice(&c.arena, &k, 3, 2);
    ck_assert_int_eq(part[0].dims[0], 2);
    ck_assert_int_eq(((int32_t *)part[0].data)[0], bytes[3 * 512]);
    compile_free(&c);
}
END_TEST

START_TEST(short_texts)
{
    load_austen();
    char path[] = "/tmp/attar-calibration-XXXXXX";
    int fd = mkstemp(path);
    ck_assert(fd >= 0);
    ck_assert_int_eq(write(fd, "It is a truth", 13), 13);
    CalibrationFile k;
    ck_assert(calibration_file_load(&c, path, &k));
    ck_assert_int_eq(k.sequences, 1);
    ck_assert_int_eq(k.length, 13);
    ck_assert_int_eq(ftruncate(fd, 1), 0);
    fails(path, "E0658", "too short");
    close(fd);
    unlink(path);
    compile_free(&c);
}
END_TEST

START_TEST(tensors_by_name)
{
    load_bert();
    CalibrationFile k;
    ck_assert(calibration_file_load(&c, SOURCE_DIR "/tests/golden/bert/golden.safetensors", &k));
    ck_assert_int_eq(k.n_inputs, c.model.graph->n_params);
    for (int i = 0; i < k.n_inputs; i++)
        ck_assert_str_eq(k.inputs[i].name, c.model.graph->params[i]->name);
    ck_assert_ptr_null(k.unit);
    compile_free(&c);
}
END_TEST

START_TEST(files_that_will_not_do)
{
    load_bert();
    fails(SOURCE_DIR "/models/austen/model.safetensors", "E0658", "has no input `ids`");
    compile_free(&c);
    load_bert();
    fails(SOURCE_DIR "/models/austen/held.txt", "E0658", "come in a .safetensors file");
    compile_free(&c);
    load_austen();
    fails("/nowhere/held.txt", "E0658", "no such file");
    compile_free(&c);
    load_austen();
    fails("/nowhere/held.safetensors", "E0421", "no such file");
    compile_free(&c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("calibration");
    TCase *tests = tcase_create("calibration");
    tcase_add_test(tests, text_is_cut_into_windows);
    tcase_add_test(tests, short_texts);
    tcase_add_test(tests, tensors_by_name);
    tcase_add_test(tests, files_that_will_not_do);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
