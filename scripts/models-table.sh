#!/bin/sh
# Writes models/README.md: every model file, what it is, what it loads, and the errors measured on this machine for every case of
# tests/golden/cases.txt (the worst of all positions at once and token by token).
#
#     sh scripts/models-table.sh
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh build attar -DCMAKE_BUILD_TYPE=Release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# folder model output error bound, a line an output
while read -r folder model options; do
    case $folder in '' | '#'*) continue ;; esac
    file=${model%%:*} choice=
    [ "$file" = "$model" ] || choice="--model ${model#*:}"
    first=
    case $options in "--first "*) first="--first $(echo "$options" | cut -d ' ' -f 2)" options=$(echo "$options" | cut -d ' ' -f 3-) ;; esac
    # shellcheck disable=SC2086
    build/attar verify "models/$file.attar" $choice $first ${options:---weights tests/golden/$folder} \
        --golden "tests/golden/$folder/golden.safetensors" >"$work/out" 2>"$work/err" || { cat "$work/out" "$work/err" >&2; exit 1; }
    awk -v folder="$folder" -v model="$model" '
        /PASS$/ {
            for (i = 1; i < NF; i++) { if ($i == "error") error = $(i + 1); if ($i == "tolerance") bound = $(i + 1) }
            if (!($1 in worst)) { order[++n] = $1; worst[$1] = error }
            if (error + 0 >= worst[$1] + 0) { worst[$1] = error; bounds[$1] = bound }
        }
        END { for (i = 1; i <= n; i++) print folder, model, order[i], worst[order[i]], bounds[order[i]] }' "$work/out"
done <tests/golden/cases.txt >"$work/cases"

# The kinds of config.json (`model_type`) that a file loads: rows of families.def, and those of its own golden folders.
families() {
    {
        sed -n "s/^FAMILY(\"\\([^\"]*\\)\", *\"$1.attar\").*/\\1/p" driver/families.def
        awk -v file="$1" '{ split($2, m, ":"); if (m[1] == file) print $1 }' "$work/cases" | sort -u | while read -r folder; do
            sed -n 's/.*"model_type": *"\([^"]*\)".*/\1/p' "tests/golden/$folder/config.json" 2>/dev/null || true
        done
    } | tr - _ | sort -u | tr '\n' ' ' | sed 's/ $//; s/ /, /g'
}

# "3 | 4.5e-06 of 1.2e-05": the cases, and the worst of the file's outputs beside what golden.json allows; else the files that use it.
measured() {
    awk -v file="$1" '
        { split($2, m, ":") }
        m[1] == file { seen[$1] = 1; share = $5 > 0 ? $4 / $5 : ($4 > 0 ? 9 : 0); if (share >= most) { most = share; error = $4; bound = $5 } }
        END { for (s in seen) n++; if (n) printf "%d | %s of %s", n, error, bound; else exit 1 }' "$work/cases" || {
        users=$(grep -l "^use \"$1.attar\"" models/*.attar | sed 's/models\///; s/\.attar//' | paste -sd , | sed 's/,/, /g')
        [ -n "$users" ] && printf -- "- | through %s" "$users" || printf -- "- | see tests/cli"
    }
}

{
    cat <<'TEXT'
# Models

Each file is the whole of an architecture, or of a group of operators, in at most 60 lines. `attar new NAME --from DIR` picks the file for a checkpoint;
`attar verify models/FILE.attar --weights DIR --golden golden.safetensors` compares it with a reference. A file with several models is used with `--model NAME`.

"Loads" names the kinds of `config.json` (`model_type`) whose checkpoints the file reads unmodified. "Error" is the largest absolute error of all outputs of
the file's cases beside the bound for it, taken where it is largest for its bound: outputs computed in float64 from the same weights, all positions at once and, with
a cache, token by token. The second table has every case. Both are written by `sh scripts/models-table.sh`.

| file | what it is | lines | loads | cases | error |
|---|---|---|---|---|---|
TEXT
    for path in models/*.attar; do
        file=$(basename "$path" .attar)
        echo "| [$file]($file.attar) | $(sed -n '1s/^# //p' "$path" | sed 's/|/\\|/g') | $(wc -l <"$path") | $(families "$file") | $(measured "$file") |"
    done
    cat <<'TEXT'

## Every case

The reference of a case is `tests/golden/FOLDER/golden.safetensors`; `golden.json` beside it says what it covers and how it was computed and checked.

| folder | model | output | largest error | bound |
|---|---|---|---|---|
TEXT
    sed 's/ / | /g; s/^/| /; s/$/ |/' "$work/cases"
} >"$work/README.md"
mv "$work/README.md" models/README.md
