# A built model gives the bits that the same model gives compiled in the process, by the same compiler on the same kind of processor: an encoder at once, decoders step
# by step.
#
#     sh tests/targets/bits.sh ATTAR BENCH_SHIP
. tests/cli/lib.sh
bench=$2
clang=${CLANG:-clang-19}

# same_bits MODEL WEIGHTS WHAT [OPTIONS]
same_bits() {
    model=models/$1.attar weights=$2 what=$3
    shift 3
    expect 0 "build $weights" "$attar" build "$model" --weights "$weights" "$@" -o "$work/out.$$" --force
    file=$(basename "$work/out.$$"/*.weights .weights)
    expect 0 "make $weights" make -s -C "$work/out.$$" CC="$clang" "lib$file.so"
    expect 0 "bits of $weights, $what${*:+, $*}" "$bench" "$model" "$weights" "$what" rounds=1 "$work/out.$$/$file.weights" "built=$work/out.$$/lib$file.so"
    says out "bits of $weights, $what" '^| built .*| same bits |$'
    rm -r "$work/out.$$"
}

native=$("$attar" emit models/bert.attar --weights tests/golden/bert | sed -n '1s/.*Emitted for \([a-z0-9-]*\) .*/\1/p')
case $native in
x86-64-v*) several="--target $native,x86-64" ;;
*) several= ;;
esac
same_bits minilm tests/golden/bert encode=13
same_bits llama models/austen decode=24
# shellcheck disable=SC2086
same_bits llama models/austen decode=8 $several
same_bits gpt2 tests/golden/gpt2 decode=8
same_bits llama_performer tests/golden/llama-performer decode=8
same_bits transformer_vq tests/golden/transformer-vq decode=8
finish
