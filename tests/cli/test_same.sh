# Kernels whose code is the same but for names are emitted once; near misses are not the same; and what comes out is right.
. tests/cli/lib.sh

echo '{"D": 64}' >"$work/config.json"
cat >"$work/norms.attar" <<'MODEL'
config "config.json" { D = D }
model Norms(t: f32[B, S, D], u: f32[B, S, D], v: f32[B, S, D], w: f32[B, S, D], x: f32[B, S, D], z: f32[B, S, D], gain: f32[D], bias: f32[D]) -> (
    a: f32[B, S, D], b: f32[B, S, D], c: f32[B, S, D], d: f32[B, S, D], e: f32[B, S, D], f: f32[B, S, D]) {
  a = standardize(t, eps=1e-5) * gain + bias
  b = standardize(u, eps=1e-5) * bias + gain
  c = standardize(v, eps=1e-3) * gain + bias
  d = standardize(w, eps=1e-5) * gain - bias
  e = standardize(x, eps=1e-5) * gain + gain
  f = standardize(z, eps=1e-3) * bias + gain
  return a, b, c, d, e, f
}
MODEL
of="$work/norms.attar --config $work/config.json"
# shellcheck disable=SC2086
expect 0 "emit" "$attar" emit $of
cp "$work/out" "$work/norms.c"
# b is a with gain and bias exchanged; f is c likewise; another constant, another sign, one vector twice are others.
for pair in 'b a' 'f c'; do
    set -- $pair
    grep -q "its code is that of norms_$2 \*/" "$work/norms.c" && pass || fail "$1 has code of its own"
    grep -q "^static void norms_$1(" "$work/norms.c" && fail "norms_$1 is emitted" || pass
done
[ "$(grep -c 'its code is that of' "$work/norms.c")" = 2 ] && pass || fail "$(grep -c 'its code is that of' "$work/norms.c") kernels share code"
[ "$(grep -c '^static void norms_[a-z](' "$work/norms.c")" = 4 ] && pass || fail "$(grep -c '^static void norms_[a-z](' "$work/norms.c") kernels"
# shellcheck disable=SC2086
expect 0 "diff" "$attar" diff $of --dim B=2 --dim S=3
finish
