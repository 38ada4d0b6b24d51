/* Shape rules: for each op the type it gives, and near misses in dtype, rank, axis and size with the reason they are
 * refused for. The last case checks that no op was forgotten. */
#include "ir_test.h"

static const char header[] = "T(x: f32[B, S, D], y: f32[S, B, D], v: f32[D], v5: f32[D=5], k: f32[S, H, K], one: "
                             "f32[D=1], ids: i32[B, S], n: i32[S], n4: i32[S, K], keep: bool[B, S], on: bool[S],\n"
                             "  w: f32[V, D], c: f32[S, R], c1: f32[S, R=1], c3: f32[S, R=3], ch: f32[S, H], q: f32[B, S, H, K], kk: f32[B, T=past+S, "
                             "H, K], vv: f32[B, T=past+S, H, W], lk: f32[B, Y=S, H, K], lv: f32[B, Y=S, H, W], seen: i32[B, T=past+S], pre: i32[B], off: f32[B, T=past+S], onk: bool[S, K], three: f32[S=3, D], wide: f32[A1, A2, A3, A4, A5, A6, A7, A8])\n"
                             "  dims    B = 1..64  S = 1..8  past = 0..8  D = 4  H = 2  K = 4  V = 9  R = 2  W = 3  A1 "
                             "= 1  A2 = 1  A3 = 1  A4 = 1  A5 = 1  A6 = 1  A7 = 1  A8 = 1\n"
                             "  cache   kv.k f32[B, T=8, H, K] grows T x 2\n"
                             "  cache   st.a f32[B, H, state=25] state x 2\n"
                             "  cache   st.b f32[B, H, state=29] state x 2\n"
                             "  layer = const value=0 : i32\n"
                             "  half  = const value=0.5 : f32\n"
                             "  wg    = weight key=\"g\" : f32[F=6, D]\n"
                             "  wh    = weight key=\"h\" : f32[H, K, D]\n"
                             "  bad   = weight key=\"b\" : f32[F=6, D=5]\n"
                             "  pw    = weight key=\"pw\" : f32[F=5, K]\n"
                             "  ph    = weight key=\"ph\" : f32[H, F=5, K]\n"
                             "  pk    = weight key=\"pk\" : f32[W, K]\n"
                             "  hd    = weight key=\"hd\" : f32[H, J=3]\n";

typedef struct Case {
    const char *line, *gives, *refused;
} Case;

#define SCORE "(s: f32[B, S, H, T=past+S]) { u = neg s return u }"
#define SCORE2 "(s: f32[B, S, H, T=past+S], r: f32[B, S, H, T=past+S]) { ii = iota : i32[S]  u = const value=1 : i32  cc = lt ii, u  ww = where cc, s, r  return ww }"

#define LINEAR " over=K keys=T queries=S "

