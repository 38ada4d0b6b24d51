# --store: in the report, the C and the exit status; every verb takes it; --storage is the same option.
. tests/cli/lib.sh
gpt2="models/gpt2.attar --weights tests/golden/gpt2"
golden=tests/golden/gpt2/golden.safetensors

for type in bf16 f16; do
    expect 0 "report $type" "$attar" report $gpt2 --store $type
    says out "report $type" "approx  *store of .* tensors of weights (rounded to $type): relative error of the weights .*; no bound"
    says out "report $type" "memory  *weights .* in $type, rounded when they were packed"
    expect 0 "compiled $type" "$attar" diff $gpt2 --store $type --dim S=7 --dim B=2
    expect 1 "$type is not f32" "$attar" verify $gpt2 --store $type --golden $golden
    expect 0 "$type is near f32" "$attar" verify $gpt2 --store $type --golden $golden --atol 0.1
done
expect 0 "all" "$attar" report $gpt2 --all --store f16
says out "all" 'mlp.c_proj.weight: 2...e-04, largest .* of the largest element'
expect 0 "the C" "$attar" emit $gpt2 --store f16
says out "the C" '^ \*   store of .* tensors of weights (rounded to f16)'
expect 0 "within its bound" "$attar" run $gpt2 --store f16:max_err=0.001 --input $golden
expect 1 "over its bound" "$attar" run $gpt2 --store bf16:max_err=0.001 --input $golden
says err "over its bound" 'E0901.*store.*max_err'
says err "over its bound" '--store f32'
expect 2 "no such type" "$attar" run $gpt2 --store int8 --input $golden
says err "no such type" 'stored.*f32.*bf16.*f16'
expect 2 "no such bound" "$attar" run $gpt2 --storage f16:max_err=2 --input $golden
says err "no such bound" 'above 0 and at most 1'
expect 0 "nothing to round" "$attar" report models/llama.attar --weights tests/golden/llama-sharded-bf16 --store bf16
says out "nothing to round" '^exact '
expect 0 "an adapter first, then rounded" "$attar" report models/llama.attar --weights tests/golden/lora-llama --lora tests/golden/lora-llama/adapter --lora-mode merge --store bf16
says out "an adapter first, then rounded" 'approx  *store of'
finish
