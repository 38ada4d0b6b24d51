/* Classes of tiles against all pairs of the tile: safe for any mask, exact for those that people write. */
#include <check.h>
#include "tests/ir/ir_test.h"
#include "tests/ir/mask_test.h"

enum { TILE_ROWS = 8 };

typedef struct Plane {
    Bench bench;
    Node *attend;
    MaskMaker random;
    HostTensor in[16];
    int64_t r;
} Plane;

static void plane_open(Plane *p, const char *lines, int r, uint64_t seed)
{
    *p = (Plane){.random.state = seed, .r = r};
    bench_open(&p->bench);
    const char *text = mask_model(&p->bench.arena, lines, 1, r, 16, 16, false), *why = NULL;
    p->bench.g = bench_read(&p->bench, text);
    ck_assert_msg(p->bench.g != NULL, "%s\n%s", bench_said(&p->bench), text);
    ck_assert_msg(graph_verify(&p->bench.cx, p->bench.g, &why), "%s\n%s", why, text);
    p->attend = p->bench.g->results[0].value;
    ck_assert(p->attend->op == OP_attend);
}

static void plane_fill(Plane *p, MaskTables kind, const int64_t *sizes)
{
    for (int i = 3; i < p->bench.g->n_params; i++) {
        const Type *t = p->bench.g->params[i]->type;
        p->in[i] = (HostTensor){.dtype = t->dtype, .rank = t->rank};
        for (int d = 0; d < t->rank; d++)
            p->in[i].dims[d] = extent_value(t->axis[d].size, p->bench.g, sizes);
        p->in[i].data = arena_array(&p->bench.work, (size_t)host_count(&p->in[i]), 8);
    }
    mask_fill(&p->random, kind, sizes, p->in);
}

static void plane_close(Plane *p)
{
    bench_close(&p->bench);
}

/* The ends of the test's leaves over the tile, by looking at each element. */
static void leaf_ends(const TileTest *test, MaskPair *at, int64_t r, int64_t row, int64_t key, int64_t *low, int64_t *high)
{
    int64_t rows = at->sizes[1] * r, keys = at->sizes[1] + at->sizes[2];
    for (size_t i = 0; i < test->n_leaves; i++) {
        low[i] = INT64_MAX;
        high[i] = INT64_MIN;
        for (int64_t f = row; f < row + TILE_ROWS && f < rows; f++)
            for (int64_t t = key; t < key + KEY_PANEL && t < keys; t++) {
                at->s = f / r;
                at->t = t;
                int64_t x = mask_value(at, test->leaves[i].node);
                low[i] = x < low[i] ? x : low[i];
                high[i] = x > high[i] ? x : high[i];
            }
    }
}

typedef struct Tally {
    int64_t empty, full, claimed_empty, claimed_full, tiles;
} Tally;

/* Every tile of every batch entry: no claim that the pairs do not bear out. */
static Tally check_tiles(Plane *p, const int64_t *sizes, const char *lines)
{
    Mask mask = mask_of(&p->bench.cx, p->attend);
    TileTest test = tile_test(&p->bench.cx, p->attend, &mask.conditions);
    const Node *condition = p->attend->body->results[0].value->inputs[0];
    int64_t low[64], high[64];
    Tally tally = {0};
    ck_assert_uint_le(test.n_leaves, 64);
    for (int64_t b = 0; b < sizes[0]; b++)
        for (int64_t row = 0; row < sizes[1] * p->r; row += TILE_ROWS)
            for (int64_t key = 0; key < sizes[1] + sizes[2]; key += KEY_PANEL) {
                MaskPair at = {p->attend, p->in, sizes, b, 0, 0};
                leaf_ends(&test, &at, p->r, row, key, low, high);
                TileClass said = tile_class(&test, low, high), is = mask_tile(&at, condition, p->r, row, TILE_ROWS, key);
                if (said != TILE_PARTIAL && said != is)
                    ck_abort_msg("B=%d S=%d past=%d: tile %d, %d of batch entry %d is called %s and is not\n%s", (int)sizes[0],
                                 (int)sizes[1], (int)sizes[2], (int)row, (int)key, (int)b, said ? "full" : "empty", lines);
                tally.tiles++;
                tally.empty += is == TILE_EMPTY;
                tally.full += is == TILE_FULL;
                tally.claimed_empty += said == TILE_EMPTY;
                tally.claimed_full += said == TILE_FULL;
            }
    return tally;
}

static const int64_t plane_sizes[][3] = {{1, 70, 0}, {2, 9, 120}, {1, 1, 200}, {1, 33, 31}};

/* ---- any mask --------------------------------------------------------------------------------------------------- */

