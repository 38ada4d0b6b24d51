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

static const struct { int64_t depth, columns; } shapes[] = {{1, 1}, {5, 17}, {16, 48}, {33, 100}, {20, 64}, {7, 96}, {64, 31}, {60, 100}, {40, 8}, {21, 24}, {9, 40}, {2, 3}};

START_TEST(test_shapes) {
    for (int i = 0; i < target_count; i++) {
        if (!target_runs_here(&targets[i]))
            continue;
        Trial t;
        trial_open(&t, &targets[i]);
        sweep(&t, gemm_text(&t, shapes[_i].depth, shapes[_i].columns), 1, 19);
        trial_close(&t);
    }
}
END_TEST

/* Columns that fill no panel go through tiles as high as others: with few rows each sum would wait for itself. The rest of many may take less text. */
START_TEST(test_few_columns) {
    const Target *target = &targets[_i];
    for (int columns = 1; columns <= 100; columns += 11) {
        Trial t;
        trial_open(&t, target);
        trial_emit(&t, gemm_text(&t, 32, columns));
        ck_assert_int_eq(t.out.n_tiles, 1);
        Tile tile = t.out.tiles[0].tile;
        if (tile.rows > 8)      /* an address for each row would not stay in registers */
            ck_assert_msg(strstr(t.out.text, "x[r * 32 + k]") != NULL, "%s: %d rows at a step that is an argument", target->name, tile.rows);
        if (columns < tile.vectors * target->lanes)
            ck_assert_msg(strstr(t.out.text, arena_print(&t.arena, "case %d:", tile.rows)) != NULL, "%s: no tile of %d rows for %d columns", target->name, tile.rows, columns);
        trial_close(&t);
    }
}
END_TEST

/* Products that differ in depth, stride and body alone share the function of their sums; a depth that leaves a rest has its own. */
START_TEST(test_shared_sums) {
    for (int depth = 96; depth <= 100; depth += 4) {
        Trial t;
        trial_open(&t, &targets[_i]);
        trial_emit(&t, arena_print(&t.arena,
            "kernels Two(x: f32[S, D], z: f32[S, E])\n"
            "  dims    S = 1..64  D = %d  E = 144  F = 192\n"
            "  w     = weight key=\"w\" : f32[F, D]\n"
            "  v     = weight key=\"v\" : f32[F, E]\n"
            "  h     = gemm x, w over=D weights=1 (acc: f32[S, F]) {\n"
            "    r = gelu acc : f32[S, F]\n"
            "    return r\n"
            "  } : f32[S, F]\n"
            "  y     = gemm z, v, h over=E weights=1 (sum: f32[S, F], skip: f32[S, F]) {\n"
            "    q = add sum, skip : f32[S, F]\n"
            "    return q\n"
            "  } : f32[S, F]\n"
            "  return y = y\n", depth));
        Tile a = t.out.tiles[0].tile, b = t.out.tiles[1].tile;
        int functions = 0;
        for (const char *at = t.out.text; (at = strstr(at, "case 1:")) != NULL; at++)
            functions++;
        ck_assert_int_eq(functions, depth == 96 && a.rows == b.rows && a.vectors == b.vectors ? 1 : 2);
        trial_close(&t);
    }
}
END_TEST

