"""Reports as Markdown."""

from cases import DEFAULTS


def label(case, workload):
    """What differs from the defaults, and always the sizes."""
    always = {"encode": ("S",), "attention": ("H", "L", "D", "mask"), "decode": ("quant",), "prompt": ("prompt",)}.get(
        workload, ("S",)
    )
    default = dict(DEFAULTS[workload], **({"G": case["H"]} if workload == "attention" else {}))
    return " ".join(
        f"{k}={v}" if not isinstance(v, str) else v for k, v in case.items() if k in always or v != default[k]
    )


def table_rows(report):
    workload, case = report["workload"], report["case"]
    for name, r in report["rows"].items():
        if workload == "startup":
            yield [label(case, workload), report["threads"], name, f"{r['seconds']:.2f}", f"{r['peak_mib']:.0f}"]
            continue
        rate = (
            f"{case['steps'] / r['ms'] * 1e3:.1f} tok/s, {r['gbytes']:.1f} GB/s"
            if workload == "decode"
            else f"{r['gflops']:.1f} GFLOP/s"
        )
        far = (
            "-"
            if "difference" not in r
            else f"{r['difference']:.1e}"
            + (f", {r['same_tokens']}/{case['steps']} tokens" if r["same_tokens"] is not None else "")
        )
        yield [
            label(case, workload),
            report["threads"],
            name,
            f"{r['ms']:.3f}",
            f"{r['best_ms']:.3f}",
            rate,
            f"{r['share']:.2f}",
            f"{r['speed']:.2f} [{r['speed_95'][0]:.2f}, {r['speed_95'][1]:.2f}]",
            far,
        ]
    for name, why in report["failed"].items():
        yield [label(case, workload), report["threads"], name, f"failed: {' '.join(why.split())[:110]}"]


def print_report(report):
    for row in table_rows(report):
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
    if "limit" in report:
        quality = report["quality"]
        print(
            f"<!-- limit {report['limit']['gflops']:.1f} GFLOP/s, {report['limit']['gbytes']:.1f} GB/s; "
            f"rounds kept {quality['kept']} of {quality['rounds']}; "
            f"foreign load {quality['foreign']:.1%}, stolen {quality['stolen']:.1%} -->",
            flush=True,
        )
