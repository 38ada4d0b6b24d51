# Built models on other machines than this one: `attar build` for each target, made by clang and by gcc, run natively, under qemu or in
# node, and compared with the float64 goldens at their tolerances (MiniLM, whose golden file is long, with the float64 interpreter).
#
#     sh tests/targets/run.sh ATTAR x86|aarch64|riscv64|wasm32
#
# Without the cross compilers, qemu or node the rest is skipped, with the reason and the way to have them (exit status 77).
. tests/cli/lib.sh
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

# What people build: an encoder (the real MiniLM, if test_minilm has fetched it), a text generator, GPT-2, linear attention, vector quantisation, a merged adapter.
minilm=${ATTAR_MINILM:-$(dirname "$attar")/minilm}
real="minilm          minilm          --weights $minilm
austen          llama           --weights models/austen --golden models/austen/golden.safetensors
gpt2            gpt2
llama-performer llama_performer
transformer-vq  transformer_vq
lora-llama      llama           --weights tests/golden/lora-llama --lora tests/golden/lora-llama/adapter --lora-mode merge"
# And what has kernels of other kinds.
more="bert            bert
llama-sharded-bf16 llama
llama-codebook  llama_codebook
deepseek-v3     deepseek
t5-encoder      t5
lora-llama      llama           --weights tests/golden/lora-llama --lora tests/golden/lora-llama/adapter --lora-mode side"
both="$real
$more"
few="austen          llama           --weights models/austen --golden models/austen/golden.safetensors
bert            bert
llama-performer llama_performer"

# One source for all of them.
everywhere=x86-64-v4,x86-64-v3,x86-64,aarch64,riscv64,wasm32

# on MODELS TARGETS "RUNNER" "COMPILER" [LDFLAGS]: by each folder's own Makefile; warnings are errors.
on() {
    models=$1 targets=$2 runner=$3 compiler=$4
    while read -r golden model options; do
        this="$model, $golden, for $targets by $compiler${runner:+ under $runner}"
        [ $golden != minilm ] || [ -f "$minilm/model.safetensors" ] || { echo "skipped: $this: no $minilm/model.safetensors (scripts/fetch-minilm.sh)"; continue; }
        file=tests/golden/$golden/golden.safetensors
        [ ! -f $file ] || options="${options:---weights tests/golden/$golden} --golden $file"
        # shellcheck disable=SC2086
        expect 0 "build $this" "$attar" build "models/$model.attar" $options --target "$targets" --threads "${threads:-none}" -o "$work/$golden" --force
        # QEMU before 8.1 has an assertion of its own that some vector instructions break (its issue 1441).
        status=0
        make -s -C "$work/$golden" CC="$compiler" CFLAGS="-Wall -Wextra -Werror" LDFLAGS="${5:-}" RUN="$runner" clean check >"$work/out" 2>"$work/err" || status=$?
        if grep -q 'decode_save_opc: Assertion' "$work/err"; then
            echo "skipped: $this: $(${runner%% *} --version | head -n 1) cannot run it, 8.1 can"
        elif [ $status = 0 ] && grep -q '^PASS max error' "$work/out"; then
            pass
        else
            fail "run $this: exit status $status"
            tail -n 5 "$work/out" "$work/err"
        fi
    done <<CASES
$models
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
    on "$both" x86-64 "" gcc
    on "$more" x86-64 "" "$clang"
    on "$few" generic "" gcc
    on "$few" scalar "" gcc
    on "$few" x86-64-v3,scalar "" "gcc -DATTAR_SCALAR"
    if command -v tcc >/dev/null; then on "$both" scalar "" tcc; else echo "skipped: scalar by tcc: it is not installed"; fi
    # The first that the processor can run; the last one is for every x86.
    on "$real" x86-64-v4,x86-64-v3,x86-64 "" gcc
    threads=caller on "$few" $everywhere "" "$clang"
    ;;
aarch64)
    needs qemu-aarch64 aarch64-linux-gnu-gcc
    link aarch64 -march=armv8-a "qemu-aarch64 -L /usr/aarch64-linux-gnu" aarch64-linux-gnu-gcc
    on "$both" aarch64 qemu-aarch64 aarch64-linux-gnu-gcc -static
    on "$more" aarch64 qemu-aarch64 "$clang --target=aarch64-linux-gnu" -static
    threads=caller on "$few" $everywhere qemu-aarch64 aarch64-linux-gnu-gcc -static
    ;;
riscv64)
    needs qemu-riscv64 riscv64-linux-gnu-gcc
    link riscv64 "-march=rv64gcv -mabi=lp64d" "qemu-riscv64 -cpu rv64,v=true,vext_spec=v1.0,vlen=128 -L /usr/riscv64-linux-gnu" riscv64-linux-gnu-gcc
    on "$real" riscv64 "qemu-riscv64 -cpu rv64" riscv64-linux-gnu-gcc -static
    # Both sizes of registers that machines have.
    on "$both" riscv64 "qemu-riscv64 -cpu rv64,v=true,vext_spec=v1.0,vlen=128" "$clang --target=riscv64-linux-gnu" -static
    on "$more" $everywhere "qemu-riscv64 -cpu rv64,v=true,vext_spec=v1.0,vlen=256" "$clang --target=riscv64-linux-gnu" -static
    ;;
wasm32)
    needs node wasm-ld-19
    [ -d /usr/include/wasm32-wasi ] || skip "wasi-libc is not installed"
    for targets in wasm32 $everywhere; do
        [ $targets = wasm32 ] && models=$both || models=$few
        # Node 20 crashes when it ends while other threads still optimise a large program: it gets none.
        on "$models" $targets "node --no-warnings --single-threaded $PWD/tests/targets/wasi.mjs" "$clang --sysroot=/usr -I/usr/include/wasm32-wasi --target=wasm32-wasi" -L/usr/lib/wasm32-wasi
    done
    ;;
esac
finish
