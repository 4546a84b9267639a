"""Trains the 24 kHz vocoder for so many minutes, goes on where it stopped, and keeps its state in a few megabytes.

    python datasets/open_speech/prepare.py data/open_speech
    python demos/experiments/flagship/run.py --minutes 15

Two stages: denoising, for `--denoising-steps` steps, then the few-step adversarial stage until the time is over. A
run whose folder is there goes on exactly; without one, the adversarial stage begins with what `state/` holds: weights,
their average and the discriminators, without the optimisers' moments. `--keep` writes the state at the end.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import safetensors.torch
import torch
from lightning.pytorch.callbacks import Callback

from audiodiff.models import checkpoint
from audiodiff.models.base import Model
from audiodiff.training import run as training
from audiodiff.training.ema import EMA
from audiodiff.training.hydra_config import composed
from audiodiff.utils.files import atomic_file

HERE = Path(__file__).resolve().parent
STATE = HERE / "state"
DENOISING = ["experiment=speech-24k"]
ADVERSARIAL = ["experiment=speech-24k-few"]


class Budget(Callback):
    """Stop the trainer when the time is over, and write CPU seconds and steps of the whole run to `spent.json`.

    Args:
        run_dir: The run's folder.
        end: When to stop, on the monotonic clock.
        before: What the state with which the run begins has cost.
    """

    def __init__(self, run_dir: Path, end: float, before: dict[str, float]) -> None:
        self.path, self.end = run_dir / "spent.json", end
        self.before = spent(run_dir) or before
        self.began = time.process_time()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Look at the clock."""
        trainer.should_stop |= time.monotonic() > self.end  # a signal may have asked for it

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Remember the first step."""
        self.first = trainer.global_step

    def on_train_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Write down what was spent."""
        added = {"cpu_seconds": time.process_time() - self.began, "steps": trainer.global_step - self.first}
        total = {name: round(value + self.before.get(name, 0), 1) for name, value in added.items()}
        with atomic_file(self.path) as file:
            file.write(json.dumps(total).encode())


class Restored(Callback):
    """Give a run that begins the weights, the average and the discriminators of a kept state."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Load what was kept, unless the run goes on from a checkpoint."""
        if trainer.global_step:
            return
        judges = safetensors.torch.load_file(self.state / "discriminators.safetensors")
        pl_module.discriminators.load_state_dict({name: tensor.float() for name, tensor in judges.items()})
        averaged, raw = (Model.load(self.state / "model.safetensors", weights=w).state_dict() for w in ("ema", "raw"))
        pl_module.model.load_state_dict(raw)
        for callback in trainer.callbacks:
            if isinstance(callback, EMA):
                callback.update(dict(pl_module.named_parameters()))
                for average in callback.averages.values():
                    average.update({f"model.{n}": t.clone() for n, t in averaged.items() if f"model.{n}" in average})
                callback.updates = round(1 / (1 - callback.decays[-1]))


def keep(run_dir: Path, state: Path) -> None:
    """Write a run's averaged and last weights and its discriminators, in sixteen bits."""
    checkpoint.export(run_dir / "last.ckpt", state / "model.safetensors", torch.float16)
    last = torch.load(run_dir / "last.ckpt", weights_only=True)["current_model_state"]
    judges = {n.removeprefix("discriminators."): t.half() for n, t in last.items() if n.startswith("discriminators.")}
    with atomic_file(state / "discriminators.safetensors") as file:
        file.write(safetensors.torch.save(judges))
    with atomic_file(state / "spent.json") as file:
        file.write((run_dir / "spent.json").read_bytes())


def spent(folder: Path) -> dict[str, float]:
    """Read what a run or a state has cost; nothing if there is none."""
    path = folder / "spent.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and keep the state."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, required=True, help="of the clock, loading included")
    parser.add_argument("--runs", type=Path, default=Path("runs/flagship"), help="folder of the two stages' runs")
    parser.add_argument("--denoising-steps", type=int, default=1200)
    parser.add_argument(
        "--keep", action="store_true", help=f"write the state into {STATE.relative_to(HERE.parents[2])}"
    )
    parser.add_argument("--state", type=Path, default=STATE, help="folder of the kept state (beside this script)")
    parser.add_argument("overrides", nargs="*", help="of the training configuration, for both stages")
    options = parser.parse_args(arguments)
    end = time.monotonic() + 60 * options.minutes
    first, second = options.runs / "denoising", options.runs / "adversarial"
    kept = (options.state / "model.safetensors").is_file()
    begun = kept or (second / "last.ckpt").is_file()
    steps = options.denoising_steps

    def train(run_dir: Path, before: Path, overrides: Sequence[str], *callbacks: Callback) -> None:
        cfg = composed([*overrides, f"run_dir={run_dir}", *options.overrides])
        training.train(cfg, [Budget(run_dir, end, spent(before)), *callbacks])

    if not begun and spent(first).get("steps", 0) < steps:
        train(first, first, [*DENOISING, f"trainer.max_steps={steps}"])
    if time.monotonic() < end and (begun or spent(first).get("steps", 0) >= steps):
        source = options.state / "model.safetensors" if kept else first
        restored = [Restored(options.state)] if kept else []
        train(second, options.state if kept else first, [*ADVERSARIAL, f"init_from={source}"], *restored)
    if options.keep and (second / "last.ckpt").is_file():
        os.makedirs(options.state, exist_ok=True)
        keep(second, options.state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
