"""Measure how much of a drum's low end is a tone: what a judge of log-mels does not hear.

    python demos/experiments/generation/tones.py data/drum_kits -o tones.csv NAME=MODEL ...

Of the energy below 500 Hz between 50 and 300 ms, the largest share that lies within 8 Hz of one frequency; the mean
over sounds of kick and of tom, whose skins ring. Beside models stand recordings, noise with their mean spectrogram, and
recordings whose MDCT coefficients have signs drawn at random: what a generator makes that knows envelopes alone.
"""

import argparse
import csv
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from audiodiff.audio.mdct import imdct, mdct
from audiodiff.data.manifest import read_manifest
from audiodiff.data.one_shots import read_one_shot
from audiodiff.evaluation.generator_table import shaped_noise, sounds_of
from audiodiff.models.generator import Generator

BLOCKS = (512, 1024, 2048)
LABELS = ("kick", "tom")
FROM, TO, HIGHEST, NEAR = 0.05, 0.3, 500.0, 8.0  # seconds, seconds, Hz, Hz


def tone(sounds: Tensor, rate: int) -> Tensor:
    """Measure the share of the strongest tone in sounds, [N, 1, T]: [N]."""
    cut = sounds[:, 0, int(FROM * rate) : int(TO * rate)]
    n = 2 * rate  # bins of half a hertz
    power = torch.fft.rfft(cut * torch.hann_window(cut.shape[-1]), n).abs().square()[:, : int(2 * HIGHEST)]
    passed = pad(power, (1, 0)).cumsum(1)
    width = int(4 * NEAR)
    return (passed[:, width:] - passed[:, :-width]).amax(1) / passed[:, -1].clamp(min=1e-12)


def resigned(sounds: Tensor, block: int) -> Tensor:
    """Draw the signs of the MDCT coefficients of sounds anew."""
    c = mdct(pad(sounds, (0, -sounds.shape[-1] % block)), block)
    signs = torch.randint(2, c.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return imdct(c * signs)


def main() -> None:
    """Measure recordings, noise and models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="train.jsonl and test.jsonl")
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=48)
    options = parser.parse_args()
    models = dict(text.split("=", 1) for text in options.models)
    generators = {name: Generator.load(path) for name, path in models.items()}
    n, rate = (getattr(next(iter(generators.values())), key) for key in ("n_samples", "sample_rate"))
    splits = {"training recordings": "train", "held-out recordings": "test"}
    rows = []
    for label in LABELS:
        groups = {}
        for name, split in splits.items():
            recordings = [r for r in read_manifest(options.folder / f"{split}.jsonl") if r.label == label]
            groups[name] = torch.stack([read_one_shot(r, n, rate) for r in recordings])
        for block in BLOCKS:
            groups[f"training recordings, signs of {block} coefficients drawn"] = resigned(
                groups["training recordings"], block
            )
        groups["noise with its mean spectrogram"] = shaped_noise(groups["training recordings"], options.count, 0)
        groups |= {name: sounds_of(model, label, options.count, 0) for name, model in generators.items()}
        for name, sounds in groups.items():
            shares = tone(sounds, rate)
            half = 1.96 * float(shares.std()) / len(shares) ** 0.5
            rows.append({"name": name, "label": label, "tone": f"{shares.mean():.3f}", "tone_95": f"{half:.3f}"})
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
