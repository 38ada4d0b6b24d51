"""Falcon as in 7B: one key and value head for all, attention and feed-forward side by side on one norm."""
import pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import causal, gelu, layernorm, turn, write

config = {"model_type": "falcon", "hidden_size": 60, "num_hidden_layers": 2, "num_attention_heads": 6, "layer_norm_epsilon": 1e-5, "activation": "gelu",
          "new_decoder_architecture": False, "multi_query": True, "parallel_attn": True, "bias": False, "alibi": False, "max_position_embeddings": 64,
          "rope_theta": 10000.0, "vocab_size": 97}
D, F, H, G, K, V = 60, 240, 6, 1, 10, 97
R = H // G
shapes = {"transformer.word_embeddings.weight": (V, D), "transformer.ln_f.weight": (D,), "transformer.ln_f.bias": (D,)}
for i in range(2):
    at = f"transformer.h.{i}."
    linear = {"self_attention.query_key_value": (G * (R + 2) * K, D), "self_attention.dense": (D, H * K), "mlp.dense_h_to_4h": (F, D), "mlp.dense_4h_to_h": (D, F)}
    shapes |= {at + name + ".weight": shape for name, shape in linear.items()}
    norms = ["input_layernorm"]
    shapes |= {at + name + end: (D,) for name in norms for end in (".weight", ".bias")}


def forward(w, c, ids):
    frequencies = c["rope_theta"] ** (-np.arange(0, K, 2) / K)
    norm = lambda y, name: layernorm(y, w[name + ".weight"], w[name + ".bias"], c["layer_norm_epsilon"])
    linear = lambda y, name: y @ w[name + ".weight"].T + w.get(name + ".bias", 0)
    x = w["transformer.word_embeddings.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        at = f"transformer.h.{i}."
        h = m = norm(x, at + "input_layernorm")
        qkv = linear(h, at + "self_attention.query_key_value").reshape(*h.shape[:2], G, R + 2, K)
        q = qkv[:, :, :, :R].reshape(*h.shape[:2], H, K)
        a = causal(turn(q, frequencies), turn(qkv[:, :, :, R], frequencies), qkv[:, :, :, R + 1])
        x = x + linear(a, at + "self_attention.dense") + linear(gelu(linear(m, at + "mlp.dense_h_to_4h")), at + "mlp.dense_4h_to_h")
    return norm(x, "transformer.ln_f") @ w["transformer.word_embeddings.weight"].T


write(__file__, config, shapes, forward, 85, "one key and value head for six query heads in one tensor with them, parallel residual on one norm, tied")
