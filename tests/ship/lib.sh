# Shared by the tests of built models, which are run as `sh tests/ship/NAME.sh ATTAR ...` from the top of the repository.
. tests/cli/lib.sh
. tests/targets/flags.sh
clang=${CLANG:-clang-19}

# An encoder, a decoder, one with states of constant size, one with codebooks: how to build them, and what
# tests/ship/fuzz.h is told.
built() {
    case $1 in
    minilm) echo "models/minilm.attar --weights tests/golden/bert" ;;
    llama) echo "models/llama.attar --weights tests/golden/llama" ;;
    llamaperformer) echo "models/llama_performer.attar --weights tests/golden/llama-performer" ;;
    llamacodebook) echo "models/llama_codebook.attar --weights tests/golden/llama-codebook" ;;
    esac
}
told() {
    case $1 in
    minilm) what="-DINPUTS={4,97},{4,2},{1,0} -DOUTPUT=B*60" ;;
    llama) what="-DDECODES -DINPUTS={4,97} -DOUTPUT=B*S*97" ;;
    *) what="-DDECODES -DINPUTS={4,61} -DOUTPUT=B*S*61" ;;
    esac
    case $2 in
    caller) what="$what -DSHARED" ;;
    pool) what="$what -DSHARED -DPOOL" ;;
    esac
    echo "-DMODEL=$1 -DUPPER=$(echo "$1" | tr a-z A-Z) -DMODEL_HEADER=\"$1.h\" $what"
}

# checked MODEL THREADS PROGRAM SANITIZER...: builds the model and, with tests/ship/PROGRAM.c, makes $work/PROGRAM of it.
# Sanitizers make optimised kernels take long to compile: only the interface, which spends its time in hashes, is optimised.
common="-O1 -g -fno-omit-frame-pointer -Wall -Wextra -Werror"
checked() {
    out=$work/$1-$2 name=$1 threads=$2 program=$3
    shift 3
    # shellcheck disable=SC2046
    expect 0 "build $name" "$attar" build $(built "$name") --threads "$threads" -o "$out"
    awk '/^static void '"$name"'_/ && !kernels++ { print "#pragma clang optimize off" }
         /^\/\* ---- the interface/ { print "#pragma clang optimize on" } { print }' "$out/$name.c" >"$work/$name.c"
    grep -q '^#pragma clang optimize on' "$work/$name.c" && pass || fail "$name.c has no interface"
    # shellcheck disable=SC2046,SC2086
    expect 0 "compile $name" "$clang" $(flags_of "$out/$name.c" clang) $common -I"$out" "$@" \
        -c "$work/$name.c" -o "$work/$name.o"
    # shellcheck disable=SC2046,SC2086
    expect 0 "compile $program for $name" "$clang" -std=gnu11 $common -I. -I"$out" $(told "$name" "$threads") \
        "$@" $others "tests/ship/$program.c" "$work/$name.o" -lm -lpthread -o "$work/$program"
    [ "$failed" = 0 ] || { finish; exit; }
}

skip() {
    echo "skipped: $1"
    exit 77
}
