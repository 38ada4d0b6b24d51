/* attend's masks as emitted C: results against the float64 interpreter, and the tiles that are executed against the pairs
 * that the mask lets through.
 *
 * Keys and values hold NaN and infinity at some places: the interpreter says which results may see them. */
#include "tests/codegen/emit_test.h"
#include "tests/ir/mask_test.h"

typedef struct Shape {
    int g, r, k, w;
    bool key_rows;
} Shape;

typedef struct Run {
    Trial t;
    Shape shape;
    const Node *attend;
    MaskMaker random;
    HostTensor in[16];
    int64_t *counted; /* executed, whole: the emitted code's own */
} Run;

static void run_open(Run *r, const char *lines, Shape shape, const Target *target, uint64_t seed)
{
    *r = (Run){.shape = shape, .random.state = seed};
    trial_open(&r->t, target);
    r->t.tiles = true;
    trial_load(&r->t, mask_model(&r->t.arena, lines, shape.g, shape.r, shape.k, shape.w, shape.key_rows));
    r->counted = dlsym(r->t.library, "test_tiles");
    ck_assert(r->counted != NULL);
    for (r->attend = r->t.g->first; r->attend->op != OP_attend; r->attend = r->attend->next)
        ;
}

static void run_fill(Run *r, MaskTables kind, const int64_t *sizes, bool poison)
{
    for (int i = 0; i < r->t.g->n_params; i++) {
        r->in[i] = trial_input(&r->t, &r->t.out.plan.inputs[i], sizes);
        for (int64_t j = 0; poison && (i == 1 || i == 2) && j < host_count(&r->in[i]); j++)
            if (mask_random(&r->random, 997) == 0)
                host_set(&r->in[i], j, i == 1 || mask_random(&r->random, 3) ? NAN : INFINITY);
    }
    mask_fill(&r->random, kind, sizes, r->in);
}

/* Exactly as many bytes as a tensor has would be better still: test_attend does that under a sanitizer. */
static void run_compare(Run *r, const int64_t *sizes, const char *what)
{
    Arena work = {0};
    Bindings b = {.sizes = sizes, .inputs = r->in};
    Value *want = interpret(&r->t.cx, r->t.g, &b, &work);
    ck_assert_msg(want != NULL, "%s: %s", what, trial_said(&r->t));
    HostTensor out[MAX_THREADS];
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        HostTensor *o = &out[threads - 1];
        *o = trial_output(&r->t, &r->t.out.plan.outputs[0], sizes);
        if (threads == 1)
            r->counted[0] = r->counted[1] = 0;
        int64_t once = r->counted[0];
        ck_assert_int_eq(trial_run(&r->t, sizes, r->in, o, threads), 0);
        ck_assert_int_eq(r->counted[0] - once, threads == 1 ? r->counted[0] : r->counted[0] / threads);
        trial_compare(&r->t, arena_print(&work, "%s, B=%d S=%d past=%d", what, (int)sizes[0], (int)sizes[1], (int)sizes[2]), o,
                      want, 2e-6);
        ck_assert_msg(!memcmp(out[0].data, o->data, (size_t)want->count * sizeof(float)), "%s: other bits with %d threads",
                      what, threads);
    }
    r->counted[0] /= MAX_THREADS;
    r->counted[1] /= MAX_THREADS;
    arena_free(&work);
}

/* Rows of a tile, as the kernel's comment says. */
static int tile_rows(const Run *r)
{
    const char *says = strstr(r->t.out.text, "rows in tiles of ");
    ck_assert(says != NULL);
    return atoi(says + strlen("rows in tiles of "));
}

/* Tiles in which some pair passes, and those in which every one does, over all batch entries and heads. */
static void count_pairs(Run *r, const int64_t *sizes, int64_t *some, int64_t *all)
{
    const Node *condition = r->attend->body->results[0].value->inputs[0];
    int rows = tile_rows(r);
    *some = *all = 0;
    for (int64_t b = 0; b < sizes[0]; b++)
        for (int64_t row = 0; row < sizes[1] * r->shape.r; row += rows)
            for (int64_t key = 0; key < sizes[1] + sizes[2]; key += KEY_PANEL) {
                MaskPair at = {r->attend, r->in, sizes, b, 0, 0};
                TileClass is = mask_tile(&at, condition, r->shape.r, row, rows, key);
                *some += is != TILE_EMPTY;
                *all += is == TILE_FULL;
            }
    *some *= r->shape.g;
    *all *= r->shape.g;
}

