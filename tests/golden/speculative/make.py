"""A Llama reads a tree of drafted tokens: every path from the first token to a node is computed on its own, as a text without a tree.

    python tests/golden/speculative/make.py     needs numpy and safetensors"""
import json, math, pathlib, sys
import numpy as np
from safetensors.numpy import save_file
here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent))
from make_reference import causal, rmsnorm, silu, turn, weights

CONFIG = {"model_type": "llama", "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
          "intermediate_size": 100, "vocab_size": 67, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}
C = CONFIG
D, H, G, K, F, V = (C[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size", "vocab_size"))
SHAPES = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,), "lm_head.weight": (V, D)}
for layer in range(C["num_hidden_layers"]):
    at = f"model.layers.{layer}."
    SHAPES |= {at + "input_layernorm.weight": (D,), at + "post_attention_layernorm.weight": (D,), at + "self_attn.q_proj.weight": (H * K, D),
               at + "self_attn.k_proj.weight": (G * K, D), at + "self_attn.v_proj.weight": (G * K, D), at + "self_attn.o_proj.weight": (D, H * K),
               at + "mlp.gate_proj.weight": (F, D), at + "mlp.up_proj.weight": (F, D), at + "mlp.down_proj.weight": (D, F)}


def logits(w, ids):
    """One text [position] -> the logits behind its last token."""
    x = w["model.embed_tokens.weight"][ids][None]
    inverse = (C["rope_theta"] ** (-np.arange(0, K, 2) / K)).astype(x.dtype)
    eps = C["rms_norm_eps"]
    for layer in range(C["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        h = rmsnorm(x, w[at + "input_layernorm.weight"], eps)
        q, k, v = (h @ w[f"{at}self_attn.{n}_proj.weight"].T for n in "qkv")
        q, k, v = (a.reshape(1, len(ids), -1, K) for a in (q, k, v))
        x = x + causal(turn(q, inverse), turn(k, inverse), v) @ w[at + "self_attn.o_proj.weight"].T
        h = rmsnorm(x, w[at + "post_attention_layernorm.weight"], eps)
        x = x + (silu(h @ w[at + "mlp.gate_proj.weight"].T) * (h @ w[at + "mlp.up_proj.weight"].T)) @ w[at + "mlp.down_proj.weight"].T
    return (rmsnorm(x, w["model.norm.weight"], eps) @ w["lm_head.weight"].T)[0, -1]


# A text of five tokens; behind it a tree of drafts in the order of a walk. Node: (parent, the parent's own next token or another one).
TEXT = 5
TREE = [(4, True), (5, True), (6, False), (7, True), (6, True), (9, False), (5, False), (11, True), (4, False), (13, True)]


def tree(w, batch, r):
    parents = [i - 1 for i in range(TEXT)] + [p for p, _ in TREE]
    branch = [0] * len(parents)
    for i in range(len(parents)):
        j = i
        while j >= 0:
            branch[j] += 1
            j = parents[j]
    ids, out, paths = [int(t) for t in r.integers(0, V, TEXT)], [], []
    for i, parent in enumerate(parents):
        if i >= TEXT:
            own = int(out[parent].argmax())
            ids.append(own if TREE[i - TEXT][1] else (own + 1 + batch) % V)
        paths.append((paths[parent] if parent >= 0 else []) + [i])
        out.append(logits(w, np.array([ids[j] for j in paths[i]])))
    out = np.stack(out)
    holds = [all(j < TEXT or ids[j] == out[parents[j]].argmax() for j in path) for path in paths]
    depth = [len(path) if good else -1 for path, good in zip(paths, holds)]
    return ids, branch, out, holds, int(np.argmax(depth))


def main():
    stored = weights(SHAPES, 900)
    made = [[tree({k: v.astype(t) for k, v in stored.items()}, b, np.random.default_rng(901 + b)) for b in range(2)] for t in (np.float64, np.float32)]
    want, rough = made
    value, near = np.stack([t[2] for t in want]), np.stack([t[2] for t in rough])
    gap = np.sort(value, -1)
    assert (gap[..., -1] - gap[..., -2]).min() > 1e-3, "a tie of two tokens"
    error, largest = float(np.abs(near - value).max()), float(np.abs(value).max())
    atol = float(f"{max(4 * error, 16 * 2 ** (math.floor(math.log2(largest)) - 23)):.2g}")
    (here / "config.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
    save_file(stored, here / "model.safetensors")
    count = TEXT + len(TREE)
    save_file({"input.ids": np.array([t[0] for t in want], np.int32), "input.branch": np.array(want[0][1], np.int32),
               "input.draft": np.arange(count) >= TEXT, "output.logits": value.astype(np.float32), "output.next": value.argmax(-1).astype(np.int32),
               "output.holds": np.array([t[3] for t in want]), "output.best": np.array([t[4] for t in want], np.int32)}, here / "golden.safetensors")
    (here / "golden.json").write_text(json.dumps({
        "op": "speculative", "what": "a Llama reads five tokens and a tree of ten drafts at once; each path is computed on its own", "seed": 900,
        "made_with": {"numpy": np.__version__}, "outputs": {"logits": {"max_abs": float(f"{largest:.4g}"), "f32_error": float(f"{error:.3g}"), "atol": atol}},
        "tolerance": atol}, indent=1) + "\n")
    print("holds", [t[3] for t in want], "best", [t[4] for t in want], "tolerance", atol)


main()
