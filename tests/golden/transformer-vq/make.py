"""Transformer-VQ: gated attention with one head over quantised keys, a bias by distance for keys of a row's block and the one before."""
import pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import rmsnorm, silu, write

config = {"model_type": "transformer_vq", "hidden_size": 40, "num_hidden_layers": 2, "key_size": 16, "value_size": 56, "attention_codes": 12, "attention_block": 6,
          "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "vocab_size": 61}
D, K, W, V, N, Q = 40, 16, 56, 61, 12, 6
shapes = {"embed.weight": (V, D), "norm.weight": (D,), "head.weight": (V, D)}
for i in range(2):
    shapes |= {f"layers.{i}.{n}": shape for n, shape in {
        "norm.weight": (D,), "q_proj.weight": (K, D), "k_proj.weight": (K, D), "v_proj.weight": (W, D), "gate_proj.weight": (W, D), "o_proj.weight": (D, W),
        "query_bias": (1, K), "distance_bias": (1, 2 * Q), "codebook": (N, K)}.items()}


def nearest(k, codes):
    """k [batch, position, width]; every key is nearer to its code than to any other by what float32 cannot lose."""
    far = ((k[:, :, None] - codes) ** 2).sum(-1)
    first, second = np.sort(far, -1)[..., :2].transpose(2, 0, 1)
    assert (second - first).min() > 1e-3, (second - first).min()
    return far.argmin(-1)


def attention(q, k, v, codes, bias):
    n = q.shape[1]
    i, j = np.arange(n)[:, None], np.arange(n)
    s = q @ codes[nearest(k, codes)].swapaxes(1, 2) / q.dtype.type(K ** 0.5)
    s = s + np.where(j // Q >= i // Q - 1, bias[np.clip(i - j, 0, 2 * Q - 1)], 0)
    s = np.where(j <= i, s, -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True) @ v


def forward(w, c, ids):
    x = w["embed.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        of = lambda name: w[f"layers.{i}.{name}"]
        h = rmsnorm(x, of("norm.weight"), c["rms_norm_eps"])
        q, k = (rmsnorm(h @ of(f"{n}_proj.weight").T, 1, c["rms_norm_eps"]) for n in "qk")
        v, gate = (silu(h @ of(f"{n}.weight").T) for n in ("v_proj", "gate_proj"))
        x = x + (attention(q + of("query_bias"), k, v, of("codebook"), of("distance_bias")[0]) * gate) @ of("o_proj.weight").T
    return rmsnorm(x, w["norm.weight"], c["rms_norm_eps"]) @ w["head.weight"].T


write(__file__, config, shapes, forward, 9862, "gated attention with one head over quantised keys, a bias by distance in two blocks, states of constant size", length=41)
