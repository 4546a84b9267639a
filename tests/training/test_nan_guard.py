"""What is not finite stays out of the weights, is counted, and has its files named."""

import logging
from types import SimpleNamespace

import pytest
import torch
from support.training import run, states, steps
from torch import nn

from audiodiff.data.crops import Crops
from audiodiff.training.nan_guard import NanGuard
from audiodiff.utils.config import shipped_path


def with_gradient(*values):
    parameters = [nn.Parameter(torch.zeros(1)) for _ in values]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.grad = torch.tensor([value])
    return parameters


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_gradient_whose_norm_is_not_finite_is_dropped(value):
    guard, parameters = NanGuard(), with_gradient(1.0, value, 3e38)
    assert not guard.gradient(parameters)
    assert all(parameter.grad is None for parameter in parameters)
    assert guard.left_out == 1


def test_finite_gradient_is_left_as_it_is():
    guard, parameters = NanGuard(), with_gradient(1.0, -2.0)
    assert guard.gradient(parameters)
    assert [float(parameter.grad) for parameter in parameters] == [1.0, -2.0]
    assert guard.left_out == 0


def test_all_processes_leave_a_batch_out_or_none():
    guard = NanGuard()
    assert not guard.loss(torch.tensor(1.0), everywhere=lambda flag: flag * 0)
    assert guard.left_out == 1


def test_run_ends_when_nothing_is_finite_for_long_and_not_before():
    guard, bad, good = NanGuard(in_a_row=3), torch.tensor(float("nan")), torch.tensor(1.0)
    for loss in (bad, bad, good, bad, bad):
        guard.loss(loss)
    with pytest.raises(ValueError, match="3 batches in a row: lower"):
        guard.loss(bad)
    assert guard.left_out == 5


def test_batch_that_is_not_finite_is_left_out_and_its_files_named(tmp_path, caplog, monkeypatch):
    clips, cut = shipped_path("datasets/clips/speech"), Crops._cut

    def broken(self, sound, *args):
        clip = cut(self, sound, *args)
        return clip * float("nan") if self.source.name(sound).name == "june.flac" else clip

    monkeypatch.setattr(Crops, "_cut", broken)
    with caplog.at_level(logging.WARNING):
        metrics = run(tmp_path, *steps(12), f"data.path={clips}", "data.batch_size=1", "+trainer.limit_val_batches=0")
    assert 0 < metrics["train/left_out"] < 12
    assert str(clips / "june.flac") in caplog.text
    assert "allison" not in caplog.text
    for weights in states(tmp_path).values():
        assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


def test_disk_that_is_full_for_a_while_costs_one_checkpoint_and_not_the_run(tmp_path, caplog, monkeypatch):
    import lightning

    save, full = lightning.Trainer.save_checkpoint, [False, True, False]

    def maybe(trainer, path, *args, **kwargs):
        if full.pop(0):
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device", str(path))
        save(trainer, path, *args, **kwargs)

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", maybe)
    run(tmp_path, *steps(9, every=4))
    assert "step 8 could not be saved (No space left on device)" in caplog.text
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 9
    assert not list(tmp_path.glob(".*.part"))


def test_disk_that_is_full_at_the_end_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    import lightning

    save, full = lightning.Trainer.save_checkpoint, [False, True]

    def maybe(trainer, path, *args, **kwargs):
        if full.pop(0):
            raise OSError(28, "No space left on device", str(path))
        save(trainer, path, *args, **kwargs)

    monkeypatch.setattr(lightning.Trainer, "save_checkpoint", maybe)
    with pytest.raises(ValueError, match=r"step 5 could not be saved .* run the same command"):
        run(tmp_path, *steps(5, every=4))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 4


def test_disk_that_has_no_room_for_a_checkpoint_is_told_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("audiodiff.training.callbacks.shutil.disk_usage", lambda folder: SimpleNamespace(free=10_000))
    with pytest.raises(ValueError, match=r"a checkpoint takes 0\.\d MiB or more, and 0\.0 MiB are free"):
        run(tmp_path, *steps(2))
    assert not (tmp_path / "metrics.jsonl").exists()  # which has a line for each step
