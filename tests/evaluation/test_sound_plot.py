"""Pictures of sounds, which are read piece by piece."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from audiodiff.evaluation import sound_plot
from audiodiff.evaluation.plots import spectrogram_db
from audiodiff.evaluation.sound_plot import HOP, draw_sounds, frames_in_a_column, reduce_sound


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-0.5, 0.5, 40_000).astype(np.float32)


def test_columns_of_one_frame_are_the_spectrogram(noise):
    levels = reduce_sound("noise", [noise], 16000).levels
    wanted = spectrogram_db(torch.from_numpy(noise), hop_length=HOP)
    assert levels.shape == wanted.shape
    assert np.abs(levels - wanted)[wanted > -60].max() < 0.01


@pytest.mark.parametrize("frames", [1, 3, 40])
@pytest.mark.parametrize("size", [100, 4097, 40_000])
def test_pieces_of_any_size_make_the_same_columns(noise, monkeypatch, frames, size):
    whole = reduce_sound("noise", [noise], 16000, frames)
    monkeypatch.setattr(sound_plot, "AT_ONCE", 16)
    pieces = [noise[k : k + size] for k in range(0, len(noise), size)]
    parts = reduce_sound("noise", iter(pieces), 16000, frames)
    assert (parts.n_samples, parts.levels.shape) == (40_000, whole.levels.shape)
    assert whole.levels.shape[1] == -(-(40_000 // HOP + 1) // frames)
    for name in ("levels", "lowest", "highest"):
        assert np.allclose(getattr(parts, name), getattr(whole, name), atol=1e-3)


def test_level_of_a_full_scale_tone_is_zero_and_envelope_is_its_extremes():
    tone = np.sin(2 * np.pi * 1000 / 16000 * np.arange(160_000)).astype(np.float32)
    sound = reduce_sound("tone", [tone], 16000, 4)
    assert sound.levels[64, 5] == pytest.approx(0, abs=0.01)
    assert (sound.lowest[5], sound.highest[5]) == (pytest.approx(-1), pytest.approx(1))
    assert sound.levels[400, 1:-1].max() < -90


def test_columns_stay_few_however_long_a_sound_is():
    for seconds in (1, 60, 3600):
        n_samples = seconds * 48_000
        assert 0 < -(-(n_samples // HOP + 1) // frames_in_a_column(n_samples)) <= sound_plot.COLUMNS


def test_every_axis_has_a_unit_and_no_cell_is_empty(noise, tmp_path, monkeypatch):
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *args, **kw: drawn.append(figure) or save(figure, *args, **kw)
    )
    for rates in ((16000,), (16000, 16000), (16000, 44100), (8000, 8000, 16000)):
        draw_sounds([reduce_sound(str(rate), [noise], rate) for rate in rates], tmp_path / "p.png")
        axes = [axis for axis in drawn[-1].axes if axis.get_label() != "<colorbar>"]
        assert len(axes) == 3 * len(rates) + (rates == (16000, 16000))
        assert {axis.get_xlabel() for axis in axes} == {"time, s"}
        assert {axis.get_ylabel() for axis in axes} == {"amplitude", "frequency, kHz", "frequency, Hz, mel scale"}
        covered = sum((box := axis.get_position()).width * box.height for axis in axes)
        assert covered > 0.5  # of the picture: the rest is labels and bars