/* q, k, v: three results with epilogues of their own, heads as two axes; k with fewer heads; v has a residual. */
static const char qkv[] =
    "kernels Attn(x: f32[B, S, D], skip: f32[B, S, G, K], row: f32[B, S], one: f32)\n"
    "  dims    B = 1..4  S = 1..64  D = 24  H = 6  G = 2  K = 8\n"
    "  wq    = weight key=\"q.weight\" : f32[H, K, D]\n"
    "  wk    = weight key=\"k.weight\" stored=[24, 16] strides=[8, 1, 16] : f32[G, K, D]\n"
    "  wv    = weight key=\"all.weight\" stored=[99, 24] start=72 strides=[192, 24, 1] : f32[G, K, D]\n"
    "  bq    = weight key=\"q.bias\" : f32[H, K]\n"
    "  qkv   = gemm x, wq, wk, wv, bq, skip, row, one over=D weights=3 (a: f32[B, S, H, K], b: f32[B, S, G, K], c: f32[B, S, G, K],"
    " bias: f32[H, K], s: f32[B, S, G, K], r: f32[B, S], o: f32) {\n"
    "    half = const value=0.5 : f32\n"
    "    a1 = add a, bias : f32[B, S, H, K]\n"
    "    a2 = mul a1, half : f32[B, S, H, K]\n"
    "    b1 = mul b, r : f32[B, S, G, K]\n"
    "    c1 = add s, c : f32[B, S, G, K]\n"
    "    c2 = sub c1, o : f32[B, S, G, K]\n"
    "    return a2, b1, c2\n"
    "  }\n"
    "  q     = get qkv index=0 : f32[B, S, H, K]\n"
    "  k     = get qkv index=1 : f32[B, S, G, K]\n"
    "  v     = get qkv index=2 : f32[B, S, G, K]\n"
    "  return q = q, k = k, v = v\n";

/* Products of few columns in one panel: a bias for each, an extra of theirs all, a result more than products, columns that begin and end in
 * the middle of a vector. */
static const char *beside_text(Trial *t, const int *heads) {
    int half = t->target->lanes > 1 ? t->target->lanes / 2 : 1;
    return arena_print(&t->arena,
        "kernels Beside(x: f32[B, S, D], skip: f32[B, S, F], row: f32[B, S])\n"
        "  dims    B = 1..4  S = 1..64  D = 37  F = %d  G = %d  H = %d  K = %d\n"
        "  u     = weight key=\"u\" : f32[F, D]\n"
        "  v     = weight key=\"v\" : f32[G, K, D]\n"
        "  w     = weight key=\"w\" : f32[H, K, D]\n"
        "  bv    = weight key=\"bv\" : f32[G, K]\n"
        "  bw    = weight key=\"bw\" : f32[H, K]\n"
        "  all   = gemm x, u, v, w, bv, bw, skip, row over=D weights=3 (a: f32[B, S, F], b: f32[B, S, G, K], c: f32[B, S, H, K],"
        " bv.1: f32[G, K], bw.1: f32[H, K], s: f32[B, S, F], r: f32[B, S]) {\n"
        "    a1 = mul a, r : f32[B, S, F]\n"
        "    a2 = add a1, s : f32[B, S, F]\n"
        "    b1 = mul b, r : f32[B, S, G, K]\n"
        "    b2 = add b1, bv.1 : f32[B, S, G, K]\n"
        "    b3 = gelu b2 : f32[B, S, G, K]\n"
        "    c1 = add c, bw.1 : f32[B, S, H, K]\n"
        "    c2 = mul c1, r : f32[B, S, H, K]\n"
        "    return a2, b3, b1, c2\n"
        "  }\n"
        "  p     = get all index=0 : f32[B, S, F]\n"
        "  q     = get all index=1 : f32[B, S, G, K]\n"
        "  m     = get all index=2 : f32[B, S, G, K]\n"
        "  n     = get all index=3 : f32[B, S, H, K]\n"
        "  return p = p, q = q, m = m, n = n\n", heads[0] * half, heads[1], heads[2], half);
}

static const int heads[][3] = {{1, 1, 1}, {1, 3, 1}, {1, 2, 3}, {1, 1, 3}, {2, 2, 2}, {3, 3, 1}};

START_TEST(test_beside) {
    for (int i = 0; i < target_count; i++) {
        if (!target_runs_here(&targets[i]))
            continue;
        Trial t;
        trial_open(&t, &targets[i]);
        trial_load(&t, beside_text(&t, heads[_i]));
        int tiles = 0;
        for (int j = 0; j < t.out.n_tiles; j++)
            tiles += t.out.tiles[j].how == TILE_BESIDE;
        if (targets[i].lanes > 4)
            ck_assert_msg(tiles > 0, "%s: panels of their own", targets[i].name);
        for (int64_t rows = 1; rows <= 19; rows += 1 + rows / 4)
            trial_check(&t, (int64_t[]){1 + rows % 2, rows}, 2e-5);
        trial_close(&t);
    }
}
END_TEST

