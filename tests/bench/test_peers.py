"""The comparison's own arithmetic: useful work, ALiBi's slopes, masks, which rows hold. Needs numpy; without it the test is skipped."""

import pathlib
import sys

try:
    import numpy as np
except ImportError:
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench" / "peers"))

from attention import alibi, allowed, dense, slopes
from cases import parse_case, useful_work
from figure_rows import PARTS, QUICK, ROWS, Row
from figure_table import evaluate, find, verdict

assert np.allclose(slopes(4), [2**-2, 2**-4, 2**-6, 2**-8])
assert np.allclose(slopes(3), [2**-4, 2**-8, 2**-2])
bias = alibi(3, 4)
assert bias.shape == (1, 3, 4, 4) and bias[0, 2, 3, 1] == -0.5 and np.isneginf(bias[0, 0, 1, 2])

# Pairs that a mask lets through count as work, others do not.
for mask, pairs in (("full", 36), ("causal", 21), ("window", 11), ("document", 12)):
    case = parse_case("attention", f"H=2 L=6 D=8 window=2 documents=2 mask={mask}")
    rule = allowed(mask, 2, 2, 6)
    assert pairs == (36 if rule is None else dense(rule, 6).sum()), mask
    assert useful_work("attention", case) == (4 * 2 * 8 * pairs, 0), mask

# Every row is of a case that its part measures.
for row in ROWS:
    if row.part in PARTS:
        assert row.case in PARTS[row.part].cases, row
for name, cases in QUICK.items():
    assert set(cases) <= set(PARTS[name].cases), name

faster = {
    "attar": {"ms": 2, "share": 0.5, "blocks_ms": [2, 2, 4]},
    "slow": {"ms": 9, "share": 0.1, "blocks_ms": [9, 9, 9]},
}
faster["near"] = {"ms": 3, "share": 0.3, "blocks_ms": [3, 4, 4]}
row = Row("r", "peer", "decode-1", "", 1.2, 1.6)
report = {"part": "decode-1", "case": parse_case("decode", ""), "threads": 1, "rows": faster}
assert find([report], row) is report and find([report], Row("r", "peer", "decode-2", "", 1, 1)) is None
value, ours, against = evaluate(report, row)
assert value == 1.5 and ours == "2.000 ms" and against.startswith("near 3.000 ms")
assert verdict(row, 1.5) == "yes" and verdict(row, 1.1) == "**no**" and verdict(row, 1.7).startswith("yes, ")
limit = Row("l", "limit", "decode-1", "", 1.15, 1.08)
assert verdict(limit, 1.1) == "yes" and verdict(limit, 1.2) == "**no**"
