#!/bin/sh
# Attar beside the engines that people would pick instead, and beside the limits of this machine: prints every figure that the project is held to.
#
#     sh scripts/bench.sh [--quick] [OPTION...]       options of bench/peers/figures.py: --parts, --without, --rounds ...
#
# Results: build/bench-results/ (figures.md, figures.jsonl, plots, sweep.md). Engines whose Python packages are missing are skipped by name; $BENCH_PYTHON
# names the Python that has them (python3). Without numpy it is put into a folder of its own under build/; where that fails, `attar bench` has to do.
# Not a test: run it on a quiet machine.
set -eu
cd "$(dirname "$0")/.."
results=build/bench-results
shapes=200
for argument; do
    [ "$argument" != --quick ] || shapes=40
done
sh scripts/prepare.sh build attar -DCMAKE_BUILD_TYPE=Release
for target in bench_worker bench_compile_time bench_sweep; do
    sh scripts/prepare.sh build "$target"
done
mkdir -p "$results"
: "${BENCH_CACHE:=$PWD/build/bench-models}"
export BENCH_CACHE
sh scripts/fetch-minilm.sh build/minilm || echo "skipped: MiniLM, whose weights could not be fetched"

python=${BENCH_PYTHON:-python3}
if ! "$python" -c 'import numpy' 2>/dev/null; then
    python=build/bench-python/bin/python
    if ! "$python" -c 'import numpy' 2>/dev/null; then
        python3 -m venv build/bench-python && build/bench-python/bin/pip install -q numpy matplotlib || python=
    fi
fi
if [ -n "$python" ]; then
    rm -f "$results/figures.jsonl"
    "$python" bench/peers/figures.py --json "$results/figures.jsonl" --plots "$results" "$@" | tee "$results/figures.md"
else
    echo "skipped: all other engines; Python with numpy is missing" | tee "$results/figures.md"
    for length in 16 32 64 128 256 512; do
        for threads in 1 2; do
            build/attar bench models/minilm.attar --weights build/minilm --dim B=1 --dim S=$length --threads $threads | sed -n 1,4p
        done
    done | tee -a "$results/figures.md"
fi
echo
echo "Kernels at random shapes, farthest from their limit:"
build/bench_sweep shapes=$shapes | tee "$results/sweep.md"