/* gate and up: two accumulators in one result; two contracted axes; a slice of x whose rows step by a run-time stride. */
static const char swiglu[] =
    "kernels Mlp(x: f32[B, S, H, K])\n"
    "  dims    B = 1..4  S = 1..64  H = 3  K = 7  F = 50\n"
    "  up    = weight key=\"up.weight\" : f32[F, H, K]\n"
    "  gate  = weight key=\"gate.weight\" : f32[F, H, K]\n"
    "  last  = slice x axis=S start=0 : f32[B, H, K]\n"
    "  h     = gemm x, gate, up over=[H, K] weights=2 (g: f32[B, S, F], u: f32[B, S, F]) {\n"
    "    s = silu g : f32[B, S, F]\n"
    "    r = mul s, u : f32[B, S, F]\n"
    "    return r\n"
    "  } : f32[B, S, F]\n"
    "  l     = gemm last, gate over=[H, K] weights=1 (g2: f32[B, F]) {\n"
    "    r2 = tanh g2 : f32[B, F]\n"
    "    return r2\n"
    "  } : f32[B, F]\n"
    "  return h = h, l = l\n";

/* No row axes at all; a residual and a mask beside the columns; a table of constants. */
static const char vector[] =
    "kernels Vec(x: f32[D], skip: f32[F], keep: bool[B, S])\n"
    "  dims    B = 1..4  S = 1..64  D = 24  F = 20\n"
    "  w     = weight key=\"w\" : f32[F, D]\n"
    "  t     = table table=[1, -0.5, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 1e-3] : f32[F]\n"
    "  y     = gemm x, w, skip, t over=D weights=1 (acc: f32[F], s: f32[F], u: f32[F]) {\n"
    "    a = add acc, s : f32[F]\n"
    "    b = mul a, u : f32[F]\n"
    "    return b\n"
    "  } : f32[F]\n"
    "  z     = map y, keep (c: f32[F], k: bool[B, S]) {\n"
    "    zero = const value=0 : f32\n"
    "    m = where k, c, zero : f32[F, B, S]\n"
    "    return m\n"
    "  } : f32[F, B, S]\n"
    "  return y = y, z = z\n";

/* Weights that take a gain when they are packed: the inner and the outer one of two contracted axes, with and without plus; one read as
 * plain loops, its gain along a column. */
static const char gains[] =
    "kernels Gains(x: f32[B, S, H, K])\n"
    "  dims    B = 1..4  S = 1..64  H = 3  K = 7  F = 20  E = 9\n"
    "  w     = weight key=\"w\" factor=3 : f32[F, H, K]\n"
    "  g     = weight key=\"w\" gain=\"g\" plus=1 axis=K : f32[F, H, K]\n"
    "  h     = weight key=\"h\" gain=\"heads\" factor=-0.75 axis=H : f32[F, H, K]\n"
    "  y     = gemm x, w, g, h over=[H, K] weights=3 (a: f32[B, S, F], b: f32[B, S, F], c: f32[B, S, F]) {\n"
    "    r = sub a, b : f32[B, S, F]\n"
    "    return r, c\n"
    "  }\n"
    "  y0    = get y index=0 : f32[B, S, F]\n"
    "  y1    = get y index=1 : f32[B, S, F]\n"
    "  e     = weight key=\"e\" gain=\"g\" axis=E : f32[H, E]\n"
    "  z     = dot x, e over=H : f32[B, S, K, E]\n"
    "  return y0 = y0, y1 = y1, z = z\n";

