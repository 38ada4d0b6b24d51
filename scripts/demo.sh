#!/bin/sh
# Installs what is missing, builds, and lets the small model in models/austen write. The text streams to stdout;
# tokens per second and what was fused go to stderr. Options are handed to `attar generate`:
#
#     sh scripts/demo.sh
#     sh scripts/demo.sh --temperature 0.8 --top-k 40 --seed 1
set -eu
cd "$(dirname "$0")/.."
sh scripts/prepare.sh build attar -DCMAKE_BUILD_TYPE=Release
exec build/attar generate models/llama.attar --weights models/austen --prompt "It is a truth" --steps 300 "$@"
