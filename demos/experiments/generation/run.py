"""Score generators and what they are compared with: snapshots of a training, calls, guidance.

    python demos/experiments/generation/run.py data/drum_kits -o drums.csv NAME=MODEL[,calls=4][,guidance=2][,projected]

FOLDER holds train.jsonl, on which the frozen classifier is trained, and test.jsonl, of other makers. Each row of the
table is one way to make sounds; `excess` is its Fréchet distance above that of as many real sounds, as a share of how
far noise with the class' mean spectrogram is above them. `cpu_seconds` is what eight sounds of a second took, of one
thread. Rows that the table has are skipped, so it may grow with a training.
"""

import argparse
import csv
import functools
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from audiodiff.data.manifest import read_manifest
from audiodiff.evaluation.classifier import Classifier
from audiodiff.evaluation.generator_table import (
    HELD_OUT,
    MEASURES,
    REAL,
    SPECTROGRAM,
    Judge,
    comparisons,
    sounds_of,
)
from audiodiff.models.generator import Generator

FIELDS = ("name", "steps", "calls", "guidance", "cpu_seconds", "excess", *MEASURES)
COLUMNS = [*FIELDS[:5], *(column for measure in FIELDS[5:] for column in (measure, f"{measure}_95"))]


def judge_of(folder: Path, like: Generator, cache: Path) -> Judge:
    """Train the classifier, or read it if it was trained before, and gather the recordings."""
    training, held_out = (read_manifest(folder / f"{split}.jsonl") for split in ("train", "test"))
    place = (like.labels, like.n_samples, like.sample_rate)
    if not cache.is_file():
        judge = Judge.of(training, held_out, *place)
        save_file({k: v.contiguous() for k, v in judge.classifier.state_dict().items()}, cache)
    classifier = Classifier(like.sample_rate, len(like.labels)).eval().requires_grad_(False)
    classifier.load_state_dict(load_file(cache))
    return Judge.of(training, held_out, *place, classifier)


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


def row_of(facts: dict[str, Any], values: dict[str, list[float]]) -> dict[str, Any]:
    """Make a line of the table: mean and half-width of each measure."""
    means = {measure: f"{mean:.4f}" for measure, (mean, _) in values.items()}
    return facts | means | {f"{measure}_95": f"{half:.4f}" for measure, (_, half) in values.items()}


def with_excess(rows: list[dict[str, Any]]) -> None:
    """Fill in by how much each row's Fréchet distance exceeds that of real sounds, in units of shaped noise's."""
    fad = {row["name"]: float(row["fad"]) for row in rows}
    scale = fad[SPECTROGRAM] - fad[REAL]
    for row in rows:
        row["excess"] = f"{(float(row['fad']) - fad[REAL]) / scale:.4f}"
        row["excess_95"] = f"{float(row['fad_95']) / scale:.4f}"


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
    parser.add_argument("--precision", default="float32", help="of the networks: float32 or bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    ways = [way_of(text) for text in options.ways]
    judge = judge_of(options.folder, ways[0][1], options.classifier)
    rows = list(csv.DictReader(options.out.open(encoding="utf-8"))) if options.out.is_file() else []
    if not rows:
        rows = [row_of({"name": HELD_OUT}, {m: [v, 0.0] for m, v in judge.score_held_out().items()})]
        for name, way in comparisons(judge, options.per_label).items():
            rows.append(row_of({"name": name}, judge.score_seeds(way, options.seeds, name)))
        write(options.out, rows)
    for name, generator, how in ways:
        if name in {row["name"] for row in rows}:
            continue
        generator.precision = options.precision
        way = functools.partial(generated, generator, options.per_label, how)
        facts = {
            "name": name,
            "steps": generator.info.get("steps", ""),
            "calls": how.get("steps") or generator.steps,
            "guidance": how.get("guidance", generator.guidance),
            "cpu_seconds": f"{seconds_of(generator, how):.3f}",
        }
        rows.append(row_of(facts, judge.score_seeds(way, options.seeds, name)))
        write(options.out, rows)
        print({key: rows[-1][key] for key in FIELDS}, flush=True)


def generated(generator: Generator, count: int, options: dict[str, Any], label: str, seed: int) -> Tensor:
    """Generate sounds of a class."""
    return sounds_of(generator, label, count, seed, **options)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the table anew."""
    with_excess(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
