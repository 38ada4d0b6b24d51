#!/usr/bin/env python3
"""Writes golden.safetensors, golden.json and greedy.json from this folder's weights, in float64; needs NumPy alone. Prints bits per byte on held.txt.

    python make_golden.py [FOLDER]      the three files go to FOLDER (default: here)

input.ids [1, 160]: the first bytes of held.txt;  output.logits [1, 160, 256].  greedy.json: 200 greedy bytes after a prompt, and the
smallest gap between the best and the second logit.
"""
import json, math, pathlib, sys
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
PROMPT, STEPS, WINDOW = "It is a truth", 200, 512


def read_bf16(path):
    blob = path.read_bytes()
    start = 8 + int.from_bytes(blob[:8], "little")
    tensors = {}
    for name, t in json.loads(blob[8:start]).items():
        if name != "__metadata__":
            begin, end = (start + o for o in t["data_offsets"])
            bits = np.frombuffer(blob[begin:end], np.uint16).astype(np.uint32) << 16
            tensors[name] = bits.view(np.float32).astype(np.float64).reshape(t["shape"])
    return tensors


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, x in tensors.items():
        header[name] = {"dtype": {"float32": "F32", "int32": "I32"}[x.dtype.name], "shape": list(x.shape), "data_offsets": [len(data), len(data) + x.nbytes]}
        data += x.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


config, weights = json.loads((HERE / "config.json").read_text()), read_bf16(HERE / "model.safetensors")
H, G, K = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]


def norm(x, name):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weights[name + ".weight"]


def rotate(x):
    """[S, heads, K]: the two halves of each head turn together."""
    inv = config["rope_parameters"]["rope_theta"] ** (-np.arange(0, K, 2) / K)
    angle = np.arange(len(x))[:, None, None] * inv
    a, b = x[..., :K // 2], x[..., K // 2:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1)


def logits(ids):
    x = weights["model.embed_tokens.weight"][np.asarray(ids)]
    S = len(x)
    future = np.triu(np.ones((S, S), bool), 1)
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}."
        project = lambda h, name: h @ weights[at + name + ".weight"].T
        h = norm(x, at + "input_layernorm")
        q, k, v = (project(h, f"self_attn.{n}_proj").reshape(S, -1, K) for n in "qkv")
        q, k, v = rotate(q), np.repeat(rotate(k), H // G, 1), np.repeat(v, H // G, 1)
        s = np.where(future, -np.inf, np.einsum("shk,thk->hst", q, k) / math.sqrt(K))
        p = np.exp(s - s.max(-1, keepdims=True))
        a = np.einsum("hst,thk->shk", p / p.sum(-1, keepdims=True), v).reshape(S, H * K)
        x = x + project(a, "self_attn.o_proj")
        h = norm(x, at + "post_attention_layernorm")
        gate = project(h, "mlp.gate_proj")
        x = x + project(gate / (1 + np.exp(-gate)) * project(h, "mlp.up_proj"), "mlp.down_proj")
    return norm(x, "model.norm") @ weights["model.embed_tokens.weight"].T


def greedy():
    ids, gap = list(PROMPT.encode()), math.inf
    for _ in range(STEPS):
        last = logits(ids)[-1]
        second, best = np.sort(last)[-2:]
        gap = min(gap, float(best - second))
        ids.append(int(last.argmax()))
    return {"prompt": PROMPT, "steps": STEPS, "text": bytes(ids).decode(), "smallest_gap": round(gap, 4)}


def bits_per_byte(text):
    nats, count = 0.0, 0
    for at in range(0, len(text) - WINDOW, WINDOW):
        block = np.frombuffer(text[at:at + WINDOW], np.uint8).astype(int)
        l = logits(block)[:-1]
        l = l - l.max(-1, keepdims=True)
        nats -= (l[np.arange(WINDOW - 1), block[1:]] - np.log(np.exp(l).sum(-1))).sum()
        count += WINDOW - 1
    return nats / count / math.log(2)


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    held = (HERE / "held.txt").read_bytes()
    first = np.frombuffer(held[:160], np.uint8).astype(np.int32)
    want = logits(first)
    write_safetensors(out / "golden.safetensors", {"output.logits": want[None].astype(np.float32), "input.ids": first[None]})
    (out / "greedy.json").write_text(json.dumps(greedy(), indent=1) + "\n")
    bits = bits_per_byte(held)
    (out / "golden.json").write_text(json.dumps({
        "op": "llama", "what": "the byte-level model trained on Jane Austen's novels, bf16 weights, 6 heads over 2, tied output",
        "inputs": {"ids": "i32 [1, 160], B S"}, "outputs": {"logits": "f32 [1, 160, 256], B S V"},
        "tolerance": 1e-4, "largest": round(float(np.abs(want).max()), 2),
        "checked": "NumPy float64; PyTorch float32 differs by 2.1e-5",
        "bits_per_byte_held": round(bits, 4), "windows": f"{WINDOW} bytes, each from an empty context"}, indent=1) + "\n")
    print(f"{bits:.4f} bits per byte on held.txt")


if __name__ == "__main__":
    main()
