/* The reader: every op and kind of attribute goes through text and back; mistakes are refused at the right place;
 * mutants of a text full of features are refused, or verify, print back identically and run. */
#include "ir_test.h"

/* clang-format off */
static const char *const texts[] = {
    /* GRAPH level: every op of it */
    "graph Everything(ids: i32[B, S], keep: bool[B, S], x: f32[B, S, D])\n"
    "  file    \"models/with a \\\"quote\\\" and \\\\.attar\"\n"
    "  dims    B = 1..4  S = 1..8  past = 0..8  D = 4  H = 2  K = 2  N = 4  Q = 2  R = 3  T = past+S  V = 5\n"
    "  cache   kv.k f32[B, T=16, H, K] grows T x 2\n"
    "  cache   kv.v f32[B, T=16, H, K] grows T x 3\n"
    "  w       = weight key=\"emb\" stored=[4, 5] strides=[1, 5] keep=true : f32[V, D]   # a dir/m.attar:3:14\n"
    "  q.w     = weight key=\"h.{i}.q\" start=0 gain=\"h.{i}.norm\" plus=1 factor=0.5 storage=bf16 rounded=bf16 axis=D : f32[H, K, D]   # -\n"
    "  e.w     = weight key=\"h.{2*i+1}.e.{N}.up\" stack=4 : f32[N, K, D]\n"
    "  t       = table table=[1, -2.5, 1e-07, 0.3333333333333333] : f32[N]\n"
    "  ninf    = const value=-inf : f32\n"
    "  pinf    = const value=inf : f32\n"
    "  nan     = const value=nan : f32\n"
    "  yes     = const value=1 : bool\n"
    "  two     = const value=2 : i32\n"
    "  pos     = iota start=past : i32[S]\n"
    "  seq     = iota : i32[T]\n"
    "  n       = extent size=past+2*S-1 : f32\n"
    "  e       = gather w, ids over=V : f32[B, S, D]   # m.attar:4:7 via std.attar:12:3\n"
    "  a       = add e, x : f32[B, S, D]   # -\n"
    "  b       = sub a, x : f32[B, S, D]\n"
    "  c       = mul b, n : f32[B, S, D]\n"
    "  d       = div c, n : f32[B, S, D]\n"
    "  m       = mod pos, two : i32[S]\n"
    "  before  = iota start=-B+S : i32[S]\n"
    "  p       = pow d, n : f32[B, S, D]\n"
    "  mx      = maximum d, ninf : f32[B, S, D]\n"
    "  mn      = minimum mx, pinf : f32[B, S, D]\n"
    "  u1      = neg mn : f32[B, S, D]\n"
    "  u2      = abs u1 : f32[B, S, D]\n"
    "  u3      = exp u1 : f32[B, S, D]\n"
    "  u4      = log u3 : f32[B, S, D]\n"
    "  u5      = sqrt u3 : f32[B, S, D]\n"
    "  u6      = rsqrt u3 : f32[B, S, D]\n"
    "  u7      = tanh u6 : f32[B, S, D]\n"
    "  u8      = erf u7 : f32[B, S, D]\n"
    "  u9      = sin u8 : f32[B, S, D]\n"
    "  u10     = cos u9 : f32[B, S, D]\n"
    "  u11     = sigmoid u10 : f32[B, S, D]\n"
    "  u12     = silu u11 : f32[B, S, D]\n"
    "  u13     = gelu u12 : f32[B, S, D]\n"
    "  u14     = gelu_tanh u13 : f32[B, S, D]\n"
    "  u15     = round_bf16 u14 : f32[B, S, D]\n"
    "  l1      = lt pos, seq : bool[S, T]\n"
    "  l2      = le seq, pos : bool[T, S]\n"
    "  l3      = eq pos, m : bool[S]\n"
    "  l4      = ne pos, m : bool[S]\n"
    "  l5      = and l3, keep : bool[S, B]\n"
    "  l6      = or l5, l4 : bool[S, B]\n"
    "  l7      = not l6 : bool[S, B]\n"
    "  sel     = where l7, u14, nan : f32[B, S, D]\n"
    "  f       = cast m : f32[S]\n"
    "  r1      = sum u14 over=[B, S] : f32[D]\n"
    "  r2      = max u14 over=D : f32[B, S]\n"
    "  r3      = mean u14 over=S : f32[B, D]\n"
    "  sm      = softmax u14 over=D linearize=\"performer:features=8,seed=0\" : f32[B, S, D]\n"
    "  run     = cumsum u14 over=S reverse=true : f32[B, S, D]\n"
    "  peak    = cummax run over=D exclusive=true : f32[B, S, D]\n"
    "  best    = topk peak over=D axis=Q : i32[B, S, Q]\n"
    "  v1      = view sm : f32[B, S, H, K]\n"
    "  v2      = transpose v1 : f32[H, B, S, K]\n"
    "  v3      = slice x start=1 axis=D : f32[B, S, D=3]\n"
    "  v4      = expand f axis=R : f32[R, S]\n"
    "  cc      = concat x, v3 axis=D : f32[B, S, D=7]\n"
    "  ch      = choose x, u14 start=past value=2.5 size=S : f32[B, S, D]\n"
    "  half    = slice t start=2 axis=N : f32[Q]\n"
    "  quarter = slice t start=3 axis=N : f32[Q=1]\n"
    "  ro      = rotate v1, quarter, quarter interleave=true : f32[B, S, H, K]\n"
    "  lay     = repeat i < 2 carries h = x, g = r2 {\n"
    "    lq  = weight key=\"l.{i}.q\" : f32[H, K, D]\n"
    "    q   = dot h, lq over=D lowrank=\"rank=2\" : f32[B, S, H, K]\n"
    "    k   = append q, i cache=kv.k : f32[B, T, H, K]\n"
    "    v   = append ro, i start=1 cache=kv.v : f32[B, T, H, K]\n"
    "    at  = attend q, k, v, keep over=K keys=T scale=0.7071067811865476 (s: f32[B, H, S, T], ok) {\n"
    "      ii = iota start=past : i32[S]\n"
    "      jj = iota : i32[T]\n"
    "      cm = le jj, ii : bool[T, S]\n"
    "      no = const value=-inf : f32\n"
    "      fs = where cm, s, no : f32[B, H, S, T]\n"
    "      return fs\n"
    "    } : f32[B, S, H, K]\n"
    "    o   = dot at, lq over=[H, K] : f32[B, S, D]\n"
    "    yield o, g\n"
    "  }\n"
    "  y       = get lay index=0 : f32[B, S, D]\n"
    "  z       = get lay index=1 : f32[B, S]\n"
    "  return hidden = y, z = z, sel, cc, v2, v4, ch, p, l1, l2, r1, r3, half, u2, u4, u5\n",
    /* KERNEL level, with places */
    "kernels Placed(x: f32[B, S, D], ids: i32[B, S], counts: bool[B, S])\n"
    "  dims    B = 1..  S = 1..64  past = 0..64  D = 4  H = 2  K = 2  Q = 1  T = past+S  V = 5\n"
    "  cache   kv.k f32[B, T=64, H, K] grows T x 3 panels\n"
    "  region  0 = 640 bytes * B * past+S to 32, bound 600\n"
    "  region  1 = 64 bytes, bound 64\n"
    "  one = const value=1 : i32 @inline\n"
    "  w   = weight key=\"w\" : f32[H, K, D] @weight\n"
    "  c   = table table=[1] : f32[Q] @weight\n"
    "  e   = weight key=\"e\" : f32[V, D] @weight\n"
    "  x0  = map x, ids, e (p, j, r) {\n"
    "    g = gather r, j over=V : f32[B, S, D]\n"
    "    t = add p, g : f32[B, S, D]\n"
    "    return t\n"
    "  } : f32[B, S, D] @0+0   # m.attar:9:1\n"
    "  q   = gemm x0, w, x, w over=D weights=1 side=[0] live=counts (acc) {\n"
    "    r1 = tanh acc : f32[B, S, H, K]\n"
    "    return a = acc, r1\n"
    "  }   # -\n"
    "  q0  = get q index=0 : f32[B, S, H, K] @0+128\n"
    "  q1  = get q index=1 : f32[B, S, H, K] @0+256\n"
    "  k   = append q0, one, c cache=kv.k layout=panels (a1, b1) {\n"
    "    ra = rotate a1, b1, b1 : f32[B, S, H, K]\n"
    "    return ra\n"
    "  } : f32[B, T, H, K] @cache.0\n"
    "  kp  = map q1 layout=panels (a2) { return a2 } : f32[B, S, H, K] @1+0\n"
    "  at  = attend q1, k, k over=K keys=T (s: f32[B, H, S, T]) { return s } : f32[B, S, H, K] @0+384\n"
    "  al  = attend q1, k, k over=K keys=T lse=true (s9: f32[B, H, S, T]) { return s9 }\n"
    "  a2x = attend q1, k, k, q1, k over=K keys=T second=true (s7: f32[B, H, S, T], s8: f32[B, H, S, T]) {\n"
    "    s9x = maximum s7, s8 : f32[B, H, S, T]\n"
    "    return s9x\n"
    "  } : f32[B, S, H, K] @0+896\n"
    "  g0  = get al index=0 : f32[B, S, H, K] @0+640\n"
    "  g1  = get al index=1 : f32[B, S, H] @0+768\n"
    "  fl  = view at : f32[B, S, D] @view\n"
    "  nm  = rowwise fl over=D (a3) {\n"
    "    m3 = mean a3 over=D : f32[B, S]\n"
    "    s3 = sub a3, m3 : f32[B, S, D]\n"
    "    return s3\n"
    "  } : f32[B, S, D] @output.0\n"
    "  rd  = reduce nm over=S (a4) {\n"
    "    m4 = max a4 over=S : f32[B, D]\n"
    "    return m4\n"
    "  } : f32[B, D] @output.1\n"
    "  sc  = dot kp, q1 over=[S, H] : f32[B, K] @0+512\n"
    "  return nm, rd, sc\n",
    /* kernels without a body, and their states */
    "graph Linear(q: f32[B, S, G, R, K], k: f32[B, S, G, K], v: f32[B, S, G, W], keep: i32[B, T], pre: i32[B],\n"
    "    off: f32[B, T, G], seen: bool[S, T])\n"
    "  dims    B = 1..4  S = 1..8  past = 0..64  D = 3  F = 6  G = 2  K = 4  R = 3  T = S  W = 5\n"
    "  cache   at.s f32[B, G, state=42] state x 2\n"
    "  cache   cb.s f32[B, G, state=96] state x 1\n"
    "  w = weight key=\"w\" : f32[F, K]\n"
    "  c = weight key=\"c\" : f32[G, F, K]\n"
    "  b = weight key=\"b\" : f32[G, R, D]\n"
    "  zero = const value=0 : i32\n"
    "  kt = view k : f32[B, T, G, K]\n"
    "  vt = view v : f32[B, T, G, W]\n"
    "  all = linear_attend q, kt, vt, seen over=K keys=T queries=S roles=mask features=elu1 scale=0.5 : f32[B, S, G, R, W]\n"
    "  rel = linear_attend q, kt, vt, w, keep over=K keys=T queries=S roles=[projection, keep] features=relu eps=0.001 ratio=0.5 : f32[B, S, G, R, W]\n"
    "  soft = linear_attend q, kt, vt, c, keep over=K keys=T queries=S roles=[projection, document] features=codes tau=0.75 causal=true : f32[B, S, G, R, W]\n"
    "  st = linear_attend q, kt, vt, w, zero, off, pre start=1 over=K keys=T queries=S roles=[projection,\n"
    "          layer, offset, prefix] features=positive causal=true cache=at.s : f32[B, S, G, R, W]\n"
    "  cb = codebook_attend q, kt, vt, c, b, zero, keep over=K keys=T queries=S roles=[codebook, bias,\n"
    "          layer, keep] causal=true block=3 recent=keys cache=cb.s : f32[B, S, G, R, W]\n"
    "  return all, rel, soft, st, cb\n",
};
/* clang-format on */
enum { N_TEXTS = sizeof texts / sizeof *texts };

