"""OPT: learned positions whose first two rows are for padding, ReLU, biases everywhere, tied output."""
import pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import causal, layernorm, write

config = {"model_type": "opt", "hidden_size": 40, "ffn_dim": 70, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 24,
          "word_embed_proj_dim": 40, "do_layer_norm_before": True, "activation_function": "relu", "enable_bias": True, "_remove_final_layer_norm": False,
          "tie_word_embeddings": True, "vocab_size": 61}
D, F, H, K, V = 40, 70, 2, 20, 61
top = "model.decoder."
linear = {"self_attn.q_proj": (D, D), "self_attn.k_proj": (D, D), "self_attn.v_proj": (D, D), "self_attn.out_proj": (D, D), "fc1": (F, D), "fc2": (D, F)}
norms = ("self_attn_layer_norm", "final_layer_norm")
shapes = {top + "embed_tokens.weight": (V, D), top + "embed_positions.weight": (26, D)}
for at in [top, *(f"{top}layers.{i}." for i in range(2))]:
    shapes |= {at + n + end: (D,) for n in (norms[1:] if at == top else norms) for end in (".weight", ".bias")}
    shapes |= {at + n + end: shape if end == ".weight" else shape[:1] for n, shape in linear.items() for end in (".weight", ".bias")} if at != top else {}


def forward(w, c, ids):
    norm = lambda y, name: layernorm(y, w[name + ".weight"], w[name + ".bias"], 1e-5)
    dense = lambda y, name: y @ w[name + ".weight"].T + w[name + ".bias"]
    x = w[top + "embed_tokens.weight"][ids] + w[top + "embed_positions.weight"][2:ids.shape[1] + 2]
    for i in range(c["num_hidden_layers"]):
        at = f"{top}layers.{i}."
        h = norm(x, at + "self_attn_layer_norm")
        q, k, v = (dense(h, at + f"self_attn.{n}_proj").reshape(*h.shape[:2], H, K) for n in "qkv")
        x = x + dense(causal(q, k, v), at + "self_attn.out_proj")
        x = x + dense(np.maximum(dense(norm(x, at + "final_layer_norm"), at + "fc1"), 0), at + "fc2")
    return norm(x, top + "final_layer_norm") @ w[top + "embed_tokens.weight"].T


write(__file__, config, shapes, forward, 101, "learned positions from row 2 on, ReLU, biases everywhere, tied")
