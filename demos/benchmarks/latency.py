"""Measure the latency of streams: algorithmic delay, time per chunk, time to the first sample.

    python demos/benchmarks/latency.py speech-24k-live --vocos --table demos/experiments/latency/live.csv

A chunk of so many milliseconds of mel frames is pushed at a time; the real-time factor is the wall time of a push over
the chunk's length: below 1 the stream keeps up. The first sample is timed from the first frame with a loaded model,
frames arriving at the rate at which they are spoken; and, with `--cold`, from the start of a fresh process, frames
arriving at once. Vocos, whose package has no streams, sees 29 frames to either side; each push computes these anew.
"""

import argparse
import contextlib
import csv
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from audiodiff.audio.chunks import Context, OverlappingWindows, Piece
from audiodiff.evaluation import peers
from audiodiff.evaluation.hardware import describe
from audiodiff.evaluation.peers import vocos
from audiodiff.mel import LogMel, MelSpec
from audiodiff.models import Vocoder
from audiodiff.models.stateful import VocoderStream, delay_in_samples
from audiodiff.models.streaming import live_config

CHUNKS_MS = (10, 20, 40, 80, 160)
SECONDS = 8.0
VOCOS_CONTEXT = 29  # frames: nine convolutions of seven taps, and half a window of the inverse transform

Push = Callable[[Tensor], Tensor]


class Streaming(NamedTuple):
    """Describe what is timed.

    Args:
        name: Name in the table.
        mel: Convention of its frames.
        delay: Samples by which the sound lags behind the frames that have arrived.
        begin: Begins a stream: returns what maps frames, [1, M, any], to samples, [1, 1, any].
    """

    name: str
    mel: MelSpec
    delay: int
    begin: Callable[[], Push]


def of_vocoder(name: str) -> Streaming:
    """Stream a model as `--live` does."""
    vocoder = Vocoder.load(name).eval()
    config = live_config(vocoder)
    what = name if len(config.times) > 1 else f"{name}: its real-time start alone"
    return Streaming(
        what, vocoder.mel, delay_in_samples(vocoder, config), lambda: VocoderStream(vocoder, config, 1).push
    )


def of_vocos() -> Streaming:
    """Stream Vocos in windows that overlap by its context, with random weights."""
    (system,), _ = peers.build(vocos)

    def begin() -> Push:
        windows = OverlappingWindows(Context(VOCOS_CONTEXT, VOCOS_CONTEXT), lambda mel, at: system.vocode(mel)[None])

        def push(mel: Tensor) -> Tensor:
            piece = windows.push(Piece(mel.shape[-1], mel, False))
            return mel[:, :1, :0] if piece is None else piece.tree

        return push

    return Streaming(f"{system.package}, random weights", system.mel, VOCOS_CONTEXT * system.mel.hop_length, begin)


def mel_of(spec: MelSpec, seconds: float) -> Tensor:
    """Make the mel of noise that swells and fades, [1, M, F]."""
    n = round(seconds * spec.sample_rate)
    swell = 0.1 * torch.sin(torch.arange(n) * 20 / spec.sample_rate).abs()
    return LogMel(spec)((swell * torch.randn(n, generator=torch.Generator().manual_seed(0)))[None, None])


@torch.no_grad()
def push_times(system: Streaming, frames: int) -> list[float]:
    """Time the pushes of so many frames, once the delay is filled."""
    push, times = system.begin(), []
    for chunk in mel_of(system.mel, SECONDS).split(frames, -1):
        began = time.perf_counter()
        push(chunk)
        times.append(time.perf_counter() - began)
    return times[len(times) // 5 :]


@torch.no_grad()
def warm_first_sample(system: Streaming) -> float:
    """Time the first sample, in seconds, while frames arrive at the rate of speech."""
    push, period = system.begin(), system.mel.hop_length / system.mel.sample_rate
    began = time.perf_counter()
    for n, frame in enumerate(mel_of(system.mel, 1.0).split(1, -1)):
        time.sleep(max(0.0, began + n * period - time.perf_counter()))
        if push(frame).shape[-1]:
            return time.perf_counter() - began
    raise RuntimeError("no sample within a second")


def cold_first_sample(model: str, n_mels: int) -> float:
    """Time a process of the command line from its start to its first sample, in seconds."""
    frames = np.full((100, n_mels), -5, "<f4").tobytes()  # fits into a pipe
    command = [sys.executable, "-m", "audiodiff", "vocode", "--raw", "--live", "-", "-", "--model", model]
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(frames)
            process.stdin.flush()
        heard = process.stdout.read(2)
        took = time.perf_counter() - began
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.read()
    if not heard:
        raise RuntimeError(f"{' '.join(command)} ended without a sample")
    return took


def bare_import() -> float:
    """Time a process that imports torch and does nothing, in seconds."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - began


def chunk_rows(system: Streaming, threads: int) -> list[dict[str, object]]:
    """Time every length of chunk with so many threads."""
    torch.set_num_threads(threads)
    frame_ms, rows = 1000 * system.mel.hop_length / system.mel.sample_rate, []
    first = statistics.median(warm_first_sample(system) for _ in range(5))
    for chunk in CHUNKS_MS:
        frames = max(1, round(chunk / frame_ms))
        factors = [1000 * t / (frames * frame_ms) for t in push_times(system, frames)]
        rows.append(
            {
                "stream": system.name,
                "delay, ms": f"{1000 * system.delay / system.mel.sample_rate:.0f}",
                "threads": threads,
                "chunk, ms": f"{frames * frame_ms:.1f}",
                "real-time factor, median": f"{statistics.median(factors):.3f}",
                "99th percentile": f"{np.quantile(factors, 0.99):.3f}",
                "first sample, ms": f"{1000 * first:.0f}",
            }
        )
        print("| " + " | ".join(str(cell) for cell in rows[-1].values()) + " |", flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print tables, and write one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--vocos", action="store_true", help="time Vocos beside (package vocos)")
    parser.add_argument("--cold", action="store_true", help="time fresh processes too, beside one that imports torch")
    parser.add_argument("--table", type=Path, help="CSV of the chunks")
    options = parser.parse_args(arguments)
    print(", ".join(f"{name} {value}" for name, value in describe().items() if name != "threads"))
    systems = [of_vocoder(name) for name in options.models] + ([of_vocos()] if options.vocos else [])
    rows = [row for system in systems for threads in options.threads for row in chunk_rows(system, threads)]
    if options.table:
        with options.table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    if options.cold:
        bare = statistics.median(bare_import() for _ in range(5))
        print(f"a process that imports torch: {bare:.2f} s")
        for name, system in zip(options.models, systems, strict=False):
            cold = statistics.median(cold_first_sample(name, system.mel.n_mels) for _ in range(5))
            print(f"first sample of a fresh process of {name}, frames at once: {cold:.2f} s, {cold / bare:.2f} times")


if __name__ == "__main__":
    main()
