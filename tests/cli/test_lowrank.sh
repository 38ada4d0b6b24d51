# --lowrank: factors where asked and nowhere else, their errors in the report, the C and the exit status; requests that cannot be met.
. tests/cli/lib.sh
austen="models/llama.attar --weights models/austen"

expect 0 "without it" "$attar" report $austen
grep -q 'factor-lowrank' "$work/out" && fail "a weight was factored without being asked for" || pass
expect 0 "a rank" "$attar" report $austen --lowrank ffn:rank=48
says out "a rank" 'rewritten   factor-lowrank *18 of 18'
says out "a rank" '^approx .*mlp.down_proj.weight (rank=48): relative error of the weight'
grep -q '^approx .*self_attn' "$work/out" && fail "ffn is not attention" || pass
expect 0 "attention" "$attar" report $austen --lowrank attention:rank=16
[ "$(grep -c '^approx .*self_attn.*rank=16' "$work/out")" = 4 ] && pass || fail "attention has four products"
expect 0 "a pattern" "$attar" report $austen --lowrank '*.up_proj.weight:rank=9'
[ "$(grep -c '^approx ' "$work/out")" = 1 ] && pass || fail "one weight is named"
expect 0 "the C" "$attar" emit $austen --lowrank ffn:rank=48
says out "the C" 'factor-lowrank.*rank=48'
expect 0 "an error" "$attar" report $austen --lowrank ffn:err=0.5
says out "an error" '^approx .*err 0.5000'
expect 1 "over its bound" "$attar" generate $austen --lowrank ffn:rank=8,max_err=0.2 --prompt "It is" --steps 4
says err "over its bound" 'E0901.*factor-lowrank'
expect 0 "too large" "$attar" report $austen --all --lowrank attention:rank=150
says out "too large" 'NOT_FACTORED'
grep -q '^approx ' "$work/out" && fail "factors that save nothing were put in" || pass
expect 0 "two requests" "$attar" report $austen --lowrank '*.q_proj.weight:rank=5' --lowrank all:rank=20
says out "two requests" 'q_proj.weight (rank=5)'
says out "two requests" 'o_proj.weight (rank=20)'
grep -q 'embed_tokens.weight (rank' "$work/out" && fail "a table that the head shares was factored" || pass
expect 0 "compiled" "$attar" diff $austen --lowrank all:rank=24 --dim S=9 --dim B=1

# Chosen for the inputs that the products meet, and from the weight's own columns and rows.
expect 0 "calibrated" "$attar" report $austen --all --lowrank '*.up_proj.weight:rank=48' --calibrate models/austen/held.txt
says out "calibrated" '^approx .*relative error of the product .*measured on .*which made the factors too'
says out "the weight's own error" 'the weight itself is off by'
expect 0 "cur" "$attar" report $austen --lowrank '*.up_proj.weight:rank=48,method=cur'
says out "cur" '^approx .*(rank=48, method=cur): relative error of the weight'

# Hidden units: only where a calibration of enough rows says which, and only where nothing else reads them.
head -c 4096 models/austen/held.txt >"$work/some.txt"
expect 1 "id without inputs" "$attar" report $austen --lowrank ffn:rank=384,method=id
says err "id without inputs" 'E0904.*hidden units'
expect 0 "id" "$attar" report $austen --all --lowrank ffn:rank=384,method=id --calibrate "$work/some.txt"
says out "id" '^approx .*mlp.down_proj.weight (rank=384, method=id): relative error of the product'
says out "id" '384 of 512 hidden units are kept'
says out "no units" 'NOT_FACTORED'
expect 0 "id, compiled" "$attar" diff $austen --lowrank ffn:rank=511,method=id --calibrate "$work/some.txt" --dim S=5 --dim B=2
expect 1 "id over its bound" "$attar" emit $austen --lowrank ffn:rank=100,method=id,max_err=0.1 --calibrate "$work/some.txt"
says err "id over its bound" 'E0901.*factor-lowrank'
expect 1 "too few rows" "$attar" report models/gpt2.attar --weights tests/golden/gpt2 --lowrank ffn:rank=100,method=id \
    --calibrate tests/golden/gpt2/golden.safetensors
says err "too few rows" 'E0905.*too few'
expect 2 "cur by error" "$attar" report $austen --lowrank 'ffn:err=0.1,method=cur'
expect 2 "no such method" "$attar" report $austen --lowrank 'ffn:rank=4,method=qr'

sed 's/^  return \(linear(gate . up, "down_proj".*\)/  @lowrank(err=0.3, method=id)\n  y = \1\n  return y/' models/llama.attar >"$work/units.attar"
expect 0 "id marked" "$attar" report "$work/units.attar" --weights models/austen --calibrate "$work/some.txt"
says out "id marked" '^approx .*mlp.down_proj.weight .*method=id.*err 0.3000'

# The same asked for in the model file; an option that names the weight goes before it.
marked="$work/marked.attar --weights models/austen"
sed 's/^  up = linear/  @lowrank(rank=48)\n  up = linear/; s/^  return linear(a, "o_proj"/  @lowrank(err=0.5)\n  o = linear(a, "o_proj"/
     s/in=(H, K), bias=o_bias)$/&\n  return o/' models/llama.attar >"$work/marked.attar"
expect 0 "marked" "$attar" report $marked
[ "$(grep -c '^approx ' "$work/out")" = 2 ] && pass || fail "two weights are marked"
says out "marked by rank" '^approx .*mlp.up_proj.weight (rank=48)'
says out "marked by error" '^approx .*self_attn.o_proj.weight .*err 0.5000'
expect 0 "marked, and an option" "$attar" report $marked --lowrank '*.up_proj.weight:rank=9'
says out "marked, and an option" '^approx .*mlp.up_proj.weight (rank=9)'
says out "the other mark" '^approx .*self_attn.o_proj.weight '
expect 0 "marked, compiled" "$attar" diff $marked --dim S=5 --dim B=1
expect 3 "marked, no weights" "$attar" report "$work/marked.attar" --config models/austen/config.json
expect 2 "no setting" "$attar" report $austen --lowrank ffn
expect 2 "both" "$attar" report $austen --lowrank ffn:rank=3,err=0.1
expect 2 "rank 0" "$attar" report $austen --lowrank ffn:rank=0
expect 1 "named nothing" "$attar" report $austen --lowrank 'no.such*:rank=3'
says err "named nothing" 'ffn: model.layers.{i}.mlp.up_proj.weight'
finish
