/* Maps, rows, reductions, moves, caches and repeats: emitted C against the interpreter. */
#include "tests/codegen/emit_test.h"

typedef struct Case { const char *name, *text; double tolerance; } Case;

static const Case cases[] = {
{"map", "kernels M(x: f32[B, S, D], y: f32[S, D], z: f32[D], r: f32[B, S], keep: bool[B, S])\n"
    "  dims    B = 1..4  S = 1..40  D = 37\n"
    "  h     = map x, y, z, r, keep (a: f32[B, S, D], b: f32[S, D], c: f32[D], d: f32[B, S], k: bool[B, S]) {\n"
    "    u = add a, b : f32[B, S, D]\n"
    "    v = mul u, c : f32[B, S, D]\n"
    "    w = sub d, v : f32[B, S, D]\n"
    "    i = iota start=0 : i32[S]\n"
    "    p = cast i : f32[S]\n"
    "    q = add w, p : f32[B, S, D]\n"
    "    zero = const value=0 : f32\n"
    "    m = where k, q, zero : f32[B, S, D]\n"
    "    n = extent size=S : f32\n"
    "    o = div m, n : f32[B, S, D]\n"
    "    return o\n"
    "  } : f32[B, S, D]\n"
    "  return h = h\n", 1e-6},
{"symbolic last axis", "kernels M(x: f32[B, S], keep: bool[B, S])\n"
    "  dims    B = 1..4  S = 1..40\n"
    "  h     = map x, keep (a: f32[B, S], k: bool[B, S]) {\n"
    "    i = iota start=3 : i32[S]\n"
    "    two = const value=2 : i32\n"
    "    j = mod i, two : i32[S]\n"
    "    e = eq j, two : bool[S]\n"
    "    f = lt j, two : bool[S]\n"
    "    g = and k, f : bool[B, S]\n"
    "    hh = or g, e : bool[B, S]\n"
    "    nn = not hh : bool[B, S]\n"
    "    ex = exp a : f32[B, S]\n"
    "    c = where nn, a, ex : f32[B, S]\n"
    "    return c, hh\n"
    "  }\n"
    "  h0    = get h index=0 : f32[B, S]\n"
    "  h1    = get h index=1 : bool[B, S]\n"
    "  return h0 = h0, h1 = h1\n", 1e-6},
{"layernorm of embeddings", "kernels E(ids: i32[B, S], types: i32[B, S])\n"
    "  dims    B = 1..4  S = 1..40  D = 44  V = 7\n"
    "  word  = weight key=\"word\" : f32[V, D]\n"
    "  kind  = weight key=\"kind\" : f32[V, D]\n"
    "  place = weight key=\"place\" : f32[P=40, D]\n"
    "  rows  = slice place axis=P start=0 : f32[S, D]\n"
    "  g     = weight key=\"g\" : f32[D]\n"
    "  x     = rowwise word, ids, kind, types, rows, g (t: f32[V, D], i: i32[B, S], t2: f32[V, D], i2: i32[B, S], p: f32[S, D], gg: f32[D]) {\n"
    "    a = gather t, i over=V : f32[B, S, D]\n"
    "    b = gather t2, i2 over=V : f32[B, S, D]\n"
    "    c = add a, b : f32[B, S, D]\n"
    "    d = add c, p : f32[B, S, D]\n"
    "    m = mean d over=D : f32[B, S]\n"
    "    e = sub d, m : f32[B, S, D]\n"
    "    f = mul e, e : f32[B, S, D]\n"
    "    v = mean f over=D : f32[B, S]\n"
    "    eps = const value=1e-12 : f32\n"
    "    w = add v, eps : f32[B, S]\n"
    "    s = rsqrt w : f32[B, S]\n"
    "    y = mul e, s : f32[B, S, D]\n"
    "    z = mul y, gg : f32[B, S, D]\n"
    "    return z\n"
    "  } : f32[B, S, D]\n"
    "  return x = x\n", 1e-5},
{"tied gather", "kernels T(ids: i32[B, S])\n"
    "  dims    B = 1..4  S = 1..20  D = 20  V = 7  W = 7\n"
    "  word  = weight key=\"word\" : f32[V, D]\n"
    "  word2 = weight key=\"word\" : f32[W=7, D]\n"
    "  x     = map word, ids (t: f32[V, D], i: i32[B, S]) {\n"
    "    a = gather t, i over=V : f32[B, S, D]\n"
    "    return a\n"
    "  } : f32[B, S, D]\n"
    "  y     = gemm x, word2 over=D weights=1 (acc: f32[B, S, W]) {\n"
    "    return acc\n"
    "  } : f32[B, S, W]\n"
    "  return y = y\n", 1e-5},
{"softmax and a plain sum", "kernels S(x: f32[B, S, D], keep: bool[B, S])\n"
    "  dims    B = 1..4  S = 1..40  D = 19\n"
    "  p     = rowwise x, keep (a: f32[B, S, D], k: bool[B, S]) {\n"
    "    none = const value=-inf : f32\n"
    "    m = where k, a, none : f32[B, S, D]\n"
    "    s = softmax m over=D : f32[B, S, D]\n"
    "    return s\n"
    "  } : f32[B, S, D]\n"
    "  n     = rowwise x (a2: f32[B, S, D]) {\n"
    "    q = mul a2, a2 : f32[B, S, D]\n"
    "    t = sum q over=D : f32[B, S]\n"
    "    big = max a2 over=D : f32[B, S]\n"
    "    r = sqrt t : f32[B, S]\n"
    "    both = add r, big : f32[B, S]\n"
    "    return both\n"
    "  } : f32[B, S]\n"
    "  return p = p, n = n\n", 2e-6},
{"softmax along a run-time axis", "kernels S(x: f32[B, D, S])\n"
    "  dims    B = 1..4  S = 1..40  D = 3\n"
    "  p     = rowwise x (a: f32[B, D, S]) {\n"
    "    s = softmax a over=S : f32[B, D, S]\n"
    "    return s\n"
    "  } : f32[B, D, S]\n"
    "  return p = p\n", 2e-6},
{"pooling", "kernels P(x: f32[B, S, D], keep: bool[B, S])\n"
    "  dims    B = 1..4  S = 1..40  D = 36\n"
    "  m     = reduce x, keep (a: f32[B, S, D], k: bool[B, S]) {\n"
    "    zero = const value=0 : f32\n"
    "    c = where k, a, zero : f32[B, S, D]\n"
    "    t = sum c over=S : f32[B, D]\n"
    "    one = const value=1 : f32\n"
    "    w = where k, one, zero : f32[B, S]\n"
    "    n = sum w over=S : f32[B]\n"
    "    nn = maximum n, one : f32[B]\n"
    "    r = div t, nn : f32[B, D]\n"
    "    return r\n"
    "  } : f32[B, D]\n"
    "  u     = rowwise m (b: f32[B, D]) {\n"
    "    q = mul b, b : f32[B, D]\n"
    "    s = sum q over=D : f32[B]\n"
    "    r1 = rsqrt s : f32[B]\n"
    "    v = mul b, r1 : f32[B, D]\n"
    "    return v\n"
    "  } : f32[B, D]\n"
    "  return m = m, u = u\n", 1e-5},
{"concat", "kernels C(x: f32[B, S, D], y: f32[B, S, E])\n"
    "  dims    B = 1..4  S = 1..40  D = 5  E = 18  F = 23  N = S+1  O = 1\n"
    "  z     = concat x, y axis=F : f32[B, S, F]\n"
    "  c     = weight key=\"c\" : f32[B2=1, O=1, F]\n"
    "  w     = slice c axis=B2 start=0 : f32[O, F]\n"
    "  wide  = expand w axis=B : f32[B, O, F]\n"
    "  l     = concat wide, z axis=N : f32[B, N, F]\n"
    "  return z = z, l = l\n", 0},
{"dot of two values", "kernels D(x: f32[B, S, H, K], y: f32[B, S, H, K])\n"
    "  dims    B = 1..4  S = 1..20  H = 3  K = 6  T = S\n"
    "  t     = view y : f32[B, T=S, H, K]\n"
    "  s     = dot x, t over=K : f32[B, H, S, T=S]\n"
    "  o     = dot s, t over=T : f32[B, S, H, K]\n"
    "  return s = s, o = o\n", 1e-5},
{"views", "kernels V(x: f32[B, S, D])\n"
    "  dims    B = 1..4  S = 1..20  D = 36  H = 3  K = 12\n"
    "  h     = view x : f32[B, S, H, K]\n"
    "  p     = transpose h : f32[B, H, S, K]\n"
    "  q     = slice p axis=K start=5 : f32[B, H, S, L=7]\n"
    "  one   = slice h axis=H start=1 : f32[B, S, K]\n"
    "  c     = map p (a: f32[B, H, S, K]) {\n"
    "    e = neg a : f32[B, H, S, K]\n"
    "    return e\n"
    "  } : f32[B, H, S, K]\n"
    "  back  = transpose c : f32[B, S, H, K]\n"
    "  d     = map q, one, back (b: f32[B, H, S, L=7], f: f32[B, S, K], g: f32[B, S, H, K]) {\n"
    "    m = max b over=L : f32[B, H, S]\n"
    "    return b\n"
    "  } : f32[B, H, S, L=7]\n"
    "  t     = transpose x : f32[D, B, S]\n"
    "  u     = map t (tt: f32[D, B, S]) {\n"
    "    n = abs tt : f32[D, B, S]\n"
    "    return n\n"
    "  } : f32[D, B, S]\n"
    "  w     = map back, one (g2: f32[B, S, H, K], f2: f32[B, S, K]) {\n"
    "    r = sub g2, f2 : f32[B, S, H, K]\n"
    "    return r\n"
    "  } : f32[B, S, H, K]\n"
    "  return c = c, u = u, w = w, d = d\n", 1e-6},
{"rotary", "kernels R(x: f32[B, S, H, K], c: f32[S, E], s: f32[S, E])\n"
    "  dims    B = 1..4  S = 1..20  H = 3  K = 40  E = 20\n"
    "  half  = map x, c, s (a: f32[B, S, H, K], p: f32[S, E], q: f32[S, E]) {\n"
    "    r = rotate a, p, q : f32[B, S, H, K]\n"
    "    return r\n"
    "  } : f32[B, S, H, K]\n"
    "  pairs = map x, c, s (a2: f32[B, S, H, K], p2: f32[S, E], q2: f32[S, E]) {\n"
    "    r2 = rotate a2, p2, q2 interleave=true : f32[B, S, H, K]\n"
    "    return r2\n"
    "  } : f32[B, S, H, K]\n"
    "  return half = half, pairs = pairs\n", 1e-6},
{"repeat", "kernels R(x: f32[B, S, D])\n"
    "  dims    B = 1..4  S = 1..20  D = 24  E = 24\n"
    "  last  = repeat i < 3 carries y = x {\n"
    "    w     = weight key=\"layers.{i}.w\" : f32[E=24, D]\n"
    "    b     = weight key=\"layers.{i}.b\" : f32[E]\n"
    "    g     = gemm y, w, b over=D weights=1 (acc: f32[B, S, E], c: f32[E]) {\n"
    "      u = add acc, c : f32[B, S, E]\n"
    "      v = tanh u : f32[B, S, E]\n"
    "      return v\n"
    "    } : f32[B, S, E]\n"
    "    z     = view g : f32[B, S, D]\n"
    "    yield z\n"
    "  } : f32[B, S, D]\n"
    "  out   = map last (a: f32[B, S, D]) {\n"
    "    h = neg a : f32[B, S, D]\n"
    "    return h\n"
    "  } : f32[B, S, D]\n"
    "  return out = out\n", 1e-5},
};