/* ---- the usual masks -------------------------------------------------------------------------------------------- */

#define CAUSAL "    c = le j, i : bool[T, S]\n"
#define WINDOW "    d = sub i, j : i32[S, T]\n    wide = const value=40 : i32\n    w = lt d, wide : bool[S, T]\n"
#define TREE "    e0 = le pej, pei : bool[B, T, S]\n    e1 = lt pei, plj : bool[B, S, T]\n"

static const struct {
    const char *name, *lines;
    bool loose;      /* tiles may be executed though no pair passes */
    bool loose_full; /* and be full by several conditions together */
} usual[] = {
    {"causal", "    mask = le j, i : bool[T, S]\n", false, false},
    {"causal and window", CAUSAL WINDOW "    mask = and c, w : bool[T, S]\n", false, false},
    {"not window", WINDOW "    mask = not w : bool[S, T]\n", false, false},
    {"document and causal", CAUSAL "    e = eq pdi, pdj : bool[B, S, T]\n    mask = and c, e : bool[T, S, B]\n", false, false},
    {"document", "    mask = eq pdi, pdj : bool[B, S, T]\n", false, false},
    {"other documents", "    mask = ne pdi, pdj : bool[B, S, T]\n", false, false},
    {"prefix or causal", CAUSAL "    l = lt j, pn : bool[T, B]\n    mask = or c, l : bool[T, S, B]\n", false, false},
    {"neither prefix nor window", WINDOW "    l = lt j, pn : bool[T, B]\n    o = or w, l : bool[S, T, B]\n"
                                         "    mask = not o : bool[S, T, B]\n", false, false},
    {"prefix or document", "    l = lt j, pn : bool[T, B]\n    e = eq pdi, pdj : bool[B, S, T]\n"
                           "    mask = or e, l : bool[B, S, T]\n", false, true},
    {"permutation", "    mask = le prj, pri : bool[T, S]\n", false, false},
    {"tree", TREE "    mask = and e0, e1 : bool[B, T, S]\n", false, false},
    {"prefix or tree", TREE "    t = and e0, e1 : bool[B, T, S]\n    l = lt j, pn : bool[T, B]\n"
                            "    mask = or t, l : bool[B, T, S]\n", false, false},
    {"padding", "    mask = and pkeep, pkeep : bool[B, T]\n", false, false},
    {"padding and causal", CAUSAL "    mask = and pkeep, c : bool[B, T, S]\n", true, false},
    {"rows and documents", "    e = eq pdi, pdj : bool[B, S, T]\n    mask = and palive, e : bool[B, S, T]\n", true, false},
    {"rows or documents", "    e = eq pdi, pdj : bool[B, S, T]\n    mask = or palive, e : bool[B, S, T]\n", false, true},
    {"lengths", "    mask = lt j, pn : bool[T, B]\n", false, false},
    {"chunks", "    size = const value=48 : i32\n    a = div i, size : i32[S]\n    b = div j, size : i32[T]\n"
               "    mask = eq a, b : bool[S, T]\n", false, false},
    {"every third", CAUSAL "    three = const value=3 : i32\n    a = mod i, three : i32[S]\n    b = mod j, three : i32[T]\n"
                    "    e = eq a, b : bool[S, T]\n    mask = and c, e : bool[T, S]\n", false, false},
    {"sink and window", CAUSAL WINDOW "    four = const value=4 : i32\n    sink = lt j, four : bool[T]\n"
                                      "    near = or w, sink : bool[S, T]\n    mask = and near, c : bool[S, T]\n", false, true},
    {"nothing", "    minus = const value=-1 : i32\n    mask = lt pdj, minus : bool[B, T]\n", false, false},
};
enum { USUAL = sizeof usual / sizeof *usual };

static const int64_t small[][3] = {{1, 1, 0},  {2, 7, 0},   {1, 33, 0},  {2, 64, 0},  {3, 100, 5}, {1, 9, 120},
                                   {2, 1, 31}, {1, 1, 700}, {2, 3, 515}, {1, 128, 0}, {2, 64, 64}, {1, 40, 1050}};