START_TEST(random_masks_are_safe)
{
    Tally sum = {0};
    for (int n = 0; n < 150; n++) {
        Plane p;
        Arena arena = {0};
        const char *lines = mask_lines(&arena, (uint64_t)(_i * 1000 + n));
        plane_open(&p, lines, n % 3 ? 1 : 3, (uint64_t)n);
        for (size_t i = 0; i < sizeof plane_sizes / sizeof *plane_sizes; i++) {
            plane_fill(&p, (MaskTables)((size_t)n + i) % TABLES_COUNT, plane_sizes[i]);
            Tally t = check_tiles(&p, plane_sizes[i], lines);
            sum.tiles += t.tiles;
            sum.empty += t.empty;
            sum.claimed_empty += t.claimed_empty;
            sum.full += t.full;
            sum.claimed_full += t.claimed_full;
        }
        plane_close(&p);
        arena_free(&arena);
    }
    /* It would be safe to know nothing. */
    ck_assert_msg(sum.claimed_empty * 10 > sum.empty * 6, "%d of %d empty tiles", (int)sum.claimed_empty, (int)sum.empty);
    ck_assert_msg(sum.claimed_full * 10 > sum.full * 6, "%d of %d full tiles", (int)sum.claimed_full, (int)sum.full);
}
END_TEST

/* ---- the usual masks -------------------------------------------------------------------------------------------- */

#define CAUSAL "    c = le j, i : bool[T, S]\n"
#define WINDOW "    d = sub i, j : i32[S, T]\n    wide = const value=40 : i32\n    w = lt d, wide : bool[S, T]\n"
#define TREE "    e0 = le pej, pei : bool[B, T, S]\n    e1 = lt pei, plj : bool[B, S, T]\n"

static const struct {
    const char *name, *lines;
} usual[] = {
    {"causal", "    mask = le j, i : bool[T, S]\n"},
    {"window", "    d = sub i, j : i32[S, T]\n    wide = const value=40 : i32\n    mask = lt d, wide : bool[S, T]\n"},
    {"causal and window", CAUSAL WINDOW "    mask = and c, w : bool[T, S]\n"},
    {"not window", WINDOW "    mask = not w : bool[S, T]\n"},
    {"document and causal", CAUSAL "    e = eq pdi, pdj : bool[B, S, T]\n    mask = and c, e : bool[T, S, B]\n"},
    {"document", "    mask = eq pdi, pdj : bool[B, S, T]\n"},
    {"prefix or causal", CAUSAL "    l = lt j, pn : bool[T, B]\n    mask = or c, l : bool[T, S, B]\n"},
    {"permutation", "    mask = le prj, pri : bool[T, S]\n"},
    {"tree", TREE "    mask = and e0, e1 : bool[B, T, S]\n"},
    {"padding", "    mask = and pkeep, pkeep : bool[B, T]\n"},
    {"lengths", "    mask = lt j, pn : bool[T, B]\n"},
    {"chunks", "    size = const value=48 : i32\n    a = div i, size : i32[S]\n    b = div j, size : i32[T]\n"
               "    mask = eq a, b : bool[S, T]\n"},
    {"sink and window", CAUSAL WINDOW "    four = const value=4 : i32\n    sink = lt j, four : bool[T]\n"
                                      "    near = or w, sink : bool[S, T]\n    mask = and near, c : bool[S, T]\n"},
};
enum { USUAL = sizeof usual / sizeof *usual };

START_TEST(usual_masks_are_exact)
{
    static const int64_t sizes[][3] = {{1, 256, 0}, {2, 100, 0}, {2, 16, 300}, {1, 1, 500}, {1, 7, 31}, {1, 250, 70}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int r = 1; r <= 3; r += 2)
            for (uint64_t seed = 0; seed < 4; seed++) {
                Plane p;
                plane_open(&p, usual[_i].lines, r, seed);
                plane_fill(&p, TABLES_USUAL, sizes[i]);
                Tally t = check_tiles(&p, sizes[i], usual[_i].lines);
                ck_assert_msg(t.claimed_empty == t.empty, "%s: %d of %d empty tiles, S=%d past=%d", usual[_i].name,
                              (int)t.claimed_empty, (int)t.empty, (int)sizes[i][1], (int)sizes[i][2]);
                bool together = !strcmp(usual[_i].name, "sink and window"); /* full by both, by neither alone */
                ck_assert_msg(t.claimed_full == t.full || (together && t.claimed_full * 4 >= t.full * 3),
                              "%s: %d of %d full tiles, S=%d past=%d", usual[_i].name,
                              (int)t.claimed_full, (int)t.full, (int)sizes[i][1], (int)sizes[i][2]);
                plane_close(&p);
            }
}
END_TEST

