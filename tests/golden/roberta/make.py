"""Makes this folder: a random checkpoint in RoBERTa's shape and its outputs, in NumPy and float64. Needs numpy and safetensors."""
import json, math, pathlib
import numpy as np
from safetensors.numpy import save_file

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(7)
D, L, H, F, V, P, pad, eps = 40, 2, 2, 70, 61, 24, 1, 1e-5
config = {"architectures": ["RobertaForMaskedLM"], "hidden_act": "gelu", "hidden_size": D, "intermediate_size": F, "layer_norm_eps": eps, "max_position_embeddings": P,
          "model_type": "roberta", "num_attention_heads": H, "num_hidden_layers": L, "pad_token_id": pad, "position_embedding_type": "absolute", "type_vocab_size": 1, "vocab_size": V}

w = {}
def make(name, *shape, scale=0.5, around=0.0):
    w[name] = (around + scale * rng.standard_normal(shape)).astype(np.float32)
def make_linear(name, out, into):
    make(name + ".weight", out, into, scale=1.5 / math.sqrt(into)); make(name + ".bias", out, scale=0.2)
def make_norm(name, size):
    make(name + ".weight", size, scale=0.2, around=1.0); make(name + ".bias", size, scale=0.2)

at = "roberta.embeddings."
for name, rows in ("word", V), ("position", P), ("token_type", 1):
    make(f"{at}{name}_embeddings.weight", rows, D)
make_norm(at + "LayerNorm", D)
for i in range(L):
    at = f"roberta.encoder.layer.{i}."
    for name in "query", "key", "value":
        make_linear(at + "attention.self." + name, D, D)
    make_linear(at + "attention.output.dense", D, D); make_norm(at + "attention.output.LayerNorm", D)
    make_linear(at + "intermediate.dense", F, D); make_linear(at + "output.dense", D, F); make_norm(at + "output.LayerNorm", D)

# one row is padded behind, one has the padding's id in the middle as well: it takes no position and moves those behind it
B, S = 3, 13
ids = rng.integers(4, V, (B, S)).astype(np.int32); ids[1, 8:] = pad; ids[2, 4] = pad; ids[2, 12:] = pad
keep = np.arange(S) < np.array([13, 8, 12])[:, None]

get = lambda name: w[name].astype(np.float64)
linear = lambda x, name: x @ get(name + ".weight").T + get(name + ".bias")
norm = lambda x, name: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * get(name + ".weight") + get(name + ".bias")
erf = np.vectorize(math.erf, otypes=[float])
heads = lambda x: x.reshape(B, S, H, D // H)

positions = pad + np.cumsum(ids != pad, 1) * (ids != pad)
at = "roberta.embeddings."
x = norm(get(at + "word_embeddings.weight")[ids] + get(at + "position_embeddings.weight")[positions] + get(at + "token_type_embeddings.weight")[0], at + "LayerNorm")
for i in range(L):
    at = f"roberta.encoder.layer.{i}."
    q, k, v = (heads(linear(x, at + "attention.self." + name)) for name in ("query", "key", "value"))
    s = np.where(keep[:, None, None], np.einsum("bshk,bthk->bhst", q, k) / math.sqrt(D // H), -np.inf)
    p = np.exp(s - s.max(-1, keepdims=True)); p /= p.sum(-1, keepdims=True)
    a = np.einsum("bhst,bthk->bshk", p, v).reshape(B, S, D)
    x = norm(x + linear(a, at + "attention.output.dense"), at + "attention.output.LayerNorm")
    h = linear(x, at + "intermediate.dense"); h = h * (1 + erf(h / math.sqrt(2))) / 2
    x = norm(x + linear(h, at + "output.dense"), at + "output.LayerNorm")

make("lm_head.bias", V)                                                  # what a model file for the encoder leaves out
bound = 4 * 2.0 ** -24 * np.abs(x).max() * 8
save_file(w, here / "model.safetensors")
save_file({"input.ids": ids, "input.keep": keep, "output.hidden": x.astype(np.float32)}, here / "golden.safetensors")
(here / "config.json").write_text(json.dumps(config, indent=2) + "\n")
(here / "golden.json").write_text("""{
  "op": "roberta",
  "what": "BERT's layers; positions count the tokens that are no padding, from pad_token_id + 1; padding behind two rows, the padding's id in the middle of one",
  "made": "make.py: float64 from the stored float32 weights, seed 7",
  "inputs": {
    "ids": {"dtype": "i32", "shape": [%d, %d], "axes": "B S"},
    "keep": {"dtype": "bool", "shape": [%d, %d], "axes": "B S"}
  },
  "outputs": {
    "hidden": {"dtype": "f32", "shape": [%d, %d, %d], "axes": "B S D", "max_abs": %.3f}
  },
  "tolerance": %.1e
}
""" % (B, S, B, S, B, S, D, np.abs(x).max(), bound))
