#!/bin/sh
# Mistakes that newcomers make in model files: every one gets one error, on its line, with a help that mends it.
#
#     sh tests/mistakes/run.sh ATTAR [NAME...]            all of them, or the ones named
#     sh tests/mistakes/run.sh --bless ATTAR [NAME...]    writes what is said now into the list
#
# An entry of list.txt is a name, the file with the mistake, the arguments of `attar check`, a sentence that says what
# is wrong, and then
#     -- find      the text of the file, which has to occur exactly once
#     -- replace   what the newcomer wrote instead
#     -- help      `+ TEXT` or `- TEXT` a line: what the message proposes to write or to leave out
#     -- fixed     the mistake after following the help; without it the text to find
#     -- at        FILE:LINE of the error, where the mistake shows on another line only; the message shows its own too,
#                  unless `absent` follows: then the mistake is a statement that is missing
#     -- says      the whole message
# The command runs in a copy of the tree, so that paths are the same everywhere, and lines of std.attar become `line N`. What the help proposes has to stand in
# a help or beside the caret, and in the fixed text, and then `attar check` has to pass again.
set -eu
bless=
[ "$1" != --bless ] || { bless=yes; shift; }
attar=$(realpath "$1")
shift
cd "$(dirname "$0")/../.."
list=tests/mistakes/list.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

fail() {
    failed=$((failed + 1))
    echo "FAILED: $*"
}

# Every section of every entry is a file: $work/NAME.file, .arguments, .sentence, .find, .replace, .help, ...
mkdir "$work/top" "$work/top/tests" "$work/top/tests/golden"
awk -v work="$work/" '
    /^== / { name = $2; print name; line = 0; part = ""; next }
    name == "" { next }
    /^-- / { part = $2; printf "" >(work name "." part); next }
    part != "" { print >(work name "." part); next }
    ++line == 1 { print >(work name ".file") }
    line == 2 { print >(work name ".arguments") }
    line == 3 { print >(work name ".sentence") }' "$list" >"$work/names"
cp -rs "$PWD/models" "$work/top/models"

. tests/replaced.sh

first_difference() { awk 'NR == FNR { a[FNR] = $0; next } $0 != a[FNR] { print FNR; found = 1; exit } END { if (!found) print FNR + 1 }' "$1" "$2"; }

count() { awk -v text="$1" '{ for (s = $0; i = index(s, text); s = substr(s, i + length(text))) n++ } END { print n + 0 }' "$2"; }

# The command on the file $3 in the place of the file $2 of the entry $1; its messages go to $work/said.
check() {
    rm -f "$work/top/$2"
    cp "$3" "$work/top/$2"
    status=0
    # shellcheck disable=SC2046
    (cd "$work/top" && exec "$attar" check $(cat "$work/$1.arguments")) >"$work/out" 2>"$work/raw" || status=$?
    sed 's/\(which std.attar writes as `.*` on line\) [0-9]*$/\1 N/' "$work/raw" >"$work/said"
    ln -sf "$PWD/$2" "$work/top/$2"
    return $status
}

# Each proposal stands in the message, and following it wrote the fixed text.
proposed() {
    while read -r sign text; do
        grep -F -- "$text" "$work/advice" >/dev/null || { fail "$1: no help says: $text"; return 1; }
        before=$(count "$text" "$work/$1.replace") after=$(count "$text" "$work/$1.fixed")
        case $sign in
        +) [ "$after" -gt "$before" ] ;;
        -) [ "$after" -lt "$before" ] ;;
        *) false ;;
        esac || { fail "$1: the fixed text does not do what the help says: $sign $text"; return 1; }
    done <"$work/$1.help"
}

entry() {
    name=$1
    file=$(cat "$work/$name.file")
    for folder in $(tr ' ' '\n' <"$work/$name.arguments" | grep '^tests/golden/'); do
        [ -d "$work/top/$folder" ] || cp -rs "$PWD/$folder" "$work/top/$folder"
    done
    if ! replaced "$file" "$work/$name.find" "$work/$name.replace" >"$work/mistaken"; then
        fail "$name: its text does not occur exactly once in $file"
        return
    fi
    status=0
    check "$name" "$file" "$work/mistaken" || status=$?
    case $status in
    1 | 3) ;;
    *) fail "$name: exit status $status"; cat "$work/said"; return ;;
    esac
    cp "$work/said" "$work/$name.new"
    if [ -z "$bless" ] && ! diff "$work/$name.says" "$work/said" >"$work/differs"; then
        fail "$name: the message has changed"
        cat "$work/differs"
        return
    fi
    errors=$(grep -c '^error' "$work/said")
    [ "$errors" = 1 ] || { fail "$name: $errors errors for one mistake"; return; }
    line=$(first_difference "$file" "$work/mistaken")
    at="$file:$line"
    if [ -f "$work/$name.at" ]; then
        read -r at absent <"$work/$name.at" || true
        [ "${at%:*}" != "$file" ] || [ -n "$absent" ] || grep -q "^ *$line |" "$work/said" || { fail "$name: line $line is not shown"; return; }
    fi
    place=$(sed -n 's/^ *--> //p' "$work/said" | head -n 1)
    case $place: in
    "$at":*) ;;
    *) fail "$name: the error is at $place, the mistake at $at"; return ;;
    esac
    awk '/^ *= help: / || /\^/' "$work/said" >"$work/advice"
    if ! grep -q '= help: ' "$work/advice" && ! [ -s "$work/$name.help" ]; then
        fail "$name: there is no help"
        return
    fi
    [ -f "$work/$name.fixed" ] || cp "$work/$name.find" "$work/$name.fixed"
    [ ! -f "$work/$name.help" ] || proposed "$name" || return 0
    replaced "$work/mistaken" "$work/$name.replace" "$work/$name.fixed" >"$work/mended" || cp "$file" "$work/mended"
    if ! check "$name" "$file" "$work/mended"; then
        fail "$name: following the help does not mend it"
        cat "$work/said"
        return
    fi
    passed=$((passed + 1))
}

twice=$(sort "$work/names" | uniq -d)
[ -z "$twice" ] || fail "names used twice: $twice"
for name in ${*:-$(cat "$work/names")}; do entry "$name"; done
if [ -n "$bless" ]; then
    awk -v work="$work/" '
        function says(path, line) {
            path = work name ".new"
            if ((getline line < path) > 0) {
                print "-- says"
                do print line; while ((getline line < path) > 0)
            } else
                printf "%s", old
            close(path)
            name = old = ""
            part = 0
        }
        /^== / { if (name) says(); name = $2 }
        /^-- / { part = $2 == "says" }
        part { old = old $0 "\n"; next }
        { print }
        END { says() }' "$list" >"$work/list" && cp "$work/list" "$list"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
