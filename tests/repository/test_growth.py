"""Time grows in a straight line with length, batch and steps; memory does not grow with length."""

import csv

import pytest
import torch
from support.tree import ROOT, load_script

from audiodiff.models.vocoder import Vocoder

MEASURED = ROOT / "demos/experiments/growth/results.csv"


MEASURED = ROOT / "demos/experiments/growth/results.csv"


@pytest.fixture
def growth():
    return load_script("demos/experiments/growth/run.py")


def worked_on(vocoder, frames, **how):
    """Samples that go through the network, and the most at once."""
    lengths = []
    hook = vocoder.denoiser.network.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[-1]))
    vocoder.generate(torch.full((1, vocoder.mel.n_mels, frames), -5.0), **how)
    hook.remove()
    return sum(lengths), max(lengths)


def test_work_grows_in_a_straight_line_with_length_and_what_is_at_once_does_not(tiny_model_path):
    vocoder = Vocoder.load(tiny_model_path)
    short, long = (worked_on(vocoder, n, chunk_frames=200, steps=1) for n in (2000, 8000))
    assert 3.8 < long[0] / short[0] < 4.2
    assert long[1] == short[1]


def test_slope_of_a_straight_line_is_one(growth):
    assert growth.slope([(1, 2.0), (4, 8.0), (64, 128.0)]) == pytest.approx(1)
    assert growth.slope([(1, 5.0), (100, 5.0)]) == pytest.approx(0)


@pytest.mark.parametrize("axis", ["length (s)", "batch", "steps"])
def test_measured_time_grows_in_a_straight_line(axis, growth):
    rows = [row for row in csv.DictReader(MEASURED.open()) if row["axis"] == axis]
    large = [(float(row["value"]), float(row["seconds"])) for row in rows if float(row["value"]) >= 4]
    assert len(large) >= 3
    assert 0.8 < growth.slope(large) < 1.2


def test_measured_memory_of_an_hour_is_that_of_its_samples(growth):
    rows = [row for row in csv.DictReader(MEASURED.open()) if row["axis"] == "length (s)"]
    found = {int(row["value"]): float(row["mib"]) for row in rows}
    assert found[3600] < 2048
    assert found[3600] < 4 * found[64]  # 56 times as long
