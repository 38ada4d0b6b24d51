"""What is measured for the figures, and what each figure has to be."""

from dataclasses import dataclass

ENCODERS = "attar torch torch-compile onnxruntime onnxruntime-fused openvino"
ATTENTION = "attar torch flex onnxruntime openvino"
LENGTHS = (16, 32, 64, 128, 256, 512)


@dataclass
class Part:
    workload: str
    threads: int
    engines: str
    cases: list


@dataclass
class Row:
    """kind: `peer` (times the fastest peer), `limit` (time over the limit), `stream` (share of the limit), `seconds`,
    `mib`, `speedup`, `compile`, `bits`.
    """

    title: str
    kind: str
    part: str
    case: str
    must: float
    hope: float
    kept: bool = False


BERT = ["S=128 model=bert-base", "S=64 B=8"]
FULL = ["L=128", "L=512", "L=2048", "L=512 D=32"]
CAUSAL = [f"{size} mask=causal" for size in ("L=128", "L=512", "L=2048", "H=8 L=4096", "H=32 G=8 L=1024 D=128")]
SPARSE = [
    "L=4096 mask=window",
    "L=4096 mask=document",
    "L=2048 mask=causal score=softcap",
    "L=2048 mask=causal score=alibi",
]
DECODERS = "attar torch ort-genai llama.cpp llama.cpp-defaults"

PARTS = {
    "encode-1": Part("encode", 1, ENCODERS, [f"S={s}" for s in LENGTHS]),
    "encode-2": Part("encode", 2, ENCODERS, [f"S={s}" for s in LENGTHS]),
    "encode-more": Part("encode", 1, ENCODERS.replace("torch-compile ", ""), BERT),
    "attention-full": Part("attention", 1, ATTENTION.replace("flex ", ""), FULL),
    "attention-causal": Part("attention", 1, ATTENTION.replace("flex ", ""), CAUSAL),
    "attention-sparse": Part("attention", 1, "attar flex onnxruntime", SPARSE),
    "decode-1": Part("decode", 1, DECODERS, [""]),
    "decode-2": Part("decode", 2, DECODERS, [""]),
    "prompt": Part("prompt", 1, DECODERS, [""]),
    "startup": Part("startup", 1, "attar onnxruntime", ["S=128"]),
    "speedup": Part("encode", 2, "attar@1 attar@2", ["S=128", "S=256", "S=512"]),
}
QUICK = {
    "encode-1": ["S=16", "S=128"],
    "encode-2": ["S=16", "S=128"],
    "attention-full": ["L=128", "L=512"],
    "attention-causal": ["L=128 mask=causal", "L=512 mask=causal"],
    "attention-sparse": ["L=4096 mask=window"],
    "speedup": ["S=128"],
}


def peers(title, part, cases, must, hope):
    return [Row(f"{title} {c}".strip(), "peer", part, c, m, h) for c, m, h in zip(cases, must, hope)]


ROWS = [
    *peers(
        "MiniLM",
        "encode-1",
        PARTS["encode-1"].cases,
        (1.2, 1.12, 1.06, 1.03, 1.03, 1.05),
        (1.35, 1.22, 1.15, 1.1, 1.1, 1.12),
    ),
    *peers(
        "MiniLM",
        "encode-2",
        PARTS["encode-2"].cases,
        (1.5, 1.3, 1.1, 1.12, 1.08, 1.06),
        (1.9, 1.5, 1.2, 1.2, 1.15, 1.12),
    ),
    *[
        Row(f"MiniLM S={s}, time over the limit", "limit", f"encode-{t}", f"S={s}", 1.15, 1.08)
        for t in (1, 2)
        for s in LENGTHS[2:]
    ],
    *peers("encoder", "encode-more", BERT, (1.03, 1.2), (1.1, 1.5)),
    *peers("attention", "attention-full", FULL, (1.25, 1.12, 1.05, 1.2), (1.35, 1.22, 1.12, 1.3)),
    *peers("attention", "attention-causal", CAUSAL, (1.8, 1.8, 1.35, 1.25, 1.25), (2.2, 2.2, 1.5, 1.35, 1.4)),
    *peers("attention", "attention-sparse", SPARSE, (2.0,) * 4, (2.6,) * 4),
    *peers("greedy decode, Llama shape", "decode-1", [""], (1.05,), (1.12,)),
    *peers("greedy decode, Llama shape", "decode-2", [""], (1.0,), (1.02,)),
    *[Row("decode, share of the stream limit", "stream", f"decode-{t}", "", 0.90, 0.95) for t in (1, 2)],
    *peers("prompt of 512 tokens, Llama shape", "prompt", [""], (1.2,), (1.5,)),
    Row("start to first MiniLM output, nothing cached, s", "seconds", "startup", "S=128", 0.6, 0.35),
    Row("start to first MiniLM output, everything cached, s", "seconds", "startup", "S=128", 0.06, 0.035, kept=True),
    Row("peak memory, MiniLM S=128, MiB", "mib", "startup", "S=128", 113, 60),
    *[Row(f"2 threads over 1, MiniLM S={s}", "speedup", "speedup", f"S={s}", 1.85, 1.95) for s in (128, 256, 512)],
    *[Row(f"cold compile, {m}, s", "compile", "compile", m, 0.5, 0.25) for m in ("minilm", "gpt2-124m", "llama-160m")],
    Row("same bits, 1 and 2 threads", "bits", "bits", "", 1, 1),
]
