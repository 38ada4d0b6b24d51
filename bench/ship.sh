#!/bin/sh
# A built model (attar build), made by gcc and by clang, against the same model compiled in the process. Not a test: run it on a quiet machine.
#
#     sh bench/ship.sh NAME=MODEL_FILE,WEIGHTS,encode=S|decode=STEPS ... [rounds=41]
#
# Without models: the real MiniLM at S = 128 (scripts/fetch-minilm.sh) and austen writing 64 letters. CPU is the processor that it is pinned to (1).
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh build attar -DCMAKE_BUILD_TYPE=Release
sh scripts/prepare.sh build bench_ship
work=${KEEP:-$(mktemp -d)}
[ -n "${KEEP:-}" ] || trap 'rm -rf "$work"' EXIT
rounds=41 cases=
for argument in "$@"; do
    case $argument in
    rounds=*) rounds=${argument#rounds=} ;;
    *) cases="$cases $argument" ;;
    esac
done
[ -n "$cases" ] || {
    sh scripts/fetch-minilm.sh build/minilm
    cases="minilm=models/minilm.attar,build/minilm,encode=128 austen=models/llama.attar,models/austen,decode=64"
}
for case in $cases; do
    name=${case%%=*} rest=${case#*=}
    model=${rest%%,*} rest=${rest#*,}
    weights=${rest%%,*} what=${rest#*,}
    out=$work/$name
    build/attar build "$model" --weights "$weights" -o "$out" >/dev/null
    file=$(basename "$out"/*.weights .weights)
    for compiler in gcc clang-19; do
        make -s -C "$out" CC=$compiler "lib$file.so"
        mv "$out/lib$file.so" "$work/$name-$compiler.so"
        make -s -C "$out" clean
    done
    echo "$name: $model, $what"
    taskset -c "${CPU:-1}" build/bench_ship "$model" "$weights" "$what" "rounds=$rounds" "$out/$file.weights" "gcc=$work/$name-gcc.so" "clang=$work/$name-clang-19.so"
done
