"""MPT: ALiBi, no biases, not even in the norms."""
import math, pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import causal, gelu, layernorm, write

config = {"model_type": "mpt", "d_model": 60, "n_heads": 5, "n_layers": 2, "expansion_ratio": 4, "max_seq_len": 64, "vocab_size": 97, "no_bias": True,
          "layer_norm_epsilon": 1e-5, "norm_type": "low_precision_layernorm", "tie_word_embeddings": True,
          "attn_config": {"alibi": True, "alibi_bias_max": 8, "attn_type": "multihead_attention", "clip_qkv": None, "qk_ln": False, "softmax_scale": None}}
D, H, K, V = 60, 5, 12, 97
shapes = {"transformer.wte.weight": (V, D), "transformer.norm_f.weight": (D,)}
for i in range(2):
    at = f"transformer.blocks.{i}."
    shapes |= {at + "norm_1.weight": (D,), at + "attn.Wqkv.weight": (3 * D, D), at + "attn.out_proj.weight": (D, D), at + "norm_2.weight": (D,),
               at + "ffn.up_proj.weight": (4 * D, D), at + "ffn.down_proj.weight": (D, 4 * D)}


def slopes(heads, most):
    """As MPT makes them: those of the next power of two, every other one first."""
    above = 2 ** math.ceil(math.log2(heads))
    all = [2 ** (-(n + 1) * most / above) for n in range(above)]
    return all if above == heads else (all[1::2] + all[::2])[:heads]


def forward(w, c, ids):
    norm = lambda y, name: layernorm(y, w[name + ".weight"], 0, c["layer_norm_epsilon"])
    x = w["transformer.wte.weight"][ids]
    distance = np.arange(ids.shape[1])[None] - np.arange(ids.shape[1])[:, None]
    bias = np.array(slopes(H, c["attn_config"]["alibi_bias_max"]))[:, None, None] * distance
    for i in range(c["n_layers"]):
        at = f"transformer.blocks.{i}."
        qkv = norm(x, at + "norm_1") @ w[at + "attn.Wqkv.weight"].T
        q, k, v = (y.reshape(*y.shape[:2], H, K) for y in np.split(qkv, 3, -1))
        x = x + causal(q, k, v, bias.astype(x.dtype)) @ w[at + "attn.out_proj.weight"].T
        x = x + gelu(norm(x, at + "norm_2") @ w[at + "ffn.up_proj.weight"].T) @ w[at + "ffn.down_proj.weight"].T
    return norm(x, "transformer.norm_f") @ w["transformer.wte.weight"].T


write(__file__, config, shapes, forward, 93, "ALiBi of five heads, q, k, v one after the other in a tensor, norms without biases, tied")