enum { SMALL = sizeof small / sizeof *small };

static void check_counts(Run *r, const int64_t *sizes, const char *name, bool loose, bool exact, bool exact_full)
{
    int64_t some, all;
    count_pairs(r, sizes, &some, &all);
    ck_assert_msg(exact && !loose ? r->counted[0] == some : r->counted[0] >= some,
                  "%s: %d tiles are executed, pairs pass in %d; S=%d past=%d", name, (int)r->counted[0], (int)some,
                  (int)sizes[1], (int)sizes[2]);
    /* The last keys of a panel that is not whole are compared with the end. */
    bool whole = exact_full && (sizes[1] + sizes[2]) % KEY_PANEL == 0;
    ck_assert_msg(whole ? r->counted[1] == all : r->counted[1] <= all, "%s: %d tiles without a comparison, %d are full; S=%d",
                  name, (int)r->counted[1], (int)all, (int)sizes[1]);
}

START_TEST(usual_masks)
{
    const Shape shapes[] = {{2, 1, 32, 32, false}, {1, 3, 16, 20, _i % 3 == 0}};
    Run r;
    run_open(&r, usual[_i / 2].lines, shapes[_i % 2], target_native(), (uint64_t)_i);
    for (int i = 0; i < SMALL; i++) {
        run_fill(&r, TABLES_USUAL, small[i], i % 2);
        run_compare(&r, small[i], usual[_i / 2].name);
        check_counts(&r, small[i], usual[_i / 2].name, usual[_i / 2].loose, true, !usual[_i / 2].loose_full);
        run_fill(&r, TABLES_RANDOM, small[i], i % 2 == 0);
        run_compare(&r, small[i], usual[_i / 2].name);
        check_counts(&r, small[i], usual[_i / 2].name, usual[_i / 2].loose, false, false);
    }
    trial_close(&r.t);
}
END_TEST

START_TEST(narrower_targets)
{
    for (int t = 0; t < target_count; t++)
        for (int i = 3; i < USUAL; i += 7) {
            Run r;
            if (&targets[t] == target_native() || !target_runs_here(&targets[t]))
                continue;
            run_open(&r, usual[i].lines, (Shape){1, 2, 16, 20, i % 2 == 0}, &targets[t], (uint64_t)i);
            for (int s = 0; s < SMALL; s++) {
                run_fill(&r, TABLES_USUAL, small[s], s % 2);
                run_compare(&r, small[s], usual[i].name);
                check_counts(&r, small[s], usual[i].name, usual[i].loose, true, !usual[i].loose_full);
            }
            trial_close(&r.t);
        }
}
END_TEST

/* ---- any mask --------------------------------------------------------------------------------------------------- */

START_TEST(random_masks)
{
    Arena arena = {0};
    Run r;
    const char *lines = mask_lines(&arena, (uint64_t)(7000 + _i));
    run_open(&r, lines, (Shape){1, _i % 3 ? 1 : 2, 16, 16, _i % 4 == 1}, target_native(), (uint64_t)_i);
    for (int i = _i % 2; i < SMALL; i += 2) {
        run_fill(&r, (MaskTables)(i / 2 % TABLES_COUNT), small[i], i % 4 < 2);
        run_compare(&r, small[i], lines);
        check_counts(&r, small[i], lines, true, false, false);
    }
    trial_close(&r.t);
    arena_free(&arena);
}
END_TEST

/* Nothing of this is in the file that everybody gets. */
START_TEST(counting_is_an_option)
{
    Trial t;
    trial_open(&t, target_native());
    trial_load(&t, mask_model(&t.arena, usual[3].lines, 1, 1, 16, 16, false));
    ck_assert(!strstr(t.out.text, "tiles[") && !strstr(t.out.text, "__atomic_fetch_add(&test_tiles"));
    trial_close(&t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("masks");
    const struct {
        const TTest *test;
        int rounds;
    } rows[] = {{usual_masks, 2 * USUAL}, {narrower_targets, 1}, {random_masks, 24}, {counting_is_an_option, 1}};
    TCase *cases = tcase_create("masks");
    tcase_set_timeout(cases, 300);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        tcase_add_loop_test(cases, rows[i].test, 0, rows[i].rounds);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
