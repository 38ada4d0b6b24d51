# No sum of a product's inner loop may stand on the stack: assembly that clang makes of models' C for each target, read by hot_loops.
#
#     sh tests/targets/spills.sh ATTAR HOT_LOOPS
. tests/cli/lib.sh
. tests/targets/flags.sh
hot_loops=$2
clang=${CLANG:-clang-19}

# check TARGET TRIPLE MODEL OPTIONS..
check() {
    target=$1 triple=$2 model=$3
    shift 3
    this="$model for $target"
    "$attar" emit "models/$model.attar" "$@" --target "$target" >"$work/m.c" 2>"$work/err" || fail "emit $this"
    # shellcheck disable=SC2046
    expect 0 "compile $this" "$clang" "--target=$triple" -ffreestanding $(flags_of "$work/m.c" clang) -S "$work/m.c" -o "$work/m.s"
    expect 0 "inner loops of $this" "$hot_loops" "$work/m.s"
    says out "inner loops of $this" ' [1-9][0-9]* loops that multiply and add, 0 of them'
}

for target in x86-64-v4 x86-64-v3 x86-64 aarch64; do
    triple=x86_64-linux-gnu
    [ $target != aarch64 ] || triple=aarch64-linux-gnu
    check $target $triple minilm --config tests/golden/minilm/config.json
    for model in llama gpt2; do
        check $target $triple $model --weights tests/golden/$model
    done
done
finish
