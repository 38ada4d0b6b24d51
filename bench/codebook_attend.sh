#!/bin/sh
# What codebook attention costs, against exact causal attention. Not a test: run it on a quiet machine.
#
#     sh bench/codebook_attend.sh [rounds=3] [longest=32768] [exact=32768]
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh build bench_codebook_attend -DCMAKE_BUILD_TYPE=Release
build/bench_codebook_attend "$@"