static Text printed(Bench *t, const Graph *g)
{
    Text out = text_new(&t->arena);
    graph_print_with(g, LOCATIONS_FULL, &out);
    return out;
}

/* Once printed, the text stays as it is, line by line as it stands above but for the alignment. */
static void squeeze(char *text)
{
    char *to = text;
    for (const char *p = text; *p; p++)
        if (*p != ' ' || (to > text && to[-1] != ' '))
            *to++ = *p;
    *to = 0;
}

/* Formulas behind a kernel's `{` are for people only. */
static void drop_formulas(char *text)
{
    char *to = text;
    for (const char *p = text; *p; p++) {
        *to++ = *p;
        if (!strncmp(p, "{ # ", 4) || !strncmp(p, "{\n # ", 5))
            p = strchr(p + 2, '\n') - 1;
    }
    *to = 0;
}

/* The texts are longer than what Check can say: only the first line that differs is shown. */
static void check_same(const char *a, const char *b, int which)
{
    while (*a && *a == *b)
        a++, b++;
    if (*a == *b)
        return;
    ck_abort_msg("%d: `%.100s` is not `%.100s`", which, a, b);
}

START_TEST(every_op_and_attribute_round_trips)
{
    for (int i = 0; i < N_TEXTS; i++) {
        Bench t;
        bench_open(&t);
        Graph *g = bench_read(&t, texts[i]);
        ck_assert_msg(g != NULL, "%d: %s", i, bench_said(&t));
        Text first = printed(&t, g);
        Graph *back = bench_read(&t, first.data);
        ck_assert_msg(back != NULL, "%d: %s", i, bench_said(&t));
        check_same(first.data, printed(&t, back).data, i);
        char *original = arena_copy(&t.arena, texts[i], strlen(texts[i])),
             *shown = arena_copy(&t.arena, first.data, first.length);
        squeeze(original);
        squeeze(shown);
        drop_formulas(shown);
        check_same(original, shown, i);
        bench_close(&t);
    }
}
END_TEST

