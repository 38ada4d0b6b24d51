"""Command R: parallel residual on a norm without a bias, interleaved rotation, logits times a number, tied output."""
import pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import causal, layernorm, silu, turn, write

config = {"model_type": "cohere", "hidden_size": 40, "intermediate_size": 60, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
          "max_position_embeddings": 32, "layer_norm_eps": 1e-5, "rope_theta": 10000.0, "logit_scale": 0.25, "use_qk_norm": False, "hidden_act": "silu",
          "attention_bias": False, "tie_word_embeddings": True, "vocab_size": 61}
D, F, H, G, K, V = 40, 60, 4, 2, 10, 61
linear = {"self_attn.q_proj": (H * K, D), "self_attn.k_proj": (G * K, D), "self_attn.v_proj": (G * K, D), "self_attn.o_proj": (D, H * K),
          "mlp.gate_proj": (F, D), "mlp.up_proj": (F, D), "mlp.down_proj": (D, F)}
shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
for i in range(2):
    shapes |= {f"model.layers.{i}.{n}.weight": shape for n, shape in (linear | {"input_layernorm": (D,)}).items()}


def forward(w, c, ids):
    frequencies = c["rope_theta"] ** (-np.arange(0, K, 2) / K)
    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        dense = lambda y, name: y @ w[f"model.layers.{i}.{name}.weight"].T
        h = layernorm(x, w[f"model.layers.{i}.input_layernorm.weight"], 0, c["layer_norm_eps"])
        q, k, v = (dense(h, f"self_attn.{n}_proj").reshape(*h.shape[:2], -1, K) for n in "qkv")
        a = causal(turn(q, frequencies, interleaved=True), turn(k, frequencies, interleaved=True), v)
        x = x + dense(a, "self_attn.o_proj") + dense(silu(dense(h, "mlp.gate_proj")) * dense(h, "mlp.up_proj"), "mlp.down_proj")
    return layernorm(x, w["model.norm.weight"], 0, c["layer_norm_eps"]) @ w["model.embed_tokens.weight"].T * x.dtype.type(c["logit_scale"])


write(__file__, config, shapes, forward, 103, "parallel residual on one norm without a bias, interleaved rotation, logits times 0.25, tied")
