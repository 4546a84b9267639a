"""Says how far float32 is from float64 behind the rounds of a start: torch's, and those that are exported.

    python demos/experiments/rounding/run.py --frames 60 200 400 --seeds 1
    python demos/experiments/rounding/run.py --frames 400 --seeds 3

A row says by how much the loudest difference of samples is: of torch's float32 to its float64, of the exported rounds
(float32) to the same, of the two to each other, and of float64 to itself where the noise was moved by one rounding of
float32. What the last amplifies, every round adds of its own.
"""

import argparse
import csv
from pathlib import Path

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.diffusion.noise import NoiseField
from audiodiff.export.projection import start_of
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils.config import shipped_path

SPEECH = shipped_path("demos/audio/speech.flac")
ROUNDING = torch.finfo(torch.float32).eps / 2


def row(vocoder: Vocoder, steps: int, mel: Tensor, seed: int) -> list[float]:
    """Measure one mel with the noise of one seed, and with the start of so many steps."""
    start = vocoder.start_for(steps)
    noise = NoiseField([seed]).draw(torch.empty(1, 1, mel.shape[-1] * vocoder.hop_length))
    ours, theirs = start.waveform(mel, noise), start_of(start)(mel, noise)
    signs = NoiseField([seed], step=1).draw(torch.empty_like(noise)).sign().double()
    truth, moved = (start.waveform(mel.double(), noise.double() * (1 + r * signs)) for r in (0.0, ROUNDING))
    pairs = (ours, truth), (theirs, truth), (theirs, ours), (moved, truth)
    return [float((a.double() - b.double()).abs().max()) for a, b in pairs]


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="speech-16k")
    parser.add_argument("--steps", type=int, default=1, help="whose start (1)")
    parser.add_argument("--frames", type=int, nargs="+", default=[60, 200, 400])
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="from 0 on")
    parser.add_argument(
        "--table", type=Path, default=Path(__file__).with_name("results.csv"), help="CSV (default: beside this script)"
    )
    args = parser.parse_args()
    vocoder = Vocoder.load(args.model)
    speech, _ = audio.read(SPEECH, vocoder.sample_rate)
    mel = vocoder.spectrogram(speech.repeat(1, -(-max(args.frames) * vocoder.hop_length // speech.shape[-1]))[None])
    table = [["frames", "seed", "torch", "exported", "of the two", "moved by a rounding"]]
    for frames in args.frames:
        for seed in range(args.seeds):
            found = row(vocoder, args.steps, mel[..., :frames].contiguous(), seed)
            table.append([str(frames), str(seed), *(f"{value:.1e}" for value in found)])
            print("| " + " | ".join(table[-1]) + " |", flush=True)
    with args.table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(table)


if __name__ == "__main__":
    main()
