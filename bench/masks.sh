#!/bin/sh
# What masks cost: the time of an executed tile against one of full attention. Not a test: run it on a quiet machine.
#
#     sh bench/masks.sh [L=4096] [rounds=15]
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh build masks -DCMAKE_BUILD_TYPE=Release
build/masks "$@"
