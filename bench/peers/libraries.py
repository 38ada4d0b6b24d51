"""Libraries, each set to fp32 and the given threads, and what every engine's case is made of."""

import os
import pathlib
from types import SimpleNamespace

import models
import numpy as np

THREADS = int(os.environ.get("BENCH_THREADS", "1"))
KEPT = os.environ.get("BENCH_ENGINE_CACHE")
INPUTS = 4


def work(call, before=lambda i: None, finish=lambda y: y):
    """before(i) is not timed, call(i) is; finish turns what call returned into the array that is compared."""
    return SimpleNamespace(call=call, before=before, finish=finish)


def read_inputs(folder, *names):
    return [[np.load(f"{folder}/{name}.{i}.npy") for name in names] for i in range(INPUTS)]


def start_torch(compiled=False, autotune=False):
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = KEPT or str(models.CACHE / "inductor")
    import torch

    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    torch.set_float32_matmul_precision("highest")
    if compiled:
        import torch._inductor.config as inductor

        torch._dynamo.reset()
        inductor.freezing = True
        inductor.max_autotune = autotune
    return torch


def onnx_session(model, cachable=False):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if KEPT and cachable:
        optimized = pathlib.Path(KEPT) / "optimized.onnx"
        if optimized.exists():
            model, options.graph_optimization_level = str(optimized), onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        else:
            options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def openvino_request(model):
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": THREADS,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
    }
    if KEPT:
        settings["CACHE_DIR"] = KEPT
    return openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