static bool has_word(const char *text, const char *word, char before, char after)
{
    size_t length = strlen(word);
    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
        if (p > text && p[-1] == before && p[length] == after)
            return true;
    return false;
}

static bool some_has_word(const char *word, char after)
{
    for (int i = 0; i < N_TEXTS; i++)
        if (has_word(texts[i], word, ' ', after))
            return true;
    return false;
}

START_TEST(no_op_and_no_attribute_is_missing)
{
    for (int op = 0; op < OP_COUNT; op++) {
        if (op == OP_input || op == OP_index || op == OP_carry || op == OP_param)
            continue; /* parts of other lines */
        ck_assert_msg(some_has_word(op_info[op].name, ' '), "op %s", op_info[op].name);
    }
    for (int a = 0; a < ATTR_COUNT; a++) {
        if (a == ATTR_count)
            continue; /* repeat i < count */
        ck_assert_msg(some_has_word(attr_info[a].name, '='), "attribute %s", attr_info[a].name);
    }
}
END_TEST

START_TEST(locations_point_where_they_say)
{
    Bench t;
    bench_open(&t);
    Graph *g = bench_read(&t, texts[0]);
    for (const Node *n = g->first; n; n = n->next) {
        if (!strcmp(n->name, "w")) {
            ck_assert_str_eq(n->at.source->path, "a dir/m.attar");
            ck_assert(span_start(n->at).line == 3 && span_start(n->at).column == 14 && !n->via.source);
        }
        if (!strcmp(n->name, "e")) {
            ck_assert_str_eq(n->via.source->path, "std.attar");
            ck_assert(span_start(n->at).line == 4 && span_start(n->via).line == 12 && span_start(n->via).column == 3);
        }
    }
    ck_assert_str_eq(g->file, "models/with a \"quote\" and \\.attar");
    bench_close(&t);
}
END_TEST

