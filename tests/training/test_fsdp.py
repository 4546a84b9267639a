"""Weights that are shared out: what each process holds, and that what is saved is whole."""

import subprocess
import sys

import pytest
import torch
from conftest import tiny_vocoder
from support.processes import environment
from support.training import TINY

from audiodiff.losses import DenoisingLoss, PowerTimes
from audiodiff.models.base import Model
from audiodiff.training.fsdp import SharedOut
from audiodiff.training.module import LitModel

DRIVER = """
import atexit
import sys
import torch
from torch.distributed.tensor import DTensor
from audiodiff.training.hydra_config import composed
from audiodiff.train import train
from audiodiff.training.averaging import EMA

at_end = EMA.on_validation_epoch_end

def told(self, trainer, module):
    at_end(self, trainer, module)
    averages = [tensor for average in self.averages.values() for tensor in average.values()]
    held = [w.to_local() if isinstance(w, DTensor) else w for w in [*module.parameters(), *averages]]
    all_of = (1 + len(self.averages)) * sum(w.numel() for w in module.parameters())
    open(sys.argv[1], "a").write(f"{sum(w.numel() for w in held) / all_of}\\n")

def at_exit():
    open(sys.argv[1] + "-exits", "a").write(f"{torch.distributed.is_initialized()}\\n")

EMA.on_validation_epoch_end = told
atexit.register(at_exit)  # what is registered last is called first
train(composed(sys.argv[2:]))
"""
SETTINGS = [
    "trainer.accelerator=cpu",
    "trainer.devices=2",
    "trainer.checkpoint_every=4",
    "trainer.val_check_interval=4",
]


def together(folder, driver, strategy, n, *further):
    """Trains up to step n in two processes."""
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *driver]
    return subprocess.run(
        [*call, *TINY, *SETTINGS, f"trainer={strategy}", f"trainer.max_steps={n}", f"run_dir={folder}", *further],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_shared_out_run_is_that_of_ddp_is_saved_whole_and_resumes_either_way(tmp_path):
    driver, shares, both = tmp_path / "driver.py", tmp_path / "shares", ["ema_decay=[0.2,0.9]", "previews=1"]
    driver.write_text(DRIVER)
    for name, strategy, n in (
        ("shared", "fsdp", 4),
        ("shared", "fsdp", 8),
        ("moved", "fsdp", 4),
        ("moved", "ddp", 8),
        ("whole", "ddp", 8),
    ):
        counted = shares if strategy == "fsdp" else tmp_path / "other"
        done = together(tmp_path / name, [driver, counted], strategy, n, *both)
        assert done.returncode == 0, done.stderr
    exits = [path.read_text() for path in tmp_path.glob("*-exits")]
    assert "".join(exits) == 10 * "False\n"  # no process ends while it is in a group, which gloo may take ill
    assert all(0.45 < float(line) < 0.55 for line in shares.read_text().split())  # half of each weight and average
    whole = torch.load(tmp_path / "whole" / "last.ckpt", weights_only=True)
    for name in ("shared", "moved"):
        checkpoint = torch.load(tmp_path / name / "last.ckpt", weights_only=True)
        for tensors in ("state_dict", "current_model_state"):
            close(checkpoint[tensors], whole[tensors])
        some, others = (c["averaging"]["others"] for c in (checkpoint, whole))
        assert some.keys() == others.keys()
        for decay in others:
            close(some[decay], others[decay])
        for i, moments in whole["optimizer_states"][0]["state"].items():
            close(checkpoint["optimizer_states"][0]["state"][i], moments)
        assert Model.load(tmp_path / name).info["steps"] == 8
        assert len(list((tmp_path / name / "previews").glob("*.wav"))) == 2


def close(some, others):
    """Alike but for the order in which the norm of the gradient is summed; a step moves weights by 1e-3."""
    assert some.keys() == others.keys()
    for name, tensor in some.items():
        torch.testing.assert_close(tensor, others[name], atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_shared_out_run_of_what_needs_whole_weights_is_refused_in_a_line(tmp_path):
    done = together(tmp_path / "run", ["-m", "audiodiff.train"], "fsdp", 4, "adapter=lora")
    assert done.returncode != 0
    assert "audiodiff.train: trainer=fsdp: stage=adversarial, continual= and adapter= want trainer=ddp" in done.stderr


def lit(**given):
    return LitModel(tiny_vocoder(), DenoisingLoss(PowerTimes()), torch.optim.AdamW, lambda step: 1.0, **given)


def test_shared_out_weights_cannot_be_anchored_or_stepped_by_hand():
    by_hand = lit()
    by_hand.automatic_optimization = False
    for refused in (lit(anchor=lambda model: 0.0), by_hand):
        with pytest.raises(ValueError, match=r"trainer=fsdp: .* want trainer=ddp"):
            SharedOut().share(refused)
