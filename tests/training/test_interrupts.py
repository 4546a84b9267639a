"""A run that is asked to end stops at a step, saves, and goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from support.processes import environment
from support.training import TINY, equal, run, states, steps
from support.tree import load_script

from audiodiff.training.command import remove_if_empty
from audiodiff.training.hydra_config import composed
from audiodiff.training.interrupts import Stopped
from audiodiff.training.run import train


class Send(Callback):
    """Sends this process a signal after a step."""

    def __init__(self, number, step):
        self.number, self.step = number, step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_and_the_rest_equals_uninterrupted(number, status, tmp_path):
    length = ["trainer.max_steps=6", "trainer.checkpoint_every=100", "trainer.val_check_interval=6"]
    run(tmp_path / "straight", *length)
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=r"stopped at step [34]; run the same command to go on") as stopped:
        train(composed([*TINY, *length, f"run_dir={tmp_path / 'cut'}"]), [Send(number, 3)])
    assert stopped.value.status == status
    assert signal.getsignal(number) is before
    saved = torch.load(tmp_path / "cut" / "last.ckpt", weights_only=True)["global_step"]
    assert saved in (3, 4)  # nothing since the last periodic save is lost: there was none
    run(tmp_path / "cut", *length)
    for weights, state in states(tmp_path / "straight").items():
        assert equal(state, states(tmp_path / "cut")[weights])


def test_metrics_file_holds_every_validation_at_its_step(tmp_path):
    import json

    run(tmp_path, "trainer.max_steps=5", "trainer.val_check_interval=2", "log_every=3")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "valid/loss" in line] == [2, 4]
    assert [line["step"] for line in lines if "train/loss" in line] == [3]


def test_short_run_ends_validated(tmp_path):
    assert "valid/loss" in run(tmp_path, "trainer.max_steps=2", "trainer.val_check_interval=500")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+trainer.max_epochs=1", r"trainer.max_epochs is set by audiodiff"),
        ("+trainer.logger=false", r"trainer.logger is set by audiodiff"),
        ("+trainer.overfit_batches=1", r"trainer.overfit_batches is set by audiodiff"),
        ("trainer.max_steps=0", r"trainer.max_steps=0: a whole number of at least 1"),
        ("trainer.precision=bf16-true", r"trainer.precision=bf16-true: choose one of auto, 32-true"),
    ],
)
def test_trainer_setting_that_would_lie_is_refused(override, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, *[o for o in steps(1) if override.split("=")[0] not in o], override)


def test_script_with_a_time_budget_lets_a_signal_stop_its_run(tmp_path):
    end = float("inf")
    budgets = [
        load_script("demos/experiments/flagship/run.py").Budget(tmp_path, end, {}),
        load_script("demos/experiments/flagship/tournament.py").CPUBudget(end),
        load_script("demos/experiments/tournament/run.py").Budget(end),
    ]
    for budget in budgets:
        for asked in (True, False):
            trainer = SimpleNamespace(should_stop=asked)
            budget.on_train_batch_end(trainer)
            assert trainer.should_stop is asked, type(budget)


@pytest.mark.parametrize(("more", "kept"), [((), False), (("last.ckpt",), True), (("metrics.jsonl",), True)])
def test_run_that_failed_before_it_began_leaves_no_folder(tmp_path, more, kept):
    for name in ("config.yaml", "hydra/command.log", *more):
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).touch()
    remove_if_empty(tmp_path / "run")
    assert (tmp_path / "run").exists() is kept


EARLY = """
import os, signal, sys, types
number = signal.Signals[sys.argv.pop()]
import audiodiff.training.command as command

def train(cfg):
    os.kill(os.getpid(), number)

sys.modules["audiodiff.training.run"] = types.SimpleNamespace(train=train)
command.main()
"""


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_signal_before_the_first_step_is_told_and_leaves_nothing(name, status, tmp_path):
    call = [sys.executable, "-c", EARLY, "experiment=quickstart", f"run_dir={tmp_path / 'run'}", name]
    done = subprocess.run(call, env=environment(), cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, "audiodiff.train: stopped; run the same command again\n")
    assert not (tmp_path / "run").exists()