/* clang-format off */
static const char placed[] =
    "kernels T(x: f32[B])\n  file    \"dir/m.attar\"\n  dims    B = 1..\n"
    "  a = view x : f32[B]\n"
    "  b = view a : f32[B]   # m.attar:3:7\n"
    "  c = view b : f32[B]\n"
    "  d = map c (p) {   # exp(-c)\n"
    "    e = neg p : f32[B]\n"
    "    f = exp e : f32[B]   # m.attar:3:7\n"
    "    return f\n"
    "  } : f32[B]\n"
    "  g = view d : f32[B]   # -\n"
    "  h = view g : f32[B]   # m.attar:3:8\n"
    "  i = view h : f32[B]   # other/m.attar:3:8\n"
    "  return i\n";
/* clang-format on */

/* A location holds for the lines behind it in its block. */
START_TEST(locations_stand_once)
{
    static const char *const where[] = {"a", NULL, "b", "3:7", "c", "3:7", "d", "3:7", "e", NULL, "f", "3:7",
                                        "g", NULL, "h", "3:8", "i", "3:8"};
    Bench t;
    bench_open(&t);
    Graph *g = bench_read(&t, placed);
    ck_assert_msg(g != NULL, "%s", bench_said(&t));
    for (size_t i = 0; i < sizeof where / sizeof *where; i += 2) {
        const Node *n = find(g, where[i]);
        if (!where[i + 1]) {
            ck_assert_msg(!n->at.source, "%s", where[i]);
            continue;
        }
        ck_assert_msg(n->at.source != NULL, "%s", where[i]);
        LineColumn at = span_start(n->at);
        ck_assert_str_eq(arena_print(&t.arena, "%d:%d", at.line, at.column), where[i + 1]);
        ck_assert_str_eq(n->at.source->path, *where[i] == 'i' ? "other/m.attar" : "dir/m.attar");
    }
    Text again = text_new(&t.arena), none = text_new(&t.arena), full = text_new(&t.arena);
    graph_print(g, &again);
    squeeze(again.data);
    char *want = arena_copy(&t.arena, placed, strlen(placed));
    squeeze(want);
    check_same(want, again.data, 0);
    graph_print_with(g, LOCATIONS_NONE, &none);
    ck_assert_ptr_null(strstr(none.data, "m.attar:"));
    graph_print_with(g, LOCATIONS_FULL, &full);
    ck_assert_ptr_nonnull(strstr(full.data, "c = view b : f32[B]   # dir/m.attar:3:7"));
    bench_close(&t);
}
END_TEST

