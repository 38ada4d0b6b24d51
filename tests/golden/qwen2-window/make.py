"""Qwen2 with use_sliding_window: the first layers see everything, the others the last five positions; biases on q, k and v."""
import pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import causal, rmsnorm, silu, turn, write

config = {"model_type": "qwen2", "hidden_size": 60, "intermediate_size": 90, "num_hidden_layers": 3, "num_attention_heads": 3, "num_key_value_heads": 1,
          "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "hidden_act": "silu", "use_sliding_window": True,
          "sliding_window": 5, "max_window_layers": 1, "tie_word_embeddings": False, "vocab_size": 97}
D, F, H, G, K, V, L = 60, 90, 3, 1, 20, 97, 3
shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,), "lm_head.weight": (V, D)}
for i in range(L):
    a, m = f"model.layers.{i}.self_attn.", f"model.layers.{i}.mlp."
    shapes |= {a + "q_proj.weight": (H * K, D), a + "k_proj.weight": (G * K, D), a + "v_proj.weight": (G * K, D), a + "o_proj.weight": (D, H * K),
               a + "q_proj.bias": (H * K,), a + "k_proj.bias": (G * K,), a + "v_proj.bias": (G * K,),
               m + "gate_proj.weight": (F, D), m + "up_proj.weight": (F, D), m + "down_proj.weight": (D, F),
               f"model.layers.{i}.input_layernorm.weight": (D,), f"model.layers.{i}.post_attention_layernorm.weight": (D,)}


def forward(w, c, ids):
    x, frequencies = w["model.embed_tokens.weight"][ids], c["rope_theta"] ** (-np.arange(0, K, 2) / K)
    for i in range(L):
        at = f"model.layers.{i}."
        linear = lambda y, name: y @ w[at + name + ".weight"].T + w.get(at + name + ".bias", 0)
        norm = lambda y, name: rmsnorm(y, w[at + name + ".weight"], c["rms_norm_eps"])
        h = norm(x, "input_layernorm")
        q, k, v = (linear(h, f"self_attn.{n}_proj").reshape(*h.shape[:2], -1, K) for n in "qkv")
        window = c["sliding_window"] if i >= c["max_window_layers"] else None
        x = x + linear(causal(turn(q, frequencies), turn(k, frequencies), v, window=window), "self_attn.o_proj")
        h = norm(x, "post_attention_layernorm")
        x = x + linear(silu(linear(h, "mlp.gate_proj")) * linear(h, "mlp.up_proj"), "mlp.down_proj")
    return rmsnorm(x, w["model.norm.weight"], c["rms_norm_eps"]) @ w["lm_head.weight"].T


write(__file__, config, shapes, forward, 95, "a window of five positions in the last two of three layers, biases on q, k and v")
