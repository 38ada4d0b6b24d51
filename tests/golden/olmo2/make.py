"""OLMo 2: norms behind attention and feed-forward, and over all of q and of k before they turn."""
import pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import causal, rmsnorm, silu, turn, write

config = {"model_type": "olmo2", "hidden_size": 60, "intermediate_size": 110, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2,
          "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 500000, "rope_scaling": None, "hidden_act": "silu", "attention_bias": False,
          "tie_word_embeddings": False, "vocab_size": 97}
D, F, H, G, K, V = 60, 110, 6, 2, 10, 97
shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,), "lm_head.weight": (V, D)}
for i in range(2):
    a, m = f"model.layers.{i}.self_attn.", f"model.layers.{i}.mlp."
    shapes |= {a + "q_proj.weight": (H * K, D), a + "k_proj.weight": (G * K, D), a + "v_proj.weight": (G * K, D), a + "o_proj.weight": (D, H * K),
               a + "q_norm.weight": (H * K,), a + "k_norm.weight": (G * K,), m + "gate_proj.weight": (F, D), m + "up_proj.weight": (F, D),
               m + "down_proj.weight": (D, F), f"model.layers.{i}.post_attention_layernorm.weight": (D,),
               f"model.layers.{i}.post_feedforward_layernorm.weight": (D,)}


def forward(w, c, ids):
    eps, frequencies = c["rms_norm_eps"], c["rope_theta"] ** (-np.arange(0, K, 2) / K)
    x = w["model.embed_tokens.weight"][ids]
    split = lambda y: y.reshape(*y.shape[:2], -1, K)
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        linear = lambda y, name: y @ w[at + name + ".weight"].T
        norm = lambda y, name: rmsnorm(y, w[at + name + ".weight"], eps)
        q = turn(split(norm(linear(x, "self_attn.q_proj"), "self_attn.q_norm")), frequencies)
        k = turn(split(norm(linear(x, "self_attn.k_proj"), "self_attn.k_norm")), frequencies)
        a = linear(causal(q, k, split(linear(x, "self_attn.v_proj"))), "self_attn.o_proj")
        x = x + norm(a, "post_attention_layernorm")
        f = linear(silu(linear(x, "mlp.gate_proj")) * linear(x, "mlp.up_proj"), "mlp.down_proj")
        x = x + norm(f, "post_feedforward_layernorm")
    return rmsnorm(x, w["model.norm.weight"], eps) @ w["lm_head.weight"].T


write(__file__, config, shapes, forward, 81, "norms behind attention and feed-forward and over all heads of q and of k; 6 query heads on 2; older spelling of rope_theta")
