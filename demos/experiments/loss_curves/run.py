"""Reads off what runs had lost after 1,000 and 10,000 steps, and at their end, from their metrics.jsonl.

    python demos/experiments/loss_curves/run.py speech=runs/speech drums=runs/drums

The training loss is the mean of the five lines up to the step; hours are those of the steps themselves, from the rate
that each line gives, on whatever machine it was.
"""

import argparse
import csv
import json
import re
import statistics
from pathlib import Path

STEPS = (1_000, 10_000)


def points(run: Path) -> list[dict[str, object]]:
    """Return a row for each of the steps that a run has reached, and for its last."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    batch = int(re.search(r"^  batch_size: (\d+)$", (run / "config.yaml").read_text(encoding="utf-8"), re.MULTILINE)[1])
    last = lines[-1]["step"]
    return [row(lines, step, batch) for step in (*(s for s in STEPS if s < last), last)]


def row(lines: list[dict[str, float]], step: int, batch: int) -> dict[str, object]:
    """Sum up the lines up to a step."""
    until = [line for line in lines if line["step"] <= step]
    before = [line for line in until if "clips_per_second" in line]  # the others are of a validation
    spans = [b["step"] - a["step"] for a, b in zip([{"step": 0}, *before], before, strict=False)]
    hours = sum(max(0, n) * batch / line["clips_per_second"] / 3600 for n, line in zip(spans, before, strict=True))
    valid = [line["valid/loss"] for line in until if "valid/loss" in line]
    return {
        "step": step,
        "clips": step * batch,
        "train_loss": round(statistics.fmean(line["train/loss"] for line in before[-5:]), 4),
        "valid_loss": round(valid[-1], 4) if valid else "",
        "hours": round(hours, 2),
    }


def main() -> None:
    """Write the CSV and print it as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--table",
        type=Path,
        default=Path(__file__).with_name("results.csv"),
        help="CSV (default: results.csv, beside this script)",
    )
    parser.add_argument("runs", nargs="+", metavar="RECIPE=RUN")
    args = parser.parse_args()
    pairs = [given.split("=", 1) for given in args.runs]
    rows = [{"recipe": recipe} | point for recipe, run in pairs for point in points(Path(run))]
    with args.table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for found in rows:
        print("| " + " | ".join(str(value) for value in found.values()) + " |")


if __name__ == "__main__":
    main()