/* Extras with only some of the row axes, in two groups; a mask; a slice whose rows do not lie one step apart for the rest of the rows. */
static const char parts[] =
    "kernels Parts(x: f32[B, S, M, D], place: f32[S, F], batch: f32[B], inner: f32[S, M], outer: f32[B, M, F], keep: bool[M], last: f32[M, E])\n"
    "  dims    B = 1..4  S = 1..64  M = 3  D = 9  F = 20  E = 7\n"
    "  w     = weight key=\"w\" : f32[F, D]\n"
    "  e     = weight key=\"e\" : f32[E, D]\n"
    "  s     = slice place axis=S start=S-1 : f32[F]\n"
    "  y     = gemm x, w, e, place, batch, inner, outer, keep, last, s over=D weights=2 (a, c, p, b, i, o, k, l, t) {\n"
    "    a1 = add a, p : f32[B, S, M, F]\n"
    "    a2 = mul a1, b : f32[B, S, M, F]\n"
    "    a3 = add a2, o : f32[B, S, M, F]\n"
    "    zero = const value=0 : f32\n"
    "    a4 = where k, a3, zero : f32[B, S, M, F]\n"
    "    a5 = sub a4, t : f32[B, S, M, F]\n"
    "    c1 = mul c, i : f32[B, S, M, E]\n"
    "    c2 = add c1, l : f32[B, S, M, E]\n"
    "    return a5, c2\n"
    "  }\n"
    "  y0    = get y index=0 : f32[B, S, M, F]\n"
    "  y1    = get y index=1 : f32[B, S, M, E]\n"
    "  return y0 = y0, y1 = y1\n";

/* Products of the side: two for one accumulator, one for a rotated result, gate and up with one each, over two axes, rows that are
 * those of the first product; a bias that starts a sum. */
static const char sides[] =
    "kernels Sides(x: f32[B, S, D], l: f32[B, S, R], m: f32[B, S, N, R], c: f32[S, J=16], s: f32[S, J=16])\n"
    "  dims    B = 1..4  S = 1..64  D = 11  R = 3  N = 2  F = 20  H = 2  K = 32\n"
    "  w     = weight key=\"w\" : f32[F, D]\n"
    "  b     = weight key=\"b\" : f32[F]\n"
    "  u     = weight key=\"u\" stored=[3, 20] strides=[1, 20] : f32[F, R]\n"
    "  v     = weight key=\"v\" : f32[F, N, R]\n"
    "  q     = weight key=\"q\" : f32[H, K, D]\n"
    "  qs    = weight key=\"qs\" factor=0.5 : f32[H, K, R]\n"
    "  again = weight key=\"again\" : f32[F, D]\n"
    "  y     = gemm x, w, q, b, c, s, l, u, m, v, l, qs over=D weights=2 side=[0, 0, 1] (a, t, bias, pc, ps) {\n"
    "    a1 = add a, bias : f32[B, S, F]\n"
    "    a2 = gelu a1 : f32[B, S, F]\n"
    "    r = rotate t, pc, ps : f32[B, S, H, K]\n"
    "    return a2, r\n"
    "  }\n"
    "  y0    = get y index=0 : f32[B, S, F]\n"
    "  y1    = get y index=1 : f32[B, S, H, K]\n"
    "  z     = gemm x, w, again, l, u, x, again over=D weights=2 side=[1, 0] (g, h) {\n"
    "    g1 = silu g : f32[B, S, F]\n"
    "    r2 = mul g1, h : f32[B, S, F]\n"
    "    return r2\n"
    "  } : f32[B, S, F]\n"
    "  last  = slice l axis=S start=0 : f32[B, R]\n"
    "  first = slice x axis=S start=S-1 : f32[B, D]\n"
    "  e     = gemm first, w, last, u over=D weights=1 side=[0] (one) {\n"
    "    return one\n"
    "  } : f32[B, F]\n"
    "  return y0 = y0, y1 = y1, z = z, e = e\n";

