"""Train a model: `python -m audiodiff.train experiment=speech`.

`train(cfg)` does everything and can be called from a test or a search; `command.main` only lets Hydra make `cfg`.
"""

import atexit
import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from audiodiff import audio
from audiodiff.data.manifest import Recording, measure_level, read_manifest, readable, usable
from audiodiff.evaluation.sanity_check import sound_of, untrained, verdict
from audiodiff.mel.statistics import MelStatistics
from audiodiff.models import checkpoint, lora_files
from audiodiff.models.base import Model
from audiodiff.models.vocoder import Vocoder
from audiodiff.nn.lora import adapt
from audiodiff.training.continual import anchor_of, forgetting, judged
from audiodiff.training.hydra_config import composed, plain, set_output_rate
from audiodiff.training.inheritance import differences, inherit_facts, inherit_model
from audiodiff.training.interrupts import StopOnSignal, Stopped
from audiodiff.training.loaders import ClipLoaders, labels_for, recordings_for, shards_of, vector_size_of
from audiodiff.training.report import closing, opening
from audiodiff.training.trainer import PREVIEW_SECONDS, make_trainer
from audiodiff.training.transfer import transfer
from audiodiff.utils import files as utils_files
from audiodiff.utils.config import allow_plugin, build
from audiodiff.utils.extras import install_command

__all__ = ["train"]

log = logging.getLogger(__name__)
ANEW = "say resume=false, or another name=, to begin anew"
_NO_DATA = ["data.path=."]  # a composition that asks for nothing


