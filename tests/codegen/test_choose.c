/* Tiles of gemms: what the costs prefer, what a table may say, and that no choice changes a bit. */
#include "codegen/choose.h"
#include "tests/codegen/emit_test.h"

static const int64_t sizes[] = {1, 3, 8, 31, 48, 64, 80, 100, 384, 1000, 1536, 3072, 4096, 50257};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

/* Sums, a step's weights and a number of x are in registers at the same time. */
START_TEST(test_registers)
{
    const Target *t = &targets[_i];
    for (int accumulators = 1; accumulators <= 3; accumulators++) {
        Tile all[MAX_TILES];
        int n = tile_alternatives(t, accumulators, all);
        ck_assert_int_ge(n, 1);
        ck_assert_int_le(n, MAX_TILES);
        for (int i = 0; i < n; i++) {
            int weights = all[i].vectors * accumulators;
            ck_assert_int_le(all[i].rows * weights + weights + 1, t->registers);
            ck_assert_int_le(all[i].rows * weights, t->sums);
        }
    }
}
END_TEST

/* Many accumulators: one row of one vector is all that is left. */
START_TEST(test_no_room)
{
    Tile all[MAX_TILES];
    ck_assert_int_eq(tile_alternatives(&targets[_i], 40, all), 1);
    ck_assert_int_eq(all[0].rows * all[0].vectors, 1);
}
END_TEST

/* What is expected is an alternative, costs least of them within 1 in 200, and never promises more than the peak. */
START_TEST(test_costs)
{
    const Target *t = &targets[_i];
    for (int k = 0; k < N_SIZES; k++)
        for (int n = 0; n < N_SIZES; n++)
            for (int m = -1; m < N_SIZES; m++) {
                GemmShape s = {1 + (k + n) % 2, m < 0 ? 0 : sizes[m], sizes[k], sizes[n], m % 2 ? 4 : 2};
                Tile all[MAX_TILES];
                TileCost least;
                Tile best = tile_expected(t, &s, &least);
                bool found = false;
                for (int i = 0, count = tile_alternatives(t, s.accumulators, all); i < count; i++) {
                    TileCost c = tile_cost(t, &s, all[i]);
                    ck_assert(c.share > 0 && c.share <= 1);
                    ck_assert(c.bytes >= (double)(s.columns * s.depth * s.accumulators * s.weight_bytes));
                    ck_assert(least.cycles <= c.cycles * 1.006);
                    found |= all[i].rows == best.rows && all[i].vectors == best.vectors;
                }
                ck_assert(found);
            }
}
END_TEST

static void expect(const char *target, GemmShape s, int rows, int columns)
{
    const Target *t = target_by_name(target);
    TileCost cost;
    Tile tile = tile_expected(t, &s, &cost);
    ck_assert_msg(tile.rows == rows && tile.vectors * t->lanes == columns, "%s, %lld x %lld x %lld: %dx%d instead of %dx%d", target,
                  (long long)s.rows, (long long)s.depth, (long long)s.columns, tile.rows, tile.vectors * t->lanes, rows, columns);
}

/* As measured on the machines that we have. */
START_TEST(test_preferences)
{
    expect("x86-64-v4", (GemmShape){1, 0, 384, 384, 4}, 8, 48);
    expect("x86-64-v4", (GemmShape){1, 0, 384, 1536, 4}, 8, 48);
    expect("x86-64-v4", (GemmShape){1, 0, 768, 64, 4}, 6, 64);  /* 48 would leave a third empty */
    expect("x86-64-v4", (GemmShape){1, 0, 768, 128, 4}, 6, 64);
    expect("x86-64-v4", (GemmShape){1, 0, 768, 32, 4}, 12, 32);
    expect("x86-64-v3", (GemmShape){1, 0, 384, 384, 4}, 4, 24);
    expect("x86-64-v3", (GemmShape){1, 0, 384, 1536, 4}, 4, 24);
    expect("x86-64-v3", (GemmShape){1, 0, 384, 80, 4}, 6, 16);  /* 96 columns of 24, 80 of 16 */
    expect("x86-64-v3", (GemmShape){1, 0, 384, 16, 4}, 6, 16);
    expect("x86-64-v3", (GemmShape){1, 0, 384, 40, 4}, 4, 24);  /* one vector alone waits for loads */
}
END_TEST