/* Heads rotated on the way out: halves with one and with two vectors of partners, neighbours as partners, a bias before, tables with all,
 * some and none of the row axes; a plain result beside them. */
static const char rotated[] =
    "kernels Rotated(x: f32[B, S, D], c: f32[S, J=16], s: f32[S, J=16], cb: f32[B, S, P=32], sb: f32[B, S, P=32], c1: f32[P=32], s1: f32[P=32],"
    " r: f32[S])\n"
    "  dims    B = 1..4  S = 1..64  D = 11  H = 3  K = 32  L = 64\n"
    "  wq    = weight key=\"q\" : f32[H, K, D]\n"
    "  wk    = weight key=\"k\" stored=[11, 192] strides=[64, 1, 192] gain=\"g\" axis=D : f32[H, L, D]\n"
    "  wi    = weight key=\"i\" : f32[H, L, D]\n"
    "  wj    = weight key=\"j\" : f32[K, D]\n"
    "  wv    = weight key=\"v\" : f32[H, K, D]\n"
    "  bk    = weight key=\"k.bias\" : f32[H, L]\n"
    "  bj    = weight key=\"j.bias\" : f32[K]\n"
    "  all   = gemm x, wq, wk, wi, wj, wv, bk, c, s, cb, sb, c1, s1, bj, r over=D weights=5 (q, k, i, j, v, bias, pc, ps, pcb, psb, pc1, ps1,"
    " jbias, row) {\n"
    "    q1 = rotate q, pc, ps : f32[B, S, H, K]\n"
    "    k1 = add k, bias : f32[B, S, H, L]\n"
    "    half = const value=0.5 : f32\n"
    "    k2 = mul k1, half : f32[B, S, H, L]\n"
    "    k3 = rotate k2, pcb, psb : f32[B, S, H, L]\n"
    "    i1 = mul i, row : f32[B, S, H, L]\n"
    "    i2 = rotate i1, pc1, ps1 interleave=true : f32[B, S, H, L]\n"
    "    j1 = add j, jbias : f32[B, S, K]\n"
    "    j2 = rotate j1, pc, ps interleave=true : f32[B, S, K]\n"
    "    return q1, k3, i2, j2, v\n"
    "  }\n"
    "  o0    = get all index=0 : f32[B, S, H, K]\n"
    "  o1    = get all index=1 : f32[B, S, H, L]\n"
    "  o2    = get all index=2 : f32[B, S, H, L]\n"
    "  o3    = get all index=3 : f32[B, S, K]\n"
    "  o4    = get all index=4 : f32[B, S, H, K]\n"
    "  return o0 = o0, o1 = o1, o2 = o2, o3 = o3, o4 = o4\n";

static void both_sizes(const char *text, const Target *target) {
    Trial t;
    trial_open(&t, target);
    trial_load(&t, text);
    for (int64_t b = 1; b <= 3; b++)
        for (int64_t s = 1; s <= 17; s += 1 + (b > 1) * 4)
            trial_check(&t, (int64_t[]){b, s}, 2e-5);
    trial_close(&t);
}

START_TEST(test_several) {
    for (int i = 0; i < target_count; i++)
        if (target_runs_here(&targets[i])) {
            both_sizes(qkv, &targets[i]);
            both_sizes(swiglu, &targets[i]);
            both_sizes(vector, &targets[i]);
            both_sizes(gains, &targets[i]);
            both_sizes(parts, &targets[i]);
            both_sizes(rotated, &targets[i]);
            both_sizes(sides, &targets[i]);
        }
}
END_TEST

int main(void) {
    Suite *s = suite_create("gemm");
    TCase *c = tcase_create("gemm");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, test_shapes, 0, sizeof shapes / sizeof *shapes);
    tcase_add_loop_test(c, test_few_columns, 0, target_count);
    tcase_add_loop_test(c, test_beside, 0, sizeof heads / sizeof *heads);
    tcase_add_loop_test(c, test_shared_sums, 0, target_count);
    tcase_add_test(c, test_several);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