/* A cache of plain rows and one of panels, filled in two calls and one more by one position; rotated on the way in. */
static const char caches[] =
    "kernels K(x: f32[B, S, H, K], c: f32[S, E], s: f32[S, E])\n"
    "  dims    B = 1..2  S = 1..40  past = 0..70  H = 3  K = 8  E = 4  T = past+S\n"
    "  cache   kv.k f32[B, T=70, H, K] grows T x 2 panels\n"
    "  cache   kv.v f32[B, T=70, H, K] grows T x 2\n"
    "  one   = const value=1 : i32\n"
    "  k     = append x, one, c, s cache=kv.k layout=panels (a: f32[B, S, H, K], p: f32[S, E], q: f32[S, E]) {\n"
    "    r = rotate a, p, q : f32[B, S, H, K]\n"
    "    return r\n"
    "  } : f32[B, T, H, K]\n"
    "  v     = append x, one cache=kv.v : f32[B, T, H, K]\n"
    "  both  = map k, v (m: f32[B, T, H, K], n: f32[B, T, H, K]) {\n"
    "    d = sub m, n : f32[B, T, H, K]\n"
    "    return d\n"
    "  } : f32[B, T, H, K]\n"
    "  panel = map x layout=panels keys=S (a2: f32[B, S, H, K]) {\n"
    "    e = neg a2 : f32[B, S, H, K]\n"
    "    return e\n"
    "  } : f32[B, S, H, K]\n"
    "  back  = map panel (a3: f32[B, S, H, K]) {\n"
    "    f = neg a3 : f32[B, S, H, K]\n"
    "    return f\n"
    "  } : f32[B, S, H, K]\n"
    "  return both = both, back = back\n";

