"""The processes that take part: engines and the machine's probe, pinned to the same cores."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


class EngineError(Exception):
    pass


class Worker:
    """A process that answers lines with JSON lines, pinned to the first cores."""

    def __init__(self, name, command, threads, **environment):
        self.name, self.log = name, tempfile.TemporaryFile("w+")
        name, _, own = name.partition("@")
        threads = int(own or threads)
        count = {
            n: str(threads) for n in ("BENCH_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        }
        self.process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, range(threads))), *command],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **count, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", **environment},
        )

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self.process.stdout.readline()
        if not answer:
            self.log.seek(0)
            raise EngineError(f"ended: {self.log.read()[-200:].strip()}")
        answer = json.loads(answer)
        if "error" in answer:
            raise EngineError(answer["error"])
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def cpu_ticks(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


def machine_ticks():
    """(busy, stolen) ticks of all cores since boot."""
    user, nice, system, idle, wait, irq, soft, steal = map(int, open("/proc/stat").readline().split()[1:9])
    return user + nice + system + irq + soft, steal


def engine_command(name, commands):
    """NAME or NAME@THREADS: what the user gave, or one of engines.py."""
    name = name.partition("@")[0]
    return commands.get(name) or [sys.executable, str(HERE / "engines.py"), name]


@contextlib.contextmanager
def quiet(path):
    """While measuring, `path` exists: other jobs on the machine may watch it and pause. Waits until the machine is
    idle, for 10 s at most; without `path`, which nobody can heed, for 1 s.
    """
    if path:
        pathlib.Path(path).touch()
    try:
        for _ in range(20 if path else 2):
            busy, _ = machine_ticks()
            time.sleep(0.5)
            if machine_ticks()[0] - busy <= 3:
                break
        yield
    finally:
        if path:
            pathlib.Path(path).unlink(missing_ok=True)


def build_probe(folder):
    compiler = next(c for c in ("clang-19", "clang", "cc") if shutil.which(c))
    flags = ["-O2", "-march=native", "-mprefer-vector-width=512", "-ffp-contract=fast"]
    subprocess.run([compiler, *flags, str(HERE / "probe.c"), "-o", f"{folder}/probe", "-lpthread"], check=True)
    return f"{folder}/probe"
