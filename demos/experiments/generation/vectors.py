"""Describe sounds by two numbers, brightness and length, and measure how a generator follows them.

    python demos/experiments/generation/vectors.py describe data/drum_kits data/drum_vectors
    python -m audiodiff.train experiment=drum_kits init_from=drums init_strict=false name=drum_vectors \
        data.condition=both data.vector_size=2 \
        data.manifest=data/drum_vectors/train.jsonl data.valid_manifest=data/drum_vectors/valid.jsonl
    python demos/experiments/generation/vectors.py follow runs/drum_vectors data/drum_vectors -o vectors.csv
    python demos/experiments/generation/vectors.py order runs/drum_vectors -o order.csv

Brightness is the octave of the spectral centroid, length that of the time in which 99 % of the energy have passed; both
are standardised by the training recordings. `follow` asks for the numbers of held-out recordings of each class and
measures them in what comes out: Spearman's correlation of asked and heard within each class, and of the same sounds
with numbers that another one was asked for. `order` asks for both ends of each number.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from audiodiff.data.manifest import read_manifest
from audiodiff.data.one_shots import read_one_shot
from audiodiff.evaluation.generator_table import over_seeds
from audiodiff.models.generator import Generator

NAMES = ("brightness", "length")
RATE, SECONDS, LEAST = 32000, 1.5, 4  # LEAST sounds of a class, to be correlated
EXTREME = 1.5  # standard deviations


def describe(sound: Tensor, rate: int) -> list[float]:
    """Measure a sound, [1, T]: octaves of its centroid above 1 kHz, and of its length above a second."""
    power = torch.fft.rfft(sound[0].double()).abs().square()
    centroid = float((power * torch.linspace(0, rate / 2, len(power))).sum() / power.sum().clamp(min=1e-12))
    passed = sound[0].double().square().cumsum(0)
    length = (int((passed < 0.99 * passed[-1]).sum()) + 1) / rate
    return [float(np.log2(max(centroid, 20.0) / 1000)), float(np.log2(length))]


def describe_all(folder: Path, out: Path) -> None:
    """Write manifests with the field `vector`."""
    out.mkdir(parents=True, exist_ok=True)
    splits = {split: read_manifest(folder / f"{split}.jsonl") for split in ("train", "valid", "test")}
    count = int(RATE * SECONDS)
    values = {s: [describe(read_one_shot(r, count, RATE), RATE) for r in found] for s, found in splits.items()}
    mean, std = np.mean(values["train"], axis=0), np.std(values["train"], axis=0)
    for split, recordings in splits.items():
        lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        with (out / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for line, recording, numbers in zip(lines, recordings, values[split], strict=True):
                vector = [round(float(v), 4) for v in (np.array(numbers) - mean) / std]
                file.write(
                    json.dumps(json.loads(line) | {"path": str(recording.path.resolve()), "vector": vector}) + "\n"
                )
    print(json.dumps({"mean": mean.round(4).tolist(), "std": std.round(4).tolist()}))


def follow(model: Generator, folder: Path, per_label: int, seeds: int, guidance: float) -> list[dict[str, str]]:
    """Correlate what was asked with what is heard, class by class; the mean over classes, for each seed."""
    asked = defaultdict(list)
    for recording in read_manifest(folder / "test.jsonl"):
        asked[recording.label].append(recording.about["vector"])
    found = defaultdict(list)
    for seed in range(seeds):
        told, other = defaultdict(list), defaultdict(list)
        for label, vectors in asked.items():
            chosen = np.array(vectors)[np.linspace(0, len(vectors) - 1, min(per_label, len(vectors))).astype(int)]
            if len(chosen) < LEAST:
                continue
            sounds = model.generate(
                label=label, vector=chosen, guidance=guidance, batch=len(chosen), seed=1 + 1000 * seed
            )
            heard = np.array([describe(sound, model.sample_rate) for sound in sounds])
            for i, name in enumerate(NAMES):
                told[name].append(spearmanr(chosen[:, i], heard[:, i]).statistic)
                other[name].append(spearmanr(np.roll(chosen[:, i], len(chosen) // 2), heard[:, i]).statistic)
        for name in NAMES:
            found[name, "asked"].append(float(np.nanmean(told[name])))
            found[name, "asked of another"].append(float(np.nanmean(other[name])))
    rows = []
    for (name, against), values in found.items():
        mean, half_width = over_seeds(values)
        rows.append(
            {
                "number": name,
                "guidance": guidance,
                "against": against,
                "spearman": f"{mean:.4f}",
                "spearman_95": f"{half_width:.4f}",
            }
        )
    return rows


def order(model: Generator, count: int, guidance: float) -> list[dict[str, str]]:
    """Ask for little and for much of one number, from the same noise; count how often more is heard; chance is half."""
    rows = []
    for i, name in enumerate(NAMES):
        rises = []
        for label in model.labels:
            heard = []
            for asked in (-EXTREME, EXTREME):
                vector = [asked if i == k else 0.0 for k in range(len(NAMES))]
                sounds = model.generate(label=label, vector=vector, guidance=guidance, batch=count, seed=1)
                heard.append(np.array([describe(sound, model.sample_rate)[i] for sound in sounds]))
            rises.append(heard[1] - heard[0])
        all_rises = np.concatenate(rises)
        row = {
            "number": name,
            "guidance": guidance,
            "pairs": len(all_rises),
            "in_order": f"{(all_rises > 0).mean():.3f}",
        }
        rows.append(row | {"octaves_between": f"{all_rises.mean():.2f}"})
    return rows


def main() -> None:
    """Describe recordings, or measure a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=["describe", "follow", "order"])
    parser.add_argument("source", help="a folder with train.jsonl, valid.jsonl and test.jsonl; or the model")
    parser.add_argument("folder", type=Path, nargs="?", help="where manifests with vectors go, or are")
    parser.add_argument("-o", "--out", type=Path, help="the table; the terminal by default")
    parser.add_argument("--per-label", type=int, default=12)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0], help="scales to measure")
    options = parser.parse_args()
    if options.task == "describe":
        return describe_all(Path(options.source), options.folder)
    model = Generator.load(options.source)
    rows = []
    for guidance in options.guidance:
        if options.task == "order":
            rows += order(model, options.per_label, guidance)
        else:
            rows += follow(model, options.folder, options.per_label, options.seeds, guidance)
    with options.out.open("w", encoding="utf-8", newline="") if options.out else sys.stdout as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
