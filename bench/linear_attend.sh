#!/bin/sh
# What linear attention costs, against exact attention and against the machine. Not a test: run it on a quiet machine.
#
#     sh bench/linear_attend.sh [rounds=5] [longest=65536] [exact=4096] [python=PATH]
#
# With a python that has torch, the same lengths through its scaled_dot_product_attention, on one thread.
set -eu
cd "$(dirname "$0")/.."
python=
exact=4096
for argument; do
    shift
    case $argument in
        python=*) python=${argument#python=} ;;
        exact=*) exact=${argument#exact=}; set -- "$@" "$argument" ;;
        *) set -- "$@" "$argument" ;;
    esac
done
sh scripts/prepare.sh build bench_linear_attend -DCMAKE_BUILD_TYPE=Release
build/bench_linear_attend "$@"
if [ -z "$python" ]; then
    echo "skipped: PyTorch (python=PATH names a python that has torch)"
    exit 0
fi
"$python" - "$exact" <<'END'
import sys
import time

import torch

torch.set_num_threads(1)
print(f"PyTorch {torch.__version__}, scaled_dot_product_attention, 8 heads of 64, one thread")
print(f"{'L':>8} {'all keys':>9} {'causal':>9}   ms")
length = 1024
while length <= int(sys.argv[1]):
    q, k, v = (torch.rand(1, 8, length, 64) * 2 - 1 for _ in range(3))
    line = f"{length:8}"
    for causal in (False, True):
        best = float("inf")
        for _ in range(6):
            start = time.perf_counter()
            torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
            best = min(best, time.perf_counter() - start)
        line += f" {1e3 * best:9.2f}"
    print(line)
    length *= 4
END
