#!/usr/bin/env python3
"""One engine in one process: `engines.py ENGINE`. Reads commands on stdin, answers each with one JSON line on stdout.

    load WORKLOAD key=value ...   read the inputs, load, compile         {"load_ns": n}
    run N                         N timed runs                           {"ns": [n, ...]}
    check FILE                    save the result of input 0 as .npy     {"saved": FILE}
    memory                        highest resident memory so far         {"peak_kib": n}

or {"error": text}. The folder inputs=DIR holds NAME.0.npy ... NAME.3.npy; run i uses input i modulo 4. Threads come
from BENCH_THREADS, the cores from whoever starts the process. Where BENCH_ENGINE_CACHE names a folder, compiled results
are kept there and taken from there.
"""

import json
import os
import sys
import time

import numpy as np
from attention import attention_flex, attention_onnxruntime, attention_openvino, attention_reference, attention_torch
from decode import decode_with, decoder_genai, decoder_llamacpp, decoder_torch
from encode import encode_onnxruntime, encode_openvino, encode_torch
from libraries import INPUTS


def with_options(function, **options):
    return lambda **sizes: function(**sizes, **options)


DECODERS = {
    "reference": decode_with(decoder_torch, precision="float64"),
    "torch": decode_with(decoder_torch),
    "torch-compile": decode_with(decoder_torch, compiled=True),
    "ort-genai": decode_with(decoder_genai),
    "llama.cpp": decode_with(decoder_llamacpp),
    "llama.cpp-defaults": decode_with(decoder_llamacpp, as_shipped=True),
}
ENGINES = {
    "encode": {
        "reference": with_options(encode_torch, precision="float64"),
        "torch": encode_torch,
        "torch-compile": with_options(encode_torch, compiled=True),
        "torch-autotune": with_options(encode_torch, compiled=True, autotune=True),
        "onnxruntime": encode_onnxruntime,
        "onnxruntime-fused": with_options(encode_onnxruntime, fused=True),
        "openvino": encode_openvino,
    },
    "attention": {
        "reference": attention_reference,
        "torch": attention_torch,
        "flex": attention_flex,
        "onnxruntime": attention_onnxruntime,
        "openvino": attention_openvino,
    },
    "decode": DECODERS,
    "prompt": DECODERS,
}


# ---- the protocol ----------------------------------------------------------------------------------------------------


def peak_kib():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))


def timed_runs(job, count, start):
    ns = []
    for i in range(start, start + count):
        job.before(i % INPUTS)
        begin = time.perf_counter_ns()
        job.call(i % INPUTS)
        ns.append(time.perf_counter_ns() - begin)
    return ns


def main():
    engine, job, runs = sys.argv[1], None, 0
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # engines may print; the protocol keeps a stream of its own
    for line in sys.stdin:
        word, *rest = line.split()
        try:
            if word == "load":
                begin = time.perf_counter_ns()
                sizes = {k: int(v) if v.isdigit() else v for k, v in (x.split("=", 1) for x in rest[1:])}
                job = ENGINES[rest[0]][engine](**sizes)
                reply = {"load_ns": time.perf_counter_ns() - begin}
            elif word == "run":
                reply = {"ns": timed_runs(job, int(rest[0]), runs)}
                runs += int(rest[0])
            elif word == "check":
                job.before(0)
                np.save(rest[0], job.finish(job.call(0)))
                reply = {"saved": rest[0]}
            elif word == "memory":
                reply = {"peak_kib": peak_kib()}
            else:
                reply = {"error": f"unknown command {word}"}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
