"""Train a model: `python -m audiodiff.train experiment=speech`.

`train(cfg)` does everything and is called by tests and searches too; `command.main` only lets Hydra compose `cfg`.
"""

import atexit
import contextlib
import json
import logging
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from audiodiff import audio
from audiodiff.audio.io import mono
from audiodiff.data.manifest import Recording, read_manifest
from audiodiff.data.recordings import measure_level, readable, usable
from audiodiff.evaluation.sanity_check import sound_of, untrained, verdict
from audiodiff.mel.statistics import MelStatistics
from audiodiff.models import checkpoint, lora_files
from audiodiff.models.base import Model
from audiodiff.models.vocoder import Vocoder
from audiodiff.nn.lora import adapt
from audiodiff.training.continual import anchor_of, forgetting_report, score_recordings
from audiodiff.training.hydra_config import composed, plain, set_output_rate, typed_settings
from audiodiff.training.inheritance import differences, inherit_facts, inherit_model, replace_model
from audiodiff.training.interrupts import StopOnSignal, Stopped
from audiodiff.training.loaders import ClipLoaders, labels_for, recordings_for, shards_of, vector_size_of
from audiodiff.training.module import LitModel
from audiodiff.training.report import closing, opening
from audiodiff.training.settings import check_settings
from audiodiff.training.trainer import PREVIEW_SECONDS, make_trainer
from audiodiff.training.transfer import transfer
from audiodiff.utils.config import allow_plugin, build
from audiodiff.utils.extras import install_command
from audiodiff.utils.files import write_text

log = logging.getLogger(__name__)
MOST_COMPARED = 20  # recordings that are tried
ANEW = "say resume=false, or another name=, to begin anew"
PARTS = ("schedule", "prediction", "solver", "start")  # of a model, that the user may set to what is usual
SET = "set by the user"  # stands for them, and differs from any value
_NO_DATA = ["data.path=."]  # a composition without settings of the user


def train(cfg: DictConfig, callbacks: Sequence[Callback] = ()) -> dict[str, float]:
    """Train what a configuration describes and return the last metrics.

    Writes into `cfg.run_dir`: `last.ckpt` (everything needed to resume), `model.safetensors` + `model.json` (what
    `audiodiff --model` takes), `previews/`, `metrics.jsonl`, TensorBoard events and the resolved configuration.

    Args:
        cfg: conf/train.yaml, composed.
        callbacks: Additional callbacks of Lightning's trainer.

    Raises:
        ValueError: The configuration contradicts itself, or the data are missing.
        Stopped: SIGTERM or Ctrl-C ended the run; its state is saved.
    """
    check_settings(cfg)
    for module in cfg.plugins:
        allow_plugin(module)
    set_output_rate(cfg)
    lightning.seed_everything(cfg.seed, verbose=False)
    run_dir = Path(cfg.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    config = plain(cfg)
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))

    resumed = _resumed(cfg, run_dir)
    corpus = shards_of(config["data"])
    training, validation = recordings_for(config["data"], run_dir, corpus)
    if cfg.data.get("one_shots"):
        config["data"]["labels"] = labels_for(config["data"], training, corpus)
    model = _model(cfg, config, training, resumed)
    if corpus is not None:
        model.info |= {"clips": corpus.facts["recordings"], "hours": round(corpus.facts["hours"], 2)}
    lit = _module(cfg, config, model)
    if config["continual"]:
        lit.anchor = anchor_of(config, lit, run_dir, resumed is not None)
    before = _scores_before(cfg, model, run_dir, resumed) if cfg.forgetting else None
    stop = StopOnSignal()
    trainer = make_trainer(cfg, run_dir, validation, [stop, *callbacks])
    labels, steps = getattr(model, "labels", []), cfg.trainer.max_steps
    recordings = (corpus or training, validation, model.sample_rate, labels)
    loaders = ClipLoaders(config["data"], *recordings, steps, cfg.seed, config["replay"], run_dir)
    lit.guard.sources = lambda: loaders.sources(trainer)
    if trainer.is_global_zero:
        log.info("%s", opening(model, model.info["clips"], model.info["hours"], validation, trainer, run_dir))
    with _checkpoint_errors(resumed), stop.listening():
        trainer.fit(lit, weights_only=True, datamodule=loaders, ckpt_path=None if resumed is None else str(resumed))
    atexit.unregister(_leave_the_others)
    atexit.register(_leave_the_others)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if trainer.is_global_zero:
        _export(run_dir)
    if stop.number is not None:
        raise Stopped(stop.number, trainer.global_step)
    if trainer.is_global_zero:
        if cfg.sanity_check:
            metrics |= _sanity_check(run_dir, validation)
        if cfg.forgetting:
            _report_forgetting(run_dir, cfg.forgetting, before)
        log.info("%s", closing(run_dir, model, metrics))
    return metrics


def _module(cfg: DictConfig, config: dict[str, Any], model: Model) -> LitModel:
    """Build the Lightning module of the objective."""
    return instantiate(cfg.objective)(
        model,
        build(config["loss"]),
        _optimizer(cfg),
        build(config["lr_schedule"]),
        seed=cfg.seed,
        resume_config=config,
        mel_augment=build(config["mel_augment"]),
        dropout=cfg.dropout,
        drop_path=cfg.drop_path,
        frozen=config["freeze"],
        lr_factors=config["lr_factors"],
    )


def _export(run_dir: Path) -> None:
    """Write the model, and an adapter by itself, from the last checkpoint."""
    checkpoint.export(run_dir / "last.ckpt", run_dir / "model.safetensors")
    if lora_files.export(run_dir / "last.ckpt", run_dir / "adapter.safetensors"):
        log.info("%s", lora_files.describe_change(run_dir / "last.ckpt"))