/* ---- mistakes ---------------------------------------------------------------------------------------------------- */

#define HEAD "graph T(x: f32[B, D])\n  dims B = 1..  D = 3\n"

/* clang-format off */
static const struct { const char *text, *says; int line, column; } mistakes[] = {
    {"", "expected `graph`", 1, 1},
    {"grap T()", "expected `graph`", 1, 1},
    {"graph T(x: f32[B])\n  dims\n  return x\n", "the axis `B` has no size here and none in the dims line", 1, 17},
    {"graph T(x: f3[B])\n  dims B = 1..\n  return x\n", "`f3` is not an element type", 1, 14},
    {"graph T(x: f32[B, B])\n  dims B = 1..\n  return x\n", "the axis `B` stands twice", 1, 19},
    {"graph T(x: f32[B], x: f32[B])\n  dims B = 1..\n  return x\n", "`x` is defined twice", 1, 20},
    {"graph T(x: f32[B])\n  dims B = 1..  B = 2..\n  return x\n", "`B` twice", 3, 3},
    {"graph T(x: f32[B])\n  dims B = 1..\n  cache k f32[B, T=4] grows Q x 2\n  return x\n", "the growing axis is not one of the cache's", 4, 3},
    {HEAD "  y = ad x\n  return y\n", "no operator of this name", 3, 7},
    {HEAD "  y = neg z\n  return y\n", "`z` is not defined before this line", 3, 11},
    {HEAD "  y = neg x\n  y = neg x\n  return y\n", "`y` is defined twice", 4, 3},
    {HEAD "  y = neg x over=D\n  return y\n", "neg takes no attribute `over`", 3, 13},
    {HEAD "  y = neg x ove=D\n  return y\n", "no attribute of this name", 3, 13},
    {HEAD "  y = sum x over=D : f32[B, D]\n  return y\n", "its type is f32[B], not f32[B, D=3]", 3, 3},
    {HEAD "  y = sum x over=[D\n  return y\n", "expected `]`", 4, 3},
    {HEAD "  y = const value=1.5.2 : f32\n  return y\n", "expected a number", 3, 19},
    {HEAD "  y = const value=99999999999999999999 : i32\n  return y\n", "", 0, 0},
    {HEAD "  y = extent size=99999999999999999999 : f32\n  return y\n", "the number is too large", 3, 19},
    {HEAD "  y = extent size=9223372036854775807*B+B : f32\n  return y\n", "three symbols", 0, 0},
    {HEAD "  y = extent size=2*Q : f32\n  return y\n", "expected a symbol of the dims line", 0, 0},
    {HEAD "  y = weight key=\"a : f32[D]\n  return y\n", "the text is not closed", 3, 18},
    {HEAD "  y = neg x @nowhere\n  return y\n", "`nowhere` is no place", 0, 0},
    {HEAD "  y = neg x @0+64\n  return y\n", "its place has number", 3, 3},
    {HEAD "  y = repeat i < 2 carries z = x {\n    yield z\n  return y\n", "expected `}`", 5, 3},
    {HEAD "  y = add x, x", "expected a name", 3, 15},
    {HEAD "  return x x\n", "something stands after the graph", 3, 12},
    {HEAD "  return q\n", "`q` is not defined", 3, 10},
    {HEAD "  y = input : f32[B]\n  return y\n", "not among the parameters", 3, 3},
};
/* clang-format on */

