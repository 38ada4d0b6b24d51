"""Measuring: blocks of engines in turn, each round in another order, a machine probe between the rounds."""

import itertools
import os
import statistics
import tempfile
import time
import zlib

import models
import numpy as np
from cases import arguments, load_line, parse_case, useful_work, write_inputs
from processes import EngineError, Worker, engine_command, machine_ticks, quiet


def reference(workload, case, folder):
    """The float64 result of input 0, computed once and kept; None without what computes it (PyTorch, but for
    attention).
    """
    exact = {k: v for k, v in case.items() if k != "quant"}
    kept = models.CACHE / "reference" / f"{workload}-{zlib.crc32(arguments(exact).encode()):08x}.npy"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        worker = Worker("reference", engine_command("reference", {}), os.cpu_count())
        try:
            worker.ask(load_line(workload, dict(case, **({"quant": "f32"} if "quant" in case else {})), folder))
            worker.ask(f"check {kept.with_suffix('.part.npy')}")
        except EngineError as error:
            print(f"<!-- no float64 reference: {error} -->", flush=True)
            return None
        finally:
            worker.close()
        kept.with_suffix(".part.npy").rename(kept)
    return np.load(kept)


def difference(workload, result, truth, counted):
    """Largest absolute difference from float64. For greedy decoding: up to the first other token, and how many tokens
    agree before it.
    """
    if workload != "decode":
        return (
            float(
                np.abs(result.astype(np.float64) - truth)[
                    counted if workload in ("encode", "startup") else slice(None)
                ].max()
            ),
            None,
        )
    same = int(np.cumprod(result.argmax(-1) == truth.argmax(-1)).sum())
    return float(np.abs(result.astype(np.float64) - truth)[: same + 1].max()), same


def block_length(workers, block_ms):
    """Runs per block for each worker, after warming up: enough for block_ms, never fewer than 2 (1 where a run takes
    over 250 ms).
    """
    runs = {}
    for w in workers:
        first = w.ask("run 1")["ns"][0]
        ns = min(w.ask("run 3")["ns"]) if first < 400e6 else first
        runs[w.name] = 1 if ns > 250e6 else max(2, int(block_ms * 1e6 / ns))
    return runs


