"""Artificial sounds through the shipped models: the stored figures keep their bounds, and are those of the weights."""

import csv

import pytest
import torch
from support.tree import ROOT, load_script

from audiodiff.models import registry
from audiodiff.models.base import Model

MEASURED = ROOT / "demos/experiments/probes/results.csv"
TONES_DB = {"speech-24k-live": 17.0}  # it looks at no later frame, and hums under a held tone; others less than 5
REMEDY = "run demos/experiments/probes/run.py again"


@pytest.fixture(scope="module")
def probes():
    return load_script("demos/experiments/probes/run.py")


def rows(model):
    with MEASURED.open(encoding="utf-8", newline="") as file:
        return {row["probe"]: row for row in csv.DictReader(file) if row["model"] == model}


def values(row):
    return [float(row[name]) for name in ("level_in_db", "level_out_db", "peak_out", "burst_db", "tones_db")]


@pytest.mark.parametrize("name", registry.shipped())
def test_probes_through_a_shipped_model_keep_their_bounds(name, probes):
    measured, spec = rows(name), registry.shipped_mels().get(name)
    assert set(probes.probes(16000, 16000)) <= set(measured), REMEDY
    for probe, row in measured.items():
        level_in, level_out, peak, burst, tones = values(row)
        assert row["finite"] == "True", probe
        assert peak < 3.5, probe
        if spec is None:  # a generator, which may add what it has learned
            assert level_out < max(-50, level_in + 10), probe
            continue
        assert burst < 3, probe
        if probe == "silence":  # where lines may stand out of what nobody hears
            assert level_out < -80
            continue
        assert tones < TONES_DB.get(name, 5.0), probe
        if probe == "offset of 0.5":
            assert level_out < level_in  # a mel hardly knows it
        else:
            assert abs(level_out - level_in) < 4, probe


@pytest.mark.parametrize("name", registry.shipped())
def test_stored_figures_are_those_of_the_weights(name, probes):
    measured, model = rows(name), Model.load(name)
    assert {row["hash"] for row in measured.values()} == {model.fingerprint()}, REMEDY
    if name != registry.DEFAULT_MODEL:
        return
    for row in probes.measured(name):
        assert values(row) == pytest.approx(values(measured[row["probe"]]), abs=0.5), (row["probe"], REMEDY)


def test_bursts_tones_and_levels_are_seen(probes):
    """Each figure moves when its fault is put into a sound that had none."""
    sound = probes.probes(16000, 24000)["vowel"]
    time = torch.arange(24000) / 16000
    assert probes.burst_db(sound, sound, 16000) <= 0
    click = sound.clone()
    click[12000:12100] += 0.9
    assert probes.burst_db(click, sound, 16000) > 6
    hum = sound + 0.02 * sum(torch.sin(2 * torch.pi * 125 * k * time) for k in range(1, 60))
    assert probes.tonal_excess_db(sound, hum, 16000, 128) > 10
    assert probes.level_db(0.5 * sound) == pytest.approx(probes.level_db(sound) - 6.02, abs=0.01)
    assert probes.level_db(torch.zeros(100)) == probes.LOWEST
