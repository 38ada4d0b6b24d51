# --compute bf16: in the report, the C, the IR and the exit status; compiled as the interpreter has it; the same bits for any number of threads.
. tests/cli/lib.sh
gpt2="models/gpt2.attar --weights tests/golden/gpt2"
golden=tests/golden/gpt2/golden.safetensors

expect 0 "report" "$attar" report $gpt2 --compute bf16
says out "report" 'rewritten   compute-bf16 *13 of 13'
says out "report" 'in bf16, rounded'
says out "report" 'approx .*compute-bf16 of 13 products with weights .*of the weights 0.00.* no bound'
expect 0 "calibrated" "$attar" report $gpt2 --all --compute bf16:max_err=0.1 --calibrate $golden
says out "calibrated" 'compute-bf16.*of the outputs 0.0.*golden.safetensors; max_err 0.1'
says out "calibrated" 'mlp.c_proj.weight: 1.6.e-03'
expect 0 "the C" "$attar" emit $gpt2 --compute bf16
says out "the C" '^ \*.*compute-bf16 of 13 products with weights'
says out "the C" 'round_bf16(gelu'
emit_files "$work" $gpt2 --compute bf16 || fail "emit"
expect 0 "clang" "${CLANG:-clang-19}" -march=native -std=c11 -Wall -Wextra -Werror -fsyntax-only "$work/model.c"
expect 0 "gcc" gcc -march=native -std=c11 -Wall -Wextra -Werror -fsyntax-only "$work/model.c"
expect 0 "the other C" "$attar" emit $gpt2 --compute f32
grep -q 'bf16' "$work/out" && fail "something was rounded without being asked for" || pass
expect 1 "over its bound" "$attar" run $gpt2 --compute bf16:max_err=0.0001 --input $golden
says err "over its bound" 'E0901.*compute-bf16'
expect 2 "no such type" "$attar" run $gpt2 --compute fp8 --input $golden
says err "no such type" 'f32.*bf16.*max_err'

expect 0 "ir" "$attar" ir $gpt2 --compute bf16 --after lower
says out "ir" 'weight.* rounded=bf16'
says out "ir" '= round_bf16 '
cp "$work/out" "$work/model.ir"
expect 0 "ir again" "$attar" ir "$work/model.ir"
same "the IR read back" "$work/model.ir" "$work/out"

expect 0 "near the golden file" "$attar" verify $gpt2 --compute bf16 --golden $golden --atol 0.05
expect 1 "not as near as f32" "$attar" verify $gpt2 --compute bf16 --golden $golden
expect 0 "compiled" "$attar" diff $gpt2 --compute bf16 --dim S=7 --dim B=2
for t in 1 2; do
    expect 0 "run" "$attar" run $gpt2 --compute bf16 --input $golden --threads $t -o logits="$work/logits.$t.npy"
done
same "threads" "$work/logits.1.npy" "$work/logits.2.npy"
expect 0 "f32" "$attar" run $gpt2 --input $golden -o logits="$work/logits.npy"
cmp -s "$work/logits.npy" "$work/logits.1.npy" && fail "bf16 gives the same bits as f32" || pass
expect 0 "generate" "$attar" generate models/llama.attar --weights models/austen --compute bf16 --prompt "It is a truth" --steps 4
finish
