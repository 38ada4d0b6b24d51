# The masks of std.attar from the model file to machine code, against the interpreter: with and without a batch axis, joined, behind a cache.
. tests/cli/lib.sh

# model MASK [INPUT...]: a model that is one attention.
model() {
    mask=$1
    shift
    printf 'let H = 2\nlet K = 16\nmodel Mask(q: f32[B, S, H, K], k: f32[B, S, H, K], v: f32[B, S, H, K]' >"$work/mask.attar"
    printf ', %s' "$@" >>"$work/mask.attar"
    printf ') -> (out: f32[B, S, H, K]) {\n  return attention(q, k, v, mask=%s)\n}\n' "$mask" >>"$work/mask.attar"
}

check() {
    title=$1
    model "$@"
    for size in 1 7 33 130; do
        expect 0 "mask $title, S=$size" "$attar" diff "$work/mask.attar" --dim B=2 --dim S=$size --seed $size
    done
}

check "prefix(5) | causal" "x: f32[B]"
check "prefix(n)" "n: i32[B]"
check "prefix(n) | causal" "n: i32[B]"
check "document(ids) & causal" "ids: i32[B, S]"
check "document(ids)" "ids: i32[S]"
check "permutation(rank)" "rank: i32[S]"
check "permutation(rank) & !document(ids)" "rank: i32[B, S]" "ids: i32[S]"
check "tree(enter, leave)" "enter: i32[B, S]" "leave: i32[B, S]"
check "tree(enter, leave) | prefix(3)" "enter: i32[S]" "leave: i32[S]"
check "padding(keep) & (window(9) | prefix(2))" "keep: bool[B, S]"
check "causal & fn(i, j) => i / 20 == j / 20 | (i - j) % 7 == 0" "x: f32[B]"

# Behind a cache keys are positions of all calls; a tensor for them is as long as the cache.
for mask in "padding(keep) & causal" "document(ids) & causal"; do
    {
        printf 'let H = 2\nlet K = 16\nlet P = 96\ncache kv[1] { k: [B, T <= P, H, K]; v: [B, T <= P, H, K] }\n'
        printf 'model Mask(q: f32[B, S, H, K], k: f32[B, S, H, K], v: f32[B, S, H, K], keep: bool[B, P], ids: i32[B, P]) -> (out: f32[B, S, H, K]) {\n'
        printf '  pos = kv.next(S)\n  k, v = kv[0].append(k, v)\n  return attention(q, k, v, mask=%s)\n}\n' "$mask"
    } >"$work/cached.attar"
    expect 0 "cached $mask" "$attar" diff "$work/cached.attar" --dim B=2 --dim S=40
    expect 0 "cached $mask, later" "$attar" diff "$work/cached.attar" --dim B=2 --dim S=5 --dim past=60
    expect 0 "cached $mask, one by one" "$attar" diff "$work/cached.attar" --dim B=1 --dim S=1 --dim past=95
    sed 's/B, P\]/B, S]/g' "$work/cached.attar" >"$work/short.attar"
    expect 1 "cached $mask, too short" "$attar" check "$work/short.attar"
    says err "cached $mask, too short" "E0310.*need not have the positions"
done
finish
