#!/bin/sh
# The time of the passes for a decoder of 8 billion weights and 32 layers (its sizes alone, no weights): at most 20 ms
# is the aim.
#
#     sh bench/passes.sh [BUILD_DIR]
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
sh scripts/prepare.sh "$build" bench_passes -DCMAKE_BUILD_TYPE=Release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/config.json" <<'END'
{"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336, "vocab_size": 128256,
 "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 8192,
 "rms_norm_eps": 1e-05, "hidden_act": "silu", "tie_word_embeddings": false, "rope_theta": 500000.0,
 "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                  "original_max_position_embeddings": 8192}}
END
"$build/bench_passes" models/llama.attar "$work/config.json"
