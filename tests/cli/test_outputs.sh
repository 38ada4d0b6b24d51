# What `attar run` reads and writes: names, files that appear whole or not at all, wrong inputs.
. tests/cli/lib.sh
folder=tests/golden/bert
bert="models/bert.attar --weights $folder"
golden=$folder/golden.safetensors

expect 0 "described" "$attar" run $bert --input $golden
says out "described" '^pooled  f32\[3, 60\]'
expect 0 "to safetensors" "$attar" run $bert --input $golden -o "$work/out.safetensors"
expect 0 "inspect it" "$attar" inspect "$work/out.safetensors"
says out "inspect it" 'pooled'
expect 0 "to npy" "$attar" run $bert --input $golden -o pooled="$work/pooled.npy" -o hidden="$work/hidden.npy"
[ "$(head -c 6 "$work/pooled.npy" | tail -c 5)" = NUMPY ] && pass || fail "a .npy file"
[ "$(wc -c <"$work/pooled.npy")" = $((128 + 3 * 60 * 4)) ] && pass || fail "size of the .npy file: $(wc -c <"$work/pooled.npy")"

expect 3 "which output?" "$attar" run $bert --input $golden -o "$work/y.npy"
says err "which output?" 'E0655'
expect 3 "no such output" "$attar" run $bert --input $golden -o poled="$work/y.npy"
expect 4 "no such folder" "$attar" run $bert --input $golden -o pooled="$work/none/y.npy"
[ -e "$work/y.npy" ] && fail "an output appeared" || pass

# A file that is there stays as it is when the run fails, and nothing temporary is left.
mkdir "$work/kept"
echo before >"$work/kept/y.npy"
npy_i32 "(1, 3)" 1 2 3 >"$work/ids.npy"
npy_i32 "(1, 2)" 1 2 >"$work/short.npy"
npy_i32 "(1, 3)" 1 2 9999 >"$work/far.npy"
npy_i32 "(1, 40)" 1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 7 8 9 10 1 2 3 4 5 6 7 8 9 10 >"$work/long.npy"
expect 3 "missing inputs" "$attar" run $bert --input ids="$work/ids.npy" -o pooled="$work/kept/y.npy"
says err "missing inputs" 'keep\|types'
[ "$(cat "$work/kept/y.npy")" = before ] && pass || fail "the old output is gone"
[ "$(ls "$work/kept" | wc -l)" = 1 ] && pass || fail "something was left: $(ls "$work/kept")"
expect 3 "an input the model does not have" "$attar" run models/gpt2.attar --weights tests/golden/gpt2 --input words="$work/ids.npy"

gpt2="models/gpt2.attar --weights tests/golden/gpt2"
expect 0 "npy input" "$attar" run $gpt2 --input ids="$work/ids.npy" -o "$work/logits.npy"
expect 0 "npy input again" "$attar" run $gpt2 --input ids="$work/ids.npy" -o logits="$work/again.npy"
same "a single output by name or without" "$work/logits.npy" "$work/again.npy"
expect 3 "an id out of range" "$attar" run $gpt2 --input ids="$work/far.npy" -o "$work/never.npy"
says err "an id out of range" '9999'
expect 3 "S over its bound" "$attar" run $gpt2 --input ids="$work/long.npy" -o "$work/never.npy"
says err "S over its bound" 'S'
[ -e "$work/never.npy" ] && fail "an output of a failed run" || pass
head -c 100 "$work/ids.npy" >"$work/cut.npy"
expect 3 "a cut input" "$attar" run $gpt2 --input ids="$work/cut.npy"
says err "a cut input" 'cut.npy'
expect 3 "float ids" "$attar" run $gpt2 --input ids="$work/logits.npy"
finish
