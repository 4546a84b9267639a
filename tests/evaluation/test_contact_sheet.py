"""The contact sheet: frequency by octaves, and a picture for each sound."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from audiodiff.evaluation.plots import _log_frequency, contact_sheet

RATE = 16000


@pytest.mark.parametrize("hertz", [120, 1000, 5000])
def test_tone_is_brightest_beside_its_number_of_hertz(hertz):
    sound = 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(RATE) / RATE)
    axis = Figure().add_subplot()
    image = _log_frequency(axis, sound, RATE)
    rows = np.asarray(image.get_array()).mean(1)
    left, right, bottom, top = image.get_extent()
    octave = bottom + (float(np.flatnonzero(rows > rows.max() - 1).mean()) + 0.5) / len(rows) * (top - bottom)
    ticks = {text.get_text(): place for place, text in zip(axis.get_yticks(), axis.get_yticklabels(), strict=True)}
    assert octave == pytest.approx(ticks["1k"] + np.log2(hertz / 1000), abs=0.06)
    assert (left, right) == (0, 1)


@pytest.mark.parametrize("count", [1, 5])
def test_sheet_grows_by_a_row_when_columns_are_full(count, tmp_path):
    from PIL import Image

    contact_sheet({str(i): torch.zeros(800) for i in range(count)}, RATE, tmp_path / "sheet.png", columns=4)
    width, height = Image.open(tmp_path / "sheet.png").size
    assert (width, height) == (round(100 * (1.8 * min(count, 4) + 1.5)), round(100 * (2.4 * -(-count // 4) + 0.3)))
