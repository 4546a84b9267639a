"""Messages at the beginning and at the end of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning

from audiodiff.data.manifest import Recording
from audiodiff.models.base import Model

SHOWN = ("train/loss", "valid/loss", "valid/error", "clips_per_second")


def opening(
    model: Model,
    recordings: int,
    hours: float,
    validation: Sequence[Recording],
    trainer: lightning.Trainer,
    run_dir: Path,
) -> str:
    """Describe a run before its first step: model, data, device, folder and steps."""
    weights = sum(p.numel() for p in model.parameters())
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    some = "" if learning == weights else f", {learning / 1e6:.2f} M of them learn"
    return "\n".join(
        [
            f"model       {type(model).__name__} of {weights / 1e6:.2f} M weights{some}, {model.sample_rate} Hz",
            f"data        {recordings} recordings, {hours:.2f} h; {len(validation)} held out",
            f"device      {trainer.strategy.root_device}, {trainer.precision}, {trainer.world_size} process(es)",
            f"run         {run_dir}, up to step {trainer.max_steps}",
        ]
    )


def closing(run_dir: Path, model: Model, metrics: Mapping[str, Any]) -> str:
    """Describe a finished run: where its weights are, how to try them, and the last metrics."""
    use = "resynth speech.flac out.wav" if hasattr(model, "mel") else "generate out"
    lines = [f"weights     {run_dir / 'model.safetensors'}", f"try it      audiodiff {use} --model {run_dir}"]
    lines += [f"{name:<11} {metrics[name]:.4g}" for name in SHOWN if name in metrics]
    return "\n".join(lines)
