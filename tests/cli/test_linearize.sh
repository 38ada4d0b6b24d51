# Approximations that are asked for: what is said of them, where it is said, and what happens above the bound.
. tests/cli/lib.sh

bert="models/bert.attar --weights tests/golden/bert"
llama="models/llama.attar --weights tests/golden/llama"
golden=tests/golden/bert/golden.safetensors
tokens=tests/golden/llama/golden.safetensors

# Nothing happens that was not asked for: calibration inputs alone change no byte.
expect 0 "exact" "$attar" emit $bert
cp "$work/out" "$work/exact.c"
expect 0 "calibration alone" "$attar" emit $bert --calibrate $golden
same "calibration alone" "$work/exact.c" "$work/out"
grep -q APPROXIMATED "$work/exact.c" && fail "exact code calls itself approximated" || pass
expect 0 "exact report" "$attar" report $bert
says out "exact report" '^exact  *every rewrite is exact in real arithmetic; nothing was approximated$'

# A request shows in the report, as text and for programs, and in the header of the emitted C.
asked="--linearize vq:codes=8,block=0,seed=3,max_err=5 --calibrate $golden"
expect 0 "asked" "$attar" report $bert $asked
says out "asked" '^approx  *linearize-vq of encoder\.layer\.0\.attention, head [0-2] the worst of 3 (codes=8, block=0, seed=3): relative error of the output 0\.[0-9]* measured on 3 x 13 positions of golden\.safetensors (which made the constants too); max_err 5\.0000$'
[ "$(grep -c '^approx ' "$work/out")" = 2 ] && pass || fail "asked: not one record a layer"
grep -q '^exact ' "$work/out" && fail "asked: the report says exact" || pass
expect 0 "every head" "$attar" report $bert $asked --all
[ "$(grep -c 'layer [01] head [012] .*|q| .*output .*variation .*MFLOP.* ms [0-9.e-]* -> [0-9.e-]*$' "$work/out")" = 6 ] && pass || fail "every head: not six rows"
expect 0 "as JSON" "$attar" report $bert $asked --json
[ "$(grep -c '"kind":"approximation".*"pass":"linearize-vq".*"bound":5,"over":false' "$work/out")" = 2 ] && pass || fail "as JSON: not two records"
says out "as JSON" '"kind":"summary".*"exact":false'
expect 0 "the header" "$attar" emit $bert $asked
sed '/\*\//q' "$work/out" >"$work/header"
says header "the header" 'APPROXIMATED, as was asked for:'
says header "the header" 'linearize-vq of encoder\.layer\.1\.attention'
cp "$work/out" "$work/first.c"
expect 0 "the same again" "$attar" emit $bert $asked --no-cache
same "the same again" "$work/first.c" "$work/out"

# Above its bound nothing is built.
expect 1 "over the bound" "$attar" run $bert --input $golden --linearize vq:codes=2,block=0,max_err=0.01,layers=1 --calibrate $golden
says err "over the bound" 'error\[E0901\]: `linearize-vq` (codes=2, block=0, seed=0, layers=1) exceeds its bound: max_err = 0\.0100'
says err "over the bound" 'encoder\.layer\.1\.attention, head [0-2] the worst of 3: relative error'
says err "over the bound" 'vq codes=[0-9]* gives 0\.'
says err "over the bound" 'performer features=256 gives '
expect 1 "performer over the bound" "$attar" emit $bert --linearize performer:features=16,seed=7,max_err=0.001 --calibrate $golden
says err "performer over the bound" 'linearize-performer.* exceeds its bound'
expect 1 "not measured" "$attar" emit $bert --linearize performer:features=16
says err "not measured" 'error\[E0904\]'
expect 1 "no such layer" "$attar" emit $bert --linearize vq:layers=2 --calibrate $golden
says err "no such layer" 'there is no layer 2: .* the layers 0 to 1'
expect 2 "no such key" "$attar" emit $bert --linearize performer:feature=16
says err "no such key" 'did you mean `features`?'
expect 3 "no such file" "$attar" emit $bert --linearize vq --calibrate "$work/none.safetensors"
expect 3 "another model's inputs" "$attar" emit $bert --linearize vq --calibrate $tokens

# A code for every key loses nothing: the model as it was, with a cache and without, whole and in part.
expect 0 "as many codes as keys" "$attar" verify $bert --golden $golden --linearize vq:codes=64,block=0 --calibrate $golden
expect 0 "one layer, two heads" "$attar" verify $bert --golden $golden --linearize vq:codes=64,block=0,layers=1,heads=0+2 --calibrate $golden
for spec in vq:codes=64,block=8 vq:codes=64,block=0,layers=1 vq:codes=64,block=4,heads=0; do
    expect 0 "llama, $spec" "$attar" verify $llama --golden $tokens --linearize $spec --calibrate $tokens
    says out "llama, $spec" 'token by token .*PASS'
done
expect 0 "states" "$attar" report $llama --linearize vq:codes=64,block=8 --calibrate $tokens
says out "states" '^memory  *states  .*2 layers.* however long the text$'
expect 0 "diff" "$attar" diff $llama --linearize vq:codes=8,block=4 --calibrate $tokens
says out "diff" '^results, approximated as was asked for:$'

expect 0 "diff, performer" "$attar" diff $llama --linearize performer:features=32,layers=0 --calibrate $tokens --dim past=5 --dim S=3
expect 0 "diff, performer, heads" "$attar" diff $bert --linearize performer:features=32,heads=0+2 --calibrate $golden

# The annotation of a model file is the same request.
sed 's/^  a = attention(/  @linearize(vq, codes=64, block=8, layers=[1])\n&/' models/llama.attar >"$work/asks.attar"
expect 0 "an annotation" "$attar" report "$work/asks.attar" --weights tests/golden/llama --calibrate $tokens
says out "an annotation" '^approx  *linearize-vq of model\.layers\.1\.self_attn.*(codes=64, block=8, seed=0, layers=1)'
expect 1 "an annotation without calibration" "$attar" report "$work/asks.attar" --weights tests/golden/llama
says err "an annotation without calibration" 'E0904'

# What has to stay exact stays so, and says why.
expect 0 "window" "$attar" report models/llama.attar --weights tests/golden/mistral --linearize vq:codes=8 --calibrate tests/golden/mistral/golden.safetensors
says out "window" '^exact  *every rewrite'
says err "window" 'warning\[W0901\]'

finish
