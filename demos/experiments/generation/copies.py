"""Count sounds that lie nearer to a training recording than real ones do, and in which classes.

    python demos/experiments/generation/copies.py data/drum_kits -o copies.csv --classifier judge.safetensors drums

A copy is nearer than 99 % of the held-out recordings are, so one in a hundred of those is one too. Classes have unequal
numbers of held-out recordings and equal numbers of generated sounds: `classes alike` weighs them as the latter.
`by_chance` is the probability of at least as many copies at the held-out recordings' own rate.
"""

import argparse
import csv
import math
from pathlib import Path

import torch
from run import judge_of
from torch import Tensor

from audiodiff.evaluation.generator_table import HELD_OUT, Judge, sounds_of
from audiodiff.models.generator import Generator


def chance(count: int, total: int, rate: float) -> float:
    """Return the probability of at least `count` of `total` at a rate."""
    return 1 - sum(math.comb(total, k) * rate**k * (1 - rate) ** (total - k) for k in range(count))


def distances(judge: Judge, label: str, mels: Tensor, own: bool = False) -> Tensor:
    """Measure how near mels are to training recordings of a class, [N]; to others than themselves if these are they."""
    real = judge.mels[label]
    rows = [(real - mel).abs().mean((1, 2)) for mel in mels]
    return torch.stack([row.kthvalue(2 if own else 1).values for row in rows])


def row_of(name: str, near: dict[str, Tensor], limit: float, rate: float | None = None) -> dict[str, str]:
    """Count the copies among distances by class."""
    counts = {label: int((values < limit).sum()) for label, values in near.items()}
    count, total = sum(counts.values()), sum(map(len, near.values()))
    alike = sum(counts[label] / len(near[label]) for label in near) / len(near)
    return {
        "name": name,
        "sounds": str(total),
        "copies": str(count),
        "share": f"{count / total:.4f}",
        "classes alike": f"{alike:.4f}",
        "by_chance": "" if rate is None else f"{chance(count, total, rate):.3f}",
        "classes": ", ".join(f"{label} {n}" for label, n in counts.items() if n),
    }


def main() -> None:
    """Count among held-out recordings, training recordings and the sounds of models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="train.jsonl and test.jsonl")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--per-label", type=int, default=48)
    parser.add_argument("--precision", default="float32", help="of the networks: float32 or bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generators = {Path(model).stem: Generator.load(model) for model in options.models}
    judge = judge_of(options.folder, next(iter(generators.values())), options.classifier)
    limit = judge.closest
    held_out = {label: distances(judge, label, mels) for label, mels in judge.held_out.items()}
    others = {label: distances(judge, label, mels, own=True) for label, mels in judge.mels.items()}
    rows = [row_of(HELD_OUT, held_out, limit), row_of("training recordings, the nearest other", others, limit)]
    rate = float(rows[0]["classes alike"])
    for name, generator in generators.items():
        generator.precision = options.precision
        near = {}
        for label in generator.labels:
            mels = judge.classifier.mel(sounds_of(generator, label, options.per_label, 0))
            near[label] = distances(judge, label, mels)
        rows.append(row_of(name, near, limit, rate))
        print(rows[-1], flush=True)
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
