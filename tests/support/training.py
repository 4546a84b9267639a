"""Shared by the tests of training."""

import torch
from hydra import compose, initialize_config_dir

from audiodiff.models.base import Model
from audiodiff.training.run import train
from audiodiff.utils.config import conf_dir

TINY = [
    "experiment=quickstart",
    "model.denoiser.network.width=16",
    "model.denoiser.network.dilations=[1]",
    "model.denoiser.network.n_heads=2",
    "model.denoiser.network.attention_window=4",
    "model.denoiser.network.embedding=16",
    "model.steps=2",
    "data.batch_size=2",
    "data.validation_clips=2",
    "data.n_samples=8192",
    "sanity_check=false",
    "previews=0",
    "lr_schedule=constant",  # so that a run that is cut in two has the rates of one that is not
    "lr_schedule.warmup_steps=2",
    "log_every=1",
    "ema_decay=0.9",
]

TINY_ONE_SHOTS = [
    *("model=one-shots", "model.n_samples=1024", "model.steps=2", "model.sample_rate=8000", "trainer=quick"),
    *("model.denoiser.network.width=16", "model.denoiser.network.n_heads=2", "model.denoiser.network.n_stages=1"),
    *("model.denoiser.network.hop_length=64", "model.denoiser.network.n_fft=256"),
    "model.denoiser.network.embedding=16",
    *("data.batch_size=4", "data.validation_clips=4", "data.n_workers=0", "previews=0", "lr_schedule.total_steps=4"),
]


def run(folder, *overrides):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("train", [*TINY, f"run_dir={folder}", *overrides])
    return train(cfg)


def steps(n, every=5):
    return [f"trainer.max_steps={n}", f"trainer.checkpoint_every={every}", f"trainer.val_check_interval={n}"]


def states(folder):
    return {weights: Model.load(folder / "last.ckpt", weights=weights).state_dict() for weights in ("ema", "raw")}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