START_TEST(test_caches) {
    for (int i = 0; i < target_count; i++) {
        if (!native_can(&targets[i]))
            continue;
        for (int64_t b = 1; b <= 2; b++) {
            Trial t;
            trial_open(&t, &targets[i]);
            trial_load(&t, caches);
            trial_check(&t, (int64_t[]){b, 30, 0}, 1e-6);
            trial_check(&t, (int64_t[]){b, 5, 30}, 1e-6);
            trial_check(&t, (int64_t[]){b, 1, 35}, 1e-6);
            trial_check(&t, (int64_t[]){b, 34, 36}, 1e-6);
            trial_close(&t);
        }
    }
}
END_TEST

static void check_case(const Case *c, const Target *target) {
    Trial t;
    trial_open(&t, target);
    trial_load(&t, c->text);
    for (int64_t b = 1; b <= 3; b += 2)
        for (int64_t s = 1; s <= 20; s += s < 5 ? 1 : 5)
            trial_check(&t, (int64_t[]){b, s}, c->tolerance);
    trial_close(&t);
}

START_TEST(test_cases) {
    for (int i = 0; i < target_count; i++)
        if (native_can(&targets[i]))
            check_case(&cases[_i], &targets[i]);
}
END_TEST

int main(void) {
    Suite *s = suite_create("loops");
    TCase *c = tcase_create("loops");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, test_cases, 0, sizeof cases / sizeof *cases);
    tcase_add_test(c, test_caches);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
