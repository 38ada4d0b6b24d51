"""Phi-3 beyond the length of its first training: the long factors of LongRoPE; config.json in the older spelling."""
import math, pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import causal, rmsnorm, silu, turn, write

config = {"model_type": "phi3", "hidden_size": 60, "intermediate_size": 90, "num_hidden_layers": 1, "num_attention_heads": 3, "num_key_value_heads": 1,
          "max_position_embeddings": 128, "original_max_position_embeddings": 32, "partial_rotary_factor": 0.7, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
          "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5], "long_factor": [1.0, 1.2, 1.7, 2.6, 4.0, 7.5, 16.0]},
          "sliding_window": None, "tie_word_embeddings": False, "vocab_size": 97}
D, F, H, G, K, V = 60, 90, 3, 1, 20, 97
shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,), "lm_head.weight": (V, D)}
at = "model.layers.0."
shapes |= {at + "self_attn.qkv_proj.weight": ((H + 2 * G) * K, D), at + "self_attn.o_proj.weight": (D, H * K), at + "mlp.gate_up_proj.weight": (2 * F, D),
           at + "mlp.down_proj.weight": (D, F), at + "input_layernorm.weight": (D,), at + "post_attention_layernorm.weight": (D,)}


def forward(w, c, ids):
    size = int(K * c["partial_rotary_factor"])
    length, original = ids.shape[1], c["original_max_position_embeddings"]
    divisors = np.array(c["rope_scaling"]["long_factor" if length > original else "short_factor"])
    frequencies = c["rope_theta"] ** (-np.arange(0, size, 2) / size) / divisors
    factor = math.sqrt(1 + math.log(c["max_position_embeddings"] / original) / math.log(original))
    norm = lambda y, name: rmsnorm(y, w[name + ".weight"], c["rms_norm_eps"])
    x = w["model.embed_tokens.weight"][ids]
    h = norm(x, at + "input_layernorm")
    heads = (h @ w[at + "self_attn.qkv_proj.weight"].T).reshape(*h.shape[:2], H + 2 * G, K)
    q, k, v = np.split(heads, [H, H + G], 2)
    a = causal(turn(q, frequencies, factor=factor), turn(k, frequencies, factor=factor), v)
    x = x + a @ w[at + "self_attn.o_proj.weight"].T
    h = norm(x, at + "post_attention_layernorm")
    gate, up = np.split(h @ w[at + "mlp.gate_up_proj.weight"].T, 2, -1)
    x = x + (silu(gate) * up) @ w[at + "mlp.down_proj.weight"].T
    return norm(x, "model.norm") @ w["lm_head.weight"].T


write(__file__, config, shapes, forward, 89, "40 tokens where the first training had 32: the long factors of LongRoPE; rotation of 14 of 20 channels", length=40)
