"""Llama with codebooks: keys of a row's block of positions and the one before are exact, of older ones their nearest code is read."""
import pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import rmsnorm, silu, turn, write

config = {"model_type": "llama_codebook", "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
          "head_dim": 12, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": True,
          "vocab_size": 61, "attention_codes": 10, "attention_block": 5}
D, F, H, G, K, V, N, Q = 48, 80, 4, 2, 12, 61, 10, 5
linear = {"self_attn.q_proj": (H * K, D), "self_attn.k_proj": (G * K, D), "self_attn.v_proj": (G * K, D), "self_attn.o_proj": (D, H * K),
          "mlp.gate_proj": (F, D), "mlp.up_proj": (F, D), "mlp.down_proj": (D, F), "input_layernorm": (D,), "post_attention_layernorm": (D,)}
shapes = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
for i in range(2):
    shapes |= {f"model.layers.{i}.{n}.weight": shape for n, shape in linear.items()} | {f"model.layers.{i}.self_attn.codebook": (G, N, K)}


def nearest(k, codes):
    """k [batch, position, head, width]; every key is nearer to its code than to any other by what float32 cannot lose."""
    far = ((k[:, :, :, None] - codes) ** 2).sum(-1)
    first, second = np.sort(far, -1)[..., :2].transpose(3, 0, 1, 2)
    assert (second - first).min() > 1e-3, (second - first).min()
    return far.argmin(-1)


def attention(q, k, v, codes):
    n = q.shape[1]
    i, j = np.arange(n)[:, None], np.arange(n)
    quantised = np.stack([codes[g][z] for g, z in enumerate(nearest(k, codes).transpose(2, 0, 1))], 2)
    out = np.empty_like(q)
    for h in range(H):
        g = h // (H // G)
        exact, coded = (q[:, :, h] @ x[:, :, g].swapaxes(1, 2) / q.dtype.type(K ** 0.5) for x in (k, quantised))
        s = np.where(j <= i, np.where(j // Q >= i // Q - 1, exact, coded), -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        out[:, :, h] = p / p.sum(-1, keepdims=True) @ v[:, :, g]
    return out.reshape(*q.shape[:2], -1)


def forward(w, c, ids):
    frequencies = c["rope_theta"] ** (-np.arange(0, K, 2) / K)
    norm = lambda y, name: rmsnorm(y, w[f"{name}.weight"], c["rms_norm_eps"])
    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        dense = lambda y, name: y @ w[f"model.layers.{i}.{name}.weight"].T
        h = norm(x, f"model.layers.{i}.input_layernorm")
        q, k, v = (dense(h, f"self_attn.{n}_proj").reshape(*h.shape[:2], -1, K) for n in "qkv")
        x = x + dense(attention(turn(q, frequencies), turn(k, frequencies), v, w[f"model.layers.{i}.self_attn.codebook"]), "self_attn.o_proj")
        h = norm(x, f"model.layers.{i}.post_attention_layernorm")
        x = x + dense(silu(dense(h, "mlp.gate_proj")) * dense(h, "mlp.up_proj"), "mlp.down_proj")
    return norm(x, "model.norm") @ w["model.embed_tokens.weight"].T


write(__file__, config, shapes, forward, 2310, "llama with a codebook for each key head: keys of two blocks exact, older ones quantised; grouped heads, tied", length=37)
