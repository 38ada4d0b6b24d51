# models/README.md has a row for every model file, with its length, which is at most 60 lines, and every case of tests/golden/cases.txt.
. tests/cli/lib.sh

for path in models/*.attar; do
    file=$(basename "$path")
    lines=$(wc -l <"$path")
    [ "$lines" -le 60 ] && pass || fail "$path has $lines lines"
    grep -q "^| \[${file%.attar}\]($file) | .* | $lines |" models/README.md && pass || fail "models/README.md: no row for $file with $lines lines (sh scripts/models-table.sh writes it)"
    head -n 1 "$path" | grep -q '^# ' && pass || fail "$path: the first line says what the model is"
done
while read -r folder model options; do
    case $folder in '' | '#'*) continue ;; esac
    grep -q "^| $folder | $model |" models/README.md && pass || fail "models/README.md: no row for the case $folder"
done <tests/golden/cases.txt
primitives=$(grep -c '^OP(' ir/ops.def)
[ "$primitives" -le 90 ] && pass || fail "$primitives operators in ir/ops.def"
finish
