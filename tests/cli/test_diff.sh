# Machine code against the float64 interpreter on every model: B > 1, S = 1, S = the bound, later positions, rows of nothing but padding,
# and every pass left out in turn.
. tests/cli/lib.sh

for name in $models; do
    folder=tests/golden/$name
    set -- "$(model_of $name)" --weights $folder
    expect 0 "diff $name on its golden inputs" "$attar" diff "$@" --input $folder/golden.safetensors
    expect 0 "diff $name B=3 S=7" "$attar" diff "$@" --dim B=3 --dim S=7 --seed 1
    expect 0 "diff $name S=1" "$attar" diff "$@" --dim B=2 --dim S=1 --seed 2
    case $name in
    bert | gpt2) bound=32 ;;
    llama-rope-llama3) bound=512 ;;
    llama-rope-old-spelling) bound=256 ;;               # scaled by 4
    *) bound=64 ;;
    esac
    expect 0 "diff $name S=$bound" "$attar" diff "$@" --dim B=1 --dim S=$bound --seed 3
    expect 3 "diff $name S=$((bound + 1))" "$attar" diff "$@" --dim B=1 --dim S=$((bound + 1))
    case $name in
    bert) ;;
    *)
        expect 0 "diff $name past=6 S=1" "$attar" diff "$@" --dim B=2 --dim S=1 --dim past=6
        expect 0 "diff $name past=6 S=5" "$attar" diff "$@" --dim B=1 --dim S=5 --dim past=6
        expect 0 "diff $name to the last position" "$attar" diff "$@" --dim B=1 --dim S=1 --dim past=$((bound - 1))
        ;;
    esac
done
for pass_name in $("$attar" passes | awk '/^ *[0-9]+  / { print $2 }' | sort -u); do
    case $pass_name in lower | plan-memory) continue ;; esac
    expect 0 "bert without $pass_name" "$attar" diff models/bert.attar --weights tests/golden/bert --pass $pass_name=off --input tests/golden/bert/golden.safetensors
    expect 0 "llama without $pass_name" "$attar" diff models/llama.attar --weights tests/golden/llama --pass $pass_name=off --input tests/golden/llama/golden.safetensors
done

# Rows without a single real token: attention gives zeros there, never a NaN.
npy_i32 "(2, 5)" 1 2 3 4 5 6 7 8 9 10 >"$work/ids.npy"
npy_i32 "(2, 5)" 0 0 0 0 0 0 0 0 0 0 >"$work/types.npy"
{
    header="{'descr': '|b1', 'fortran_order': False, 'shape': (2, 5), }"
    while [ $(((${#header} + 11) % 64)) != 0 ]; do header="$header "; done
    printf '\223NUMPY\001\000'
    printf "\\$(printf %03o $((${#header} + 1)))\\000"
    printf '%s\n' "$header"
    printf '\001\001\001\000\000\000\000\000\000\000'
} >"$work/keep.npy"
padded="--input ids=$work/ids.npy --input types=$work/types.npy --input keep=$work/keep.npy"
expect 0 "a row of padding" "$attar" diff models/bert.attar --weights tests/golden/bert $padded
expect 0 "a row of padding, output" "$attar" run models/bert.attar --weights tests/golden/bert $padded -o hidden="$work/hidden.npy"
expect 0 "a row of padding, shown" "$attar" run models/bert.attar --weights tests/golden/bert $padded
if grep -qi nan "$work/out"; then fail "a NaN from a row of padding"; else pass; fi

expect 1 "nothing is exact enough" "$attar" diff models/bert.attar --weights tests/golden/bert --tol 0
says out "nothing is exact enough" 'first value that differs'
finish