/* clang-format off */
static const Case graph_cases[] = {
    /* leaves */
    {"o = const value=2 : i32", "i32", NULL},
    {"o = const value=2 : f32[D]", NULL, "const has 0 axes"},
    {"o = const value=2.5 : i32", NULL, "whole number"},
    {"o = const : f32", NULL, "needs `value`"},
    {"o = const value=1", NULL, "declared type"},
    {"o = iota start=past : i32[S]", "i32[S]", NULL},
    {"o = iota : f32[S]", NULL, "iota is i32"},
    {"o = iota : i32", NULL, "iota has 1 axes"},
    {"o = extent size=past+S : f32", "f32", NULL},
    {"o = extent size=S : i32", NULL, "extent is f32"},
    {"o = table table=[1, 2, 3, 4] : f32[R, N=2]", "f32[R=2, N=2]", NULL},
    {"o = table table=[1, 2, 3] : f32[R, N=2]", NULL, "does not hold 3 numbers"},
    {"o = table table=[1] : f32[S]", NULL, "does not hold 1 numbers"},
    {"o = weight key=\"a\" : f32[D]", "f32[D=4]", NULL},
    {"o = weight : f32[D]", NULL, "needs a key"},
    {"o = weight key=\"a\" : f32[S]", NULL, "no constant size"},
    /* elementwise, two inputs */
    {"o = add x, v", "f32[B, S, D=4]", NULL},
    {"o = add v, x", "f32[D=4, B, S]", NULL},
    {"o = sub x, y", "f32[B, S, D=4]", NULL},
    {"o = sub x, v5", NULL, "the axis `D` is 4 in `x` but 5 in `v5`"},
    {"o = mul k, n", NULL, "`k` is f32 but `n` is i32"},
    {"o = mul x, k", "f32[B, S, D=4, H=2, K=4]", NULL},
    {"o = mul half, x", "f32[B, S, D=4]", NULL},
    {"o = div n, n", "i32[S]", NULL},
    {"o = div x, n", NULL, "`x` is f32 but `n` is i32"},
    {"o = add x, v5", NULL, "the axis `D` is 4 in `x` but 5 in `v5`"},
    {"o = add x, one", NULL, "the axis `D` is 4 in `x` but 1 in `one`"},
    {"o = add keep, keep", NULL, "add cannot take bool"},
    {"o = add wide, v", NULL, "more than 8 axes"},
    {"o = add x", NULL, "add takes 2 inputs, not 1"},
    {"o = mod n, ids", "i32[S, B]", NULL},
    {"o = mod x, v", NULL, "mod needs integers, `x` is f32"},
    {"o = pow x, half", "f32[B, S, D=4]", NULL},
    {"o = pow n, n", NULL, "pow needs floats, `n` is i32"},
    {"o = maximum ids, n", "i32[B, S]", NULL},
    {"o = maximum n, x", NULL, "`n` is i32 but `x` is f32"},
    {"o = minimum x, half", "f32[B, S, D=4]", NULL},
    {"o = minimum keep, on", NULL, "minimum cannot take bool"},
    {"o = lt ids, n", "bool[B, S]", NULL},
    {"o = le x, half", "bool[B, S, D=4]", NULL},
    {"o = lt keep, on", NULL, "lt cannot take bool"},
    {"o = le x, layer", NULL, "`x` is f32 but `layer` is i32"},
    {"o = eq keep, on", "bool[B, S]", NULL},
    {"o = ne x, v", "bool[B, S, D=4]", NULL},
    {"o = ne n, x", NULL, "`n` is i32 but `x` is f32"},
    {"o = eq keep, n", NULL, "`keep` is bool but `n` is i32"},
    {"o = and keep, on", "bool[B, S]", NULL},
    {"o = or on, keep", "bool[S, B]", NULL},
    {"o = and n, n", NULL, "and cannot take i32"},
    {"o = or x, x", NULL, "or cannot take f32"},
    {"o = not keep", "bool[B, S]", NULL},
    {"o = not n", NULL, "not cannot take i32"},
    {"o = where keep, x, half", "f32[B, S, D=4]", NULL},
    {"o = where on, layer, layer", "i32[S]", NULL},
    {"o = where n, x, half", NULL, "the condition `n` is i32, not bool"},
    {"o = where on, x, n", NULL, "`x` is f32 but `n` is i32"},
    {"o = where on, x, v5", NULL, "the axis `D` is 4 in `x` but 5 in `v5`"},
    /* elementwise, one input */
    {"o = neg n", "i32[S]", NULL}, {"o = neg on", NULL, "neg cannot take bool"},
    {"o = abs n", "i32[S]", NULL}, {"o = abs on", NULL, "abs cannot take bool"},
    {"o = exp x", "f32[B, S, D=4]", NULL}, {"o = exp n", NULL, "exp needs floats, `n` is i32"},
    {"o = log x", "f32[B, S, D=4]", NULL}, {"o = log n", NULL, "log needs floats"},
    {"o = sqrt x", "f32[B, S, D=4]", NULL}, {"o = sqrt n", NULL, "sqrt needs floats"},
    {"o = rsqrt x", "f32[B, S, D=4]", NULL}, {"o = rsqrt on", NULL, "rsqrt needs floats"},
    {"o = tanh x", "f32[B, S, D=4]", NULL}, {"o = tanh n", NULL, "tanh needs floats"},
    {"o = erf x", "f32[B, S, D=4]", NULL}, {"o = erf n", NULL, "erf needs floats"},
    {"o = sin x", "f32[B, S, D=4]", NULL}, {"o = sin n", NULL, "sin needs floats"},
    {"o = cos x", "f32[B, S, D=4]", NULL}, {"o = cos n", NULL, "cos needs floats"},
    {"o = sigmoid x", "f32[B, S, D=4]", NULL}, {"o = sigmoid n", NULL, "sigmoid needs floats"},
    {"o = silu x", "f32[B, S, D=4]", NULL}, {"o = silu n", NULL, "silu needs floats"},
    {"o = gelu x", "f32[B, S, D=4]", NULL}, {"o = gelu n", NULL, "gelu needs floats"},
    {"o = gelu_tanh x", "f32[B, S, D=4]", NULL}, {"o = gelu_tanh n", NULL, "gelu_tanh needs floats"},
    {"o = round_bf16 x", "f32[B, S, D=4]", NULL}, {"o = round_bf16 n", NULL, "round_bf16 needs floats"},
    {"o = cast n : f32[S]", "f32[S]", NULL}, {"o = cast x : bool[B, S, D]", "bool[B, S, D=4]", NULL},
    {"o = cast n", NULL, "declared type"}, {"o = cast n : f32[B]", NULL, "its type is f32[S], not f32[B]"},
    /* reductions and products */
    {"o = sum x over=S", "f32[B, D=4]", NULL},
    {"o = sum x over=[D, B]", "f32[S]", NULL},
    {"o = max x over=D", "f32[B, S]", NULL},
    {"o = mean x over=[B, S, D]", "f32", NULL},
    {"o = sum x over=K", NULL, "it has no axis `K`"},
    {"o = sum x over=[D, D]", NULL, "stands twice in `over`"},
    {"o = sum x", NULL, "sum needs `over`"},
    {"o = max n over=S", NULL, "max needs floats, `n` is i32"},
    {"o = mean on over=S", NULL, "mean needs floats"},
    {"o = softmax x over=S", "f32[B, S, D=4]", NULL},
    {"o = softmax x over=[S, D]", NULL, "softmax goes over one axis"},
    {"o = softmax n over=S", NULL, "softmax needs floats"},
    {"o = cumsum x over=S", "f32[B, S, D=4]", NULL},
    {"o = cumsum n over=S reverse=true exclusive=true", "i32[S]", NULL},
    {"o = cummax x over=D", "f32[B, S, D=4]", NULL},
    {"o = cumsum x over=[S, D]", NULL, "cumsum goes over one axis"},
    {"o = cummax on over=S", NULL, "cummax needs floats, `on` is bool"},
    {"o = cumsum x over=K", NULL, "it has no axis `K`"},
    {"o = dot x, wg over=D", "f32[B, S, F=6]", NULL},
    {"o = dot x, wh over=D : f32[B, H, S, K]", "f32[B, H=2, S, K=4]", NULL},
    {"o = dot q, kk over=K", "f32[B, S, H=2, T=past+S]", NULL},
    {"o = dot x, bad over=D", NULL, "the axis `D` is 4 in `x` but 5 in `bad`"},
    {"o = dot x, wg over=F", NULL, "it has no axis `F`"},
    {"o = dot x, wg over=D : f32[B, S, F=7]", NULL, "declared as f32[B, S, F=7] but it is f32[B, S, F=6]"},
    {"o = dot ids, n over=S", NULL, "`ids` is i32"},
    {"o = dot x, wg", NULL, "dot needs `over`"},
    /* views */
    {"o = view x : f32[B, S, H, E=2]", "f32[B, S, H=2, E=2]", NULL},
    {"o = view k : f32[S, HK=8]", "f32[S, HK=8]", NULL},
    {"o = view k : f32[M=2*S, K]", "f32[M=2*S, K=4]", NULL},
    {"o = view k : f32[Z=1, S, Y=1, HK=8, X=1]", "f32[Z=1, S, Y=1, HK=8, X=1]", NULL},
    {"o = view kk : f32[B, N=2*past+2*S, K]", "f32[B, N=2*past+2*S, K=4]", NULL},
    {"o = view x : f32[S, B, D]", NULL, "do not merge and split"},
    {"o = view x : f32[B, S, D=5]", NULL, "do not merge and split"},
    {"o = view x : f32[B, S]", NULL, "do not merge and split"},
    {"o = view x : i32[B, S, D]", NULL, "keeps the element type f32"},
    {"o = view x", NULL, "declared type"},
    {"o = transpose x : f32[D, B, S]", "f32[D=4, B, S]", NULL},
    {"o = transpose x : f32[D, B, S=4]", NULL, "transpose keeps the axes"},
    {"o = transpose x : f32[D, B]", NULL, "transpose keeps the axes"},
    {"o = slice w axis=V start=2 : f32[N=3, D]", "f32[N=3, D=4]", NULL},
    {"o = slice w axis=V start=8 : f32[D]", "f32[D=4]", NULL},
    {"o = slice w axis=V start=past : f32[S, D]", "f32[S, D=4]", NULL},
    {"o = slice w axis=V start=7 : f32[N=3, D]", NULL, "slice ends at 10, `V` has 9"},
    {"o = slice w axis=V start=9 : f32[D]", NULL, "slice ends at 10, `V` has 9"},
    {"o = slice w axis=V start=-1 : f32[N=3, D]", NULL, "before the axis"},
    {"o = slice w axis=K : f32[N=3, D]", NULL, "it has no axis `K`"},
    {"o = slice w axis=V : f32[N=3, D=3]", NULL, "slice changes only `V`"},
    {"o = slice x axis=B : f32[D]", NULL, "slice keeps the number of axes"},
    {"o = expand v axis=R : f32[R, D]", "f32[R=2, D=4]", NULL},
    {"o = expand v axis=D : f32[D, R]", NULL, "expand adds the one axis `D`"},
    {"o = expand v axis=R : f32[R, D=5]", NULL, "expand keeps the axis `D`"},
    /* moves */
    {"o = concat v, v5 axis=D : f32[D=9]", "f32[D=9]", NULL},
    {"o = concat x, x axis=N : f32[B, N=2*S, D]", "f32[B, N=2*S, D=4]", NULL},
    {"o = concat v, v5 axis=D : f32[D=8]", NULL, "the parts are 9 along `D`, the result 8"},
    {"o = concat x, v axis=D : f32[B, S, D=8]", NULL, "`v` is f32[D=4], the result f32[B, S, D=8]"},
    {"o = concat x, y axis=D : f32[B, S, D=8]", NULL, "`y` has the axis `S` where the result has `B`"},
    {"o = concat n, v axis=N : i32[N=S+4]", NULL, "`v` is f32"},
    {"o = concat v, v axis=D", NULL, "declared type"},
    {"o = choose x, x start=past value=9 size=S", "f32[B, S, D=4]", NULL},
    {"o = choose x, x value=9", NULL, "choose needs `size`"},
    {"o = choose x, v size=S", NULL, "`x` is f32[B, S, D=4], `v` is f32[D=4]"},
    {"o = gather w, ids over=V", "f32[B, S, D=4]", NULL},
    {"o = gather w, n over=D", "f32[S, V=9]", NULL},
    {"o = gather w, x over=V", NULL, "the indices `x` are f32, not i32"},
    {"o = gather w, ids over=K", NULL, "it has no axis `K`"},
    {"o = gather w, ids over=[V, D]", NULL, "one axis"},
    {"o = gather x, n over=D", "f32[S, B]", NULL},
    {"o = gather kk, ids over=T", "f32[B, S, H=2, K=4]", NULL},
    {"o = gather kk, n over=S", NULL, "it has no axis `S`"},
    {"o = gather three, ids over=D", NULL, "the axis `S` is 3 in `three` but S in `ids`"},
    {"o = topk x over=D axis=J : i32[B, S, J=2]", "i32[B, S, J=2]", NULL},
    {"o = topk x over=D axis=D : i32[B, S, D]", "i32[B, S, D=4]", NULL},
    {"o = topk x over=S axis=J : i32[B, J=1, D]", "i32[B, J=1, D=4]", NULL},
    {"o = topk x over=S axis=J : i32[B, J=2, D]", NULL, "the axis `S` is S: it need not have 2 elements"},
    {"o = topk x over=D axis=J : i32[B, S, J=5]", NULL, "the axis `D` is 4: it need not have 5 elements"},
    {"o = topk x over=D axis=S : i32[B, S, S=2]", NULL, "`S` stands twice"},
    {"o = topk x over=D axis=J : i32[S, B, J=2]", NULL, "topk changes only `D`"},
    {"o = topk x over=D axis=J : f32[B, S, J=2]", NULL, "a declared type of i32 with the axis `J` in the place of `D`"},
    {"o = topk x over=[S, D] axis=J : i32[B, S, J=2]", NULL, "topk goes over one axis"},
    {"o = topk x over=K axis=J : i32[B, S, J=2]", NULL, "it has no axis `K`"},
    {"o = topk n over=S axis=J : i32[J=1]", NULL, "topk needs f32, `n` is i32"},
    {"o = rotate k, c, c", "f32[S, H=2, K=4]", NULL},
    {"o = rotate q, c, c interleave=true", "f32[B, S, H=2, K=4]", NULL},
    {"o = rotate k, ch, c", NULL, "the last axis of `ch` counts pairs, but `k` has an axis `H` too"},
    {"o = rotate k, c3, c3", NULL, "`c3` has 3 pairs, more than half of `K` = 4"},
    {"o = rotate v5, c3, c3", NULL, "`c3` has 3 pairs, more than half of `D` = 5"},
    {"o = rotate k, c, c3", NULL, "`c` has 2 pairs, `c3` has 3"},
    {"o = rotate k, c, n", NULL, "rotate needs floats"},
    {"o = rotate k, half, half", NULL, "`half` needs a last axis of constant size, one for each pair"},
    {"o = rotate k, c1, c1", "f32[S, H=2, K=4]", NULL},
    {"o = rotate v, c, c", NULL, "the axis `S` of `c` is not one of `v`"},
    {"o = rotate n4, c, c", NULL, "rotate needs floats"},
    {"o = append q, layer cache=kv.k : f32[B, T=past+S, H, K]", "f32[B, T=past+S, H=2, K=4]", NULL},
    {"o = append q, layer cache=kv.k", "f32[B, T=past+S, H=2, K=4]", NULL},
    {"o = append q, layer cache=kv.k : f32[B, T=S, H, K]", NULL, "its type is f32[B, T=past+S, H=2, K=4]"},
    {"o = append q, layer cache=kv.v", NULL, "there is no cache `kv.v`"},
    {"o = append x, layer cache=kv.k", NULL, "the cache holds f32[B, T=8, H=2, K=4]"},
    {"o = append q cache=kv.k", NULL, "a value and a layer number, not 1"},
    {"o = append q, layer, c cache=kv.k", NULL, "a value and a layer number, not 3"},
    {"o = append q, half cache=kv.k", NULL, "the layer number `half` is f32, not i32"},
    /* regions */
    {"o = repeat i < 2 carries a = x { u = neg a yield u }", "f32[B, S, D=4]", NULL},
    {"o = repeat i < 2 carries a = x { u = sum a over=D yield u }", NULL, "carried value 0 enters as f32[B, S, D=4] and leaves a round as f32[B, S]"},
    {"o = repeat i < 2 carries a = x { yield }", NULL, "leave a round"},
    {"o = repeat i < -1 carries a = x { yield a }", NULL, "count"},
    {"p = repeat i < 2 carries a = x, b = n { yield a, b }\n  o = get p index=1", "i32[S]", NULL},
    {"p = repeat i < 2 carries a = x, b = n { yield a, b }\n  o = get p index=2", NULL, "`p` has no result 2"},
    {"p = repeat i < 2 carries a = x, b = n { yield a, b }\n  o = neg p", NULL, "several results"},
    {"o = get x", NULL, "`x` has no result 0"},
    /* attend may stand at both levels */
    {"o = attend q, kk, vv over=K keys=T " SCORE, "f32[B, S, H=2, W=3]", NULL},
    {"o = attend q, kk, kk over=K keys=T " SCORE, "f32[B, S, H=2, K=4]", NULL},
    {"at = attend q, kk, vv over=K keys=T lse=true " SCORE " o = get at index=0", "f32[B, S, H=2, W=3]", NULL},
    {"at = attend q, kk, vv over=K keys=T lse=true " SCORE " o = get at index=1", "f32[B, S, H=2]", NULL},
    {"at = attend q, kk, vv over=K keys=T lse=true " SCORE " o = get at index=2", NULL, "`at` has no result 2"},
    {"at = attend q, kk, vv over=K keys=T " SCORE " o = get at index=1", NULL, "`at` has no result 1"},
    {"o = attend q, kk, vv, q, kk over=K keys=T second=true " SCORE2, "f32[B, S, H=2, W=3]", NULL},
    {"o = attend q, kk, vv, q, kk over=K keys=T second=true " SCORE, NULL, "0 inputs but -1 parameters"},
    {"o = attend q, kk, vv, q over=K keys=T second=true " SCORE, NULL, "other queries and keys"},
    {"o = attend q, kk, vv, q, vv over=K keys=T second=true " SCORE2, NULL, "it has no axis `K`"},
    {"o = attend q, kk, vv over=K " SCORE, NULL, "attend needs"},
    {"o = attend q, kk, vv over=K keys=S " SCORE, NULL, "`S` must be an axis of the keys and the values, not of the queries"},
    {"o = attend q, kk, vv over=D keys=T " SCORE, NULL, "it has no axis `D`"},
    {"o = attend q, kk, vv over=K keys=T (s: f32[B, S, H]) { u = neg s return u }", NULL, "the score is f32[B, S, H=2, T=past+S], the body's parameter f32[B, S, H=2]"},
    {"o = attend q, kk, vv over=K keys=T (s: f32[B, S, H, T=past+S]) { u = max s over=T return u }", NULL, "must return a score"},
    {"o = attend q, kk, vv over=K keys=T (s: f32[B, S, H, T=past+S]) { u = neg s return u, s }", NULL, "a body that returns a score"},
    {"o = attend q, kk, vv, keep over=K keys=T " SCORE, NULL, "1 inputs but 0 parameters"},
    /* so may attention without scores */
    {"o = linear_attend q, kk, vv" LINEAR "features=elu1", "f32[B, S, H=2, W=3]", NULL},
    {"o = linear_attend q, kk, kk" LINEAR "features=relu eps=0.001 causal=true", "f32[B, S, H=2, K=4]", NULL},
    {"o = linear_attend q, kk, seen" LINEAR "features=elu1", NULL, "`seen` is i32, not f32"},
    {"o = linear_attend q, kk, off" LINEAR "features=elu1", NULL, "`kk` has the axis `H` = 2, `off` is f32[B, T=past+S]"},
    {"o = linear_attend q, lk, vv over=K keys=Y queries=S features=elu1", NULL, "`Y` must be an axis of the keys and the values"},
    {"o = linear_attend q, kk, vv, pw" LINEAR "features=positive roles=projection", "f32[B, S, H=2, W=3]", NULL},
    {"o = linear_attend q, kk, vv, ph" LINEAR "features=hyperbolic roles=projection", "f32[B, S, H=2, W=3]", NULL},
    {"o = linear_attend q, kk, vv, seen, pre" LINEAR "features=none roles=[keep, prefix] causal=true", "f32[B, S, H=2, W=3]", NULL},
    {"o = linear_attend q, kk, vv, on" LINEAR "features=none roles=mask", "f32[B, S, H=2, W=3]", NULL},
    {"o = linear_attend q, lk, lv, pw, layer over=K keys=Y queries=S features=positive roles=[projection, layer] causal=true cache=st.a", "f32[B, S, H=2, W=3]", NULL},
    {"o = linear_attend q, lk, lv, pw, layer over=K keys=Y queries=S features=positive roles=[projection, layer] causal=true cache=st.b", NULL, "`lk` and 25 numbers"},
    {"o = linear_attend q, lk, lv, pw, layer over=K keys=Y queries=S features=positive roles=[projection, layer] causal=true cache=kv.k", NULL, "the cache `kv.k` grows"},
    {"o = linear_attend q, lk, lv, pw, layer over=K keys=Y queries=S features=positive roles=[projection, layer] causal=true cache=st.c", NULL, "there is no cache `st.c`"},
    {"o = linear_attend q, lk, lv, pw, layer over=K keys=Y queries=S features=positive roles=[projection, layer] cache=st.a", NULL, "needs `causal`"},
    {"o = linear_attend q, lk, lv, pw over=K keys=Y queries=S features=positive roles=projection causal=true cache=st.a", NULL, "`layer` come together"},
    {"o = linear_attend q, kk, vv, pw, layer" LINEAR "features=positive roles=[projection, layer] causal=true cache=st.a", NULL, "the keys are those of the rows"},
    {"o = linear_attend q, lk, lv, pw, half over=K keys=Y queries=S features=positive roles=[projection, layer] causal=true cache=st.a", NULL, "the layer number `half` is f32, not i32"},
    {"o = linear_attend q, kk, vv" LINEAR "features=elu1 start=1", NULL, "`start` counts layers of a cache"},
    {"o = linear_attend q, kk, vv" LINEAR "features=elu", NULL, "features are none, elu1"},
    {"o = linear_attend q, kk, vv" LINEAR, NULL, "not missing"},
    {"o = linear_attend q, kk over=K keys=T queries=S features=elu1", NULL, "needs queries, keys and values"},
    {"o = linear_attend q, kk, vv over=K keys=T features=elu1", NULL, "needs `keys` and `queries`"},
    {"o = linear_attend q, kk, vv over=[K, H] keys=T queries=S features=elu1", NULL, "one head axis"},
    {"o = linear_attend q, kk, vv over=D keys=T queries=S features=elu1", NULL, "it has no axis `D`"},
    {"o = linear_attend q, kk, vv over=K keys=S queries=H features=elu1", NULL, "`S` must be an axis of the keys"},
    {"o = linear_attend q, kk, vv over=K keys=T queries=D features=elu1", NULL, "it has no axis `D`"},
    {"o = linear_attend q, k, k over=K keys=S queries=B features=elu1", NULL, "not of the queries"},
    {"o = linear_attend q, kk, vv, c" LINEAR "features=positive roles=projection", NULL, "its last axis must be `K`"},
    {"o = linear_attend q, kk, vv, w" LINEAR "features=positive roles=projection", NULL, "its last axis must be `K`"},
    {"o = linear_attend q, kk, vv, ids" LINEAR "features=positive roles=projection", NULL, "its last axis must be `K`"},
    {"o = linear_attend q, kk, vv, pk" LINEAR "features=positive roles=projection", NULL, "must be its own"},
    {"o = linear_attend q, kk, vv" LINEAR "features=positive", NULL, "positive features need a projection"},
    {"o = linear_attend q, kk, vv, pw" LINEAR "features=elu1 roles=projection", NULL, "features=elu1 takes no projection"},
    {"o = linear_attend q, kk, vv, pw" LINEAR "features=positive", NULL, "1 inputs after the values, but `roles` names 0"},
    {"o = linear_attend q, kk, vv, pw, pw" LINEAR "features=positive roles=[projection, projection]", NULL, "stands twice"},
    {"o = linear_attend q, kk, vv, pw" LINEAR "features=positive roles=codebook", NULL, "takes no `codebook`"},
    {"o = linear_attend q, kk, vv, ids" LINEAR "features=elu1 roles=keep", NULL, "the axis `S` of the keep `ids` is none of `kk`"},
    {"o = linear_attend q, kk, vv, pre" LINEAR "features=elu1 roles=keep", NULL, "it needs the axis `T`"},
    {"o = linear_attend q, kk, vv, keep" LINEAR "features=elu1 roles=keep", NULL, "is bool, not i32"},
    {"o = linear_attend q, kk, vv, seen" LINEAR "features=elu1 roles=prefix causal=true", NULL, "it is the same for all of `T`"},
    {"o = linear_attend q, kk, vv, pre" LINEAR "features=elu1 roles=prefix", NULL, "it needs `causal`"},
    {"o = linear_attend q, kk, vv, n" LINEAR "features=elu1 roles=mask", NULL, "the mask `n` is i32, not bool"},
    {"o = linear_attend q, kk, vv, onk" LINEAR "features=elu1 roles=mask", NULL, "the axis `K` of the mask `onk` is none of the scores"},
    {"o = linear_attend q, kk, vv, pw" LINEAR "features=positive roles=projection causal=true eps=0.001", NULL, "a later key would change earlier rows"},
    {"o = linear_attend q, kk, vv, pw, seen" LINEAR "features=positive roles=[projection, document] eps=0.001", NULL, "a later key would change earlier rows"},
    {"o = linear_attend q, kk, vv" LINEAR "features=elu1 eps=0.001", NULL, "`eps` belongs to"},
    {"o = linear_attend q, kk, vv" LINEAR "features=relu eps=-1", NULL, "`eps` belongs to"},
    {"o = linear_attend q, kk, vv" LINEAR "features=elu1 ratio=2", NULL, "`ratio` belongs to"},
    {"o = linear_attend q, kk, vv" LINEAR "features=elu1 tau=2", NULL, "`tau` belongs to"},
    {"o = linear_attend q, kk, vv, pw" LINEAR "features=codes roles=projection", NULL, "`tau` belongs to"},
    {"o = linear_attend q, kk, vv" LINEAR "features=elu1 scale=0", NULL, "`scale` must be above 0"},
    {"o = linear_attend q, kk, vv, off" LINEAR "features=relu roles=offset", NULL, "it needs positive or hyperbolic"},
    {"o = linear_attend q, lk, lv, seen, layer over=K keys=Y queries=S features=none roles=[document, layer] causal=true cache=st.a", NULL, "the axis `T` of the document `seen` is none of `lk`"},
    {"o = linear_attend q, kk, vv" LINEAR "features=elu1 block=4", NULL, "takes no attribute `block`"},
    {"o = codebook_attend q, kk, vv, pw" LINEAR "roles=codebook", "f32[B, S, H=2, W=3]", NULL},
    {"o = codebook_attend q, kk, vv, ph, hd" LINEAR "roles=[codebook, bias] causal=true block=4 recent=keys", "f32[B, S, H=2, W=3]", NULL},
    {"o = codebook_attend q, kk, vv, pw" LINEAR "roles=codebook causal=true recent=keys", NULL, "recent=keys needs `block`"},
    {"o = codebook_attend q, kk, vv, pw" LINEAR "roles=codebook causal=true block=0", NULL, "`block` is 0 positions"},
    {"o = codebook_attend q, kk, vv, pw" LINEAR "roles=codebook causal=true block=4 recent=all", NULL, "codes or keys, not all"},
    {"o = codebook_attend q, kk, vv, pw, hd" LINEAR "roles=[codebook, bias] causal=true", NULL, "a bias of recent keys needs `block`"},
    {"o = codebook_attend q, kk, vv" LINEAR, NULL, "needs a codebook"},
    {"o = codebook_attend q, kk, vv, pw, x" LINEAR "roles=[codebook, bias] causal=true block=4", NULL, "the axis `S` of the bias `x` is no head"},
    {"o = codebook_attend q, kk, vv, pw" LINEAR "roles=codebook eps=1", NULL, "takes no attribute `eps`"},
};
/* clang-format on */

