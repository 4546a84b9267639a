"""Lightning's trainer, built from the section `trainer`, with this package's callbacks and logger."""

import sys
from collections.abc import Sequence
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from audiodiff.data.manifest import Recording
from audiodiff.data.recordings import usable
from audiodiff.training.callbacks import Checkpoints, ClipsPerSecond, Previews, StepLogger, Throughput
from audiodiff.training.compile import Compiled
from audiodiff.training.ema import EMA, check_whole
from audiodiff.training.hydra_config import plain
from audiodiff.utils import devices
from audiodiff.utils.config import build

PREVIEW_SECONDS = 10.0  # of a recording


def make_trainer(
    cfg: DictConfig, run_dir: Path, validation: list[Recording], further: Sequence[Callback]
) -> lightning.Trainer:
    """Build the trainer of a run.

    Args:
        cfg: conf/train.yaml, composed.
        run_dir: Folder of checkpoints, metrics and previews.
        validation: Held-out recordings; the beginnings of the first are previewed.
        further: Additional callbacks.
    """
    settings = plain(cfg.trainer)
    every = settings.pop("checkpoint_every")
    settings["val_check_interval"] = min(
        settings["val_check_interval"], settings["max_steps"] * settings["accumulate_grad_batches"]
    )
    log_every = min(cfg.log_every, settings["max_steps"])
    settings["strategy"] = build(settings.get("strategy", "auto"))
    check_whole(settings["strategy"])
    if settings["precision"] == "auto":
        settings["precision"] = devices.precision_for(devices.resolve(settings["accelerator"]))
    previews = [r.path for r in usable(validation, cfg.previews)]
    callbacks = [
        EMA(cfg.ema_decay),
        Previews(run_dir / "previews", previews, PREVIEW_SECONDS, cfg.preview_seed),
        Throughput(run_dir / "metrics.jsonl", cfg.data.batch_size, every=log_every),
        Checkpoints(run_dir / "last.ckpt", every),
        *further,
    ]
    if cfg.compile:
        callbacks.append(Compiled())
    if sys.stderr.isatty():
        callbacks.append(ClipsPerSecond())
    logger = StepLogger(run_dir, name="", version="")
    trainer = lightning.Trainer(
        callbacks=callbacks,
        logger=logger,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=log_every,
        num_sanity_val_steps=0,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        use_distributed_sampler=False,
        **settings,
    )
    logger.step = lambda: trainer.global_step
    return trainer
