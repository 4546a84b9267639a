"""The contact sheet: frequency by octaves, time in seconds, and a picture for each sound."""

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from audiodiff.evaluation.contact_sheet import (
    BLUE,
    contact_sheet,
    hertz_marks,
    log_frequency,
    row_of,
    ticks,
    waveform_image,
)
from audiodiff.evaluation.plots import magma

RATE = 16000


def tone(hertz, seconds=1.0):
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(round(RATE * seconds)) / RATE)


@pytest.mark.parametrize("hertz", [100, 1000, 5000])
def test_tone_is_brightest_beside_its_number_of_hertz(hertz):
    rows = log_frequency(tone(hertz), RATE, 80).mean(1)
    brightest = float(np.flatnonzero(rows > rows.max() - 1).mean()) + 0.5
    assert hertz in hertz_marks(RATE)
    assert brightest == pytest.approx(row_of(hertz, RATE), abs=1.5)


@pytest.mark.parametrize("count", [1, 5])
def test_sheet_grows_by_a_row_when_columns_are_full(count, tmp_path):
    contact_sheet({str(i): torch.zeros(800) for i in range(count)}, RATE, tmp_path / "sheet.png", columns=4)
    assert Image.open(tmp_path / "sheet.png").size == (180 * min(count, 4) + 150, 240 * -(-count // 4) + 30)


def test_shorter_sound_is_narrower_by_its_share_of_the_longest(tmp_path):
    contact_sheet({"long": tone(440), "short": tone(440, 0.5)}, RATE, tmp_path / "sheet.png")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))[30:92]
    blue = [np.flatnonzero((pixels[:, x : x + 180] == BLUE).all(-1).any(0)) for x in (60, 240)]
    assert [len(columns) for columns in blue] == [166, 83]
    assert blue[1][0] == 0


def test_waveform_is_drawn_from_its_lowest_to_its_highest():
    sound = torch.tensor([0.0, 0.5, -1.0, 0.0]).repeat_interleave(100)
    heights = (waveform_image(sound, 4) == BLUE).all(-1)
    assert [np.flatnonzero(column).mean() / 61 for column in heights.T] == pytest.approx([0.5, 0.25, 1, 0.5], abs=0.02)
    assert heights.sum(0).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("longest", [0.03, 0.1, 0.5, 1.0, 1.504, 3.0, 12.0])
def test_times_are_round_and_few_and_stay_off_the_end(longest):
    times = ticks(longest)
    assert times[0] == 0
    assert 3 <= len(times) <= 5
    assert all(t < 0.9 * longest and len(f"{t:g}") <= 5 for t in times)


def test_magma_is_that_of_matplotlib():
    levels = np.linspace(-0.1, 1.1, 500)
    truth = matplotlib.colormaps["magma"](levels.clip(0, 1))[:, :3] * 255
    assert np.abs(magma(levels) - truth).max() < 4