START_TEST(mistakes_are_marked_where_they_are)
{
    Arena arena = {0};
    Text wrong = text_new(&arena);
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        Bench t;
        bench_open(&t);
        Graph *g = bench_read(&t, mistakes[i].text);
        const Diag *d = t.diags.first;
        if (!mistakes[i].says[0]) {
            if (!g)
                text_add(&wrong, "%zu: %s\n", i, bench_said(&t));
        } else if (g || t.diags.errors != 1 || strcmp(d->code, "E1101") || !strstr(d->message, mistakes[i].says)) {
            text_add(&wrong, "%zu: `%s`, not `%s`\n", i, g ? "read" : bench_said(&t), mistakes[i].says);
        } else if (mistakes[i].line &&
                   (span_start(d->at).line != mistakes[i].line || span_start(d->at).column != mistakes[i].column)) {
            text_add(&wrong, "%zu: `%s` at %d:%d, not %d:%d\n", i, d->message, span_start(d->at).line,
                     span_start(d->at).column, mistakes[i].line, mistakes[i].column);
        }
        bench_close(&t);
    }
    ck_assert_msg(wrong.length == 0, "%s", wrong.data);
    arena_free(&arena);
}
END_TEST

/* ---- mutants ----------------------------------------------------------------------------------------------------- */

static void mutate(Bench *t, Text *text)
{
    static const char *const words[] = {
        "B",    "S",     "T",      "D",     "past",     "x",       "q",      "over", "D=5", "[",
        "]",    "{",     "}",      "(",     ")",        "neg",     "repeat", "1..",  "-1",  "9223372036854775807",
        "=",    ",",     ":",      "@0+64", "@cache.7", "# a:9:9", "\"",     "\\",   "f32", "i32",
        "bool", "yield", "return", "get",   "sum",      "..",      "\n"};
    int edits = bench_random(t) % 2 ? 1 : 1 + (int)(bench_random(t) % 3);
    for (int i = 0; i < edits && text->length > 40; i++) {
        size_t at = bench_random(t) % text->length, span = 1 + bench_random(t) % 6;
        if (at + span > text->length)
            span = text->length - at;
        Text next = text_new(&t->arena);
        text_put(&next, text->data, at);
        uint64_t kind = bench_random(t) % 6;
        if (kind == 4) /* another number, not a digit in a word */
            while (at < text->length && !(text->data[at] >= '0' && text->data[at] <= '9'))
                at++;
        if (kind == 4)
            span = at < text->length;
        const char *word = words[bench_random(t) % (sizeof words / sizeof *words)];
        if (kind == 0)
            text_char(&next, (char)(bench_random(t) % 256));
        if (kind == 1)
            text_add(&next, "%s", word);
        if (kind == 2)
            text_add(&next, " %s ", word);
        if (kind == 3)
            text_put(&next, text->data + bench_random(t) % (text->length - span), span);
        if (kind == 4)
            text_char(&next, (char)('0' + bench_random(t) % 10));
        size_t rest = kind == 2 ? at : kind == 5 && bench_random(t) % 8 == 0 ? text->length : at + span;
        text_put(&next, text->data + rest, text->length - rest);
        *text = next;
    }
}

