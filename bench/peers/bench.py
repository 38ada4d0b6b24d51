#!/usr/bin/env python3
"""Runs engines on the same work, one process each, same pinned cores, block by block in turn, and prints a Markdown
table.

    bench.py encode                                         the default cases, every engine, 1 and 2 threads
    bench.py attention "H=12 L=512 D=64 mask=causal"        chosen cases (what is left out has a default, see CASES)
    bench.py decode --engines torch,llama.cpp --threads 2 --json out.json
    bench.py startup                                        process start to first result, and peak memory
    bench.py encode --worker attar=build/bench_worker       one more engine: any program that speaks our protocol

Every result is compared with float64 in the same run. Ratios are medians of paired blocks, with a 95 % bootstrap
interval. A round counts only if the FMA probes before and after it lie within 3 % of the best one seen; rounds are
added, up to three times as many, to replace others.
"""

import argparse
import json
import shlex
import tempfile

from cases import CASES, ENGINES, parse_case
from measure import measure, startup
from processes import build_probe
from tables import print_report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=CASES)
    parser.add_argument("cases", nargs="*", help="'key=value ...' each")
    parser.add_argument("--engines", help="comma-separated; default: all peers")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--block-ms", type=float, default=100)
    parser.add_argument("--against", default="torch", help="engine the ratios are against (default torch)")
    parser.add_argument("--worker", action="append", default=[], metavar="NAME=COMMAND", help="one more engine")
    parser.add_argument("--no-check", action="store_true", help="no float64 reference")
    parser.add_argument(
        "--prepare", action="store_true", help="load and check only: makes models, compiles, fills caches"
    )
    parser.add_argument("--quiet-file", help="exists while measuring")
    parser.add_argument("--json", help="append the reports to this file, one JSON line each")
    options = parser.parse_args()
    commands = {name: shlex.split(command) for name, _, command in (w.partition("=") for w in options.worker)}
    engines = [
        *commands,
        *(options.engines.split(",") if options.engines is not None else ENGINES[options.workload].split()),
    ]
    engines = [e for e in engines if e]
    cases = [parse_case(options.workload, text) for text in options.cases or CASES[options.workload]]
    columns = (
        ["case", "threads", "engine", "first result s", "peak MiB"]
        if options.workload == "startup"
        else ["case", "threads", "engine", "ms", "best", "rate", "of limit", f"x {options.against} [95 %]", "max diff"]
    )
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        probe_path = build_probe(folder)
        for threads in map(int, options.threads.split(",")):
            reports = (
                (startup(c, engines, commands, threads, options) for c in cases)
                if options.workload == "startup"
                else measure(options.workload, cases, engines, commands, threads, options, probe_path)
            )
            for report in reports:
                print_report(report)
                if options.json:
                    with open(options.json, "a") as file:
                        file.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
