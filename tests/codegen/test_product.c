/* The emitted products of matrices, for every target that this machine can run, to the bit: an element is one sum in
 * ascending order, fused where the target fuses, whatever tile, panel or block it falls into. */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include "codegen/emit.h"
#include "native.h"

typedef void (*Product)(ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t depth, const float *a, ptrdiff_t a_step,
                        const float *b, ptrdiff_t b_step, ptrdiff_t b_panel, float *c, ptrdiff_t c_step,
                        const float *start, ptrdiff_t start_step, void *soon);
typedef void (*Transpose)(ptrdiff_t rows, ptrdiff_t columns, const float *from, ptrdiff_t from_step,
                          float *to, ptrdiff_t to_step, float factor);

typedef struct Library {
    const Target *target;
    Product product;
    Transpose transpose;
} Library;

static Library library_of(const Target *target)
{
    Arena arena = {0};
    Context cx = {.arena = &arena};
    EmitOptions options = {.target = target, .split = true};
    Emitter e = {.cx = &cx, .options = &options, .target = target};
    Text rest = text_new(&arena), all = text_new(&arena);
    matrix_use(&e);
    emit_matrix(&e, "matrix_transpose(), matrix_product()", &rest); /* only what a kernel calls is emitted */
    text_add(&rest, "__typeof__(matrix_product) *const product = matrix_product;\n"
                    "__typeof__(matrix_transpose) *const transpose = matrix_transpose;\n");
    emit_prelude(&e, rest.data, &all);
    text_put(&all, rest.data, rest.length);
    void *handle = native_load(all.data, "matrix", target, NULL);
    ck_assert_msg(handle != NULL, "the functions do not compile for %s", target->name);
    arena_free(&arena);
    return (Library){target, *(Product *)dlsym(handle, "product"), *(Transpose *)dlsym(handle, "transpose")};
}

/* ---- one product ------------------------------------------------------------------------------------------------- */

/* ROOM: MOST rows as wide as the widest panel rounds MOST up, and the few elements that steps are wider than rows. */
enum { MOST = 129, WIDEST_PANEL = 64, ROOM = MOST * (MOST + WIDEST_PANEL + 16) };
static const float untouched = 1e30f;
static float first[MOST + 16], a[ROOM], b[ROOM], panels[ROOM], c[ROOM], expected[ROOM];
static uint64_t state = 1;

static float draw(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(state >> 32) / 2147483648.0f;
}

static float step(const Target *t, float sum, float x, float y)
{
    volatile float product = x * y; /* kept apart from the addition */
    return t->lanes > 4 ? fmaf(x, y, sum) : sum + product;
}

/* b once more, as panels that lie one behind another. */
static ptrdiff_t pack(const Target *t, int depth, int columns, int b_step)
{
    int panel = matrix_panel(t);
    ck_assert_int_le(panel, WIDEST_PANEL);
    for (int n = 0; n < columns; n++)
        for (int i = 0; i < depth; i++)
            panels[n / panel * depth * panel + i * panel + n % panel] = b[i * b_step + n];
    return (ptrdiff_t)depth * panel;
}

enum { ZERO, ADDED, ONE_ROW };

static void check_product(const Library *l, int rows, int columns, int depth, int start, bool packed)
{
    int whole = (columns + l->target->lanes - 1) / l->target->lanes * l->target->lanes, panel = matrix_panel(l->target);
    int a_step = depth + 3, b_step = whole + 5, c_step = whole + 1;
    for (int i = 0; i < ROOM; i++) {
        a[i] = draw();
        b[i] = draw();
        c[i] = expected[i] = i % c_step < columns && i / c_step < rows ? draw() : untouched;
    }
    for (int n = 0; n < MOST + 16; n++)
        first[n] = draw();
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < columns; n++) {
            float sum = start == ADDED ? c[r * c_step + n] : start == ONE_ROW ? first[n] : 0.0f;
            for (int i = 0; i < depth; i++)
                sum = step(l->target, sum, a[r * a_step + i], b[i * b_step + n]);
            expected[r * c_step + n] = sum;
        }
    const float *sums = start == ADDED ? c : start == ONE_ROW ? first : NULL;
    ptrdiff_t sums_step = start == ADDED ? c_step : 0;
    if (packed) {
        ptrdiff_t next = pack(l->target, depth, columns, b_step);
        l->product(rows, columns, depth, a, a_step, panels, panel, next, c, c_step, sums, sums_step, NULL);
    } else {
        l->product(rows, columns, depth, a, a_step, b, b_step, panel, c, c_step, sums, sums_step, NULL);
    }
    for (int i = 0; i < ROOM; i++) {
        bool rounded_up = i / c_step < rows && i % c_step >= columns && i % c_step < whole;
        ck_assert_msg(rounded_up || !memcmp(&c[i], &expected[i], sizeof c[i]),
                      "%s, %d x %d x %d%s%s: element %d, %d is %.9g instead of %.9g", l->target->name, rows, columns,
                      depth, start == ADDED ? ", added" : start == ONE_ROW ? ", from a row" : "",
                      packed ? ", panels" : "", i / c_step, i % c_step, (double)c[i], (double)expected[i]);
    }
}

START_TEST(products)
{
    static const int sizes[] = {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 17, 31, 33, 48, 63, 64, 65, 80, 129};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    for (int t = 0; t < target_count; t++) {
        if (!target_runs_here(&targets[t]))
            continue;
        Library l = library_of(&targets[t]);
        for (int i = 0; i < SIZES; i++) /* each size once along each axis, beside others that vary */
            for (int j = 0; j < SIZES; j += 5) {
                int other = sizes[(i + j) % SIZES], third = sizes[(i * 5 + j * 2) % SIZES], bits = i + j;
                check_product(&l, sizes[i], other, third, bits % 3, bits & 2);
                check_product(&l, other, sizes[i], third, (bits + 1) % 3, bits & 1);
                check_product(&l, third, other, sizes[i], (bits + 2) % 3, !(bits & 2));
            }
        check_product(&l, 5, 20, 0, ZERO, false); /* a sum of nothing */
        check_product(&l, 5, 20, 0, ADDED, false);
    }
}
END_TEST

START_TEST(transposes)
{
    for (int t = 0; t < target_count; t++) {
        if (!target_runs_here(&targets[t]))
            continue;
        Library l = library_of(&targets[t]);
        for (int rows = 1; rows < 40; rows += rows % 8 ? 3 : 5)
            for (int columns = 1; columns < 40; columns++) {
                for (int i = 0; i < ROOM; i++) {
                    a[i] = draw();
                    c[i] = untouched;
                }
                l.transpose(rows, columns, a, 90, c, 41, 0.5f);
                for (int i = 0; i < 60 * 41; i++) {
                    int r = i % 41, n = i / 41;
                    float value = r < rows && n < columns ? a[r * 90 + n] * 0.5f : untouched;
                    ck_assert_msg(c[i] == value, "%s, %d x %d: element %d, %d", l.target->name, rows, columns, r, n);
                }
            }
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("matrix");
    TCase *tc = tcase_create("matrix");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, products);
    tcase_add_test(tc, transposes);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
