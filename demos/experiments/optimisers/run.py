"""Compares optimisers on the quickstart task at equal steps, each at its best learning rate.

    python demos/experiments/optimisers/run.py runs/optimisers --steps 240

The rate is chosen by the loss after a third of the steps, among the configuration's own, a third and three times of it,
and on in the direction of the best until it has a worse one on either side. Then each runs from scratch. The loss is
that of the averaged weights on the clips of the task, the same noise and times for all; sounds are scored as in
the ablation; a step has its share of the processor time of the run, validation included. Optimisers that the CSV has
are skipped, and so are runs that ended.
"""

import argparse
import csv
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

from audiodiff.training.hydra_config import composed
from audiodiff.training.run import train
from audiodiff.utils.config import choices

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from quickstart import measure

SPREAD = 3.0  # from one rate to the next
MOST = 7  # rates of an optimiser


def run(folder: Path, name: str, rate: float, steps: int) -> dict[str, float]:
    """Train for some steps, unless that was done; returns the metrics and the milliseconds of a step."""
    told = folder / "found.json"
    if told.exists():
        return json.loads(told.read_text(encoding="utf-8"))
    given = ["experiment=quickstart", f"optimizer={name}", f"optimizer.lr={rate:g}", "sanity_check=false", "previews=0"]
    given += [f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps}", f"run_dir={folder}"]
    start = time.process_time()
    found = train(composed([*given, "lr_schedule.warmup_steps=20", "resume=false"]))
    found["ms"] = 1000 * (time.process_time() - start) / steps
    told.write_text(json.dumps(found), encoding="utf-8")
    return found


def best_rate(loss_of: Callable[[float], float], own: float) -> float:
    """Look for the rate of least loss, which has a worse one on either side; a loss that is not finite is worst."""
    found: dict[float, float] = {}

    def measured(rate: float) -> None:
        loss = loss_of(rate)
        found[rate] = loss if math.isfinite(loss) else math.inf

    for rate in (own / SPREAD, own, own * SPREAD):
        measured(rate)
    while len(found) < MOST:
        best = min(found, key=found.__getitem__)
        if best not in (min(found), max(found)):
            break
        measured(best / SPREAD if best == min(found) else best * SPREAD)
    return min(found, key=found.__getitem__)


def compared(folder: Path, name: str, steps: int) -> dict[str, object]:
    """Choose the rate of an optimiser and trains with it."""

    def loss_of(rate: float) -> float:
        loss = run(folder / f"{name}-{rate:.1e}", name, rate, steps // 3).get("valid/loss", math.inf)
        print(f"{name} at {rate:.1e} for {steps // 3} steps: {loss:.4f}", flush=True)
        return loss

    best = best_rate(loss_of, composed(["data.path=x", f"optimizer={name}"]).optimizer.lr)
    found = run(folder / name, name, best, steps)
    row = {"optimiser": name, "lr": f"{best:.1e}", "steps": steps, "loss": round(found["valid/loss"], 4)}
    return row | {k: round(v, 3) for k, v in measure(folder / name).items()} | {"ms per step": round(found["ms"])}


def main() -> None:
    """Run what the CSV has not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--table",
        type=Path,
        default=Path(__file__).with_name("results.csv"),
        help="CSV (default: results.csv, beside this script)",
    )
    parser.add_argument("--steps", type=int, default=240)
    args = parser.parse_args()
    rows = list(csv.DictReader(args.table.open(encoding="utf-8"))) if args.table.exists() else []
    for name in sorted({*choices("optim")} - {"adamw-fast"}):  # adamw at another rate
        if name in [row["optimiser"] for row in rows]:
            continue
        rows.append(compared(args.folder, name, args.steps))
        with args.table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
