#!/bin/sh
# The table at the end of models/README.md: every case of tests/golden/cases.txt with the error measured on this machine.
#
#     sh scripts/models-table.sh
#
# One row an output: the worst of all positions at once and token by token, beside the bound of golden.json.
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh build attar -DCMAKE_BUILD_TYPE=Release
echo "| golden | model | output | largest error | bound |"
echo "|---|---|---|---|---|"
while read -r folder model options; do
    case $folder in '' | '#'*) continue ;; esac
    file=${model%%:*} choice=
    [ "$file" = "$model" ] || choice="--model ${model#*:}"
    # shellcheck disable=SC2086
    build/attar verify "models/$file.attar" $choice ${options:---weights tests/golden/$folder} --golden "tests/golden/$folder/golden.safetensors" 2>/dev/null |
        awk -v folder="$folder" -v model="$model" '
            /PASS$|FAIL$/ {
                for (i = 1; i < NF; i++) { if ($i == "error") error = $(i + 1); if ($i == "tolerance") bound = $(i + 1) }
                if (!($1 in worst)) { order[++n] = $1; worst[$1] = -1 }
                if (error + 0 > worst[$1] + 0) { worst[$1] = error; bounds[$1] = bound }
                if ($NF ~ /FAIL/) failed[$1] = " (too large)"
            }
            END { for (i = 1; i <= n; i++) printf "| %s | %s | %s | %s%s | %s |\n", folder, model, order[i], worst[order[i]], failed[order[i]], bounds[order[i]] }'
done <tests/golden/cases.txt
