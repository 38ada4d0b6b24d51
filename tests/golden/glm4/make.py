"""GLM-4-0414: half of each head turns, by neighbouring channels; norms before and behind attention and feed-forward; gate and up in one tensor."""
import pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import causal, rmsnorm, silu, turn, write

config = {"model_type": "glm4", "hidden_size": 40, "intermediate_size": 60, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 20,
          "max_position_embeddings": 32, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "partial_rotary_factor": 0.5, "attention_bias": True, "hidden_act": "silu",
          "tie_word_embeddings": False, "vocab_size": 61}
D, F, H, G, K, V = 40, 60, 2, 1, 20, 61
linear = {"self_attn.q_proj": (H * K, D), "self_attn.k_proj": (G * K, D), "self_attn.v_proj": (G * K, D), "self_attn.o_proj": (D, H * K),
          "mlp.gate_up_proj": (2 * F, D), "mlp.down_proj": (D, F)}
norms = ("input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm", "post_mlp_layernorm")
shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,), "lm_head.weight": (V, D)}
for i in range(2):
    at = f"model.layers.{i}."
    shapes |= {at + n + ".weight": shape for n, shape in linear.items()} | {at + n + ".weight": (D,) for n in norms}
    shapes |= {at + f"self_attn.{n}_proj.bias": linear[f"self_attn.{n}_proj"][:1] for n in "qkv"}


def forward(w, c, ids):
    size = int(K * c["partial_rotary_factor"])
    frequencies = c["rope_theta"] ** (-np.arange(0, size, 2) / size)
    norm = lambda y, name: rmsnorm(y, w[name + ".weight"], c["rms_norm_eps"])
    dense = lambda y, name: y @ w[name + ".weight"].T + w.get(name + ".bias", 0)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        h = norm(x, at + "input_layernorm")
        q, k, v = (dense(h, at + f"self_attn.{n}_proj").reshape(*h.shape[:2], -1, K) for n in "qkv")
        a = causal(turn(q, frequencies, interleaved=True), turn(k, frequencies, interleaved=True), v)
        x = x + norm(dense(a, at + "self_attn.o_proj"), at + "post_self_attn_layernorm")
        gate, up = np.split(dense(norm(x, at + "post_attention_layernorm"), at + "mlp.gate_up_proj"), 2, -1)
        x = x + norm(dense(silu(gate) * up, at + "mlp.down_proj"), at + "post_mlp_layernorm")
    return norm(x, "model.norm") @ w["lm_head.weight"].T


write(__file__, config, shapes, forward, 107, "rotation of half of each head by neighbouring channels, norms before and behind, gate and up in one tensor, biases on q, k, v")
