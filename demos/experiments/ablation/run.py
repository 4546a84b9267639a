"""Trains the quickstart model once per choice of loss, prediction and schedule, and tabulates how each sounds.

    python demos/experiments/ablation/run.py runs/ablation --steps 300

Every run sees the same clips and noise for the same number of steps; what differs is one override. Each is scored on
the four clips on which it was trained, from pure noise with eight DDIM steps and no projection. `base` is repeated
with other seeds: differences smaller than those between its rows mean nothing. Variants that the CSV has are skipped.
"""

import argparse
import csv
import sys
from pathlib import Path

from audiodiff.training.hydra_config import composed
from audiodiff.training.run import train

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from quickstart import measure

VARIANTS = {
    "base": [],
    "base, seed 1": ["seed=1"],
    "base, seed 2": ["seed=2"],
    "auxiliary=log-spectral": ["auxiliary=log-spectral"],
    "auxiliary=stft": ["auxiliary=stft"],
    "auxiliary=mel": ["auxiliary=mel"],
    "auxiliary=phase": ["auxiliary=phase"],
    "auxiliary=loudness": ["auxiliary=loudness"],
    "distance=balanced": ["distance=balanced"],
    "weighting=data": ["weighting=data"],
    "weighting=eps": ["weighting=eps"],
    "weighting=min-snr": ["weighting=min-snr"],
    "weighting=sigmoid": ["weighting=sigmoid"],
    "weighting=edm time_sampling=edm": ["weighting=edm", "time_sampling=edm"],
    "time_sampling=early": ["time_sampling=early"],
    "time_sampling=logit-normal": ["time_sampling=logit-normal"],
    "prediction=v": ["prediction=v"],
    "prediction=eps": ["prediction=eps"],
    "prediction=flow": ["prediction=flow"],
    "schedule=linear": ["schedule=linear"],
    "schedule=flow": ["schedule=flow"],
    "schedule=laplace": ["schedule=laplace"],
    "schedule=zero-terminal": ["schedule=zero-terminal"],
    "calibrated": [  # what `audiodiff calibrate datasets/clips/speech` prints
        "prediction.sigma_data=1.2064",
        "schedule.log_snr_min=-7.32",
        "schedule.log_snr_max=12.98",
        "schedule.shift=2.53",
    ],
    "calibrated, balanced": [
        "prediction.sigma_data=1.2064",
        "schedule.log_snr_min=-7.32",
        "schedule.log_snr_max=12.98",
        "schedule.shift=2.53",
        "distance=balanced",
    ],
}


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the runs go")
    parser.add_argument(
        "--table",
        type=Path,
        default=Path(__file__).with_name("results.csv"),
        help="CSV (default: results.csv, beside this script)",
    )
    parser.add_argument("--steps", type=int, default=300, help="of training (300)")
    parser.add_argument("--only", help="one variant")
    options = parser.parse_args()
    done = {row["variant"] for row in csv.DictReader(options.table.open())} if options.table.exists() else set()
    for name, overrides in VARIANTS.items():
        if name in done or (options.only and name != options.only):
            continue
        run_dir = options.folder / name.replace(" ", "_").replace("=", "-").replace(",", "")
        budget = [
            f"trainer.max_steps={options.steps}",
            f"trainer.val_check_interval={options.steps}",
            "sanity_check=false",
        ]
        cfg = composed(["experiment=quickstart", f"run_dir={run_dir}", "previews=0", *budget, *overrides])
        train(cfg)
        row = {"variant": name, "steps": options.steps, **measure(run_dir)}
        fresh = not options.table.exists()
        with options.table.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)


if __name__ == "__main__":
    main()
