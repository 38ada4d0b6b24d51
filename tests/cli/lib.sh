# Shared by the tests of the command. Each test is run as `sh tests/cli/test_X.sh PATH_OF_ATTAR` from the top of the repository.
attar=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export ATTAR_CACHE_DIR="${ATTAR_CACHE_DIR:-$work/cache}"
passed=0 failed=0
models="bert gpt2 llama llama-tied llama-sharded-bf16 llama-rope-llama3 llama-rope-old-spelling mistral qwen2 deepseek-v3-dense"

pass() { passed=$((passed + 1)); }
fail() {
    failed=$((failed + 1))
    echo "FAILED: $*"
}

# The model file for a folder of tests/golden.
model_of() {
    case $1 in
    bert) echo models/bert.attar ;;
    minilm) echo models/minilm.attar ;;
    gpt2) echo models/gpt2.attar ;;
    deepseek*) echo models/deepseek.attar ;;
    *) echo models/llama.attar ;;
    esac
}

# expect STATUS TITLE COMMAND...: stdout and stderr go to $work/out and $work/err.
expect() {
    expected=$1 title=$2
    shift 2
    status=0
    "$@" >"$work/out" 2>"$work/err" || status=$?
    if [ "$status" = "$expected" ]; then
        pass
    else
        fail "$title: exit status $status, expected $expected"
        tail -n 5 "$work/out"
        tail -n 5 "$work/err"
    fi
}

# says FILE NAME PATTERN: the file has a line that the basic regular expression matches.
says() {
    if grep -q -e "$3" "$work/$1"; then pass; else
        fail "$2: no line of $1 matches: $3"
        tail -n 5 "$work/$1"
    fi
}

# emit_files FOLDER ARGUMENTS..: what `attar emit` prints as model.c, and beside it the header that this includes.
emit_files() {
    into=$1
    shift
    "$attar" emit "$@" >"$into/model.c" 2>"$work/err" &&
        "$attar" emit "$@" --header >"$into/$(sed -n 's/^#include "\(.*\)"$/\1/p' "$into/model.c")" 2>"$work/err"
}

same() {
    if cmp -s "$2" "$3"; then pass; else fail "$1: $2 and $3 differ"; fi
}

# The bytes of a .npy file of int32 numbers: npy_i32 "(1, 3)" 5 6 7
npy_i32() {
    header="{'descr': '<i4', 'fortran_order': False, 'shape': $1, }"
    shift
    while [ $(((${#header} + 11) % 64)) != 0 ]; do header="$header "; done
    length=$((${#header} + 1))
    printf '\223NUMPY\001\000'
    printf "\\$(printf %03o $((length % 256)))\\$(printf %03o $((length / 256)))"
    printf '%s\n' "$header"
    for n in "$@"; do
        printf "\\$(printf %03o $((n & 255)))\\$(printf %03o $((n >> 8 & 255)))\\$(printf %03o $((n >> 16 & 255)))\\$(printf %03o $((n >> 24 & 255)))"
    done
}

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
}
