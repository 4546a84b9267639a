"""The machine, its peak speed, and the operations and time of a network.

A matrix product of n x n matrices takes 2 n³ operations; the fastest of several is the peak that a network, which is
mostly matrix products, may be compared with. Transforms and pointwise work count for nothing in a network's operations.
"""

import contextlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from audiodiff.nn.linear import Linear
from audiodiff.utils import devices


class Spread(NamedTuple):
    """Hold the median of repetitions, and the lower and upper quartile."""

    median: float
    lower: float
    upper: float


class Work(NamedTuple):
    """Hold the operations of a network, and the seconds that they took."""

    operations: int
    seconds: float


def spread(values: Sequence[float]) -> Spread:
    """Return median and quartiles, interpolated; of one value, that value three times.

    >>> spread([1.0, 2.0, 3.0, 4.0, 100.0])
    Spread(median=3.0, lower=2.0, upper=4.0)
    """
    if len(values) == 1:
        return Spread(*[float(values[0])] * 3)
    lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, lower, upper)


def describe() -> dict[str, Any]:
    """Return processor, cores, system, threads in use, and versions."""
    return {
        "processor": devices.processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def load_average() -> list[float] | None:
    """Return the load averages over 1, 5 and 15 minutes; None on systems without them."""
    return [round(n, 2) for n in os.getloadavg()] if hasattr(os, "getloadavg") else None


def peak_gflops(precision: str = "float32", n: int = 2048, rounds: int = 8) -> float:
    """Measure the fastest product of two n x n matrices at the current threads, in 10⁹ operations/s.

    Args:
        precision: "float32" or "bfloat16".
        n: Rows and columns.
        rounds: Products, after a warm-up.
    """
    matrix = torch.ones(n, n, dtype=getattr(torch, precision))
    multiply = Linear(n, n, bias=False, dtype=matrix.dtype).requires_grad_(False)  # as the networks multiply
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        multiply(matrix)
        times.append(time.perf_counter() - began)
    return 2 * n**3 / min(times[1:]) / 1e9


def work_of(network: nn.Module, run: Callable[[], Any], repeats: int = 3) -> Work | None:
    """Count a network's operations in a run, and measure the time that it takes within it.

    Args:
        network: The network.
        run: Makes one sound.
        repeats: Runs, of which the median time is taken.

    Returns:
        Operations and time of a run; None if it does not call the network.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter, _metered(network, counter.get_total_flops) as operations:
        run()
    times = []
    for _ in range(repeats):
        with _metered(network, time.perf_counter) as seconds:
            run()
        times.append(sum(seconds))
    return Work(int(sum(operations)), statistics.median(times)) if operations else None


def first_sound(model: str, waveform: Tensor, sample_rate: int, threads: int, repeats: int) -> list[float]:
    """Measure the seconds from the start of the process `audiodiff resynth` to its end, on one recording, [C, T].

    Raises:
        ValueError: The command fails.
    """
    from audiodiff import audio

    package = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(p for p in (package, os.environ.get("PYTHONPATH")) if p)
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(threads)}
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "in.wav"), Path(folder, "out.wav")
        audio.write(source, waveform, sample_rate)
        call = [sys.executable, "-m", "audiodiff", "resynth", source, out, "-f", "--model", model, "--device", "cpu"]
        for _ in range(repeats + 1):
            began = time.perf_counter()
            done = subprocess.run(call, env=environment, capture_output=True, text=True)
            seconds.append(time.perf_counter() - began)
            if done.returncode:
                raise ValueError(f"audiodiff resynth: {done.stderr.strip().splitlines()[-1:]}")
    return seconds[1:]


@contextlib.contextmanager
def _metered(network: nn.Module, read: Callable[[], float]) -> Generator[list[float]]:
    """List by how much a reading grows in each call of a network inside a `with` block."""
    before, grown = [0.0], list[float]()

    def begin(*_: object) -> None:
        before[0] = read()

    def end(*_: object) -> None:
        grown.append(read() - before[0])

    with network.register_forward_pre_hook(begin), network.register_forward_hook(end):
        yield grown
