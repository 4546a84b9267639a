"""Trains a model: `python -m audiodiff.train experiment=speech`.

`train(cfg)` does everything and can be called from a test or a search; `main` only lets Hydra make `cfg`.
"""

import json
import logging
import math
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import hydra
import lightning
import torch
from hydra.utils import instantiate
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import DataLoader

from audiodiff import audio, devices, files
from audiodiff.compose import plain
from audiodiff.config import build, conf_dir
from audiodiff.data import ClipData, NumberSampler, OneShots, ShardClips, Shards, clip_loader, labels_of
from audiodiff.mel_check import MelStatistics
from audiodiff.model import Model, Vocoder
from audiodiff.recordings import Recording, held_out, measure_level, read_manifest, scan_folder, usable
from audiodiff.training.averaging import EMA
from audiodiff.training.callbacks import Checkpoints, ClipsPerSecond, Previews, Throughput
from audiodiff.training.verdict import sound_of, untrained, verdict

__all__ = ["train"]

log = logging.getLogger(__name__)
PREVIEW_SECONDS = 10  # longer recordings are not previewed


def train(cfg: DictConfig) -> dict[str, float]:
    """Trains what a configuration describes and returns the last metrics.

    Writes into `cfg.run_dir`: `last.ckpt` (everything needed to resume), `model.safetensors` + `model.json` (what
    `audiodiff --model` takes), `previews/`, `metrics.jsonl`, TensorBoard events and the resolved configuration.

    Raises:
        ValueError: The configuration contradicts itself, or the data are missing.
    """
    lightning.seed_everything(cfg.seed, verbose=False)
    run_dir = Path(cfg.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    everything = plain(cfg)
    with audio.atomic_file(run_dir / "config.yaml") as file:
        file.write(OmegaConf.to_yaml(cfg, resolve=True).encode())

    resumed = _resumed(cfg, run_dir)
    shards = Shards(cfg.data.path, cfg.data.cache, cfg.data.cache_gb) if cfg.data.get("shards") else None
    with tempfile.TemporaryDirectory() as folder:
        training, validation = _recordings(cfg.data, shards, Path(folder))
        model = _model(cfg, everything, training, resumed)
    if shards is not None:  # of which only a sample was measured
        model.info |= {"clips": shards.facts["recordings"], "hours": round(shards.facts["hours"], 2)}
    lit = instantiate(cfg.stage)(
        model,
        build(everything["loss"]),
        instantiate(cfg.optim.optimizer),
        WarmupCosine(cfg.optim.warmup_steps, cfg.optim.total_steps, cfg.optim.final_factor),
        seed=cfg.seed,
        resume_config=everything,
    )
    trainer = _trainer(cfg, run_dir, validation)
    loaders = _Loaders(cfg, shards or training, validation, model.sample_rate, getattr(model, "labels", []))
    lit.guard.sources = lambda: loaders.sources(trainer)
    trainer.fit(lit, datamodule=loaders, ckpt_path=None if resumed is None else str(resumed), weights_only=True)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if trainer.is_global_zero:
        files.export(run_dir / "last.ckpt", run_dir / "model.safetensors")
        if cfg.verdict:
            metrics |= _verdict(run_dir, usable(validation, 1))
    return metrics


def _verdict(run_dir: Path, recordings: list[Recording]) -> dict[str, float]:
    """Compares the saved model with trivial sounds, and writes what it made as `run_dir/sample.wav`."""
    model = files.load(run_dir)
    reference = audio.read(recordings[0].path, model.sample_rate)[0][0]
    audio.write(run_dir / "sample.wav", sound_of(model, reference)[None], model.sample_rate)
    return verdict(model, untrained(model), reference)


def _resumed(cfg: DictConfig, run_dir: Path) -> Path | None:
    """Says from which checkpoint the run goes on, if from any."""
    path = run_dir / "last.ckpt"
    if cfg.resume not in ("auto", True, False):
        raise ValueError(f"resume={cfg.resume}: choose auto, true or false")
    if cfg.resume is True and cfg.init_from:
        raise ValueError("resume=true goes on with a run, init_from= begins one: leave one of them out")
    if cfg.resume is True and not path.is_file():
        raise ValueError(f"{path}: there is no such run to go on with; leave out resume=true to begin one")
    if not cfg.resume or not path.is_file():
        return None
    log.info("going on from %s%s", path, f"; {cfg.init_from} was for its first step" if cfg.init_from else "")
    return path


class WarmupCosine:
    """Scales the learning rate: linear rise, then half a cosine down to a fraction at the last step.

    Args:
        warmup_steps: Steps of the rise.
        total_steps: Steps in all.
        final_factor: Factor at the end.

    >>> factor = WarmupCosine(10, 110, 0.1)
    >>> factor(0), factor(9), round(factor(110), 6)
    (0.1, 1.0, 0.1)
    """

    def __init__(self, warmup_steps: int, total_steps: int, final_factor: float) -> None:
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.final_factor = final_factor

    def __call__(self, step: int) -> float:
        """Returns the factor of a step."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        done = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * done)) / 2


class _Loaders(lightning.LightningDataModule):
    """Makes the loaders when the trainer knows how far the run has come."""

    def __init__(
        self,
        cfg: DictConfig,
        training: list[Recording] | Shards,
        validation: list[Recording],
        sample_rate: int,
        labels: list[str],
    ) -> None:
        super().__init__()
        self.cfg, data = cfg, cfg.data
        augment = build(plain(data.augment))
        if labels:
            self.training = OneShots(
                training, labels, data.n_samples, sample_rate, cfg.seed, augment, max_bad=data.max_bad
            )
            self.validation = OneShots(validation, labels, data.n_samples, sample_rate, seed=0, all_classes=False)
        else:
            kind = ShardClips if isinstance(training, Shards) else ClipData
            self.training = kind(training, data.n_samples, sample_rate, cfg.seed, augment, data.max_bad)
            self.validation = ClipData(validation, data.n_samples, sample_rate, seed=0)

    def sources(self, trainer: lightning.Trainer) -> list[str]:
        """Names the files of the step that is being made."""
        per_step = self._per_step(trainer)
        first = trainer.global_step * per_step
        return [str(path) for number in range(first, first + per_step) for path in self.training.sources(number)]

    def _per_step(self, trainer: lightning.Trainer) -> int:
        return self.cfg.data.batch_size * trainer.world_size * trainer.accumulate_grad_batches

    def train_dataloader(self) -> DataLoader[torch.Tensor]:
        trainer, batch = self.trainer, self.cfg.data.batch_size
        per_step = self._per_step(trainer)
        sampler = NumberSampler(
            trainer.global_step * per_step,
            max(self.cfg.trainer.max_steps, trainer.global_step + 1) * per_step,
            trainer.global_rank,
            trainer.world_size,
        )
        return clip_loader(self.training, sampler, batch, self.cfg.data.n_workers)

    def val_dataloader(self) -> DataLoader[torch.Tensor]:
        trainer, clips = self.trainer, self.cfg.data.validation_clips
        sampler = NumberSampler(0, clips, trainer.global_rank, trainer.world_size)
        return clip_loader(
            self.validation, sampler, max(1, min(self.cfg.data.batch_size, clips // trainer.world_size)), 0
        )


def _recordings(data: DictConfig, shards: Shards | None, folder: Path) -> tuple[list[Recording], list[Recording]]:
    """Lists what is trained on, or of shards a sample that is written into a folder, and what validates."""
    if shards is not None:
        validation = read_manifest(data.valid_manifest) if data.valid_manifest else shards.validation()
        return shards.unpacked(folder), validation
    if data.get("manifest"):
        return read_manifest(data.manifest), read_manifest(data.valid_manifest or data.manifest)
    recordings = scan_folder(data.path, data.max_bad)
    if data.valid_manifest:
        return recordings, read_manifest(data.valid_manifest)
    return held_out(recordings)


def _model(cfg: DictConfig, everything: dict[str, Any], training: list[Recording], resumed: Path | None) -> Model:
    source = resumed or cfg.init_from  # a run that goes on has what it began with
    first = files.load(source) if source else None
    if cfg.init_model:
        if first is None:
            raise ValueError("this stage goes on with a trained model: name it, as in init_from=speech-16k")
        everything["model"] = first.config | everything["init_model"]
    if cfg.data.get("one_shots"):
        labels = everything["data"].get("labels") or labels_of(training)
        everything["model"]["labels"] = labels
        everything["model"]["denoiser"]["network"]["n_labels"] = len(labels)
    model = build(everything["model"])
    model.config = everything["model"]
    model.info = {
        **plain(cfg.info),
        "level": measure_level(training),
        "clips": len(training),
        "hours": round(sum(r.n_samples / r.sample_rate for r in training) / 3600, 2),
    }
    if isinstance(model, Vocoder):
        model.info["mel_statistics"] = MelStatistics.measure(training, model.mel).to_dict()
    if first is not None and resumed is None:
        model.load_state_dict(first.state_dict())
        log.info("weights initialised from %s", cfg.init_from)
    return model


def _trainer(cfg: DictConfig, run_dir: Path, validation: list[Recording]) -> lightning.Trainer:
    settings = plain(cfg.trainer)
    every = settings.pop("checkpoint_every")
    if settings["precision"] == "auto":
        settings["precision"] = devices.precision_for(devices.resolve(settings["accelerator"]))
    short = (r for r in validation if r.n_samples <= PREVIEW_SECONDS * r.sample_rate)
    previews = [r.path for r in usable(short, cfg.previews)]
    callbacks = [
        EMA(cfg.ema_decay),
        Previews(run_dir / "previews", previews, seed=cfg.preview_seed),
        Throughput(run_dir / "metrics.jsonl", cfg.data.batch_size, every=cfg.log_every),
        Checkpoints(run_dir / "last.ckpt", every),
    ]
    if sys.stderr.isatty():
        callbacks.append(ClipsPerSecond())
    return lightning.Trainer(
        callbacks=callbacks,
        logger=TensorBoardLogger(run_dir, name="", version=""),
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=cfg.log_every,
        num_sanity_val_steps=0,
        max_epochs=-1,
        check_val_every_n_epoch=None,
        use_distributed_sampler=False,
        **settings,
    )


def _told(error: ValueError) -> str:
    """Returns what an error says; of one that a loader's process raised, the last line, without its traceback."""
    text = str(error).strip()
    return text.splitlines()[-1].removeprefix("ValueError: ") if "in DataLoader worker process" in text else text


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
def main(cfg: DictConfig) -> None:
    """Runs `train` on the configuration that Hydra composes."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # advertisements and repeated advice
    # The sampler starts where the run stopped, which Lightning cannot know.
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        metrics = train(cfg)
    except ValueError as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        print(f"audiodiff.train: {_told(error)}", file=sys.stderr)
        sys.exit(2)
    if rank_zero_only.rank == 0:
        print(json.dumps({name: round(value, 5) for name, value in sorted(metrics.items())}))


if __name__ == "__main__":
    main()