/* Columns that fill no panel, rows that fill no tile: whatever is taken wastes no more than any other. */
START_TEST(test_waste)
{
    const Target *t = target_by_name("x86-64-v4");
    for (int64_t columns = 1; columns <= 400; columns++) {
        GemmShape s = {1, 0, 384, columns, 4};
        TileCost cost;
        Tile all[MAX_TILES], best = tile_expected(t, &s, &cost);
        int64_t panel = best.vectors * t->lanes, mine = (columns + panel - 1) / panel * panel;
        for (int i = 0, n = tile_alternatives(t, 1, all); i < n; i++) {
            int64_t other = all[i].vectors * t->lanes, padded = (columns + other - 1) / other * other;
            if (all[i].vectors > 1) /* one vector alone waits for loads and latency */
                ck_assert_int_le(mine * 100, padded * 105);
        }
    }
    /* nine rows: one tile of 12 rows takes them at once, and tiles of 8 in two parts of 5 and 4 */
    GemmShape nine = {1, 9, 384, 96, 4};
    ck_assert(tile_cost(t, &nine, (Tile){12, 2}).cycles < tile_cost(t, &nine, (Tile){1, 3}).cycles);
}
END_TEST

static bool gains(const char *target, int64_t columns, int64_t next)
{
    GemmShape so_far = {1, 0, 384, columns, 4}, other = {1, 0, 384, next, 4};
    return tile_gains_beside(target_by_name(target), &so_far, &other);
}

/* Products share a panel if each alone would fill it with zeros or wait for loads, and only as far as registers go. */
START_TEST(test_beside)
{
    ck_assert(gains("x86-64-v4", 8, 8) && gains("x86-64-v4", 16, 8) && gains("x86-64-v4", 24, 24));
    ck_assert(!gains("x86-64-v4", 384, 384) && !gains("x86-64-v4", 48, 48) && !gains("x86-64-v4", 48, 8) && !gains("x86-64-v4", 64, 8) && !gains("x86-64-v4", 32, 32));
    ck_assert(gains("x86-64-v3", 8, 8) && !gains("x86-64-v3", 24, 24));
    GemmShape all = {1, 0, 384, 24, 4};
    TileChoice c = tile_beside(target_by_name("x86-64-v4"), &all);
    Arena arena = {0};
    Text t = text_new(&arena);
    tile_describe(&c, 16, &t);
    ck_assert_str_eq(t.data, "12x32, 24 columns of several products side by side, expected at 0.75 of the peak");
    arena_free(&arena);
}
END_TEST

/* Beside rotated products: pairs of vectors for what is neither as wide nor of the usual width and costs no more for it. */
START_TEST(test_alike)
{
    const Target *t = target_by_name("x86-64-v4");
    EmitOptions o = {.target = t};
    for (int n = 0; n < N_SIZES; n++)
        for (int k = 0; k < N_SIZES; k++) {
            GemmShape s = {1 + k % 2, 0, sizes[k], sizes[n], 4};
            TileChoice own = tile_choose(&o, &s), c = tile_alike(t, &own);
            bool same = c.tile.vectors == own.tile.vectors;
            ck_assert_int_eq(c.how, same ? TILE_EXPECTED : TILE_ALIKE);
            ck_assert(same || (own.tile.vectors != 3 && c.tile.vectors == 2));
            ck_assert(tile_cost(t, &s, c.tile).cycles <= 1.01 * tile_cost(t, &s, own.tile).cycles);
        }
    TileChoice c = {.shape = {1, 0, 768, 256, 4}};
    c = tile_choose(&o, &c.shape);
    ck_assert_int_eq(c.tile.vectors, 4);
    c = tile_alike(t, &c);
    ck_assert(c.tile.rows == 12 && c.tile.vectors == 2);
    o.alternative = 2;
    c = tile_choose(&o, &c.shape);
    ck_assert_int_eq(tile_alike(t, &c).tile.vectors, 4); /* asked for */
    Arena arena = {0};
    Text text = text_new(&arena);
    o.alternative = 0;
    c = tile_choose(&o, &c.shape);
    c = tile_alike(t, &c);
    tile_describe(&c, 16, &text);
    ck_assert_str_eq(text.data, "12x32, like rotated products, expected at 1.00 of the peak");
    arena_free(&arena);
}
END_TEST

