/* gemm: tiles, panels, epilogues, several weights, over sizes on both sides of every edge. */
#include "tests/codegen/emit_test.h"

static void sweep(Trial *t, const char *text, int64_t from, int64_t to) {
    trial_load(t, text);
    for (int64_t rows = from; rows <= to; rows++)
        trial_check(t, (int64_t[]){rows}, 2e-5);
}

static const char *gemm_text(Trial *t, int64_t depth, int64_t columns) {
    return arena_print(&t->arena,
        "kernels Gemm(x: f32[S, D])\n"
        "  dims    S = 1..64  D = %lld  F = %lld\n"
        "  w     = weight key=\"w\" : f32[F, D]\n"
        "  b     = weight key=\"b\" : f32[F]\n"
        "  y     = gemm x, w, b over=D weights=1 (acc: f32[S, F], b.1: f32[F]) {\n"
        "    u = add acc, b.1 : f32[S, F]\n"
        "    r = gelu u : f32[S, F]\n"
        "    return r\n"
        "  } : f32[S, F]\n"
        "  return y = y\n", (long long)depth, (long long)columns);
}

static const struct { int64_t depth, columns; } shapes[] = {{1, 1}, {5, 17}, {16, 48}, {33, 100}, {20, 64}, {7, 96}, {64, 31}};

START_TEST(test_shapes) {
    for (int i = 0; i < target_count; i++) {
        if (!native_can(&targets[i]))
            continue;
        Trial t;
        trial_open(&t, &targets[i]);
        sweep(&t, gemm_text(&t, shapes[_i].depth, shapes[_i].columns), 1, 19);
        trial_close(&t);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("gemm");
    TCase *c = tcase_create("gemm");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, test_shapes, 0, sizeof shapes / sizeof *shapes);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
