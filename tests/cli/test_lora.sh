# Adapters on the command line: the table of inspect, the report's line, weights, what is refused and with which status.
. tests/cli/lib.sh

base=tests/golden/lora-llama adapter=tests/golden/lora-llama/adapter

expect 0 "inspect" "$attar" inspect $adapter
says out "inspect" 'model.layers.{0..1}.self_attn.q_proj'
says out "inspect" '40 -> 20     4      10     2.5'
expect 0 "inspect with the base" "$attar" inspect $adapter --weights $base
says out "inspect with the base" 'of the weight'
says out "inspect with the base" 'merged in f32'
expect 0 "inspect whole tensors" "$attar" inspect tests/golden/lora-bert/adapter --weights tests/golden/lora-bert
says out "inspect whole tensors" "pooler.dense.weight"
expect 3 "inspect against another model" "$attar" inspect $adapter --weights tests/golden/bert
says err "inspect against another model" E0679
expect 2 "inspect a checkpoint with --weights" "$attar" inspect $base --weights $base

expect 0 "report" "$attar" report models/llama.attar --weights $base --lora $adapter --lora-mode merge
says out "report" '1 merged into 6 weights, kept in f32'
says out "report" 'nothing was approximated'
expect 0 "check" "$attar" check models/llama.attar --weights $base --lora $adapter
expect 0 "half of it" "$attar" check models/llama.attar --weights $base --lora $adapter:0.5
expect 0 "taken away" "$attar" check models/llama.attar --weights $base --lora $adapter:-1
expect 3 "twice" "$attar" check models/llama.attar --weights $base --lora $adapter --lora $adapter:2
says err "twice" E0685
expect 3 "no folder" "$attar" run models/llama.attar --weights $base --lora "$work/none"
says err "no folder" E0670
expect 3 "no weights" "$attar" check models/llama.attar --config $base/config.json --lora $adapter
says err "no weights" E0651
expect 3 "another base" "$attar" check models/bert.attar --weights tests/golden/bert --lora $adapter
says err "another base" E0679
expect 0 "cat" "$attar" check models/llama.attar --weights $base --lora $adapter --lora-combine cat
for how in linear svd ties dare_linear dare_ties magnitude_prune; do
    expect 2 "combine $how" "$attar" check models/llama.attar --weights $base --lora $adapter --lora-combine $how
    says err "combine $how" 'only `cat` is supported'
done
expect 2 "combine nonsense" "$attar" check models/llama.attar --weights $base --lora $adapter --lora-combine mean
expect 2 "dtype" "$attar" check models/llama.attar --weights $base --lora $adapter --lora-dtype bf16
expect 3 "dtype without merging" "$attar" check models/llama.attar --weights $base --lora $adapter --lora-dtype stored --lora-mode side
says err "dtype without merging" E0686
"$attar" ir models/llama.attar --weights $base >"$work/llama.ir"
expect 3 "IR" "$attar" ir "$work/llama.ir" --lora $adapter

# Merged, the emitted C is the base's own.
"$attar" emit models/llama.attar --weights $base >"$work/base.c"
"$attar" emit models/llama.attar --weights $base --lora $adapter --lora-mode merge >"$work/merged.c"
same "the C of a merged model" "$work/base.c" "$work/merged.c"

finish
