# Every golden folder passes, prefill and token by token; a wrong golden fails.
. tests/cli/lib.sh

for name in $models; do
    folder=tests/golden/$name
    expect 0 "verify $name" "$attar" verify "$(model_of $name)" --weights $folder --golden $folder/golden.safetensors --threads 2
    says out "verify $name" 'PASS$'
    case $name in
    bert | minilm) ;;
    *) says out "verify $name" 'token by token.*PASS$' ;;
    esac
done
expect 0 "verify austen" "$attar" verify models/llama.attar --weights models/austen --golden models/austen/golden.safetensors
expect 0 "verify a file" "$attar" verify models/bert.attar --weights tests/golden/bert/model.safetensors --golden tests/golden/bert/golden.safetensors
expect 0 "verify another config" "$attar" verify models/bert.attar --weights tests/golden/bert --config tests/golden/bert/config.json --golden tests/golden/bert/golden.safetensors

# Dynamic scaling makes token by token another function; long and short frequencies do not, before the texts get long.
expect 0 "rotation by the length of the text" "$attar" verify models/llama.attar --weights tests/golden/llama-rope-dynamic --golden tests/golden/llama-rope-dynamic/golden.safetensors
says out "rotation by the length of the text" 'prefill.*PASS$'
says out "rotation by the length of the text" 'token by token.*DIFFERS$'
says out "rotation by the length of the text" 'no error: the model computes with the length of the text'
expect 0 "rotation chosen by the length" "$attar" verify models/phi3.attar --weights tests/golden/phi3 --golden tests/golden/phi3/golden.safetensors
says out "rotation chosen by the length" 'token by token.*PASS$'
# What verify cannot compare there, the mathematics can: a call that continues a cache, before, across and beyond the bound.
for past in 7 15 20; do
    expect 0 "rotation by the length, $past positions before" "$attar" diff models/llama.attar --weights tests/golden/llama-rope-dynamic --dim B=2 --dim S=3 --dim past=$past
    expect 0 "rotation chosen by the length, $past positions before" "$attar" diff models/phi3.attar --weights tests/golden/phi3-long --dim B=2 --dim S=3 --dim past=$((past + 16))
done
expect 1 "a failure all at once is one" "$attar" verify models/llama.attar --weights tests/golden/llama-rope-dynamic --golden tests/golden/llama-rope-dynamic/golden.safetensors --atol 0
says out "a failure all at once is one" 'prefill.*FAIL$'

for threads in 1 3; do
    expect 0 "latent expanded in every call" "$attar" verify models/deepseek.attar --weights tests/golden/deepseek-v3-dense --golden tests/golden/deepseek-v3-dense/golden.safetensors --pass reassociate=off --threads $threads
    says out "latent expanded in every call" 'token by token.*PASS$'
done
sed 's/"first_k_dense_replace": 2/"first_k_dense_replace": 1/' tests/golden/deepseek-v3-dense/config.json >"$work/experts.json"
expect 3 "layers with experts that the checkpoint has not" "$attar" check models/deepseek.attar --config "$work/experts.json" --weights tests/golden/deepseek-v3-dense
says err "layers with experts that the checkpoint has not" 'mlp.gate'

expect 1 "verify with no tolerance at all" "$attar" verify models/bert.attar --weights tests/golden/bert --golden tests/golden/bert/golden.safetensors --atol 0
says out "verify with no tolerance at all" 'FAIL$'
expect 3 "another model's golden" "$attar" verify models/bert.attar --weights tests/golden/bert --golden tests/golden/gpt2/golden.safetensors
says err "another model's golden" 'E0656'

cp tests/golden/bert/golden.safetensors "$work/alone.safetensors"
expect 0 "no tolerance beside the golden" "$attar" verify models/bert.attar --weights tests/golden/bert --golden "$work/alone.safetensors"
says err "no tolerance beside the golden" 'no tolerance'

# The file beside the golden: a bound for each output, or one for all, absolute or relative to the largest magnitude.
beside() { echo "$2" >"$work/alone.json" && expect "$1" "golden.json $2" "$attar" verify models/bert.attar --weights tests/golden/bert --golden "$work/alone.safetensors"; }
beside 1 '{"tolerance": 1e-9}'
beside 0 '{"tolerance": 1e-9, "outputs": {"hidden": {"atol": 1e-4}, "pooled": {"atol": 1e-4}}}'
beside 1 '{"tolerance": 1e-4, "outputs": {"hidden": {"atol": 1e-4}, "pooled": {"atol": 1e-9}}}'
says out "one output is off" '^hidden .*PASS$'
says out "one output is off" '^pooled .*FAIL$'
beside 0 '{"tolerance": 1e-4, "relative": true}'
largest=$("$attar" verify models/bert.attar --weights tests/golden/bert --golden "$work/alone.safetensors" | awk '/^hidden/ { print ($(NF - 1) > 1e-4) }')
[ "$largest" = 1 ] && pass || fail "a relative tolerance grows with the output"
beside 3 '{"tolerance": "small"}'
beside 3 '{"tolerance": 1, "relative": 1}'
beside 3 '{"tolerance": 1, "outputs": {"hidden": {"atol": -1}}}'
says err "a negative bound" 'outputs.hidden.atol'

# Two calls instead of one for each token.
llama="models/llama.attar --weights tests/golden/llama --golden tests/golden/llama/golden.safetensors"
expect 0 "five positions, then the rest" "$attar" verify $llama --first 5
says out "five positions, then the rest" '5, then 8 .*PASS$'
expect 3 "nothing left for the second call" "$attar" verify $llama --first 13
says err "nothing left for the second call" 'it has 13 positions'
finish