def alternate(workers, probe, threads, rounds, block_ms, best):
    """Blocks in turn, each round in another order, a machine probe between rounds. The first run of a block only warms
    the caches up.

    `best` is the highest FMA rate seen so far on so many threads. Returns blocks and probes of the rounds that count,
    and how all went.
    """
    runs = block_length(workers, block_ms)
    blocks, probes, all_rounds = [], [probe.ask(str(threads))], 0
    started, mine = machine_ticks(), sum(w.cpu_ticks() for w in [*workers, probe])
    own, begin = time.process_time(), time.monotonic()

    def counts():
        return [r for r in range(all_rounds) if min(probes[r]["gflops"], probes[r + 1]["gflops"]) >= 0.97 * best]

    while all_rounds < 3 * rounds and len(counts()) < rounds:
        block = {}
        for w in workers[all_rounds % len(workers) :] + workers[: all_rounds % len(workers)]:
            warm = runs[w.name] > 1
            ns = w.ask(f"run {runs[w.name] + warm}")["ns"][warm:]
            block[w.name] = statistics.median(ns) / 1e6
            time.sleep(0.02)
        blocks.append(block)
        probes.append(probe.ask(str(threads)))
        best = max(best, probes[-1]["gflops"])
        all_rounds += 1
    ticks = os.sysconf("SC_CLK_TCK")
    used = (sum(w.cpu_ticks() for w in [*workers, probe]) - mine) / ticks + time.process_time() - own
    (busy, stolen), seconds = machine_ticks(), (time.monotonic() - begin) * os.cpu_count()
    keep = counts()
    quality = {
        "kept": len(keep),
        "rounds": all_rounds,
        "foreign": max(0.0, ((busy - started[0]) / ticks - used) / seconds),
        "stolen": (stolen - started[1]) / ticks / seconds,
        "best_gflops": best,
    }
    if len(keep) < 3:  # a machine that is never quiet: the better half, and the table says so
        keep = sorted(range(all_rounds), key=lambda r: -min(probes[r]["gflops"], probes[r + 1]["gflops"]))
        keep = sorted(keep[: max(1, (all_rounds + 1) // 2)])
    return [blocks[r] for r in keep], [probes[r + 1] for r in keep], quality


def bootstrap(ratios, draws=2000):
    picks = np.random.default_rng(0).choice(ratios, (draws, len(ratios)))
    return [float(x) for x in np.quantile(np.median(picks, axis=1), (0.025, 0.975))]


def summarise(blocks, probes, order, baseline, flops, read):
    limit = {key: statistics.median(p[key] for p in probes) for key in ("gflops", "gbytes")}
    rows = {}
    for name in sorted(blocks[0], key=order.index):
        ms = [block[name] for block in blocks]
        ratios = [block[baseline] / block[name] for block in blocks]
        seconds = statistics.median(ms) / 1e3
        rows[name] = {
            "ms": statistics.median(ms),
            "best_ms": min(ms),
            "blocks_ms": ms,
            "speed": statistics.median(ratios),
            "speed_95": bootstrap(ratios),
            "gflops": flops / seconds / 1e9,
            "gbytes": read / seconds / 1e9,
            "share": flops / seconds / 1e9 / limit["gflops"] if flops else read / seconds / 1e9 / limit["gbytes"],
        }
    return rows, limit


def measure(workload, cases, engines, commands, threads, options, probe_path):
    """All cases of one workload on one thread count. Yields a report per case."""

    def start(name):
        return Worker(name, engine_command(name, commands), threads)

    workers, probe = {name: start(name) for name in engines}, Worker("probe", [probe_path, "serve"], threads)
    best = max(probe.ask(str(threads))["gflops"] for _ in range(5))
    for case in cases:
        report = {"workload": workload, "case": case, "threads": threads, "failed": {}, "rows": {}}
        flops, read = useful_work(workload, case)
        with tempfile.TemporaryDirectory() as folder:
            counted, ready = write_inputs(workload, case, folder), {}
            truth = None if options.no_check else reference(workload, case, folder)
            for name in engines:
                try:
                    if workers[name].process.poll() is not None:
                        workers[name] = start(name)
                    ready[name] = {"load_ms": workers[name].ask(load_line(workload, case, folder))["load_ns"] / 1e6}
                    workers[name].ask(f"check {folder}/y.npy")  # also compiles what is compiled at the first call
                    if truth is not None:
                        ready[name]["difference"], ready[name]["same_tokens"] = difference(
                            workload, np.load(f"{folder}/y.npy"), truth, counted
                        )
                except EngineError as error:
                    report["failed"][name] = str(error)
                    ready.pop(name, None)
            if ready and not options.prepare:
                with quiet(options.quiet_file):
                    blocks, probes, report["quality"] = alternate(
                        [workers[n] for n in ready], probe, threads, options.rounds, options.block_ms, best
                    )
                best = report["quality"]["best_gflops"]
                rows, report["limit"] = summarise(
                    blocks,
                    probes,
                    engines,
                    options.against if options.against in ready else next(iter(ready)),
                    flops,
                    read,
                )
                report["rows"] = {name: {**ready[name], **rows[name]} for name in rows}
        yield report
    for w in [*workers.values(), probe]:
        w.close()


def startup(case, engines, commands, threads, options):
    """Process start to first result, and peak memory: with nothing cached, then with what the engine keeps in
    BENCH_ENGINE_CACHE.
    """
    report = {"workload": "startup", "case": case, "threads": threads, "failed": {}, "rows": {}}
    with tempfile.TemporaryDirectory() as folder, quiet(options.quiet_file):
        write_inputs("encode", case, folder)
        for name, kept in itertools.product(engines, (False, True)):
            seconds, peak = [], []
            shared = tempfile.mkdtemp(dir=folder)
            try:
                for r in range(options.rounds + kept):  # kept: one more, the first fills the cache
                    environment = {"BENCH_ENGINE_CACHE": shared if kept else tempfile.mkdtemp(dir=folder)}
                    begin = time.monotonic()
                    worker = Worker(name, engine_command(name, commands), threads, **environment)
                    worker.ask(load_line("encode", case, folder))
                    worker.ask("run 1")
                    seconds.append(time.monotonic() - begin)
                    peak.append(worker.ask("memory")["peak_kib"] / 1024)
                    worker.close()
                report["rows"][f"{name}, {'kept' if kept else 'nothing kept'}"] = {
                    "seconds": statistics.median(seconds[kept:]),
                    "all_seconds": seconds[kept:],
                    "peak_mib": statistics.median(peak[kept:]),
                }
            except EngineError as error:
                report["failed"][name] = str(error)
    return report


BITS = [
    ("encode", "S=37"),
    ("encode", "S=128"),
    ("attention", "L=512 mask=causal"),
    ("attention", "L=200 D=80 H=5 G=1"),
    ("decode", "steps=8"),
]


def same_bits(commands):
    """Whether one and two threads of Attar give the same bits, case by case."""
    report = {"part": "bits", "workload": "bits", "rows": {}}
    workers = [Worker(f"attar@{t}", engine_command("attar", commands), t) for t in (1, 2)]
    for workload, text in BITS:
        case, results = parse_case(workload, text), []
        with tempfile.TemporaryDirectory() as folder:
            write_inputs(workload, case, folder)
            for worker in workers:
                worker.ask(load_line(workload, case, folder))
                worker.ask(f"check {folder}/y.npy")
                results.append(np.load(f"{folder}/y.npy").tobytes())
        report["rows"][f"{workload} {text}"] = results[0] == results[1]
    for worker in workers:
        worker.close()
    return report
