# The IR of every model prints, reads back and prints identically, as loaded, after each pass and at the end.
. tests/cli/lib.sh

passes=$("$attar" passes | awk '/^ *[0-9]+  / { print $2 }' | sort -u)
[ -n "$passes" ] || fail "no passes"
for name in $models; do
    set -- "$(model_of $name)" --weights tests/golden/$name
    for how in "--level graph" "--level kernel"; do
        expect 0 "$name $how" "$attar" ir "$@" $how
        cp "$work/out" "$work/first.ir"
        [ -s "$work/first.ir" ] && pass || fail "$name $how: nothing printed"
        expect 0 "$name $how, read back" "$attar" ir "$work/first.ir"
        same "$name $how" "$work/first.ir" "$work/out"
    done
done
for pass_name in $passes; do
    expect 0 "llama after $pass_name" "$attar" ir models/llama.attar --weights tests/golden/llama --after $pass_name
    cp "$work/out" "$work/first.ir"
    expect 0 "llama after $pass_name, read back" "$attar" ir "$work/first.ir"
    same "llama after $pass_name" "$work/first.ir" "$work/out"
done

# IR text goes through the same passes as a model file.
"$attar" ir models/bert.attar --weights tests/golden/bert >"$work/bert.ir"
"$attar" ir models/bert.attar --weights tests/golden/bert --level kernel >"$work/kernels.ir"
expect 0 "passes on IR text" "$attar" ir "$work/bert.ir" --level kernel
grep -v '^#' "$work/out" | sed 's/ *#.*//' >"$work/from-text"
grep -v '^#' "$work/kernels.ir" | sed 's/ *#.*//' >"$work/from-model"
same "passes on IR text" "$work/from-text" "$work/from-model"
sed 's/= tanh /= tansh /' "$work/bert.ir" >"$work/broken.ir"
expect 1 "broken IR text" "$attar" ir "$work/broken.ir"
says err "broken IR text" 'broken.ir:'
head -c 700 "$work/bert.ir" >"$work/cut.ir"
expect 1 "cut IR text" "$attar" ir "$work/cut.ir"
finish
