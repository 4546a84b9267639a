"""Compares an exported vocoder with torch: how fast both are, and how far their sounds are apart.

    audiodiff export speech-16k speech-16k.onnx
    OMP_NUM_THREADS=1 python demos/benchmarks/onnx_times.py speech-16k.onnx --model speech-16k

A row is a length of speech. Contestants take turns; of each the median of the rounds is told, with quartiles, and the
largest difference of samples from torch's float32, full scale = 1. `--torch bfloat16` adds torch in that precision.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.diffusion.noise import NoiseField
from audiodiff.evaluation import hardware
from audiodiff.export.comparison import session_of
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils.config import shipped_path


def speech(vocoder: Vocoder, seconds: float) -> Tensor:
    """Return the log-mel of so much speech, [1, M, F], the shipped recording over and over."""
    waveform, rate = audio.read(shipped_path("demos/audio/speech.flac"), vocoder.sample_rate)
    frames = round(seconds * rate / vocoder.hop_length)
    wanted = frames * vocoder.hop_length
    return vocoder.spectrogram(waveform.repeat(1, wanted // waveform.shape[-1] + 1)[None, :, :wanted])[..., :frames]


def contestants(vocoder: Vocoder, mel: Tensor, path: Path, precisions: list[str]) -> dict[str, Callable]:
    """List who makes the sound of a mel, [1, 1, F hop], with the noise of seed 0."""

    def by_torch(precision: str) -> Tensor:
        vocoder.precision = precision
        return vocoder.generate(mel, seed=0)

    def by_runtime(session: object) -> Tensor:
        noise = NoiseField([0]).draw(torch.empty(1, 1, mel.shape[-1] * vocoder.hop_length))
        found = session.run(None, {"mel": mel.numpy(), "noise": noise.numpy()})[0]
        return torch.from_numpy(np.ascontiguousarray(found))

    session = session_of(path)
    torches = {f"torch, {p}": lambda p=p: by_torch(p) for p in precisions}
    return torches | {path.stem: lambda: by_runtime(session)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exported", type=Path, help="what `audiodiff export` wrote of a vocoder")
    parser.add_argument("--torch", nargs="*", default=[], metavar="PRECISION", help="beside float32, such as bfloat16")
    parser.add_argument("--model", default="speech-16k")
    parser.add_argument("--seconds", type=float, nargs="*", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    vocoder = Vocoder.load(args.model)
    head = None
    for seconds in args.seconds:
        who = contestants(vocoder, speech(vocoder, seconds), args.exported, ["float32", *args.torch])
        if head is None:
            head = ["seconds", *who, *(f"apart: {name}" for name in who)]
            print(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
        sounds, taken = {name: make() for name, make in who.items()}, {name: [] for name in who}
        for _ in range(args.rounds):
            for name, make in who.items():
                began = time.perf_counter()
                make()
                taken[name].append(1000 * (time.perf_counter() - began))
        first = sounds["torch, float32"]
        spreads = [hardware.spread(times) for times in taken.values()]
        cells = [f"{s.median:.3g} ({s.lower:.3g}–{s.upper:.3g})" for s in spreads]
        apart = [f"{float((sound - first).abs().max()):.1e}" for sound in sounds.values()]
        print(f"| {seconds:g} | {' | '.join(cells + apart)} |", flush=True)
    ends = statistics.median(float(sound.abs().max()) for sound in sounds.values())
    print(f"\nms, median (quartiles) of {args.rounds}; {torch.get_num_threads()} threads; peak of the last {ends:.2f}")


if __name__ == "__main__":
    main()
