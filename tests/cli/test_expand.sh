# attar expand: the larger checkpoint passes the smaller one's golden; what it refuses and what it keeps.
. tests/cli/lib.sh
gpt2="models/gpt2.attar --weights tests/golden/gpt2"

expect 0 "expand gpt2" "$attar" expand $gpt2 --factor 3 -o "$work/large"
says out "expand gpt2" 'n_embd = 180'
says out "expand gpt2" 'transformer.wte.weight .*\[V, D x 3\]  \* 3^-0.5$'
expect 0 "verify the larger gpt2" "$attar" verify models/gpt2.attar --weights "$work/large" --golden tests/golden/gpt2/golden.safetensors
says out "verify the larger gpt2" 'token by token.*PASS$'
cp "$work/large/model.safetensors" "$work/kept"
expect 4 "the folder has a checkpoint" "$attar" expand $gpt2 --factor 2 -o "$work/large"
says err "the folder has a checkpoint" 'E1011'
same "a checkpoint that is there is kept" "$work/kept" "$work/large/model.safetensors"
expect 0 "force" "$attar" expand $gpt2 --factor 2 -o "$work/large" --force
expect 0 "verify after force" "$attar" verify models/gpt2.attar --weights "$work/large" --golden tests/golden/gpt2/golden.safetensors

expect 0 "one width alone" "$attar" expand $gpt2 --factor 4 --widen n_inner -o "$work/inner"
says out "one width alone" 'c_fc.weight .*\[D, F x 4\]'
says out "one width alone" 'wte.weight .*\[V, D\]'
expect 0 "verify one width alone" "$attar" verify models/gpt2.attar --weights "$work/inner" --golden tests/golden/gpt2/golden.safetensors
expect 1 "a key that is no size" "$attar" expand $gpt2 --factor 2 --widen activation_function -o "$work/none"
says err "a key that is no size" 'E0910'
expect 1 "heads of rotary positions" "$attar" expand models/llama.attar --weights tests/golden/llama-sharded-bf16 --factor 2 --widen head_dim -o "$work/none"
says err "heads of rotary positions" 'frequencies belong to a width'
expect 1 "no model for it" "$attar" expand models/fnet.attar --weights tests/golden/fnet --factor 2 -o "$work/none"
says err "no model for it" 'positions along a widened axis'
[ ! -e "$work/none" ] && pass || fail "a refusal leaves nothing behind"
expect 2 "no factor" "$attar" expand $gpt2 -o "$work/none"
expect 2 "factor 1" "$attar" expand $gpt2 --factor 1 -o "$work/none"
expect 4 "a folder that cannot be" "$attar" expand $gpt2 --factor 2 -o "$work/no/such/folder"
finish