/* Remainders lie in 0 .. 4 whatever the tile: comparisons with numbers on both sides of these ends. */
START_TEST(comparisons_at_the_ends)
{
    static const int64_t sizes[] = {1, 65, 0}; /* the last panel is position 64 alone: remainder 4 */
    static const char *const compare[] = {"lt", "le", "eq", "ne"};
    for (int op = 0; op < 4; op++)
        for (int c = -1; c < 7; c++)
            for (int turned = 0; turned < 2; turned++) {
                Plane p;
                Arena arena = {0};
                const char *lines = arena_print(&arena,
                                                "    five = const value=5 : i32\n    c = const value=%d : i32\n"
                                                "    m = mod j, five : i32[T]\n    mask = %s %s : bool[T]\n",
                                                c, compare[op], turned ? "c, m" : "m, c");
                plane_open(&p, lines, 1, 1);
                plane_fill(&p, TABLES_USUAL, sizes);
                Tally t = check_tiles(&p, sizes, lines);
                ck_assert_msg(t.claimed_empty == t.empty && t.claimed_full == t.full, "%s", lines);
                plane_close(&p);
                arena_free(&arena);
            }
}
END_TEST

/* ---- counting --------------------------------------------------------------------------------------------------- */

static void count(const char *lines, int r, const int64_t *sizes, bool want, TileCount *out)
{
    Plane p;
    plane_open(&p, lines, r, 1);
    ck_assert_int_eq(tile_count(&p.bench.cx, p.attend, sizes, TILE_ROWS, out), want);
    if (want) { /* the same as tile by tile */
        plane_fill(&p, TABLES_USUAL, sizes);
        Tally t = check_tiles(&p, sizes, lines);
        ck_assert_int_eq(out->total, t.tiles);
        ck_assert_int_eq(out->executed, t.tiles - t.empty);
        ck_assert_int_eq(out->full, t.full);
    }
    plane_close(&p);
}

START_TEST(counts_of_positions)
{
    TileCount c;
    for (int i = 0; i < 3; i++)
        for (size_t s = 0; s < sizeof plane_sizes / sizeof *plane_sizes; s++)
            for (int r = 1; r <= 3; r += 2)
                count(usual[i].lines, r, plane_sizes[s], true, &c);
    /* L = 256: 32 tiles of rows, 8 panels; the rows of panel n read n + 1 panels, the last of them in part. */
    count(usual[0].lines, 1, (int64_t[]){1, 256, 0}, true, &c);
    ck_assert_int_eq(c.total, 32 * 8);
    ck_assert_int_eq(c.executed, 4 * (8 * 9 / 2));
    ck_assert_int_eq(c.full, 4 * (7 * 8 / 2));
    count(usual[11].lines, 1, (int64_t[]){3, 96, 0}, true, &c);
    ck_assert_int_eq(c.executed, 3 * (6 * 2 + 6 * 2)); /* chunks of 48 lie in one panel and a half each */
    count("    mask = lt i, j : bool[S, T]\n", 1, (int64_t[]){1, 1, 500}, true, &c);
    ck_assert_int_eq(c.executed, 0);
}
END_TEST

START_TEST(counts_that_depend_on_data)
{
    TileCount c;
    for (int i = 4; i < 11; i++)
        count(usual[i].lines, 1, plane_sizes[0], false, &c);
}
END_TEST

/* A long sequence is counted without looking at every tile. */
START_TEST(counts_of_long_sequences)
{
    Plane p;
    TileCount c;
    plane_open(&p, usual[2].lines, 1, 1);
    ck_assert(tile_count(&p.bench.cx, p.attend, (int64_t[]){1, 1 << 20, 0}, TILE_ROWS, &c));
    ck_assert_int_eq(c.total, (INT64_C(1) << 20) / 8 * ((1 << 20) / 32));
    ck_assert(c.executed > (1 << 20) / 8 && c.executed < 3 * (1 << 20) / 8 + 1);
    plane_close(&p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tile_class");
    const struct {
        const TTest *test;
        int rounds;
    } rows[] = {{random_masks_are_safe, 4},      {usual_masks_are_exact, USUAL}, {comparisons_at_the_ends, 1}, {counts_of_positions, 1},
                {counts_that_depend_on_data, 1}, {counts_of_long_sequences, 1}};
    TCase *cases = tcase_create("masks");
    tcase_set_timeout(cases, 120);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        tcase_add_loop_test(cases, rows[i].test, 0, rows[i].rounds);
    suite_add_tcase(suite, cases);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