def _scores_before(cfg: DictConfig, model: Model, run_dir: Path, resumed: Path | None) -> dict[str, float] | None:
    """Score the old recordings before the first step, and write the scores; None for a resumed run, which has them."""
    path = run_dir / "forgetting.json"
    if resumed is not None:
        if not path.is_file():
            raise ValueError(f"{resumed}: began without forgetting=, so there are no scores; leave it out, or {ANEW}")
        return None
    scores = score_recordings(model, read_manifest(cfg.forgetting))
    forgetting_report(scores, scores, path)
    return scores


def _leave_the_others() -> None:
    """Leave the group of processes; at the interpreter's exit gloo may abort."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def _checkpoint_errors(resumed: Path | None) -> Generator[None]:
    """Turn the error of a checkpoint of another model into one line."""
    try:
        yield
    except RuntimeError as error:
        if resumed is None or "loading state_dict" not in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{resumed}: is of another model than this configuration makes ({reason} …); {ANEW}") from None


def _report_forgetting(run_dir: Path, manifest: str, before: dict[str, float] | None) -> None:
    """Print the scores of the old recordings before and after; a resumed run reads the former."""
    path = run_dir / "forgetting.json"
    if before is None:
        before = json.loads(path.read_text(encoding="utf-8"))["before"]
    after = score_recordings(Model.load(run_dir), read_manifest(manifest))
    print(forgetting_report(before, after, path), file=sys.stderr)


def _sanity_check(run_dir: Path, validation: Sequence[Recording]) -> dict[str, float]:
    """Compare the saved model with trivial sounds, and write its own as `run_dir/sample.wav`.

    The first held-out recording that can be compared is: some are too short, or cancel themselves when mixed down.
    """
    model, reason = Model.load(run_dir), "none can be read"
    for recording in usable(validation, MOST_COMPARED):
        try:
            sound = audio.read(recording.path, model.sample_rate, seconds=PREVIEW_SECONDS)[0]
            reference = mono(sound, recording.path)[0]
            audio.write(run_dir / "sample.wav", sound_of(model, reference)[None], model.sample_rate)
            return verdict(model, untrained(model), reference)
        except ValueError as error:
            reason = str(error)
    log.warning("no held-out recording can be compared with trivial sounds: %s", reason)
    return {}


def _resumed(cfg: DictConfig, run_dir: Path) -> Path | None:
    """Return the checkpoint from which the run resumes, or None for a new run."""
    path = run_dir / "last.ckpt"
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


def _model(cfg: DictConfig, config: dict[str, Any], training: list[Recording], resumed: Path | None) -> Model:
    """Build the model, with the weights of `init_from` or of the checkpoint to resume, and its facts."""
    source = resumed or cfg.init_from  # a resumed run has the model of its checkpoint
    first = Model.load(source) if source else None
    if first is not None:
        _inherit(config, first, resumed is None)
    if cfg.data.get("one_shots"):
        labels = config["data"]["labels"]
        config["model"]["labels"] = labels
        config["model"]["denoiser"]["network"] |= {
            "n_labels": len(labels),
            "vector_size": vector_size_of(config["data"]),
        }
    model = build(config["model"])
    model.config = config["model"]
    model.info = {
        **plain(cfg.info),
        "level": measure_level(training),
        "clips": len(training),
        "hours": round(sum(r.n_samples / r.sample_rate for r in training) / 3600, 2),
    }
    if isinstance(model, Vocoder):
        sample = readable(training[:: max(1, len(training) // 200)], model.mel.sample_rate, seconds=10.0)
        model.info["mel_statistics"] = MelStatistics.measure(sample, model.mel).to_dict()
    if first is not None:
        model.info = (
            inherit_facts(model.info, first, str(cfg.init_from)) if resumed is None else model.info | _origin(first)
        )
    if first is not None and resumed is None:
        log.info("weights initialised from %s: %s", cfg.init_from, transfer(model, first, cfg.init_strict))
    if config["adapter"]:
        adapted = adapt(model, **config["adapter"])
        log.info("%d weights have adapters, nothing else learns: %s", len(adapted), ", ".join(adapted))
    return model


def _inherit(config: dict[str, Any], first: Model, begins: bool) -> None:
    """Take the model's configuration from a trained model, except for the user's settings."""
    section, usual = config["model"], composed(_NO_DATA)
    if section.get("_target_") != first.config.get("_target_"):
        return  # another kind of model keeps its own configuration
    if "mel" in section and section["mel"] != plain(usual.model).get("mel"):
        usual.mel = first.config["mel"]  # the user sets another mel, and with it all that is derived from the mel
    for name in typed_settings():
        if name.partition(".")[0] in PARTS and OmegaConf.select(usual, name) is not None:
            OmegaConf.update(usual, name, SET, force_add=True)
    default = plain(usual.model)
    if config["init_model"]:  # the objective names the arguments that it replaces
        config["model"] = replace_model(first.config, config["init_model"])
        return
    own = differences(section, default)
    config["model"] = inherit_model(first.config, section, default)
    if own and begins:
        log.info("set here, in place of what the first model has: %s", ", ".join(sorted(own)))


def _origin(first: Model) -> dict[str, Any]:
    """Return the facts that a run inherited when it began."""
    names = ("licence", "attribution", "data", "initialised_from")
    return {name: first.info[name] for name in names if name in first.info and "initialised_from" in first.info}
