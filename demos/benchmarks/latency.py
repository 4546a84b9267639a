"""Measure the latency of streams: algorithmic delay, time per chunk, time to the first sample.

    python demos/benchmarks/latency.py speech-16k

A chunk of so many milliseconds of mel frames is pushed at a time; the real-time factor is the wall time of a push over
the chunk's length: below 1 the stream keeps up. The first sample is timed from the first frame with a loaded model,
frames arriving at the rate at which they are spoken; and from the start of a fresh process, frames arriving at once.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from audiodiff.models import Vocoder
from audiodiff.models.stateful import VocoderStream, delay_in_samples
from audiodiff.models.streaming import live_config

CHUNKS_MS = (10, 20, 40, 80, 160)
SECONDS = 6.0


def mel_of(vocoder: Vocoder, seconds: float) -> torch.Tensor:
    """Make the mel of noise that swells and fades, [1, M, F]."""
    n = round(seconds * vocoder.sample_rate)
    swell = 0.1 * torch.sin(torch.arange(n) * 20 / vocoder.sample_rate).abs()
    return vocoder.spectrogram((swell * torch.randn(n, generator=torch.Generator().manual_seed(0)))[None, None])


def push_times(vocoder: Vocoder, frames: int) -> list[float]:
    """Time the pushes of so many frames, once the delay is filled."""
    stream, times = VocoderStream(vocoder, live_config(vocoder)), []
    for chunk in mel_of(vocoder, SECONDS).split(frames, -1):
        began = time.perf_counter()
        stream.push(chunk)
        times.append(time.perf_counter() - began)
    return times[len(times) // 5 :]


def warm_first_sample(vocoder: Vocoder) -> float:
    """Time the first sample while frames arrive at the rate of speech."""
    stream, period = VocoderStream(vocoder, live_config(vocoder)), vocoder.hop_length / vocoder.sample_rate
    began = time.perf_counter()
    for n, frame in enumerate(mel_of(vocoder, 1.0).split(1, -1)):
        time.sleep(max(0.0, began + n * period - time.perf_counter()))
        if stream.push(frame).shape[-1]:
            return time.perf_counter() - began
    raise RuntimeError("no sample within a second")


def cold_first_sample(model: str, n_mels: int) -> float:
    """Time a process of the command line from its start to its first sample."""
    frames = np.full((400, n_mels), -5, "<f4").tobytes()
    command = [sys.executable, "-m", "audiodiff", "vocode", "--raw", "--live", "-", "-", "--model", model]
    began = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdin.write(frames)
        process.stdin.flush()
        process.stdout.read(2)
        took = time.perf_counter() - began
        process.stdin.close()
        process.stdout.read()
    return took


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cold", action="store_true", help="time fresh processes too")
    options = parser.parse_args()
    vocoder = Vocoder.load(options.model).eval()
    config, frame_ms = live_config(vocoder), 1000 * vocoder.hop_length / vocoder.sample_rate
    what = "the model" if len(config.times) > 1 else "the real-time start alone"
    print(f"{options.model} by {what}; {platform.processor() or platform.machine()}, torch {torch.__version__}")
    print(f"algorithmic delay: {1000 * delay_in_samples(vocoder, config) / vocoder.sample_rate:.1f} ms")
    print("| threads | chunk, ms | real-time factor, median | 99th percentile |\n|---|---|---|---|")
    for threads in options.threads:
        torch.set_num_threads(threads)
        for chunk in CHUNKS_MS:
            frames = max(1, round(chunk / frame_ms))
            factors = [1000 * t / (frames * frame_ms) for t in push_times(vocoder, frames)]
            line = f"{statistics.median(factors):.3f} | {np.quantile(factors, 0.99):.3f}"
            print(f"| {threads} | {frames * frame_ms:.1f} | {line} |", flush=True)
    torch.set_num_threads(options.threads[0])
    firsts = [warm_first_sample(vocoder) for _ in range(5)]
    print(f"first sample, warm model, frames at the rate of speech: {1000 * statistics.median(firsts):.0f} ms")
    if options.cold:
        firsts = [cold_first_sample(options.model, vocoder.mel.n_mels) for _ in range(3)]
        print(f"first sample of a fresh process, frames at once: {statistics.median(firsts):.2f} s")


if __name__ == "__main__":
    main()
