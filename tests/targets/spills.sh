# No sum of a product's inner loop may stand on the stack: assembly that clang and gcc make of models' C for each target, read by
# hot_loops. gcc's for another machine than this one only where the cross compiler is installed.
#
#     sh tests/targets/spills.sh ATTAR HOT_LOOPS
. tests/cli/lib.sh
. tests/targets/flags.sh
hot_loops=$2

# check TARGET COMPILER "COMMAND": the models below.
check() {
    target=$1 compiler=$2 command=$3
    command -v "${command%% *}" >/dev/null || { echo "skipped: inner loops for $target by $compiler: ${command%% *} is not installed"; return 0; }
    while read -r model options; do
        this="$model for $target by $compiler"
        # shellcheck disable=SC2086
        emit_files "$work" "models/$model.attar" $options --target "$target" || fail "emit $this"
        # shellcheck disable=SC2046
        expect 0 "compile $this" $command $(flags_of "$work/model.c" "$compiler") -S "$work/model.c" -o "$work/m.s"
        expect 0 "inner loops of $this" "$hot_loops" "$work/m.s"
        says out "inner loops of $this" ' [1-9][0-9]* loops that multiply and add, 0 of them'
    done <<'MODELS'
minilm --config tests/golden/minilm/config.json
llama --weights tests/golden/llama
gpt2 --weights tests/golden/gpt2
MODELS
}

for target in x86-64-v4 x86-64-v3; do
    check $target clang "${CLANG:-clang-19} --target=x86_64-linux-gnu -ffreestanding"
    check $target gcc x86_64-linux-gnu-gcc
done
check x86-64 clang "${CLANG:-clang-19} --target=x86_64-linux-gnu -ffreestanding"
check aarch64 clang "${CLANG:-clang-19} --target=aarch64-linux-gnu -ffreestanding"
check aarch64 gcc aarch64-linux-gnu-gcc
finish
