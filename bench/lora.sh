#!/bin/sh
# What adapters cost: merged, beside the weights, and one for each row of a batch. Not a test: run it on a quiet machine.
#
#     sh bench/lora.sh [threads=1] [rounds=25]
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh build bench_lora -DCMAKE_BUILD_TYPE=Release
build/bench_lora "$@"
