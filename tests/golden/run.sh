# Every case of cases.txt: outputs equal their reference, all positions at once and token by token; the IR prints and reads back
# identically; compiled code equals the interpreter; the C is free of warnings. `sh tests/golden/run.sh ATTAR 2 4` takes every fourth case.
. tests/cli/lib.sh

shard=${2:-0} shards=${3:-1} number=0

# No golden folder without a case, no case without its folder; MiniLM's weights are not here (tests/cli/test_minilm.sh).
if [ "$shard" = 0 ]; then
    for golden in tests/golden/*/golden.safetensors; do
        folder=$(basename "$(dirname "$golden")")
        grep -q "^$folder " tests/golden/cases.txt && pass || fail "no case for $golden"
    done
fi
while read -r folder model options; do
    case $folder in '' | '#'*) continue ;; esac
    number=$((number + 1))
    [ $((number % shards)) = "$shard" ] || continue
    golden=tests/golden/$folder/golden.safetensors
    file=${model%%:*} choice=
    [ "$file" = "$model" ] || choice="--model ${model#*:}"
    this="$folder, $model"
    first=
    case $options in "--first "*) first="--first $(echo "$options" | cut -d ' ' -f 2)" options=$(echo "$options" | cut -d ' ' -f 3-) ;; esac
    # shellcheck disable=SC2086
    set -- "models/$file.attar" $choice ${options:---weights tests/golden/$folder}

    expect 0 "verify $this" "$attar" verify "$@" $first --golden $golden --threads 2
    grep -q 'PASS$' "$work/out" && ! grep -q 'FAIL$' "$work/out" && pass || fail "verify $this: nothing passed"
    expect 0 "diff $this" "$attar" diff "$@" --input $golden
    expect 0 "IR of $this" "$attar" ir "$@"
    cp "$work/out" "$work/first.ir"
    expect 0 "IR of $this, read back" "$attar" ir "$work/first.ir"
    same "IR of $this" "$work/first.ir" "$work/out"
    expect 0 "kernels of $this" "$attar" ir "$@" --level kernel
    cp "$work/out" "$work/first.ir"
    expect 0 "kernels of $this, read back" "$attar" ir "$work/first.ir"
    same "kernels of $this" "$work/first.ir" "$work/out"
    # The C is the same in both builds: looking at it once is enough.
    [ -z "${ATTAR_TEST_SANITIZE-}" ] || continue
    expect 0 "report of $this" "$attar" report "$@"
    emit_files "$work" "$@" || fail "emit $this"
    expect 0 "clang, $this" "${CLANG:-clang-19}" -march=native -std=c11 -Wall -Wextra -Wpedantic -Wconversion -Werror -fsyntax-only "$work/model.c"
    expect 0 "gcc, $this" gcc -march=native -std=c11 -fsyntax-only -Wall -Wextra -Wpedantic -Wconversion -Werror "$work/model.c"
done <tests/golden/cases.txt
finish
