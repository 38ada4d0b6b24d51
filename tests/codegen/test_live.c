/* Rows that a mask drops are left out: the same bits as where all are computed, whatever rows are kept and whatever
 * memory held before, for any number of threads. */
#include "tests/codegen/emit_test.h"

/* An encoder with a mean over kept rows; LIVE stands behind the attributes of kernels that may leave rows out. */
static const char encoder[] =
    "kernels Enc(x: f32[B, S, D], keep: bool[B, S])\n"
    "  dims    B = 1..9  S = 1..80  D = 16  F = 40  H = 2  K = 8  T = S  W = 8\n"
    "  mask  = view keep : bool[B, T]\n"
    "  last  = repeat i < 3 carries y = x {\n"
    "    wq    = weight key=\"layers.{i}.q\" : f32[H, K, D]\n"
    "    wk    = weight key=\"layers.{i}.k\" : f32[H, K, D]\n"
    "    wv    = weight key=\"layers.{i}.v\" : f32[H, K, D]\n"
    "    qkv   = gemm y, wq, wk, wv over=D weights=3 LIVE (q1: f32[B, S, H, K], k1: f32[B, S, H, K], v1: f32[B, S, H, "
    "K]) {\n"
    "      return q1, k1, v1\n"
    "    }\n"
    "    q     = get qkv index=0 : f32[B, S, H, K]\n"
    "    k     = get qkv index=1 : f32[B, S, H, K]\n"
    "    v     = get qkv index=2 : f32[B, S, H, K]\n"
    "    kk    = view k : f32[B, T, H, K]\n"
    "    vv    = view v : f32[B, T, H, W]\n"
    "    a     = attend q, kk, vv, mask over=K keys=T scale=0.35 LIVE (s, m) {\n"
    "      none = const value=-inf : f32\n"
    "      seen = where m, s, none : f32[B, S, H, T]\n"
    "      return seen\n"
    "    } : f32[B, S, H, W]\n"
    "    aa    = view a : f32[B, S, H, K]\n"
    "    wo    = weight key=\"layers.{i}.o\" : f32[D, H, K]\n"
    "    o     = gemm aa, wo, y over=[H, K] weights=1 LIVE (acc: f32[B, S, D], r: f32[B, S, D]) {\n"
    "      sum = add acc, r : f32[B, S, D]\n"
    "      return sum\n"
    "    } : f32[B, S, D]\n"
    "    n     = rowwise o over=D LIVE (p: f32[B, S, D]) {\n"
    "      mean = mean p over=D : f32[B, S]\n"
    "      c = sub p, mean : f32[B, S, D]\n"
    "      return c\n"
    "    } : f32[B, S, D]\n"
    "    wu    = weight key=\"layers.{i}.u\" : f32[F, D]\n"
    "    h     = gemm n, wu over=D weights=1 LIVE (acc2: f32[B, S, F]) {\n"
    "      t = tanh acc2 : f32[B, S, F]\n"
    "      return t\n"
    "    } : f32[B, S, F]\n"
    "    wd    = weight key=\"layers.{i}.d\" : f32[D, F]\n"
    "    d     = gemm h, wd, n over=F weights=1 LIVE (acc3: f32[B, S, D], r3: f32[B, S, D]) {\n"
    "      e = add acc3, r3 : f32[B, S, D]\n"
    "      return e\n"
    "    } : f32[B, S, D]\n"
    "    yield d\n"
    "  } : f32[B, S, D]\n"
    "  out   = reduce keep, last over=S (k2: bool[B, S], f: f32[B, S, D]) {\n"
    "    zero = const value=0 : f32\n"
    "    g = where k2, f, zero : f32[B, S, D]\n"
    "    all = sum g over=S : f32[B, D]\n"
    "    return all\n"
    "  } : f32[B, D]\n"
    "  return out = out\n";

/* The encoder with "live=keep" or nothing where LIVE stands. */
static void load_into(Trial *t, const char *live)
{
    Text text = text_new(&t->arena);
    const char *from = encoder;
    for (const char *at; (at = strstr(from, " LIVE")) != NULL; from = at + 5)
        text_add(&text, "%.*s%s", (int)(at - from), from, live);
    text_add(&text, "%s", from);
    trial_load(t, text.data);
}

