#!/bin/sh
# Deliberately broken passes: every one of them has to be noticed by a suite of the passes.
#
#     sh tests/mutants/run.sh BUILD_DIR [NAME...]     all of them, or the ones named
#
# An entry of list.txt is a name, a file, a sentence that says what is broken, the text to find and its replacement.
# The text has to occur exactly once. The changed file alone is compiled, and linked before the library that holds the
# right one. A mutant is caught if a suite fails, crashes or hangs; first the passes as they are have to go through.
set -eu
cd "$(dirname "$0")/../.."
list=tests/mutants/list.txt
suites="test_passes test_cost test_pass_random test_pass_contract test_pass_memory test_spellings test_pass_models"
export CK_FORK=no CK_VERBOSITY=silent
export ATTAR_RANDOM_SEED=1 ATTAR_RANDOM_COUNT="${ATTAR_MUTANTS_RANDOM_COUNT:-400}"

# The parts of entry $1: `part NAME file|sentence|find|replace`.
part() {
    awk -v name="$1" -v part="$2" '
        /^== / { here = $2 == name; at = 0; next }
        !here { next }
        /^--$/ { at++; line = 0; next }
        at == 0 { line++; if ((line == 1 && part == "file") || (line == 2 && part == "sentence")) print }
        (at == 1 && part == "find") || (at == 2 && part == "replace") { print }' "$list"
}

. tests/replaced.sh

# The compiler and its flags for a file of passes/, without those that cost time or say where the output goes.
compiler() {
    words=$(ninja -C "$build" -t commands -s CMakeFiles/attar_passes.dir/passes/cse.c.o) skip= flags=
    for word in ${words#* }; do
        case $skip$word in
        -MT | -MF | -o | -c) skip=1 ;;
        1*) skip= ;;
        -MD | -O[0-9]* | -W*) ;;
        *) flags="$flags $word" ;;
        esac
    done
    echo "${words%% *} $flags -O0 -w"
}

# The command that links suite $1, with OBJECT and OUTPUT in it; LLVM's libraries, which no suite needs, take long to scan.
linker() {
    ninja -C "$build" -t commands -s "tests/$1" | sed "s| -o tests/$1 | OBJECT -o OUTPUT |; s| [^ ]*/libLLVM[^ ]*\.a||g"
}

# Links suite $1 with the object $2.o in place of the library's and runs it.
suite_passes() {
    command=$(sed "s|OBJECT|$2.o|; s|OUTPUT|$2-$1|" "$work/$1.link")
    (cd "$build" && eval "$command") || { echo "$1 does not link" >&2; exit 2; }
    status=0
    unset CK_RUN_CASE
    [ "$1" != test_passes ] || export CK_RUN_CASE="passes on text" # what running twice finds, the others find too
    timeout 100 "$2-$1" >"$2-$1.log" 2>&1 || status=$?
    rm -f "$2-$1"
    [ "$status" = 0 ]
}

# One mutant: prints `caught NAME SUITE`, `survived NAME ...` or `broken NAME ...`.
if [ "$1" = --one ]; then
    build=$2 work=$3 name=$4
    file=$(part "$name" file)
    part "$name" find >"$work/$name.find"
    part "$name" replace >"$work/$name.replace"
    if [ "$name" = none ]; then
        cp passes/cse.c "$work/$name.c"
    elif ! [ -s "$work/$name.find" ] || ! replaced "$file" "$work/$name.find" "$work/$name.replace" >"$work/$name.c"; then
        echo "broken $name: its text does not occur exactly once in $file"
        exit 0
    fi
    if ! $(cat "$work/compiler") -c "$work/$name.c" -o "$work/$name.o" 2>"$work/$name.err"; then
        echo "broken $name: does not compile: $(head -n 1 "$work/$name.err")"
        exit 0
    fi
    for suite in $suites; do
        if ! suite_passes "$suite" "$work/$name"; then
            echo "caught $name $suite"
            exit 0
        fi
    done
    echo "survived $name: $(part "$name" sentence)"
    exit 0
fi

build=$(cd "$1" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
names=${*:-$(awk '/^== / { print $2 }' "$list")}
twice=$(awk '/^== / { print $2 }' "$list" | sort | uniq -d)
passed=0 failed=0

fail() {
    failed=$((failed + 1))
    echo "FAILED: $*"
}

compiler >"$work/compiler"
for suite in $suites; do linker $suite >"$work/$suite.link"; done
[ -z "$twice" ] || fail "names used twice: $twice"
# The long ones first: the passes as they are run all suites to the end.
printf '%s\n' none $names | xargs -P "$(nproc)" -I NAME sh tests/mutants/run.sh --one "$build" "$work" NAME >"$work/said" || fail "xargs: status $?"
while read -r what rest; do
    case $what:$rest in
    survived:none*) passed=$((passed + 1)) ;;
    caught:none*) fail "the passes as they are fail ${rest#none }: $(tail -n 3 "$work/none-${rest#none }.log")" ;;
    caught:*) passed=$((passed + 1)) ;;
    survived:*) fail "no suite notices the mutant $rest" ;;
    *) fail "$what $rest" ;;
    esac
done <"$work/said"
[ -z "${ATTAR_MUTANTS_VERBOSE:-}" ] || sort "$work/said"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
