# attar extract-lora: the adapter that another adapter was merged into comes out again; what it refuses and what it keeps.
. tests/cli/lib.sh
base=tests/golden/lora-llama

"$attar" expand models/bert.attar --weights tests/golden/bert --factor 2 -o "$work/large" >/dev/null
expect 3 "another model" "$attar" extract-lora tests/golden/bert "$work/large" --rank 2 -o "$work/adapter"
says err "another model" 'E0445.*has shape'
expect 3 "equal" "$attar" extract-lora "$base" "$base" --rank 2 -o "$work/adapter"
says err "equal" 'E0446.*every tensor is equal'
[ ! -e "$work/adapter" ] && pass || fail "a refusal leaves nothing behind"

# Two checkpoints of one shape are a base and what it was tuned to.
expect 0 "difference" "$attar" extract-lora tests/golden/lora-llama tests/golden/lora-llama-dora --rank 4 -o "$work/adapter"
says out "difference" 'q_proj.weight .* 4 '
says out "difference" '^Frobenius norm of the differences .*; left out '
expect 0 "it is an adapter" "$attar" inspect "$work/adapter"
expect 0 "it is one for the base" "$attar" check models/llama.attar --weights tests/golden/lora-llama --lora "$work/adapter"
cp "$work/adapter/adapter_model.safetensors" "$work/kept"
expect 4 "the folder has an adapter" "$attar" extract-lora tests/golden/lora-llama tests/golden/lora-llama-dora --rank 2 -o "$work/adapter"
same "an adapter that is there is kept" "$work/kept" "$work/adapter/adapter_model.safetensors"

# With its whole rank the adapter is the other checkpoint.
expect 0 "whole rank" "$attar" extract-lora tests/golden/lora-llama tests/golden/lora-llama-dora --rank 9999 -o "$work/adapter" --force
expect 0 "the other checkpoint's output" "$attar" verify models/llama.attar --weights tests/golden/lora-llama --lora "$work/adapter" --golden tests/golden/lora-llama-dora-base/golden.safetensors
expect 2 "no rank" "$attar" extract-lora tests/golden/lora-llama tests/golden/lora-llama-dora -o "$work/adapter"
expect 2 "one checkpoint" "$attar" extract-lora tests/golden/lora-llama --rank 4 -o "$work/adapter"
finish
