# The compiler: absent, too old, failing, killed, writing nothing or half of it. Exit status 4, and the message says what to do.
. tests/cli/lib.sh
bert="models/bert.attar --weights tests/golden/bert --input tests/golden/bert/golden.safetensors --no-cache"
real=$(command -v clang-19 || command -v clang)

fake() {
    { echo '#!/bin/sh'; echo "case \" \$* \" in *\" --version \"*) ${2:-exec $real --version} ;; esac"; echo "$1"; } >"$work/clang"
    chmod +x "$work/clang"
}
try() {
    expect 4 "$1" "$attar" run $bert --clang "$work/clang" -o "$work/y.safetensors"
    says err "$1" 'E08'
    [ -e "$work/y.safetensors" ] && fail "$1: an output appeared" || pass
}

rm -f "$work/clang"
try "absent"
says err "absent" 'clang-19'
fake 'exit 1' 'echo "clang version 14.0.6"; exit 0'
try "too old"
fake 'echo "it went wrong" >&2; exit 1'
try "exits 1"
says err "exits 1" 'it went wrong'
fake 'kill -9 $$'
try "killed"
fake 'cat >/dev/null; exit 0'
try "writes nothing"
fake "$real \"\$@\" | head -c 500"
try "writes half"
fake "exec $real \"\$@\""
expect 0 "a working one" "$attar" run $bert --clang "$work/clang" -o "$work/y.safetensors"
mkdir "$work/with space"
cp "$work/clang" "$work/with space/cl'ang"
expect 0 "spaces and quotes in its path" "$attar" run $bert --clang "$work/with space/cl'ang" -o "$work/z.safetensors"
same "the same result" "$work/y.safetensors" "$work/z.safetensors"
TMPDIR=/nonexistent expect 0 "TMPDIR that is not there" "$attar" run $bert -o "$work/z.safetensors"
PATH=/nonexistent expect 4 "no compiler in PATH" "$attar" run $bert -o "$work/never.safetensors"
expect 4 "doctor without one" "$attar" doctor --clang "$work/none"
expect 0 "check needs none" env PATH=/nonexistent "$attar" check models/bert.attar --weights tests/golden/bert
finish