/* A table's row counts for its own product only, and never against the registers. */
START_TEST(test_table)
{
    GemmShape s = {1, 0, 384, 384, 4}, other = {1, 0, 384, 400, 4};
    TunedTile rows[] = {{s, {6, 2}, 0.9}};
    TileTable table = {rows, 1};
    EmitOptions o = {.target = target_by_name("x86-64-v3"), .tuned = &table};
    TileChoice c = tile_choose(&o, &s);
    ck_assert_int_eq(c.how, TILE_MEASURED);
    ck_assert(c.tile.rows == 6 && c.tile.vectors == 2 && c.ratio == 0.9);
    ck_assert_int_eq(tile_choose(&o, &other).how, TILE_EXPECTED);
    rows[0].tile = (Tile){6, 3};
    ck_assert_int_eq(tile_choose(&o, &s).how, TILE_EXPECTED);
    o.alternative = 2;
    c = tile_choose(&o, &s);
    ck_assert(c.how == TILE_ASKED && c.tile.vectors == 4);
    o.alternative = 20;
    ck_assert_int_eq(tile_choose(&o, &s).how, TILE_EXPECTED);
}
END_TEST

/* Two products, a bias and a residual; columns and rows that fill neither panels nor tiles. */
static const char twice[] =
    "kernels Twice(x: f32[S, D])\n"
    "  dims    S = 1..64  D = 37  F = 100\n"
    "  w     = weight key=\"w\" : f32[F, D]\n"
    "  b     = weight key=\"b\" : f32[F]\n"
    "  u     = weight key=\"u\" : f32[D, F]\n"
    "  h     = gemm x, w, b over=D weights=1 (acc: f32[S, F], b.1: f32[F]) {\n"
    "    a = add acc, b.1 : f32[S, F]\n"
    "    r = gelu a : f32[S, F]\n"
    "    return r\n"
    "  } : f32[S, F]\n"
    "  y     = gemm h, u, x over=F weights=1 (acc.2: f32[S, D], x.2: f32[S, D]) {\n"
    "    s = add acc.2, x.2 : f32[S, D]\n"
    "    return s\n"
    "  } : f32[S, D]\n"
    "  return y = y\n";

/* The same inputs through every tile of every target of this machine: for one target the same bits. */
START_TEST(test_bits)
{
    const Target *target = &targets[_i];
    Tile all[MAX_TILES];
    if (!target_runs_here(target))
        return;
    static float first[5][29 * 37];
    for (int alternative = 0, n = tile_alternatives(target, 1, all); alternative <= n; alternative++) {
        Trial t;
        trial_open(&t, target);
        t.alternative = alternative;
        trial_load(&t, twice);
        ck_assert_int_eq(t.out.n_tiles, 2);
        if (alternative) {
            ck_assert_int_eq(t.out.tiles[0].tile.rows, all[alternative - 1].rows);
            ck_assert_int_eq(t.out.tiles[1].tile.vectors, all[alternative - 1].vectors);
        }
        for (int i = 0; i < 5; i++) {
            int64_t rows = 1 + 7 * i;
            HostTensor x = trial_input(&t, &t.out.plan.inputs[0], &rows), y = trial_output(&t, &t.out.plan.outputs[0], &rows);
            size_t bytes = (size_t)rows * 37 * sizeof(float);
            ck_assert_int_eq(trial_run(&t, &rows, &x, &y, 1), 0);
            if (!alternative)
                memcpy(first[i], y.data, bytes);
            ck_assert_msg(!memcmp(first[i], y.data, bytes), "%s: tile %d changes a bit", target->name, alternative);
        }
        trial_close(&t);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("choose");
    TCase *c = tcase_create("choose");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, test_registers, 0, target_count);
    tcase_add_loop_test(c, test_no_room, 0, target_count);
    tcase_add_loop_test(c, test_costs, 0, target_count);
    tcase_add_test(c, test_preferences);
    tcase_add_test(c, test_waste);
    tcase_add_test(c, test_beside);
    tcase_add_test(c, test_alike);
    tcase_add_test(c, test_table);
    tcase_add_loop_test(c, test_bits, 0, target_count);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
