"""The table of figures: one row for each thing that Attar is held to, with what it has to be and what it is."""

import importlib.metadata
import pathlib
import platform
import statistics

from cases import parse_case
from figure_rows import PARTS
from measure import bootstrap

PACKAGES = "torch transformers onnxruntime onnxruntime-genai openvino llama-cpp-python numpy"
BELOW = {"limit", "seconds", "mib", "compile"}  # kinds of which less is better


def find(reports, row):
    """The last report of this row's part and case, or None."""
    for report in reversed(reports):
        if report["part"] != row.part:
            continue
        if row.kind in ("compile", "bits") or report["case"] == parse_case(PARTS[row.part].workload, row.case):
            return report
    return None


def best_peer(report):
    """(name, ratios of its blocks to Attar's) of the fastest other engine, or None."""
    ours = report["rows"].get("attar")
    others = {name: r for name, r in report["rows"].items() if name != "attar"}
    if not ours or not others:
        return None
    found = {n: [t / own for t, own in zip(r["blocks_ms"], ours["blocks_ms"])] for n, r in others.items()}
    name = min(found, key=lambda n: statistics.median(found[n]))
    return name, found[name]


def of_limit(report):
    ours = report["rows"].get("attar")
    return f"{ours['share']:.2f}" if ours and "share" in ours else ""


def evaluate(report, row):
    """(value, what Attar took, what it is compared with) or None."""
    rows = report["rows"]
    if row.kind == "peer":
        found = best_peer(report)
        if not found:
            return (None, f"{rows['attar']['ms']:.3f} ms", "no peer") if "attar" in rows else None
        name, ratios = found
        low, high = bootstrap(ratios)
        against = f"{name} {rows[name]['ms']:.3f} ms, {rows[name]['share']:.2f} of the limit, [{low:.2f}, {high:.2f}]"
        return statistics.median(ratios), f"{rows['attar']['ms']:.3f} ms", against
    if row.kind in ("limit", "stream") and "attar" in rows:
        share = rows["attar"]["share"]
        return (
            (1 / share if row.kind == "limit" else share),
            f"{rows['attar']['ms']:.3f} ms",
            limit_text(report, row.kind),
        )
    if row.kind in ("seconds", "mib"):
        ours, theirs = (rows.get(f"{n}, {'kept' if row.kept else 'nothing kept'}") for n in ("attar", "onnxruntime"))
        key = "seconds" if row.kind == "seconds" else "peak_mib"
        return (ours[key], "", f"onnxruntime {theirs[key]:.3g}" if theirs else "no peer") if ours else None
    if row.kind == "speedup" and "attar@2" in rows:
        one, two = rows["attar@1"], rows["attar@2"]
        ratios = [a / b for a, b in zip(one["blocks_ms"], two["blocks_ms"])]
        return statistics.median(ratios), f"{two['ms']:.3f} ms", f"1 thread {one['ms']:.3f} ms"
    if row.kind == "compile" and row.case in rows:
        return (
            rows[row.case]["all"] / 1e3,
            "",
            f"clang and linking {(rows[row.case]['clang'] + rows[row.case]['link']) / 1e3:.2f} s",
        )
    if row.kind == "bits":
        wrong = [name for name, same in rows.items() if not same]
        return (0.0 if wrong else 1.0), "", "differs: " + "; ".join(wrong) if wrong else "; ".join(rows)
    return None


def limit_text(report, kind):
    limit = report["limit"]
    return f"{limit['gflops']:.1f} GFLOP/s" if kind == "limit" else f"{limit['gbytes']:.1f} GB/s"


def verdict(row, value):
    if value is None:
        return "-"
    good = (lambda goal: value <= goal) if row.kind in BELOW else (lambda goal: value >= goal)
    if not good(row.must):
        return "**no**"
    return "yes, and the hope" if good(row.hope) and row.hope != row.must else "yes"


def print_table(reports, rows):
    print("| figure | threads | Attar | against | of limit | value | must | hope | holds |\n|" + "---|" * 9)
    missing = []
    for row in rows:
        report = find(reports, row)
        found = report and evaluate(report, row)
        if not found:
            missing.append(row.title)
            continue
        value, ours, against = found
        threads = report.get("threads", "") if row.kind != "speedup" else "1, 2"
        shown = "-" if value is None else f"{value:.3f}" if row.kind == "seconds" else f"{value:.2f}"
        sign = "<=" if row.kind in BELOW else ">="
        share = of_limit(report) if row.kind == "peer" else ""
        print(
            f"| {row.title} | {threads} | {ours} | {against} | {share} "
            f"| {shown} | {sign} {row.must} | {row.hope} | {verdict(row, value)} |"
        )
    if missing:
        print(f"\nnot measured: {', '.join(missing)}")


def print_versions():
    name = next(
        (line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    kernel = pathlib.Path("/proc/sys/kernel/osrelease").read_text().strip()
    print(f"\nMachine: {name}, Linux {kernel}. Python {platform.python_version()}.")
    for package in PACKAGES.split():
        try:
            print(f"* {package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"* {package}: not installed")
