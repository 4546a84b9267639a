"""Time eight sounds of a second from the start of the process to its end, beside a process that imports torch alone.

    python demos/experiments/generation/start_up.py -o start_up.csv drums-4 commands-4 drums

Rounds go through all of them in turn; the table has medians: seconds of the clock, and of processors, user and system.
Leave the machine alone meanwhile. Threads are as many as torch takes.
"""

import argparse
import csv
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

TORCH = "import torch"


def command_of(name: str, folder: str) -> list[str]:
    """Return the command line of a model's eight sounds, or of the import."""
    if name == TORCH:
        return [sys.executable, "-c", TORCH]
    options = ["--model", name, "-n", "8", "--seconds", "1", "-f"]
    return [sys.executable, "-m", "audiodiff", "generate", folder, *options]


def timed(command: Sequence[str]) -> tuple[float, float]:
    """Run a process; return its seconds of the clock and of processors."""

    def used() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    began, before = time.perf_counter(), used()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began, used() - before


def main() -> None:
    """Time the models, round by round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    names = [TORCH, *options.models]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:  # once, so that all files are in memory
            timed(command_of(name, folder))
        rounds = [[timed(command_of(name, folder)) for name in names] for _ in range(options.rounds)]
    rows = []
    for name, runs in zip(names, zip(*rounds, strict=True), strict=True):
        seconds, cpu = zip(*runs, strict=True)
        rows.append(
            {
                "name": name,
                "seconds": f"{statistics.median(seconds):.2f}",
                "fastest": f"{min(seconds):.2f}",
                "slowest": f"{max(seconds):.2f}",
                "cpu_seconds": f"{statistics.median(cpu):.2f}",
            }
        )
        print(rows[-1], flush=True)
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