def train(cfg: DictConfig, callbacks: Sequence[Callback] = ()) -> dict[str, float]:
    """Train what a configuration describes and return the last metrics.

    Writes into `cfg.run_dir`: `last.ckpt` (everything needed to resume), `model.safetensors` + `model.json` (what
    `audiodiff --model` takes), `previews/`, `metrics.jsonl`, TensorBoard events and the resolved configuration.

    Args:
        cfg: conf/train.yaml, composed.
        callbacks: Further ones of Lightning's trainer.

    Raises:
        ValueError: The configuration contradicts itself, or the data are missing.
        Stopped: SIGTERM or Ctrl-C ended the run; its state is saved.
    """
    for module in cfg.plugins:
        allow_plugin(module)
    set_output_rate(cfg)
    lightning.seed_everything(cfg.seed, verbose=False)
    run_dir = Path(cfg.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    everything = plain(cfg)
    with utils_files.atomic_file(run_dir / "config.yaml") as file:
        file.write(OmegaConf.to_yaml(cfg, resolve=True).encode())

    resumed = _resumed(cfg, run_dir)
    corpus = shards_of(everything["data"])
    training, validation = recordings_for(everything["data"], run_dir, corpus)
    if cfg.data.get("one_shots"):
        everything["data"]["labels"] = labels_for(everything["data"], training, corpus)
    model = _model(cfg, everything, training, resumed)
    if corpus is not None:
        model.info |= {"clips": corpus.facts["recordings"], "hours": round(corpus.facts["hours"], 2)}
    lit = instantiate(cfg.objective)(
        model,
        build(everything["loss"]),
        _optimizer(cfg),
        build(everything["lr_schedule"]),
        seed=cfg.seed,
        resume_config=everything,
        mel_augment=build(everything["mel_augment"]),
        dropout=cfg.dropout,
        drop_path=cfg.drop_path,
        frozen=everything["freeze"],
        lr_factors=everything["lr_factors"],
    )
    if everything["continual"]:
        lit.anchor = anchor_of(everything, lit, run_dir, resumed is not None)
    before = None
    if cfg.forgetting and resumed is not None and not (run_dir / "forgetting.json").is_file():
        raise ValueError(f"{resumed}: began without forgetting=, so what it knew is not known; leave it out, or {ANEW}")
    if cfg.forgetting and resumed is None:
        before = judged(model, read_manifest(cfg.forgetting))
        forgetting(before, before, run_dir / "forgetting.json")
    stop = StopOnSignal()
    trainer = make_trainer(cfg, run_dir, validation, [stop, *callbacks])
    labels = getattr(model, "labels", [])
    loaders = ClipLoaders(
        everything["data"],
        corpus or training,
        validation,
        model.sample_rate,
        labels,
        cfg.trainer.max_steps,
        cfg.seed,
        everything["replay"],
        run_dir,
    )
    lit.guard.sources = lambda: loaders.sources(trainer)
    if trainer.is_global_zero:
        log.info("%s", opening(model, model.info["clips"], model.info["hours"], validation, trainer, run_dir))
    with _fitting(resumed), stop.listening():
        trainer.fit(lit, weights_only=True, datamodule=loaders, ckpt_path=None if resumed is None else str(resumed))
    atexit.unregister(_leave_the_others)
    atexit.register(_leave_the_others)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if trainer.is_global_zero:
        checkpoint.export(run_dir / "last.ckpt", run_dir / "model.safetensors")
        if lora_files.export(run_dir / "last.ckpt", run_dir / "adapter.safetensors"):
            log.info("%s", lora_files.describe_change(run_dir / "last.ckpt"))
    if stop.number is not None:
        raise Stopped(stop.number, trainer.global_step)
    if trainer.is_global_zero:
        if cfg.sanity_check:
            metrics |= _verdict(run_dir, usable(validation, 1)[0])
        if cfg.forgetting:
            _forgetting(run_dir, cfg.forgetting, before)
        log.info("%s", closing(run_dir, model, metrics))
    return metrics


def _leave_the_others() -> None:
    """End this process's part in a group of processes; with gloo it is left to the interpreter, which may abort."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def _fitting(resumed: Path | None) -> Iterator[None]:
    """Say in a line that a checkpoint is of another model than the configuration makes."""
    try:
        yield
    except RuntimeError as error:
        if resumed is None or "loading state_dict" not in str(error):
            raise
        told = " ".join(str(error).split())[:200]
        raise ValueError(f"{resumed}: is of another model than this configuration makes ({told} …); {ANEW}") from None


def _forgetting(run_dir: Path, manifest: str, before: dict[str, float] | None) -> None:
    """Print what became of the old recordings; a run that goes on remembers how it began."""
    path = run_dir / "forgetting.json"
    if before is None:
        before = json.loads(path.read_text(encoding="utf-8"))["before"]
    print(forgetting(before, judged(Model.load(run_dir), read_manifest(manifest)), path), file=sys.stderr)


def _verdict(run_dir: Path, recording: Recording) -> dict[str, float]:
    """Compare the saved model with trivial sounds, and write what it made as `run_dir/sample.wav`."""
    model = Model.load(run_dir)
    reference = audio.read(recording.path, model.sample_rate, seconds=PREVIEW_SECONDS)[0].mean(0)
    audio.write(run_dir / "sample.wav", sound_of(model, reference)[None], model.sample_rate)
    return verdict(model, untrained(model), reference)


def _resumed(cfg: DictConfig, run_dir: Path) -> Path | None:
    """Say from which checkpoint the run goes on, if from any."""
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


def _optimizer(cfg: DictConfig) -> Any:
    try:
        return instantiate(cfg.optimizer, _convert_="all")  # plain values: they end in the checkpoint
    except InstantiationException as error:
        name = cfg.optimizer.get("_target_", "")
        remedy = install_command("optimisers") if name.startswith("pytorch_optimizer") else "see conf/optimizer"
        raise ValueError(f"optimizer: {name} cannot be made ({str(error).splitlines()[0]}); {remedy}") from None


def _model(cfg: DictConfig, everything: dict[str, Any], training: list[Recording], resumed: Path | None) -> Model:
    source = resumed or cfg.init_from  # a run that goes on has what it began with
    first = Model.load(source) if source else None
    if cfg.init_model and first is None:
        raise ValueError("this stage goes on with a trained model: name it, as in init_from=speech-16k")
    if everything["adapter"] and first is None:
        raise ValueError("an adapter changes a trained model: name it, as in init_from=speech-16k")
    if first is not None:
        _inherit(everything, first, resumed is None)
    if cfg.data.get("one_shots"):
        labels = everything["data"]["labels"]
        everything["model"]["labels"] = labels
        everything["model"]["denoiser"]["network"] |= {
            "n_labels": len(labels),
            "vector_size": vector_size_of(everything["data"]),
        }
    model = build(everything["model"])
    model.config = everything["model"]
    model.info = {
        **plain(cfg.info),
        "level": measure_level(training),
        "clips": len(training),
        "hours": round(sum(r.n_samples / r.sample_rate for r in training) / 3600, 2),
    }
    if isinstance(model, Vocoder):
        some = readable(training[:: max(1, len(training) // 200)], model.mel.sample_rate, seconds=10.0)
        model.info["mel_statistics"] = MelStatistics.measure(some, model.mel).to_dict()
    if first is not None:
        model.info = (
            inherit_facts(model.info, first, str(cfg.init_from)) if resumed is None else model.info | _origin(first)
        )
    if first is not None and resumed is None:
        log.info("weights initialised from %s: %s", cfg.init_from, transfer(model, first, cfg.init_strict))
    if everything["adapter"]:
        adapted = adapt(model, **everything["adapter"])
        log.info("%d weights have adapters, nothing else learns: %s", len(adapted), ", ".join(adapted))
    return model


def _inherit(everything: dict[str, Any], first: Model, begins: bool) -> None:
    """Take the model's configuration from the one that is begun with, save for what the user set."""
    section, usual = everything["model"], composed(_NO_DATA)
    if section.get("_target_") != first.config.get("_target_"):
        return  # a model of another kind: its own configuration, and what fits of the weights
    if section.get("mel") != plain(usual.model).get("mel"):
        usual.mel = first.config["mel"]  # another mel is asked for, and what follows from it counts as set too
    default = plain(usual.model)
    if everything["init_model"]:  # a stage that names what it replaces
        everything["model"] = first.config | everything["init_model"]
        return
    own = differences(section, default)
    everything["model"] = inherit_model(first.config, section, default)
    if own and begins:
        log.info("set here, in place of what the first model has: %s", ", ".join(sorted(own)))


def _origin(first: Model) -> dict[str, Any]:
    names = ("licence", "attribution", "data", "initialised_from")
    return {name: first.info[name] for name in names if name in first.info and "initialised_from" in first.info}
