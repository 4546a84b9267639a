"""Checks of a training configuration that need neither torch nor recordings: told before either is loaded."""

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from audiodiff.training.hydra_config import plain
from audiodiff.utils.validation import is_int, is_number

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
RESERVED = (
    "callbacks",
    "logger",
    "max_epochs",
    "overfit_batches",
    "check_val_every_n_epoch",
    "log_every_n_steps",
    "enable_progress_bar",
    "enable_checkpointing",
    "use_distributed_sampler",
    "num_sanity_val_steps",
)
LARGEST = 2**31 - 1
LEAST = {  # of whole numbers, by their place in the configuration
    "seed": 0,
    "log_every": 1,
    "previews": 0,
    "preview_seed": 0,
    "data.n_samples": 1,
    "data.batch_size": 1,
    "data.n_workers": 0,
    "data.validation_clips": 1,
    "trainer.max_steps": 1,
    "trainer.val_check_interval": 1,
    "trainer.checkpoint_every": 1,
    "trainer.accumulate_grad_batches": 1,
}
SHARES = ("data.max_bad", "dropout", "drop_path")


def check_settings(cfg: DictConfig) -> None:
    """Check numbers, what is reserved, and what contradicts what.

    Raises:
        ValueError: A setting is out of range, or cannot be with another.
    """
    config = plain(cfg)
    for name in RESERVED:
        if name in config["trainer"]:
            raise ValueError(f"trainer.{name} is set by audiodiff: leave it out (length: trainer.max_steps)")
    for name in ("loss", "info"):
        if not isinstance(config[name], dict):
            raise ValueError(f"{name}={config[name]}: its settings are wanted, one by one; see conf/train.yaml")
    for name, least in LEAST.items():
        if not is_int(value := _value(config, name, least), least, LARGEST):
            raise ValueError(f"{name}={value}: a whole number of at least {least} is wanted")
    for name in SHARES:
        if not (is_number(value := _value(config, name)) and 0 <= value <= 1):
            raise ValueError(f"{name}={value}: a share from 0 to 1 is wanted")
    if not (is_number(rate := _value(config, "optimizer.lr")) and rate >= 0):
        raise ValueError(f"optimizer.lr={rate}: a number of at least 0 is wanted")
    if config["trainer"]["precision"] not in PRECISIONS:
        raise ValueError(f"trainer.precision={config['trainer']['precision']}: choose one of {', '.join(PRECISIONS)}")
    _check_beginning(config)


def _value(config: Any, name: str, default: int = 0) -> Any:
    """Look up a setting by its name with dots."""
    for part in name.split("."):
        config = config.get(part, default) if isinstance(config, dict) else default
    return config


def _check_beginning(config: dict[str, Any]) -> None:
    """Check from what a run begins: nothing, another model, or its own last checkpoint."""
    if not config["run_dir"]:
        raise ValueError("run_dir=null: name a folder, in which the run is saved")
    path, resume, first = Path(config["run_dir"], "last.ckpt"), config["resume"], config["init_from"]
    place = next(folder for folder in (path.parent, *path.parent.parents) if folder.exists())
    if not place.is_dir():
        raise ValueError(f"run_dir={config['run_dir']}: {place} is a file; name a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"run_dir={config['run_dir']}: the folder {place} cannot be written; choose another place")
    if resume not in ("auto", True, False):
        raise ValueError(f"resume={resume}: choose auto, true or false")
    if resume is True and first:
        raise ValueError("resume=true goes on with a run, init_from= begins one: leave one of them out")
    if resume is True and not path.is_file():
        raise ValueError(f"{path}: there is no such run to go on with; leave out resume=true to begin one")
    goes_on = bool(resume) and path.is_file()
    if config["init_model"] and not (first or goes_on):
        raise ValueError("this objective goes on with a trained model: name it, as in init_from=speech-16k")
    if config["adapter"] and not (first or goes_on):
        raise ValueError("an adapter changes a trained model: name it, as in init_from=speech-16k")