/* Small enough to run in a moment? */
static bool is_small(const Bench *t, const Graph *g, double times)
{
    for (const Node *n = g->first; n; n = n->next) {
        double count = times;
        for (int i = 0; n->type && i < n->type->rank; i++)
            count *= (double)extent_value(n->type->axis[i].size, t->g, t->sizes);
        if (!(fabs(count) < 1e5))
            return false;
        const Attr *stored = node_attr(n, ATTR_stored);
        for (int i = 0; stored && i < stored->ints.count; i++)
            if (stored->ints.items[i] > 100)
                return false;
        if (n->body && !is_small(t, n->body, times * (double)attr_int(n, ATTR_count, 1)))
            return false;
    }
    return true;
}

static bool some_weight(void *state, const char *key, double *out, int64_t count)
{
    (void)state;
    for (int64_t i = 0; i < count; i++)
        out[i] = (double)((i * 7 + (int64_t)strlen(key)) % 5) / 4 - 0.5;
    return true;
}

static bool run(Bench *t)
{
    if (t->g->n_symbols > 8 || t->g->n_params > 8)
        return false;
    for (int i = 0; i < t->g->n_symbols; i++) {
        const Symbol *s = t->g->symbols[i];
        t->sizes[i] = s->low > 2 || s->high < 2 ? s->low : 2;
    }
    if (!is_small(t, t->g, 1))
        return false;
    for (int i = 0; i < t->g->n_caches; i++) {
        double count = (double)t->g->caches[i].layers;
        for (int a = 0; a < t->g->caches[i].type->rank; a++)
            count *= (double)extent_value(t->g->caches[i].type->axis[a].size, t->g, t->sizes);
        if (!(count >= 0 && count < 1e5))
            return false;
    }
    for (int i = 0; i < t->g->n_params; i++) {
        const Type *type = t->g->params[i]->type;
        t->in[i] = (HostTensor){.name = t->g->params[i]->name, .dtype = type->dtype, .rank = type->rank};
        for (int a = 0; a < type->rank; a++)
            t->in[i].dims[a] = extent_value(type->axis[a].size, t->g, t->sizes);
        int64_t count = host_count(&t->in[i]);
        if (count < 0)
            return false;
        t->in[i].data = arena_array(&t->arena, (size_t)count + 1, 8);
        for (int64_t k = 0; k < count; k++)
            host_set(&t->in[i], k, fabs(bench_number(t, type->dtype)));
    }
    t->bind = (Bindings){.sizes = t->sizes,
                         .inputs = t->in,
                         .weight = some_weight,
                         .caches = interpret_caches(t->g, t->sizes, &t->arena)};
    int errors = t->diags.errors;
    Value *v = interpret(&t->cx, t->g, &t->bind, &t->work);
    ck_assert((v == NULL) == (t->diags.errors > errors));
    return v != NULL;
}

START_TEST(the_texts_run)
{
    for (int i = 0; i < N_TEXTS; i++) {
        Bench t;
        bench_open(&t);
        t.g = bench_read(&t, texts[i]);
        ck_assert_msg(t.g && run(&t), "%d: %s", i, bench_said(&t));
        bench_close(&t);
    }
}
END_TEST

START_TEST(mutants)
{
    int refused = 0, ran = 0;
    for (int seed = 1; seed <= 5000; seed++) {
        Bench t;
        bench_open(&t);
        t.state = (uint64_t)seed * 0x9e3779b97f4a7c15u;
        Text text = text_new(&t.arena);
        text_add(&text, "%s", texts[seed % N_TEXTS]);
        mutate(&t, &text);
        Source source = {"mutant.ir", text.data, text.length};
        t.g = graph_read(&t.cx, &source);
        ck_assert_msg((t.g == NULL) == (t.diags.errors == 1), "seed %d", seed);
        if (!t.g) {
            Text out = text_new(&t.arena);
            diag_render(&t.diags, &out, false);
            refused++;
        } else {
            Text first = printed(&t, t.g);
            Graph *back = bench_read(&t, first.data);
            ck_assert_msg(back != NULL, "seed %d: %s", seed, bench_said(&t));
            check_same(first.data, printed(&t, back).data, seed);
            ran += run(&t);
        }
        bench_close(&t);
    }
    ck_assert_int_gt(refused, 2500);
    ck_assert_int_gt(ran, 100);
}
END_TEST

RUN_CASES("read", every_op_and_attribute_round_trips, no_op_and_no_attribute_is_missing, locations_point_where_they_say, locations_stand_once,
          mistakes_are_marked_where_they_are, the_texts_run, mutants)
