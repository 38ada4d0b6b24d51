"""Runs what docs/deploy.md says: python3 tests/ship/deploy.py ATTAR

Every command after `$` in a block marked `console` is run, one after the other, and has to print what stands below it; numbers
may be others, as sizes and errors change with compilers. $ATTAR_BLESS=1 writes into the page what is printed now. Exit status 77,
with the reason, where a tool is missing."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PAGE = pathlib.Path("docs/deploy.md")


def same(printed, expected):
    plain = lambda text: [re.sub(r"\d[\d.]*(e[+-]?\d+)?", "0", line).split() for line in text.splitlines()]
    return plain(printed) == plain(expected)


def commands(block):
    """Pairs of a command and what is below it."""
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, _, below = part.partition("\n")
        yield command, below


def main():
    attar = pathlib.Path(sys.argv[1]).resolve()
    for tool in "aarch64-linux-gnu-gcc", "qemu-aarch64", os.environ.get("CLANG", "clang-19"), "wasm-ld-19", "make":
        if not shutil.which(tool):
            print(f"skipped: docs/deploy.md: {tool} is not installed; sh scripts/cross-tools.sh installs what is missing")
            return 77
    page = PAGE.read_text(encoding="utf-8")
    passed, failed = 0, 0
    with tempfile.TemporaryDirectory() as work:
        # The repository as the commands see it, but for its build folder.
        for entry in pathlib.Path.cwd().iterdir():
            if entry.name != "build":
                (pathlib.Path(work) / entry.name).symlink_to(entry)
        (pathlib.Path(work) / "build").mkdir()
        (pathlib.Path(work) / "build" / "attar").symlink_to(attar)

        def run(match):
            nonlocal passed, failed
            blessed = match[1]
            for command, below in commands(match[2]):
                ran = subprocess.run(["sh", "-c", command], cwd=work, env=os.environ | {"LC_ALL": "C", "MAKEFLAGS": "", "PWD": work}, stdin=subprocess.DEVNULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                good = ran.returncode == 0 and (same(ran.stdout, below) or "ATTAR_BLESS" in os.environ)
                passed += good
                failed += not good
                if not good:
                    print(f"FAILED: {command}: exit status {ran.returncode}; it printed\n{ran.stdout}instead of\n{below}")
                blessed += f"$ {command}\n{ran.stdout}"
            return blessed + "```\n"

        new = re.sub(r"^(```console\n)(.*?)^```\n", run, page, flags=re.M | re.S)
    if "ATTAR_BLESS" in os.environ and not failed:
        PAGE.write_text(new, encoding="utf-8")
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    sys.exit(main())