/* clang-format off */
static const Case kernel_cases[] = {
    {"o = gemm x, wg over=D weights=1 (a: f32[B, S, F=6]) { u = gelu a return u }", "f32[B, S, F=6]", NULL},
    {"o = gemm x, wh, v over=D weights=1 (a: f32[B, S, H, K], b: f32[D]) { return a }", "f32[B, S, H=2, K=4]", NULL},
    {"p = gemm x, wg, wh over=D weights=2 (a: f32[B, S, F=6], b: f32[B, S, H, K]) { return a, b }\n  o = get p index=1", "f32[B, S, H=2, K=4]", NULL},
    {"o = gemm x, wg over=D weights=1 (a: f32[S, B, F=6]) { return a }", NULL, "accumulator 0 is f32[B, S, F=6], the body's parameter f32[S, B, F=6]"},
    {"o = gemm x, bad over=D weights=1 (a: f32[B, S, F=6]) { return a }", NULL, "the axis `D` is 4 in `x` but 5 in `bad`"},
    {"o = gemm x, wg over=D weights=2 (a: f32[B, S, F=6]) { return a }", NULL, "gemm needs a weight"},
    {"o = gemm x, wg, v over=D weights=1 (a: f32[B, S, F=6], b: f32[D=5]) { return a }", NULL, "`v` is f32[D=4], the body's parameter f32[D=5]"},
    {"o = gemm x, wg weights=1 (a: f32[B, S, F=6]) { return a }", NULL, "gemm needs `over`"},
    {"o = gemm x, wg, x, wg over=D weights=1 side=0 (a: f32[B, S, F=6]) { return a }", "f32[B, S, F=6]", NULL},
    {"o = gemm x, wg, v, x, wg over=D weights=1 side=[0] (a: f32[B, S, F=6], b: f32[D]) { return a }", "f32[B, S, F=6]", NULL},
    {"o = gemm x, wg, x, wg over=D weights=1 side=[1] (a: f32[B, S, F=6]) { return a }", NULL, "there is no accumulator 1"},
    {"o = gemm x, wg, x, wg over=D weights=1 side=[-1] (a: f32[B, S, F=6]) { return a }", NULL, "there is no accumulator -1"},
    {"o = gemm x, wg, x, wh over=D weights=1 side=[0] (a: f32[B, S, F=6]) { return a }", NULL, "the product beside it f32[B, S, H=2, K=4]"},
    {"o = gemm x, wg, q, wg over=D weights=1 side=[0] (a: f32[B, S, F=6]) { return a }", NULL, "`q` and `wg` have no axis in common"},
    {"o = gemm x, wg, x, wg over=D weights=1 side=[0, 0] (a: f32[B, S, F=6]) { return a }", NULL, "gemm needs a weight"},
    {"o = gemm x, wg, x, wg over=D weights=1 (a: f32[B, S, F=6]) { return a }", NULL, "2 inputs but 0 parameters"},
    {"o = gemm x, wg over=D weights=1 (a: f32[B, S, F=6]) { return }", NULL, "needs a body with a result"},
    {"o = map x, v (a: f32[B, S, D], b: f32[D]) { u = add a, b return u }", "f32[B, S, D=4]", NULL},
    {"o = map (  ) { u = const value=1 : f32 return u }", "f32", NULL},
    {"o = map x, v (a: f32[B, S, D]) { return a }", NULL, "2 inputs but 1 parameters"},
    {"o = map x (a: f32[B, D, S]) { return a }", NULL, "`x` is f32[B, S, D=4], the body's parameter f32[B, D=4, S]"},
    {"o = map x (a: f32[B, S, D]) { u = sum x over=D return u }", NULL, "another graph"},
    {"o = rowwise x over=D (a: f32[B, S, D]) { m = mean a over=D u = sub a, m return u }", "f32[B, S, D=4]", NULL},
    {"o = rowwise x over=D (a: f32[B, S, D]) { u = softmax a over=D return u }", "f32[B, S, D=4]", NULL},
    {"o = rowwise x over=D (a: f32[B, S]) { return a }", NULL, "the body's parameter f32[B, S]"},
    {"o = reduce x over=S (a: f32[B, S, D]) { u = max a over=S return u }", "f32[B, D=4]", NULL},
    {"o = reduce x over=S (a: i32[B, S, D]) { return a }", NULL, "the body's parameter i32[B, S, D=4]"},
    {"o = append q, layer, c cache=kv.k (a: f32[B, S, H, K], b: f32[S, R]) { u = rotate a, b, b return u }", "f32[B, T=past+S, H=2, K=4]", NULL},
    {"o = append q, layer, c cache=kv.k (a: f32[B, S, H, K]) { return a }", NULL, "parameters are not the types of the inputs"},
    {"o = append q, layer cache=kv.k (a: f32[B, S, H, K]) { return }", NULL, "append stores one value"},
};
/* clang-format on */

