"""What is measured: workloads and their parameters, inputs, work, and the float64 result they are compared with."""

import models
import numpy as np
from attention import allowed
from libraries import INPUTS

ENGINES = {
    "encode": "torch torch-compile onnxruntime onnxruntime-fused openvino",
    "attention": "torch flex onnxruntime openvino",
    "decode": "torch torch-compile ort-genai llama.cpp llama.cpp-defaults",
    "prompt": "torch ort-genai llama.cpp llama.cpp-defaults",
    "startup": "torch torch-compile onnxruntime onnxruntime-fused openvino",
}
DEFAULTS = {
    "encode": dict(model="minilm", B=1, S=128),
    "attention": dict(H=12, G=0, L=512, D=64, mask="full", score="plain", window=256, documents=8),
    "decode": dict(model="llama-160m", prompt=16, steps=64, quant="f32"),
    "prompt": dict(model="llama-160m", prompt=512, steps=0, quant="f32"),
}
DEFAULTS["startup"] = DEFAULTS["encode"]
CASES = {
    "encode": [f"S={s}" for s in (16, 32, 64, 128, 256, 512)],
    "attention": [
        "L=128",
        "L=128 mask=causal",
        "L=512",
        "L=512 mask=causal",
        "L=2048",
        "L=2048 mask=causal",
        "H=8 L=4096",
        "H=8 L=4096 mask=causal",
        "L=512 D=32",
        "L=512 D=32 mask=causal",
        "H=32 G=8 L=1024 D=128",
        "H=32 G=8 L=1024 D=128 mask=causal",
        "L=4096 mask=window",
        "L=4096 mask=document",
    ],
    "decode": ["quant=f32", "quant=q8_0"],
    "prompt": [""],
    "startup": ["S=128"],
}


def parse_case(workload, text):
    case = dict(DEFAULTS[workload])
    for part in text.split():
        key, value = part.split("=", 1)
        if key not in case:
            raise SystemExit(f"{workload} has no parameter {key}; it has {', '.join(case)}")
        case[key] = int(value) if value.isdigit() else value
    if workload == "attention":
        case["G"] = case["G"] or case["H"]
    return case


def arguments(case):
    return " ".join(f"{k}={v}" for k, v in case.items())


def load_line(workload, case, folder):
    place = f" checkpoint={models.checkpoint(case['model'])}" if "model" in case else ""
    return f"load {workload} inputs={folder}{place} {arguments(case)}"


def write_inputs(workload, case, folder):
    """Input i of a case is the same in every run. Returns which rows of the result count."""
    counted = slice(None)
    for i in range(INPUTS):
        generator = np.random.default_rng([i, case.get("S", case.get("L", case.get("prompt")))])
        if workload == "attention":
            for name, heads in (("q", case["H"]), ("k", case["G"]), ("v", case["G"])):
                np.save(
                    f"{folder}/{name}.{i}.npy",
                    generator.standard_normal((1, heads, case["L"], case["D"]), dtype=np.float32),
                )
        elif workload in ("decode", "prompt"):
            np.save(f"{folder}/ids.{i}.npy", generator.integers(5, models.sizes(case["model"])["V"], case["prompt"]))
        else:
            B, S = case["B"], case["S"]
            ids = generator.integers(1000, 30000, (B, S))
            lengths = S - np.arange(B) * S // (2 * B)  # a batch holds rows of length S down to about S / 2
            mask = (np.arange(S) < lengths[:, None]).astype(np.int64)
            ids[:, 0], ids[np.arange(B), lengths - 1] = 101, 102
            np.save(f"{folder}/ids.{i}.npy", ids * mask)
            np.save(f"{folder}/mask.{i}.npy", mask)
            counted = mask == 1 if i == 0 else counted
    return counted


def allowed_pairs(case):
    rule, L = allowed(case["mask"], case["window"], case["documents"], case["L"]), case["L"]
    return L * L if rule is None else int(sum(rule(q, np.arange(L)).sum() for q in range(L)))


def useful_work(workload, case):
    """(floating-point operations, bytes read from memory) of one run, as far as they set the limit."""
    if workload == "attention":
        return 4 * case["H"] * case["D"] * allowed_pairs(case), 0
    if workload in ("decode", "prompt"):
        s = models.sizes(case["model"])
        weights, width = models.matrix_weights(case["model"]), {"f32": 4, "q8_0": 34 / 32}[case["quant"]]
        if workload == "decode":
            return 0, case["steps"] * (weights + s["D"] * s["V"]) * width
        return (
            2 * (case["prompt"] * weights + s["D"] * s["V"])
            + 2 * s["N"] * s["D"] * case["prompt"] * (case["prompt"] + 1),
            0,
        )
    if case["B"] == 1:
        return models.encode_flops(case["model"], 1, case["S"]), 0
    return (
        sum(
            models.encode_flops(case["model"], 1, int(case["S"] - b * case["S"] // (2 * case["B"])))
            for b in range(case["B"])
        ),
        0,
    )
