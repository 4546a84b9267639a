"""Compares optimisers on the quickstart task at equal steps, each at the best of three learning rates.

    python demos/optimisers.py runs/optimisers demos/optimisers.csv --steps 240

The rate is chosen by the loss after a third of the steps, among the configuration's own, a third and three times of it.
Then each runs from scratch. The loss is that of the averaged weights on the clips of the task, the same noise and times
for all; sounds are scored as in demos/ablate.py. Optimisers that the CSV has are skipped; runs that are there go on.
"""

import argparse
import csv
import time
from pathlib import Path

from ablate import measure

from audiodiff.compose import composed
from audiodiff.config import choices
from audiodiff.train import train

SPREAD = (1 / 3, 1.0, 3.0)


def run(folder: Path, name: str, rate: float, steps: int) -> tuple[dict[str, float], float]:
    """Trains for some steps; returns the metrics and the seconds."""
    given = ["experiment=quickstart", f"optim={name}", f"optim.optimizer.lr={rate:g}", "verdict=false", "previews=0"]
    given += [f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps}", f"run_dir={folder}"]
    start = time.perf_counter()
    return train(composed([*given, "optim.warmup_steps=20", "resume=auto"])), time.perf_counter() - start


def compared(folder: Path, name: str, steps: int) -> dict[str, object]:
    """Chooses the rate of an optimiser and trains with it."""
    own = composed(["data.path=x", f"optim={name}"]).optim.optimizer.lr
    tried = {
        rate: run(folder / f"{name}-{rate:.1e}", name, rate, steps // 3)[0]["valid/loss"]
        for rate in (own * factor for factor in SPREAD)
    }
    best = min(tried, key=tried.__getitem__)
    metrics, seconds = run(folder / name, name, best, steps)
    heard = measure(folder / name)
    row = {"optimiser": name, "lr": f"{best:.1e}", "steps": steps, "loss": round(metrics["valid/loss"], 4)}
    return row | {k: round(v, 3) for k, v in heard.items()} | {"seconds": round(seconds, 1)}


def main() -> None:
    """Runs what the CSV has not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--steps", type=int, default=240)
    args = parser.parse_args()
    rows = list(csv.DictReader(args.csv.open(encoding="utf-8"))) if args.csv.exists() else []
    for name in choices("optim"):
        if name in [row["optimiser"] for row in rows]:
            continue
        rows.append(compared(args.folder, name, args.steps))
        with args.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
