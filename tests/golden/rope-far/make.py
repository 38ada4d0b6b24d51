"""Rotary positions far into a long text: angles of up to 131,071 radians."""
import json, pathlib

import numpy as np
from safetensors.numpy import save_file

folder, width, theta = pathlib.Path(__file__).resolve().parent, 64, 10000.0
positions = np.array([0, 1, 4095, 4096, 25736, 32767, 65537, 99991, 100000, 131000, 131071], np.int32)
r = np.random.default_rng(97)
q, k = (r.standard_normal((1, heads, len(positions), width)).astype(np.float32) for heads in (2, 1))
wave = np.exp(1j * positions[:, None] * theta ** (-np.arange(0, width, 2) / width))


def turn(x):
    z = (x[..., :width // 2] + 1j * x[..., width // 2:].astype(np.float64)) * wave
    return np.concatenate([z.real, z.imag], -1).astype(np.float32)


save_file({"input.q": q, "input.k": k, "input.positions": positions, "output.cos": wave.real.astype(np.float32), "output.sin": wave.imag.astype(np.float32),
           "output.q": turn(q), "output.k": turn(k)}, folder / "golden.safetensors")
(folder / "config.json").write_text(json.dumps({"head_dim": width, "rope_theta": theta}, indent=1) + "\n")
(folder / "golden.json").write_text(json.dumps({"op": "rope", "what": "positions far into a long text", "seed": 97, "made_with": {"numpy": np.__version__},
                                                "tolerance": 2e-6, "relative": True}, indent=1) + "\n")
