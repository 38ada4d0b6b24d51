"""What the make.py of golden folders share: random checkpoints, the pieces of decoders in NumPy, and writing the folder.

    python tests/golden/gptj/make.py        needs numpy and safetensors; the same versions give the same bytes

A make.py says config, the shapes of the tensors and `forward(w, config, ids)`, one plain function over arrays. Outputs are computed in float64
from the stored float32 weights; the tolerance is four times the error that the same function makes in float32, and at least 16 units in the
last place of the largest output."""
import json, math, pathlib
import numpy as np
from safetensors.numpy import save_file


def weights(shapes, seed):
    """Matrices keep the size of what they multiply; gains are about 1, biases about 0, neither trivial."""
    r = np.random.default_rng(seed)
    made = {}
    for name, shape in shapes.items():
        x = r.standard_normal(shape)
        gain = len(shape) == 1 and name.endswith("weight")
        made[name] = (1 + 0.3 * x if gain else 0.3 * x if len(shape) == 1 else x * 1.5 / math.sqrt(shape[-1])).astype(np.float32)
    return made


def layernorm(x, gain, bias, eps):
    c = x - x.mean(-1, keepdims=True)
    return c / np.sqrt((c * c).mean(-1, keepdims=True) + x.dtype.type(eps)) * gain + bias


def rmsnorm(x, gain, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(eps)) * gain


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)).astype(x.dtype)) / 2


def gelu_tanh(x):
    return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + x.dtype.type(0.044715) * x * x * x)))


def turn(x, frequencies, interleaved=False, factor=1.0):
    """x [batch, position, head, width]: pairs of its first 2 len(frequencies) channels turn, as complex numbers."""
    n = len(frequencies)
    first, second = (slice(0, 2 * n, 2), slice(1, 2 * n, 2)) if interleaved else (slice(0, n), slice(n, 2 * n))
    wave = factor * np.exp(1j * np.arange(x.shape[1])[:, None, None] * np.asarray(frequencies))
    z = (x[..., first] + 1j * x[..., second]) * wave
    y = x.copy()
    y[..., first], y[..., second] = z.real, z.imag
    return y


def causal(q, k, v, bias=None, window=None):
    """q [batch, query, head, width], k and v with as many heads or a whole part of them; bias [head, query, key]; a window counts the query's
    own position; heads side by side in the result."""
    n = q.shape[1]
    seen = np.tri(n, dtype=bool) & ~np.tri(n, k=-(window or n), dtype=bool)
    out = np.empty(q.shape[:3] + v.shape[3:], q.dtype)
    for h in range(q.shape[2]):
        g = h // (q.shape[2] // k.shape[2])
        s = q[:, :, h] @ k[:, :, g].swapaxes(1, 2) / q.dtype.type(math.sqrt(q.shape[3]))
        s = s if bias is None else s + bias[h]
        s = np.where(seen, s, -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        out[:, :, h] = p / p.sum(-1, keepdims=True) @ v[:, :, g]
    return out.reshape(*q.shape[:2], -1)


def write(here, config, shapes, forward, seed, what, length=13):
    """config.json, model.safetensors, golden.safetensors and golden.json beside make.py."""
    folder = pathlib.Path(here).resolve().parent
    stored = weights(shapes, seed)
    ids = np.random.default_rng(seed + 1).integers(0, config["vocab_size"], (2, length)).astype(np.int32)
    want, rough = (forward({k: v.astype(t) for k, v in stored.items()}, config, ids) for t in (np.float64, np.float32))
    error, largest = float(np.abs(rough - want).max()), float(np.abs(want).max())
    atol = float(f"{max(4 * error, 16 * 2 ** (math.floor(math.log2(largest)) - 23)):.2g}")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save_file(stored, folder / "model.safetensors")
    save_file({"input.ids": ids, "output.logits": want.astype(np.float32)}, folder / "golden.safetensors")
    golden = {"op": config["model_type"], "what": what, "seed": seed, "made_with": {"numpy": np.__version__},
              "inputs": {"ids": {"dtype": "i32", "shape": list(ids.shape), "axes": "B S"}},
              "outputs": {"logits": {"dtype": "f32", "shape": list(want.shape), "axes": "B S V", "max_abs": float(f"{largest:.4g}"),
                                     "f32_error": float(f"{error:.3g}"), "atol": atol}}, "tolerance": atol}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{folder.name}: largest {largest:.3g}, float32 error {error:.2g}, tolerance {atol:.2g}")
