"""A run that is asked to end stops at a step, saves, and goes on as if nothing had happened."""

import json
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
import soundfile
import torch
from conftest import voiced
from lightning.pytorch.callbacks import Callback
from support.processes import environment
from support.training import TINY, equal, run, states, steps
from support.tree import load_script
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from audiodiff import audio
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
    assert (
        not (tmp_path / "cut" / "metrics.jsonl").exists()
        or "valid/" not in (tmp_path / "cut" / "metrics.jsonl").read_text()
    )  # it does not wait for a validation
    saved = torch.load(tmp_path / "cut" / "last.ckpt", weights_only=True)["global_step"]
    assert saved in (3, 4)  # nothing since the last periodic save is lost: there was none
    run(tmp_path / "cut", *length)
    for weights, state in states(tmp_path / "straight").items():
        assert equal(state, states(tmp_path / "cut")[weights])


def test_metrics_file_holds_every_validation_at_its_step(tmp_path):
    run(tmp_path, "trainer.max_steps=5", "trainer.val_check_interval=2", "log_every=3")
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "valid/loss" in line] == [2, 4, 5]
    assert [line["step"] for line in lines if "train/loss" in line] == [3]


def test_short_run_on_long_recordings_ends_validated_noted_and_with_a_preview_beside_its_recording(tmp_path):
    audio.write(tmp_path / "long.wav", voiced(11.0), 16000)
    overrides = ["data=folder", f"data.path={tmp_path}", "previews=1", "log_every=50", "trainer.val_check_interval=500"]
    assert "valid/loss" in run(tmp_path / "run", *overrides, "trainer.max_steps=2")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {name: [line["step"] for line in lines if name in line] for name in ("train/loss", "valid/loss")} == {
        "train/loss": [2],
        "valid/loss": [2],
    }
    (preview,) = (tmp_path / "run" / "previews").iterdir()
    assert (preview.name, soundfile.info(preview).duration) == ("step0000002-long.wav", 10.0)
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    assert sorted(events.Tags()["audio"]) == ["preview/long", "preview/long-recording"]
    for line in lines:
        for name in line.keys() - {"step"}:
            assert [event.step for event in events.Scalars(name)] == [line["step"]]


def test_run_without_a_terminal_tells_once_how_long_it_takes(tmp_path, caplog):
    caplog.set_level("INFO")
    run(tmp_path, "trainer.max_steps=12", "trainer.val_check_interval=12")
    assert len(re.findall(r"time        \d:\d\d:\d\d h:min:s to go", caplog.text)) == 1


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
