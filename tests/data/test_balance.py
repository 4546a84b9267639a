"""Sampling weights: groups of recordings are drawn as often as is asked, whatever their size."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from audiodiff import audio
from audiodiff.data import Crops, Files, OneShots, Recording
from audiodiff.data.balance import sampling_weights

RATE = 8000
KITS = {"large": 16, "small": 4, "single": 1}


@pytest.fixture
def kits(tmp_path):
    """Sounds of two classes by three makers of 16, 4 and 1 sounds a class."""
    recordings = []
    for label in ("high", "low"):
        for kit, count in KITS.items():
            for i in range(count):
                path = tmp_path / f"{label}-{kit}-{i}.wav"
                audio.write(path, 0.3 * torch.ones(1, 200), RATE)
                recordings.append(Recording(path, 200, RATE, label, {"kit": kit}))
    return recordings


def shares(data, draws=1200):
    kits = Counter(data.sources(n)[0].stem.split("-")[1] for n in range(draws))
    return {kit: kits[kit] / draws for kit in KITS}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"large": 16 / 21, "small": 4 / 21, "single": 1 / 21}),
        ({"balance": "kit"}, dict.fromkeys(KITS, 1 / 3)),
        ({"balance": "kit", "balance_power": 0.5}, {"large": 4 / 7, "small": 2 / 7, "single": 1 / 7}),
    ],
    ids=["by number", "equal", "by root"],
)
def test_one_shots_draw_each_maker_as_often_as_asked(kits, settings, expected):
    data = OneShots(Files(kits, **settings), ["high", "low"], 100, RATE)
    assert shares(data) == pytest.approx(expected, abs=0.05)  # three standard deviations of 1,200 draws
    assert {data[n][1] for n in range(20)} == {0, 1}


def test_clips_draw_each_speaker_equally_often(kits):
    assert shares(Crops(Files(kits, "kit"), 100, RATE)) == pytest.approx(dict.fromkeys(KITS, 1 / 3), abs=0.05)


def test_draw_survives_unreadable_sounds_of_a_kit(kits):
    Path(kits[0].path).write_bytes(b"")
    data = OneShots(Files(kits, "kit"), ["high", "low"], 100, RATE, max_bad=1.0)
    assert all(data[n][0].abs().max() > 0.2 for n in range(60))


def test_missing_field_and_bad_power_are_refused(kits):
    with pytest.raises(ValueError, match="does not name its speaker"):
        Files(kits, "speaker")
    with pytest.raises(ValueError, match="balance_power=2"):
        sampling_weights(kits, [1.0] * len(kits), "kit", 2)
