#!/bin/sh
# Makes the folder of a page that writes: the austen model compiled to WebAssembly, its weights, and the page's files.
# Needs Debian's clang-19 and lld-19, and attar itself (sh scripts/prepare.sh build attar).
#
#     sh examples/web/build.sh [FOLDER]            build/web unless said otherwise; $ATTAR names the command
#     python3 -m http.server -d build/web          then open http://localhost:8000
set -eu
cd "$(dirname "$0")/../.."
to=${1:-build/web}
clang="${CLANG:-clang-19} --target=wasm32 -ffreestanding -mbulk-memory"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

"${ATTAR:-build/attar}" build models/llama.attar --weights models/austen --target wasm32 -o "$out" >/dev/null
make -s -C "$out" CC="$clang" llama.o
$clang -O2 -std=c11 -Wall -Wextra -I"$out" -c examples/web/web.c -o "$out/web.o"
# The stack lies first, so that one that overflows ends the program instead of writing over data.
$clang -nostdlib -Wl,--no-entry,--strip-all,--stack-first,-z,stack-size=262144 "$out/llama.o" "$out/web.o" \
    -o "$out/model.wasm"
mkdir -p "$to"
cp "$out/model.wasm" models/austen/config.json "$to"
cp "$out/llama.weights" "$to/model.weights"
cp examples/web/*.html examples/web/*.css examples/web/*.js "$to"
echo "$to: $(wc -c <"$to/model.wasm") bytes of code, $(wc -c <"$to/model.weights") bytes of weights"
