"""StableLM: layer norms and SwiGLU, a quarter of each head turns, biases on q, k and v."""
import pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import causal, layernorm, silu, turn, write

config = {"model_type": "stablelm", "hidden_size": 48, "intermediate_size": 60, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
          "max_position_embeddings": 32, "layer_norm_eps": 1e-5, "rope_theta": 10000, "partial_rotary_factor": 0.25, "use_qkv_bias": True,
          "use_parallel_residual": False, "qk_layernorm": False, "hidden_act": "silu", "tie_word_embeddings": False, "vocab_size": 61}
D, F, H, G, K, V = 48, 60, 2, 2, 24, 61
linear = {"self_attn.q_proj": (H * K, D), "self_attn.k_proj": (G * K, D), "self_attn.v_proj": (G * K, D), "self_attn.o_proj": (D, H * K),
          "mlp.gate_proj": (F, D), "mlp.up_proj": (F, D), "mlp.down_proj": (D, F)}
shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,), "model.norm.bias": (D,), "lm_head.weight": (V, D)}
for i in range(2):
    at = f"model.layers.{i}."
    shapes |= {at + n + ".weight": shape for n, shape in linear.items()} | {at + f"self_attn.{n}_proj.bias": (D,) for n in "qkv"}
    shapes |= {at + n + end: (D,) for n in ("input_layernorm", "post_attention_layernorm") for end in (".weight", ".bias")}


def forward(w, c, ids):
    size = int(K * c["partial_rotary_factor"])
    frequencies = float(c["rope_theta"]) ** (-np.arange(0, size, 2) / size)
    norm = lambda y, name: layernorm(y, w[name + ".weight"], w[name + ".bias"], c["layer_norm_eps"])
    dense = lambda y, name: y @ w[name + ".weight"].T + w.get(name + ".bias", 0)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        h = norm(x, at + "input_layernorm")
        q, k, v = (dense(h, at + f"self_attn.{n}_proj").reshape(*h.shape[:2], -1, K) for n in "qkv")
        x = x + dense(causal(turn(q, frequencies), turn(k, frequencies), v), at + "self_attn.o_proj")
        h = norm(x, at + "post_attention_layernorm")
        x = x + dense(silu(dense(h, at + "mlp.gate_proj")) * dense(h, at + "mlp.up_proj"), at + "mlp.down_proj")
    return norm(x, "model.norm") @ w["lm_head.weight"].T


write(__file__, config, shapes, forward, 105, "layer norms, rotation of 6 of 24 channels, biases on q, k and v")
