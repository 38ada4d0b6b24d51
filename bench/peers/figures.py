#!/usr/bin/env python3
"""The figures that Attar is held to: measures them, part by part, and prints them as one table.

    figures.py                          every part, then the table
    figures.py --parts encode-1,decode  some parts; --json FILE collects them, and parts that are there again count anew
    figures.py --report                 only the table, of what --json FILE holds
    figures.py --quick                  fewer shapes and rounds, no engine that compiles for half a minute
    figures.py --prepare                makes models and compiles beforehand, so that measuring is short

A ratio above 1 says how much faster Attar is than the fastest other engine of the same run: the median of paired
blocks.
"""

import argparse
import importlib.util
import json
import pathlib
import subprocess
import tempfile

import models
from cases import parse_case
from figure_rows import PARTS, QUICK, ROWS
from figure_table import print_table, print_versions
from measure import measure, same_bits, startup
from processes import build_probe
from tables import print_report

NEEDS = {
    "torch": "torch transformers",
    "torch-compile": "torch transformers",
    "flex": "torch",
    "onnxruntime": "onnxruntime onnx",
    "onnxruntime-fused": "onnxruntime onnx",
    "openvino": "openvino onnx",
    "ort-genai": "onnxruntime_genai onnx_ir",
    "llama.cpp": "llama_cpp gguf",
    "llama.cpp-defaults": "llama_cpp gguf",
}


def installed(engine):
    return all(importlib.util.find_spec(name) for name in NEEDS.get(engine, "").split())


def engines_of(part, without, skipped):
    chosen = []
    for engine in part.engines.split():
        if engine in without:
            continue
        if engine.startswith("attar") or installed(engine):
            chosen.append(engine)
        else:
            skipped.add(engine)
    return chosen


def run_part(name, part, options, skipped):
    """Reports of one part, each with the part's name."""
    without = options.without.split(",") + ["torch-compile", "flex"] * options.quick
    commands, engines = {"attar": [options.attar]}, engines_of(part, without, skipped)
    chosen = QUICK.get(name, part.cases) if options.quick else part.cases
    if options.cases:
        chosen = [text for text in chosen if text in options.cases.split(",")]
    cases = [parse_case(part.workload, text) for text in chosen]
    settings = argparse.Namespace(
        no_check=options.no_check,
        prepare=options.prepare,
        quiet_file=options.quiet_file,
        rounds=min(options.rounds, 3) if options.quick else options.rounds,
        block_ms=min(options.block_ms, 40) if options.quick else options.block_ms,
        against="attar" if "attar" in engines else "attar@1",
    )
    if part.workload == "startup":
        reports = [] if options.prepare else (startup(c, engines, commands, part.threads, settings) for c in cases)
    else:
        with tempfile.TemporaryDirectory() as folder:
            reports = list(
                measure(part.workload, cases, engines, commands, part.threads, settings, build_probe(folder))
            )
    for report in reports:
        print_report(report)
        yield report | {"part": name}


def compile_times(options):
    """Cold compiles, in milliseconds; the program is beside the worker."""
    program = pathlib.Path(options.attar).with_name("bench_compile_time")
    rows = {}
    for name, file in (("minilm", "bert_encoder"), ("gpt2-124m", "gpt2"), ("llama-160m", "llama")):
        model = models.ROOT / "models" / f"{file}.attar"
        command = [str(program), str(model), str(models.checkpoint(name))]
        rows[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        print(f"| cold compile | {name} | {rows[name]} |", flush=True)
    return {"part": "compile", "workload": "compile", "rows": rows}


def parts_chosen(options):
    names = [*PARTS, "compile", "bits"]
    chosen = options.parts.split(",") if options.parts else names
    for name in chosen:
        if name not in names:
            raise SystemExit(f"there is no part {name}; there are {', '.join(names)}")
    return chosen


def run_one(name, options, skipped):
    if name in PARTS:
        return list(run_part(name, PARTS[name], options, skipped))
    if options.prepare:
        return []
    return [compile_times(options) if name == "compile" else same_bits({"attar": [options.attar]})]


def measure_all(options, skipped):
    reports = []
    for name in parts_chosen(options):
        print(f"\n<!-- {name} -->", flush=True)
        try:
            new = run_one(name, options, skipped)
        except FileNotFoundError as error:
            print(f"skipped: {name}: {error}", flush=True)
            continue
        reports += [] if options.prepare else new
        if options.json and not options.prepare:
            with open(options.json, "a") as file:
                file.writelines(json.dumps(r) + "\n" for r in new)
    return reports


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--attar", default=str(models.ROOT / "build" / "bench_worker"), help="Attar's worker (build/bench_worker)"
    )
    parser.add_argument("--parts", help=f"comma-separated, of {', '.join(PARTS)}, compile, bits")
    parser.add_argument("--cases", help="comma-separated: of the parts, only these, as figure_rows.py has them")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--block-ms", type=float, default=60)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--no-check", action="store_true", help="do not compare results with float64")
    parser.add_argument("--without", default="", help="comma-separated engines to leave out")
    parser.add_argument("--quiet-file", help="exists while measuring")
    parser.add_argument(
        "--json", help="append the reports to this file, one JSON line each; the table is of all it holds"
    )
    parser.add_argument("--plots", help="folder for plots (needs matplotlib)")
    options = parser.parse_args()
    skipped, reports = set(), []
    if not options.report:
        reports = measure_all(options, skipped)
    if options.prepare:
        return
    if options.json and pathlib.Path(options.json).exists():
        reports = [json.loads(line) for line in open(options.json)]
    print()
    print_table(reports, ROWS)
    print_versions()
    for engine in sorted(skipped):
        print(f"skipped: {engine}, which needs the Python packages {NEEDS[engine]}")
    if options.plots:
        import plots

        plots.draw(reports, pathlib.Path(options.plots))


if __name__ == "__main__":
    main()
