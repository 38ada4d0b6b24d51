# Emitted C on other machines than this one: `attar emit --selftest` for each target, compiled by clang and by gcc with the flags in
# the file's own header, run natively, under qemu or in node, and compared with the float64 goldens at their tolerances.
#
#     sh tests/targets/run.sh ATTAR x86|aarch64|riscv64|wasm32
#
# Without the cross compilers, qemu or node the rest is skipped, with the reason and the way to have them (exit status 77).
. tests/cli/lib.sh
. tests/targets/flags.sh
machine=${2:-x86}
clang=${CLANG:-clang-19}

skip() {
    echo "skipped: targets of $machine: $1; sh scripts/cross-tools.sh installs what is missing"
    exit 77
}

needs() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null || skip "$tool is not installed"
    done
}

# build COMPILER COMMAND..: model and selftest in $work/st, warnings are errors, linked into $work/st/program.
build() {
    compiler=$1
    shift
    flags=$(flags_of "$work/st/$name.c" "$compiler")
    [ -n "$flags" ] || { echo "no flags for $compiler in the header"; return 1; }
    # shellcheck disable=SC2086
    "$@" $flags -Wall -Wextra -Werror "$work/st/$name.c" "$work/st/selftest.c" -lm -lpthread -o "$work/st/program"
}

# on TARGET "RUNNER" COMPILER COMMAND..: every model below.
on() {
    target=$1 runner=$2 compiler=$3
    shift 3
    while read -r golden model options; do
        case $golden in '' | '#'*) continue ;; esac
        this="$model, $golden, for $target by $compiler${runner:+ under $runner}"
        rm -rf "$work/st"
        # shellcheck disable=SC2086
        expect 0 "emit $this" "$attar" emit "models/$model.attar" ${options:---weights tests/golden/$golden} --target "$target" \
            --golden "tests/golden/$golden/golden.safetensors" --selftest "$work/st"
        name=$(cd "$work/st" && echo *.weights)
        name=${name%.weights}
        expect 0 "compile $this" build "$compiler" "$@"
        # QEMU before 8.1 has an assertion of its own that some vector instructions break (its issue 1441).
        status=0
        # shellcheck disable=SC2086
        $runner "$work/st/program" "$work/st/$name.weights" >"$work/out" 2>"$work/err" || status=$?
        if grep -q 'decode_save_opc: Assertion' "$work/err"; then
            echo "skipped: $this: $(${runner%% *} --version | head -n 1) cannot run it, 8.1 can"
        elif [ $status = 0 ] && grep -qx PASS "$work/out"; then
            pass
        else
            fail "run $this: exit status $status"
            tail -n 5 "$work/out" "$work/err"
        fi
    done <<'CASES'
bert            bert
llama           llama
llama-sharded-bf16 llama
llama-performer llama_performer
llama-codebook  llama_codebook
deepseek-v3     deepseek
t5-encoder      t5
lora-llama      llama               --weights tests/golden/lora-llama --lora tests/golden/lora-llama/adapter --lora-mode side
CASES
}

# link ARCHITECTURE "FLAGS" "RUNNER" CC: the linker of runtime/link.c in a program for that machine, with objects of clang's, position-independent and not.
link() {
    for how in '-O2 -fno-plt -fPIC' '-O0 -fno-plt -fPIC' -O2 -O0; do
        for half in one two; do
            # shellcheck disable=SC2086
            expect 0 "compile link_$half for $1, $how" "$clang" --target="$1-linux-gnu" $how $2 -ffp-contract=off -c tests/targets/link_$half.c -o "$work/$half.o"
        done
        expect 0 "compile link_check for $1" "$4" -I. tests/targets/link_check.c runtime/link.c runtime/relocate.c "$work/one.o" "$work/two.o" -ldl -o "$work/check"
        # shellcheck disable=SC2086
        expect 0 "link for $1, $how" $3 "$work/check" "$work/one.o" "$work/two.o"
        says out "link for $1, $how" '^PASS$'
    done
}

case $machine in
x86)
    case $(uname -m) in x86_64) ;; *) skip "this is no x86" ;; esac
    link x86_64 -march=x86-64 "" gcc
    on x86-64 "" clang "$clang"
    on x86-64 "" gcc gcc
    on generic "" gcc gcc
    # A selftest that cannot fail is worth nothing: other weights, and half of them.
    tr '\000-\377' '\001-\377\000' <"$work/st/$name.weights" >"$work/other"
    expect 1 "other weights" "$work/st/program" "$work/other"
    says out "other weights" '^FAIL$'
    head -c 1000 "$work/st/$name.weights" >"$work/half"
    expect 2 "half of the weights" "$work/st/program" "$work/half"
    expect 2 "--selftest alone" "$attar" emit models/bert.attar --weights tests/golden/bert --selftest "$work/st"
    expect 3 "a golden of another model" "$attar" emit models/bert.attar --weights tests/golden/bert --golden tests/golden/llama/golden.safetensors --selftest "$work/st"
    ;;
aarch64)
    needs qemu-aarch64 aarch64-linux-gnu-gcc
    link aarch64 -march=armv8-a "qemu-aarch64 -L /usr/aarch64-linux-gnu" aarch64-linux-gnu-gcc
    on aarch64 qemu-aarch64 clang "$clang" --target=aarch64-linux-gnu -static
    on aarch64 qemu-aarch64 gcc aarch64-linux-gnu-gcc -static
    ;;
riscv64)
    needs qemu-riscv64 riscv64-linux-gnu-gcc
    link riscv64 "-march=rv64gcv -mabi=lp64d" "qemu-riscv64 -cpu rv64,v=true,vext_spec=v1.0,vlen=128 -L /usr/riscv64-linux-gnu" riscv64-linux-gnu-gcc
    # Both sizes of registers that machines have.
    on riscv64 "qemu-riscv64 -cpu rv64,v=true,vext_spec=v1.0,vlen=128" clang "$clang" --target=riscv64-linux-gnu -static
    on riscv64 "qemu-riscv64 -cpu rv64,v=true,vext_spec=v1.0,vlen=256" clang "$clang" --target=riscv64-linux-gnu -static
    on riscv64 "qemu-riscv64 -cpu rv64" gcc riscv64-linux-gnu-gcc -static
    ;;
wasm32)
    needs node wasm-ld-19
    [ -d /usr/include/wasm32-wasi ] || skip "wasi-libc is not installed"
    here=$PWD
    in_node() { (cd "$work/st" && node --no-warnings "$here/tests/targets/wasi.mjs" program "$(basename "$2")"); }
    on wasm32 in_node clang "$clang" --sysroot=/usr -I/usr/include/wasm32-wasi -L/usr/lib/wasm32-wasi --target=wasm32-wasi
    ;;
esac
finish
