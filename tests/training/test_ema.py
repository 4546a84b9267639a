"""Averages of the weights: their closed form, what a checkpoint holds of them, and which one is chosen."""

import pytest
import torch
from support.training import equal, run, steps
from torch import nn

from audiodiff.models.base import Model
from audiodiff.training.ema import EMA


def module(value):
    one = nn.Linear(1, 1, bias=False)
    nn.init.constant_(one.weight, value)
    return one


def updated(ema, values):
    for value in values:
        ema.update(dict(module(value).named_parameters()))
    return ema


def average_of(ema, decay):
    return float(ema.averages[decay]["weight"])


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_average_follows_its_closed_form(decay):
    values = [float(n**2) for n in range(1, 30)]
    expected = values[0]
    for n, value in enumerate(values[1:], start=1):
        d = min(decay, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * value
    assert average_of(updated(EMA(decay), values), decay) == pytest.approx(expected, rel=1e-5)


def test_several_averages_are_those_of_as_many_runs():
    values = [1.0, 5.0, -2.0, 4.0]
    both = updated(EMA([0.9, 0.2]), values)
    for decay in both.decays:
        assert average_of(both, decay) == average_of(updated(EMA(decay), values), decay)
    assert average_of(both, 0.2) != average_of(both, 0.9)


def test_average_that_was_never_updated_is_not_swapped_in():
    ema, trained = EMA(), module(3.0)
    ema.on_validation_epoch_start(None, trained)
    assert float(trained.weight) == 3.0


def test_weights_come_back_after_validation_and_after_what_interrupts_it():
    ema, trained = updated(EMA(0.5), [1.0, 2.0]), module(3.0)
    ema.on_validation_epoch_start(None, trained)
    assert float(trained.weight) != 3.0
    ema.on_exception(None, trained, KeyboardInterrupt())
    assert float(trained.weight) == 3.0
    ema.on_exception(None, trained, KeyboardInterrupt())
    assert float(trained.weight) == 3.0
    with pytest.raises(RuntimeError), ema.swapped(trained, 0.5):
        raise RuntimeError
    assert float(trained.weight) == 3.0


def test_averages_of_a_checkpoint_move_to_where_the_weights_are():
    ema = updated(EMA(0.5), [1.0, 2.0])
    ema.on_train_start(None, module(1.0).to("meta"))
    assert ema.averages[0.5]["weight"].device.type == "meta"


@pytest.mark.parametrize("decay", [1.0, -0.1, [], [0.9, 1.5]])
def test_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\)"):
        EMA(decay)


DECAYS = "ema_decay=[0.1,0.9,0.99]"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    metrics = run(folder, *steps(8, every=4), DECAYS, "optimizer.lr=1e-2", "trainer.val_check_interval=4")
    return torch.load(folder / "last.ckpt", weights_only=True), metrics


def test_validation_chooses_the_average_with_the_least_loss(whole):
    checkpoint, metrics = whole
    losses = {decay: metrics[f"valid/loss-ema-{decay}"] for decay in (0.1, 0.9, 0.99)}
    assert len(set(losses.values())) > 1
    assert checkpoint["averaging"]["decay"] == min(losses, key=losses.get)
    assert checkpoint["audiodiff"]["info"]["ema"] == {"decay": checkpoint["averaging"]["decay"], "updates": 8}


def test_every_average_goes_through_a_checkpoint_bit_for_bit(whole, tmp_path):
    for n in (4, 8):
        run(tmp_path, *steps(n, every=4), DECAYS, "optimizer.lr=1e-2", "trainer.val_check_interval=4")
    resumed, (straight, _) = torch.load(tmp_path / "last.ckpt", weights_only=True), whole
    assert resumed["averaging"]["others"].keys() == straight["averaging"]["others"].keys()
    for decay, average in straight["averaging"]["others"].items():
        assert equal(average, resumed["averaging"]["others"][decay])
    for key in ("state_dict", "current_model_state"):
        assert equal(straight[key], resumed[key])
    assert not equal(straight["state_dict"], straight["current_model_state"])


def test_a_decay_that_is_new_begins_where_the_best_average_stands(tmp_path):
    run(tmp_path, *steps(2, every=2), "ema_decay=0.5")
    before = Model.load(tmp_path).state_dict()
    run(tmp_path, *steps(3, every=3), "ema_decay=0.0", "optimizer.lr=0.0")
    after = {w: Model.load(tmp_path, weights=w).state_dict() for w in ("ema", "raw")}
    assert not equal(before, after["ema"])
    assert equal(after["ema"], after["raw"])  # a decay of 0 is no average


@pytest.mark.parametrize("strategy", ["fsdp", "fsdp_cpu_offload", "model_parallel", "deepspeed_stage_3"])
def test_ema_is_not_taken_of_weights_that_are_shared_out(tmp_path, strategy):
    with pytest.raises(ValueError, match=f"trainer.strategy={strategy}: .* use trainer=ddp"):
        run(tmp_path / "run", "trainer=ddp", f"trainer.strategy={strategy}", "trainer.accelerator=cpu")
