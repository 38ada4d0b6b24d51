# The IR of every model prints, reads back and prints identically, as loaded, after each pass and at the end.
. tests/cli/lib.sh

passes=$("$attar" passes | awk '/^ *[0-9]+  / { print $2 }' | sort -u)
[ -n "$passes" ] || fail "no passes"
for name in $models; do
    set -- "$(model_of $name)" --weights tests/golden/$name
    for how in "--level graph" "--level kernel"; do
        expect 0 "$name $how" "$attar" ir "$@" $how
        cp "$work/out" "$work/first.ir"
        [ -s "$work/first.ir" ] && pass || fail "$name $how: nothing printed"
        expect 0 "$name $how, read back" "$attar" ir "$work/first.ir"
        same "$name $how" "$work/first.ir" "$work/out"
    done
done
for pass_name in $passes; do
    expect 0 "llama after $pass_name" "$attar" ir models/llama.attar --weights tests/golden/llama --after $pass_name
    cp "$work/out" "$work/first.ir"
    expect 0 "llama after $pass_name, read back" "$attar" ir "$work/first.ir"
    same "llama after $pass_name" "$work/first.ir" "$work/out"
done

# IR text goes through the same passes as a model file.
"$attar" ir models/bert.attar --weights tests/golden/bert >"$work/bert.ir"
"$attar" ir models/bert.attar --weights tests/golden/bert --level kernel >"$work/kernels.ir"
expect 0 "passes on IR text" "$attar" ir "$work/bert.ir" --level kernel
grep -v '^#' "$work/out" | sed 's/ *#.*//' >"$work/from-text"
grep -v '^#' "$work/kernels.ir" | sed 's/ *#.*//' >"$work/from-model"
same "passes on IR text" "$work/from-text" "$work/from-model"
sed 's/= tanh /= tansh /' "$work/bert.ir" >"$work/broken.ir"
expect 1 "broken IR text" "$attar" ir "$work/broken.ir"
says err "broken IR text" 'broken.ir:'
head -c 700 "$work/bert.ir" >"$work/cut.ir"
expect 1 "cut IR text" "$attar" ir "$work/cut.ir"

# What passes change: the whole of it, one pass alone, each in turn; a graph before a pass is the one after the pass before it.
llama="models/llama.attar --weights tests/golden/llama"
expect 0 "diff of one pass" "$attar" ir $llama --after fuse-attention --diff
cp "$work/out" "$work/one.diff"
says out "diff of one pass" '^--- before fuse-attention$'
says out "diff of one pass" '^-.* = softmax '
says out "diff of one pass" '^+.* = attend '
"$attar" ir $llama --before fuse-attention >"$work/before.ir"
"$attar" ir $llama --after fuse-attention >"$work/after.ir"
grep -q ' = softmax ' "$work/before.ir" && ! grep -q ' = attend ' "$work/before.ir" && pass || fail "--before"
grep -q ' = attend ' "$work/after.ir" && ! grep -q ' = softmax ' "$work/after.ir" && pass || fail "--after"
[ "$(grep -c '^-[^-]' "$work/one.diff")" -lt 20 ] && pass || fail "a diff shows more than what changed"
expect 0 "diff without a change" "$attar" ir $llama --after fuse-attention --diff --pass fuse-attention=off
[ -s "$work/out" ] && fail "a pass that is off changed something" || pass
expect 0 "before the first pass" "$attar" ir $llama --before canonicalize
cp "$work/out" "$work/first.ir"
"$attar" ir $llama >"$work/loaded.ir"
same "before the first pass" "$work/first.ir" "$work/loaded.ir"
expect 0 "diff of all passes" "$attar" ir $llama --diff
says out "diff of all passes" '^+kernels Llama'
expect 0 "each change" "$attar" ir $llama --print-changed
cp "$work/out" "$work/changed"
says out "each change" '^== fuse-attention .* ms   [0-9]* -> [0-9]* nodes$'
says out "each change" '^== changed nothing: .*dce'
sed -n '/^== fuse-attention/,/^$/p' "$work/changed" | grep '^[-+]' >"$work/a"
grep '^[-+]' "$work/one.diff" | grep -v '^--- \|^+++ ' >"$work/b"
same "one pass, two ways" "$work/a" "$work/b"
expect 0 "colour" "$attar" ir $llama --after fuse-attention --diff --color always
sed 's/.\[[0-9]*m//g' "$work/out" >"$work/plain"
same "colour" "$work/plain" "$work/one.diff"
grep -q "$(printf '\033')\[7m" "$work/out" && pass || fail "no word of the diff is marked"
NO_COLOR=1 "$attar" ir $llama --after fuse-attention --diff >"$work/plain"
same "no colour" "$work/plain" "$work/one.diff"
expect 2 "diff of nothing" "$attar" ir $llama --before dce --diff
expect 2 "two passes" "$attar" ir $llama --before dce --after cse
expect 2 "unknown pass" "$attar" ir $llama --before fuse-atention
says err "unknown pass" 'did you mean `fuse-attention`'
expect 0 "drawing" "$attar" ir $llama --level kernel --dot
says out "drawing" '^digraph "Llama" {$'
says out "drawing" 'subgraph cluster_.* {$'
if command -v dot >/dev/null; then
    expect 0 "graphviz" dot -Tsvg -o "$work/drawing.svg" "$work/out"
fi
finish
