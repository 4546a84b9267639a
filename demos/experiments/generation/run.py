"""Score generators and what they are compared with: snapshots of a training, calls, guidance.

    python demos/experiments/generation/run.py data/drum_kits -o drums.csv NAME=MODEL[,calls=4][,guidance=2][,projected]

FOLDER holds train.jsonl, on which the frozen classifier is trained, and test.jsonl, of other makers. Each row of the
table is one way to make sounds; `excess` is its Fréchet distance above that of the training recordings' halves, as a
share of that of noise with the class' mean spectrogram. `cpu_seconds` is what eight sounds of a second took, of one
thread. Rows that the table has are skipped, so it may grow with a training.
"""

import argparse
import csv
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from audiodiff.data.manifest import read_manifest
from audiodiff.evaluation.classifier import Classifier
from audiodiff.evaluation.generator_table import MEASURES, Judge, over_seeds, shaped_noise, sounds_of
from audiodiff.models.generator import Generator

Way = Callable[[str, int], Tensor]
SPECTRUM = "noise with the class' mean spectrum"
SPECTROGRAM = "noise with its mean spectrogram"
FIELDS = ("name", "steps", "calls", "guidance", "cpu_seconds", "excess", *MEASURES)
COLUMNS = [*FIELDS[:5], *(column for measure in FIELDS[5:] for column in (measure, f"{measure}_95"))]


def judge_of(folder: Path, like: Generator, cache: Path) -> Judge:
    """Train the classifier, or read it if it was trained before, and gather the recordings."""
    training, held_out = (read_manifest(folder / f"{split}.jsonl") for split in ("train", "test"))
    place = (like.labels, like.n_samples, like.sample_rate)
    if not cache.is_file():
        judge = Judge.trained(training, held_out, *place)
        save_file({k: v.contiguous() for k, v in judge.classifier.state_dict().items()}, cache)
    classifier = Classifier(like.sample_rate, len(like.labels)).eval().requires_grad_(False)
    classifier.load_state_dict(load_file(cache))
    return Judge.of(classifier, training, held_out, *place)


def way_of(text: str) -> tuple[str, Generator, dict[str, Any]]:
    """Read NAME=MODEL,option,option=value."""
    name, _, rest = text.partition("=")
    model, *options = rest.split(",")
    values: dict[str, Any] = {"projected": "projected" in options}
    for option in options:
        key, _, value = option.partition("=")
        if key == "calls":
            values["steps"] = int(value)
        elif key == "guidance":
            values["guidance"] = float(value)
        elif key == "guide":
            values["guide"] = Generator.load(value)
    return name, Generator.load(model), values


def scored(judge: Judge, way: Way, seeds: int) -> dict[str, list[float]]:
    """Score sets of sounds of several seeds: mean and half-width of each measure."""
    scores = [judge.score({label: way(label, seed) for label in judge.labels}) for seed in range(seeds)]
    return {measure: over_seeds([score[measure] for score in scores]) for measure in MEASURES}


def row_of(judge: Judge, noise_fad: float, found: dict[str, list[float]], **facts: Any) -> dict[str, Any]:
    """Make a line of the table."""
    scale = noise_fad - judge.floor
    mean, half_width = found["fad"]
    excess = (mean - judge.floor) / scale, half_width / scale
    values = {"excess": excess, **found}
    numbers = {m: f"{v:.4f}" for m, (v, _) in values.items()} | {f"{m}_95": f"{h:.4f}" for m, (_, h) in values.items()}
    return facts | numbers


def seconds_of(generator: Generator, options: dict[str, Any]) -> float:
    """Measure the CPU seconds of eight sounds of a second, the better of two."""
    taken = []
    for _ in range(2):
        began = time.process_time()
        generator.generate(generator.sample_rate, label=generator.labels[0], batch=8, **options)
        taken.append(time.process_time() - began)
    return min(taken)


def main() -> None:
    """Score what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="train.jsonl and test.jsonl")
    parser.add_argument("ways", nargs="+", metavar="NAME=MODEL[,calls=N][,guidance=W][,projected][,guide=MODEL]")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the table, which grows")
    parser.add_argument("--classifier", type=Path, required=True, help="where the classifier is, or will be, kept")
    parser.add_argument("--per-label", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    ways = [way_of(text) for text in options.ways]
    judge = judge_of(options.folder, ways[0][1], options.classifier)
    rows = list(csv.DictReader(options.out.open(encoding="utf-8"))) if options.out.is_file() else []
    count, real = options.per_label, judge.recordings
    if not rows:
        noise = scored(judge, lambda label, seed: shaped_noise(real[label], count, seed), options.seeds)
        spectrum = scored(judge, lambda label, seed: shaped_noise(real[label], count, seed, False), options.seeds)
        training = scored(judge, lambda label, seed: drawn(real[label], count, seed), options.seeds)
        held_out = {m: [v, 0.0] for m, v in judge.score_held_out().items()}
        names = (
            "held-out recordings",
            "noise with the class' mean spectrum",
            SPECTROGRAM,
            "recordings of the training set",
        )
        for name, found in zip(names, (held_out, spectrum, noise, training), strict=True):
            rows.append(row_of(judge, noise["fad"][0], found, name=name))
        write(options.out, rows)
    noise_fad = next(float(row["fad"]) for row in rows if row["name"] == SPECTROGRAM)
    for name, generator, how in ways:
        if name in {row["name"] for row in rows}:
            continue
        found = scored(judge, functools.partial(generated, generator, count, how), options.seeds)
        facts = {
            "name": name,
            "steps": generator.info.get("steps", ""),
            "calls": how.get("steps") or generator.steps,
            "guidance": how.get("guidance", generator.guidance),
            "cpu_seconds": f"{seconds_of(generator, how):.3f}",
        }
        rows.append(row_of(judge, noise_fad, found, **facts))
        write(options.out, rows)
        print(rows[-1], flush=True)


def generated(generator: Generator, count: int, options: dict[str, Any], label: str, seed: int) -> Tensor:
    """Generate sounds of a class."""
    return sounds_of(generator, label, count, seed, **options)


def drawn(sounds: Tensor, count: int, seed: int) -> Tensor:
    """Draw training recordings."""
    return sounds[torch.randint(len(sounds), (count,), generator=torch.Generator().manual_seed(seed))]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the table anew."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
