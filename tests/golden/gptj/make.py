"""GPT-J: attention and feed-forward side by side on one norm; neighbouring channels turn, the first 8 of 20."""
import pathlib, sys

import numpy as np
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from make_reference import causal, gelu_tanh, layernorm, turn, write

config = {"model_type": "gptj", "n_embd": 60, "n_layer": 2, "n_head": 3, "n_inner": None, "n_positions": 64, "rotary_dim": 8, "layer_norm_epsilon": 1e-5,
          "activation_function": "gelu_new", "tie_word_embeddings": False, "vocab_size": 97}
D, F, H, K, V = 60, 240, 3, 20, 97
shapes = {"transformer.wte.weight": (V, D), "transformer.ln_f.weight": (D,), "transformer.ln_f.bias": (D,), "lm_head.weight": (V, D), "lm_head.bias": (V,)}
for i in range(2):
    at = f"transformer.h.{i}."
    shapes |= {at + f"attn.{n}_proj.weight": (D, D) for n in ("q", "k", "v", "out")}
    shapes |= {at + "ln_1.weight": (D,), at + "ln_1.bias": (D,), at + "mlp.fc_in.weight": (F, D), at + "mlp.fc_in.bias": (F,),
               at + "mlp.fc_out.weight": (D, F), at + "mlp.fc_out.bias": (D,)}


def forward(w, c, ids):
    frequencies = 10000.0 ** (-np.arange(0, c["rotary_dim"], 2) / c["rotary_dim"])
    norm = lambda y, name: layernorm(y, w[name + ".weight"], w[name + ".bias"], c["layer_norm_epsilon"])
    x = w["transformer.wte.weight"][ids]
    for i in range(c["n_layer"]):
        at = f"transformer.h.{i}."
        h = norm(x, at + "ln_1")
        q, k, v = ((h @ w[at + f"attn.{n}_proj.weight"].T).reshape(*h.shape[:2], H, K) for n in "qkv")
        a = causal(turn(q, frequencies, interleaved=True), turn(k, frequencies, interleaved=True), v) @ w[at + "attn.out_proj.weight"].T
        f = gelu_tanh(h @ w[at + "mlp.fc_in.weight"].T + w[at + "mlp.fc_in.bias"]) @ w[at + "mlp.fc_out.weight"].T + w[at + "mlp.fc_out.bias"]
        x = x + a + f
    return norm(x, "transformer.ln_f") @ w["lm_head.weight"].T + w["lm_head.bias"]


write(__file__, config, shapes, forward, 83, "parallel residual on one norm, interleaved rotation of 8 of 20 channels, a head with a bias")