static void check_case(const Case *c, const char *level, Text *wrong)
{
    Bench t;
    bench_open(&t);
    Text text = text_new(&t.arena);
    text_add(&text, "%s %s  %s\n  return o\n", level, header, c->line);
    Graph *g = bench_read(&t, text.data);
    if (g && c->gives) {
        text.length = 0;
        type_print(g->results[0].value->type, &text);
        if (strcmp(text.data, c->gives))
            text_add(wrong, "%s: gives %s, not %s\n", c->line, text.data, c->gives);
    } else if (g || c->gives || !strstr(bench_said(&t), c->refused)) {
        text_add(wrong, "%s: %s\n", c->line, g ? "accepted" : bench_said(&t));
    }
    bench_close(&t);
}

START_TEST(graph_level)
{
    Arena arena = {0};
    Text wrong = text_new(&arena);
    for (size_t i = 0; i < sizeof graph_cases / sizeof *graph_cases; i++)
        check_case(&graph_cases[i], "graph", &wrong);
    ck_assert_msg(wrong.length == 0, "%s", wrong.data);
    arena_free(&arena);
}
END_TEST

START_TEST(kernel_level)
{
    Arena arena = {0};
    Text wrong = text_new(&arena);
    for (size_t i = 0; i < sizeof kernel_cases / sizeof *kernel_cases; i++)
        check_case(&kernel_cases[i], "kernels", &wrong);
    ck_assert_msg(wrong.length == 0, "%s", wrong.data);
    arena_free(&arena);
}
END_TEST

static bool mentions(const Case *cases, size_t count, const char *op, bool good)
{
    char start[32];
    snprintf(start, sizeof start, "= %s ", op);
    for (size_t i = 0; i < count; i++)
        if (good == (cases[i].gives != NULL) && strstr(cases[i].line, start))
            return true;
    return false;
}

START_TEST(every_op_has_a_case_and_a_near_miss)
{
    for (int op = 0; op < OP_COUNT; op++) {
        if (op == OP_input || op == OP_index || op == OP_carry || op == OP_param)
            continue; /* parts of other lines */
        for (int good = 0; good < 2; good++)
            ck_assert_msg(
                mentions(graph_cases, sizeof graph_cases / sizeof *graph_cases, op_info[op].name, good) ||
                    mentions(kernel_cases, sizeof kernel_cases / sizeof *kernel_cases, op_info[op].name, good),
                "%s has no %s", op_info[op].name, good ? "case" : "near miss");
    }
}
END_TEST

RUN_CASES("infer", graph_level, kernel_level, every_op_has_a_case_and_a_near_miss)
