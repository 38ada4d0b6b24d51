/* What a plan says about a call: roles of symbols, sizes, made-up inputs. */
#include <check.h>
#include <string.h>

#include "driver/signature.h"

static PlanSymbol symbols[] = {{"B", 0, SYMBOL_UNBOUNDED, false}, {"S", 1, 32, false}, {"past", 0, 64, true}};
static PlanTensor inputs[] = {{.name = "ids", .dtype = DT_I32, .rank = 2,
                               .dims = {{.name = "B", .n = 1, .symbol = {0}, .factor = {1}}, {.name = "S", .n = 1, .symbol = {1}, .factor = {1}}}},
                              {.name = "keep", .dtype = DT_BOOL, .rank = 2,
                               .dims = {{.name = "B", .n = 1, .symbol = {0}, .factor = {1}}, {.name = "S", .n = 1, .symbol = {1}, .factor = {1}}}}};
static PlanTensor caches[] = {{.name = "kv.k", .dtype = DT_F32, .rank = 3, .growing = 1,
                               .dims = {{.name = "B", .n = 1, .symbol = {0}, .factor = {1}}, {.name = "T", .base = 64}, {.name = "K", .base = 8}}}};
static const Plan plan = {.symbols = symbols, .n_symbols = 3, .inputs = inputs, .n_inputs = 2, .caches = caches, .n_caches = 1};

static Arena arena;
static Names names;
static Diags diags;
static Context cx;

static void begin(void)
{
    names.map = map_new(&arena);
    diags = (Diags){.arena = &arena};
    cx = (Context){&arena, &diags, &names};
}

static void end(void) { arena_free(&arena); }

START_TEST(roles)
{
    ck_assert_int_eq(signature_batch(&plan), 0);
    ck_assert_int_eq(signature_step(&plan), 1);
    ck_assert_int_eq(signature_past(&plan), 2);
    ck_assert_int_eq(signature_axis(&inputs[0], 1), 1);
    ck_assert_int_eq(signature_axis(&caches[0], 1), -1);
    Plan plain = plan;
    plain.n_caches = 0;
    ck_assert_int_eq(signature_step(&plain), -1);
    PlanDim affine = {.base = 3, .n = 2, .symbol = {1, 2}, .factor = {2, 1}};
    ck_assert_int_eq(signature_size(&affine, (int64_t[]){1, 5, 7}), 20);
}
END_TEST

START_TEST(sizes)
{
    int64_t s[3];
    ck_assert(signature_sizes(&cx, &plan, NULL, 0, NULL, 0, 2, 128, s));
    ck_assert(s[0] == 2 && s[1] == 32 && s[2] == 0);
    NamedSize asked[] = {{"S", 5}, {"past", 3}};
    ck_assert(signature_sizes(&cx, &plan, asked, 2, NULL, 0, 2, 128, s));
    ck_assert(s[0] == 2 && s[1] == 5 && s[2] == 3);
    HostTensor given = {.name = "ids", .dtype = DT_I32, .rank = 2, .dims = {4, 9}};
    ck_assert(signature_sizes(&cx, &plan, NULL, 0, &given, 1, 2, 128, s));
    ck_assert(s[0] == 4 && s[1] == 9);
    ck_assert_int_eq(signature_batch_size(&plan, &given, 1), 4);
    ck_assert_int_eq(diags.errors, 0);
}
END_TEST

START_TEST(wrong_sizes)
{
    int64_t s[3];
    NamedSize unknown = {"Q", 5}, large = {"S", 33}, small = {"S", 0};
    ck_assert(!signature_sizes(&cx, &plan, &unknown, 1, NULL, 0, 1, 1, s));
    ck_assert(!signature_sizes(&cx, &plan, &large, 1, NULL, 0, 1, 1, s));
    ck_assert(!signature_sizes(&cx, &plan, &small, 1, NULL, 0, 1, 1, s));
    ck_assert_int_eq(diags.errors, 3);
}
END_TEST

START_TEST(made_up_inputs)
{
    Graph *g = graph_new(&cx, "M", LEVEL_GRAPH);
    int64_t s[] = {3, 16, 0};
    HostTensor *a = signature_random(&cx, &plan, g, s, 1), *b = signature_random(&cx, &plan, g, s, 1), *c = signature_random(&cx, &plan, g, s, 2);
    ck_assert(a[1].dims[0] == 3 && a[1].dims[1] == 16);
    ck_assert_mem_eq(a[0].data, b[0].data, 48 * 4);
    ck_assert_mem_ne(a[0].data, c[0].data, 48 * 4);
    int kept = 0;
    for (int i = 0; i < 48; i++)
        kept += host_get(&a[1], i) != 0;
    ck_assert_int_gt(kept, 30);
    ck_assert_int_lt(kept, 48);
    for (int row = 0; row < 3; row++)
        ck_assert(host_get(&a[1], row * 16) == 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("signature");
    TCase *t = tcase_create("signature");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, roles);
    tcase_add_test(t, sizes);
    tcase_add_test(t, wrong_sizes);
    tcase_add_test(t, made_up_inputs);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
