"""Measure how sharply drums begin: what a judge of log-mels does not hear either.

    python demos/experiments/generation/attacks.py data/drum_kits -o attacks.csv NAME=MODEL ...

`peak_ms` is the median time at which the power of a millisecond is highest, `crest_db` by how much that is above the
mean of the first 50 ms.
"""

import argparse
import csv
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from audiodiff.data.manifest import read_manifest
from audiodiff.data.one_shots import read_one_shot
from audiodiff.evaluation.generator_table import sounds_of
from audiodiff.models.generator import Generator

LABELS = ("rim", "snare", "clap", "hat-closed", "kick")
RECORDINGS = 60  # of each class, at most


def attack(sounds: Tensor, rate: int) -> dict[str, str]:
    """Measure the attack of sounds, [N, 1, T]."""
    hop = rate // 4000
    power = avg_pool1d(sounds.square(), 4 * hop, hop)[:, 0]
    early = sounds[:, 0, : rate // 20].square().mean(1)
    crest = 10 * (power.amax(1) / (early + 1e-12)).log10()
    peak = power.argmax(1) * hop / rate * 1000
    return {"peak_ms": f"{peak.median():.1f}", "crest_db": f"{crest.median():.1f}"}


def main() -> None:
    """Measure recordings and models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="train.jsonl")
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=24)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generators = {name: Generator.load(path) for name, path in (text.split("=", 1) for text in options.models)}
    n, rate = (getattr(next(iter(generators.values())), key) for key in ("n_samples", "sample_rate"))
    recordings, rows = read_manifest(options.folder / "train.jsonl"), []
    for label in LABELS:
        of_label = [r for r in recordings if r.label == label]
        chosen = of_label[:: max(1, len(of_label) // RECORDINGS)][:RECORDINGS]
        groups = {"training recordings": torch.stack([read_one_shot(r, n, rate) for r in chosen])}
        groups |= {name: sounds_of(model, label, options.count, 0) for name, model in generators.items()}
        rows += [{"label": label, "name": name} | attack(sounds, rate) for name, sounds in groups.items()]
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
