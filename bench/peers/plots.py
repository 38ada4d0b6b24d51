"""Plots of the figures: ratio per shape, roofline, latency against length. Needs matplotlib; without it says so and
draws nothing.
"""

from figure_rows import ROWS
from figure_table import evaluate, find


def draw(reports, folder):
    try:
        import matplotlib
    except ImportError:
        print("skipped: plots, which need matplotlib")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plot

    folder.mkdir(parents=True, exist_ok=True)
    for name, function in (("ratios", ratios), ("roofline", roofline), ("latency", latency)):
        figure, axes = plot.subplots(figsize=(9, 6))
        if function(axes, reports):
            figure.tight_layout()
            figure.savefig(folder / f"{name}.png", dpi=110)
            print(f"plot: {folder / name}.png")
        plot.close(figure)


def ratios(axes, reports):
    """How much faster than the fastest peer, and the must of each shape."""
    bars = []
    for row in ROWS:
        report = find(reports, row) if row.kind == "peer" else None
        found = evaluate(report, row) if report else None
        if found and found[0]:
            bars.append((f"{row.title}, {report['threads']} thr.", found[0], row.must))
    places = range(len(bars))
    axes.barh(places, [b[1] for b in bars], color="#4878a8")
    axes.plot([b[2] for b in bars], places, "|", color="black", markersize=10, label="must")
    axes.axvline(1, color="gray", linewidth=1)
    axes.set_yticks(places, [b[0] for b in bars], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("times as fast as the fastest peer")
    axes.legend()
    return bars


def roofline(axes, reports):
    """Speed against FLOPs per byte of weights or inputs, for encoders on one thread, under the machine's two limits."""
    points, limit = [], None
    for report in reports:
        ours = report["rows"].get("attar")
        if report["part"] in ("encode-1", "prompt") and ours and ours.get("gflops"):
            limit = report["limit"]
            length = report["case"].get("S", report["case"].get("prompt"))
            points.append((length / 2, ours["gflops"], f"{report['workload']} {length}"))
        if report["part"] == "decode-1" and ours:
            points.append((0.5, ours["gbytes"] / 2, "decode"))
    if not points or not limit:
        return False
    at = [0.1, limit["gflops"] / limit["gbytes"], 1000]
    axes.loglog(at, [min(limit["gflops"], x * limit["gbytes"]) for x in at], color="black", label="machine")
    for x, y, name in points:
        axes.plot(x, y, "o", color="#4878a8")
        axes.annotate(name, (x, y), fontsize=7, xytext=(4, -8), textcoords="offset points")
    axes.set_xlabel("FLOPs per byte of weights")
    axes.set_ylabel("GFLOP/s, one thread")
    axes.legend()
    return True


def latency(axes, reports):
    """Milliseconds of the encoder against length, every engine, one thread."""
    lines = {}
    for report in reports:
        if report["part"] == "encode-1":
            for name, r in report["rows"].items():
                lines.setdefault(name, {})[report["case"]["S"]] = r["ms"]
    for name, values in sorted(lines.items()):
        lengths = sorted(values)
        axes.loglog(lengths, [values[s] for s in lengths], "o-", label=name, linewidth=2.5 if name == "attar" else 1)
    axes.set_xlabel("length")
    axes.set_ylabel("ms, MiniLM, one thread")
    if lines:
        axes.legend()
    return lines
