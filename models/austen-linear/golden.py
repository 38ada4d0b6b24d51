#!/usr/bin/env python3
"""Writes golden.safetensors and golden.json from this folder's weights, in float64; needs NumPy alone. Prints bits per byte on held.txt.

    python golden.py [FOLDER]      the files go to FOLDER (default: here)

Attention by its definition, all pairs of positions: a key in the row's block or in the one before is itself, an older one is its nearest code.
input.ids [1, 320]: the first bytes of ../austen/held.txt;  output.logits [1, 320, 256].
"""
import json, math, pathlib, sys
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "austen"))
from make_golden import read_bf16, rotate, write_safetensors    # the softmax model's: tensors of a file, rotary positions

POSITIONS = 320


config, weights = json.loads((HERE / "config.json").read_text()), read_bf16(HERE / "model.safetensors")
H, G, K = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
R, BLOCK = H // G, config["attention_block"]
margin = math.inf       # the smallest distance between a key's nearest and second code


def norm(x, name):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weights[name + ".weight"]


def nearest(k, codes):
    """k [S, G, K], codes [G, N, K] -> each key's code."""
    global margin
    out = np.empty_like(k)
    for g in range(G):
        far = ((k[:, g, None] - codes[g]) ** 2).sum(-1)
        first, second = np.sort(far, -1)[:, :2].T
        margin = min(margin, (second - first).min())
        out[:, g] = codes[g][far.argmin(-1)]
    return out


def logits(ids):
    x = weights["model.embed_tokens.weight"][np.asarray(ids)]
    S = len(x)
    i, j = np.arange(S)[:, None], np.arange(S)
    future, recent = j > i, j // BLOCK >= i // BLOCK - 1
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        project = lambda h, name: h @ weights[at + name + ".weight"].T
        h = norm(x, at + "input_layernorm")
        q, k, v = (project(h, f"self_attn.{n}_proj").reshape(S, -1, K) for n in "qkv")
        q, k = rotate(q).reshape(S, G, R, K).transpose(1, 2, 0, 3), rotate(k)
        c = nearest(k, weights[at + "self_attn.codebook"])
        keys, codes = (x.transpose(1, 2, 0)[:, None] for x in (k, c))       # G 1 K T
        s = np.where(recent, q @ keys, q @ codes) / math.sqrt(K)            # G R S T
        s = np.where(future, -np.inf, s)
        p = np.exp(s - s.max(-1, keepdims=True))
        a = (p / p.sum(-1, keepdims=True)) @ v.transpose(1, 0, 2)[:, None]
        a = a.transpose(2, 0, 1, 3).reshape(S, H * K)
        x = x + project(a, "self_attn.o_proj")
        h = norm(x, at + "post_attention_layernorm")
        gate = project(h, "mlp.gate_proj")
        x = x + project(gate / (1 + np.exp(-gate)) * project(h, "mlp.up_proj"), "mlp.down_proj")
    return norm(x, "model.norm") @ weights["model.embed_tokens.weight"].T


def bits_per_byte(text, window):
    nats, count = 0.0, 0
    for at in range(0, len(text) - window + 1, window):
        block = np.frombuffer(text[at:at + window], np.uint8).astype(int)
        l = logits(block)[:-1]
        l = l - l.max(-1, keepdims=True)
        nats -= (l[np.arange(window - 1), block[1:]] - np.log(np.exp(l).sum(-1))).sum()
        count += window - 1
    return nats / count / math.log(2)


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    held = (HERE.parent / "austen" / "held.txt").read_bytes()
    first = np.frombuffer(held[:POSITIONS], np.uint8).astype(np.int32)
    want = logits(first)
    write_safetensors(out / "golden.safetensors", {"output.logits": want[None].astype(np.float32), "input.ids": first[None]})
    apart = margin
    bits = {w: round(bits_per_byte(held, w), 4) for w in (512, 1024)}
    (out / "golden.json").write_text(json.dumps({
        "op": "llama", "what": "models/austen with a codebook of 128 keys for each key head, blocks of 64 positions, bf16 weights",
        "inputs": {"ids": f"i32 [1, {POSITIONS}], B S"}, "outputs": {"logits": f"f32 [1, {POSITIONS}, 256], B S V"},
        "tolerance": 1e-4, "largest": round(float(np.abs(want).max()), 2), "smallest_margin_of_a_code": float(f"{apart:.2g}"),
        "bits_per_byte_held": bits, "windows": "so many bytes, each from an empty context"}, indent=1) + "\n")
    print(bits, "bits per byte on held.txt")


if __name__ == "__main__":
    main()