static void load(Trial *t, const char *live, bool dawdle)
{
    trial_open(t, target_native());
    t->dawdle = dawdle;
    load_into(t, live);
}

enum { PATTERNS = 10 };

/* Which rows count: all, none, beginnings, holes of every size, a first row dropped, whole sequences, at random. */
static bool is_kept(int pattern, int64_t b, int64_t s, int64_t size, double random)
{
    switch (pattern) {
    case 0: return true;
    case 1: return false;
    case 2: return s < size - b * 5;
    case 3: return s > 0;
    case 4: return b % 2;
    case 5: return s < size / 4 || s > size * 3 / 4;
    case 6: return s % 10 == 9;
    case 7: return s % (7 + b) == 0;
    case 8: return random > 0;
    default: return random > 0.8;
    }
}

static HostTensor keep_input(Trial *t, int pattern, const int64_t *sizes)
{
    HostTensor h = trial_input(t, &t->out.plan.inputs[1], sizes);
    for (int64_t i = 0; i < sizes[0] * sizes[1]; i++)
        host_set(&h, i, is_kept(pattern, i / sizes[1], i % sizes[1], sizes[1], trial_number(t)));
    return h;
}

static void check(Trial *all, Trial *live, int pattern, const int64_t *sizes)
{
    HostTensor inputs[] = {trial_input(all, &all->out.plan.inputs[0], sizes), keep_input(all, pattern, sizes)};
    HostTensor want = trial_output(all, &all->out.plan.outputs[0], sizes);
    Bindings b = {.sizes = sizes, .inputs = inputs, .weight = trial_weight, .spoil = true};
    Value *exact = interpret(&live->cx, live->g, &b, &live->arena);
    ck_assert_int_eq(trial_run(all, sizes, inputs, &want, 1), 0);
    trial_compare(all, "all rows", &want, exact, 1e-4);
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        HostTensor got = trial_output(live, &live->out.plan.outputs[0], sizes);
        ck_assert_int_eq(trial_run(live, sizes, inputs, &got, threads), 0);
        ck_assert_msg(!memcmp(want.data, got.data, (size_t)exact->count * sizeof(float)),
                      "B=%lld S=%lld, rows %d, %d threads: other bits", (long long)sizes[0], (long long)sizes[1],
                      pattern, threads);
    }
}

START_TEST(test_bits)
{
    static const int64_t sizes[][2] = {{1, 1}, {1, 2},  {2, 1},  {3, 5},  {1, 37},
                                       {9, 9}, {2, 40}, {8, 33}, {5, 64}, {1, 80}};
    Trial all, live;
    load(&all, "", false);
    load(&live, " live=keep", _i > 0);
    ck_assert(strstr(live.out.text, "while (next_run(&live") && !strstr(all.out.text, "next_run"));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int pattern = 0; pattern < PATTERNS; pattern++) {
            live.absent = _i > 0 ? (unsigned)(pattern % 4) * 2 : 0;
            check(&all, &live, pattern, sizes[i]);
        }
    trial_close(&all);
    trial_close(&live);
}
END_TEST

/* How many tiles of scores a call computes: rows that are left out have none. */
static int64_t count_tiles(const char *live)
{
    const int64_t sizes[] = {1, 80};
    Trial t;
    trial_open(&t, target_native());
    t.tiles = true;
    load_into(&t, live);
    HostTensor inputs[] = {trial_input(&t, &t.out.plan.inputs[0], sizes), keep_input(&t, 1, sizes)};
    HostTensor out = trial_output(&t, &t.out.plan.outputs[0], sizes);
    host_set(&inputs[1], 0, 1);
    host_set(&inputs[1], 79, 1);
    ck_assert_int_eq(trial_run(&t, sizes, inputs, &out, 1), 0);
    int64_t count = *(int64_t *)dlsym(t.library, "enc_tiles");
    trial_close(&t);
    return count;
}

START_TEST(test_left_out)
{
    int64_t all = count_tiles(""), live = count_tiles(" live=keep");
    ck_assert_int_gt(live, 0);
    ck_assert_int_lt(live * 4, all);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("live");
    TCase *c = tcase_create("live");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, test_bits, 0, 2);
    tcase_add_test(c, test_left_out);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
