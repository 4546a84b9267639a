"""Trains contestants of the few-step stage for equal CPU time from one denoiser, and scores them on held-out speakers.

    python demos/experiments/flagship/run.py --minutes 20            # makes the denoiser, runs/flagship/denoising
    python demos/experiments/flagship/tournament.py runs/flagship/denoising table.csv t01 t15 --minutes 9

Each contestant is a list of overrides of `experiment=speech-24k-few`; all see the same clips. Those that the table has
are skipped; losers stay. Judged by `judge.py`: one call, at most two clips of each of the twelve valid speakers.
"""

import argparse
import csv
import sys
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback

sys.path.insert(0, str(Path(__file__).resolve().parent))
from judge import append, scored

from audiodiff.models.base import Model
from audiodiff.training import run as training
from audiodiff.training.hydra_config import composed

PLAIN = ["~objective.auxiliary.loudness"]
LATE = [*PLAIN, "start.time=0.15", "objective.denoising_weight=0.1"]
SLOW = [
    "objective.discriminator_lr=1",
    "objective.warmup_steps=50",
    "objective.discriminators.resolutions=[512,1024,2048]",
]
ARMS = {
    "t15-slow": [*LATE, *SLOW],
    "t15": LATE,
    "t01": PLAIN,
    "t01-periods": [*PLAIN, "objective.discriminators.periods=[2,3,5,7,11]"],
    "t01-loudness": ["objective.auxiliary.loudness.weight=0.5"],
    "t05": [*PLAIN, "start.time=0.05"],
    "t10": [*LATE, "start.time=0.1"],
    "t30": [*LATE, "start.time=0.3"],
    "t01-features": [*PLAIN, "objective.feature_weight=0.5"],
    "t01-denoising": [*PLAIN, "objective.denoising_weight=0.1"],
}
"""What each changes of conf/experiment/speech-24k-few.yaml: t = 0.01, resolution discriminators, no denoising loss."""
SAME = ["ema_decay=0.99", "objective.calls=[1]", "objective.feature_weight=2", "trainer.val_check_interval=1000000"]


class CPUBudget(Callback):
    """Stop the trainer when the process has used its CPU seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.began = seconds, time.process_time()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Look at the clock."""
        trainer.should_stop |= time.process_time() - self.began > self.seconds


def main() -> None:
    """Train and score what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("denoiser", type=Path, help="run with which every contestant begins")
    parser.add_argument("table", type=Path, help="CSV, which is continued")
    parser.add_argument("arms", nargs="*", default=list(ARMS), help=f"of {', '.join(ARMS)} (all)")
    parser.add_argument("--minutes", type=float, default=9, help="CPU minutes of each (9)")
    parser.add_argument("--manifest", type=Path, default=Path("data/open_speech/valid.jsonl"))
    parser.add_argument("--each", type=int, default=2, help="clips a speaker (2)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    done = {row["arm"] for row in csv.DictReader(options.table.open())} if options.table.exists() else set()
    for arm in options.arms:
        if arm in done:
            continue
        run_dir = options.denoiser.parent / f"arm-{arm}"
        overrides = [
            "experiment=speech-24k-few",
            f"init_from={options.denoiser}",
            f"run_dir={run_dir}",
            *SAME,
            *ARMS[arm],
        ]
        training.train(composed([*overrides, "resume=false"]), [CPUBudget(60 * options.minutes)])
        model = Model.load(run_dir / "last.ckpt")
        facts = {"arm": arm, "minutes": options.minutes, "steps": model.info["steps"]}
        append(options.table, {**facts, **scored(model, 1, options), "command": " ".join([*SAME, *ARMS[arm]])})


if __name__ == "__main__":
    main()
