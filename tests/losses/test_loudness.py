"""Loudness as a distance: what cannot be heard costs nothing, what is added costs more, and PESQ agrees."""

import math

import pytest
import torch

from audiodiff import audio
from audiodiff.losses import Loudness
from audiodiff.losses.loudness import LEVEL, critical_bands, threshold_in_quiet
from audiodiff.utils.config import shipped_path

RATE = 16000
SPEECH = shipped_path("demos/audio/speech.flac")
NOTHING = 1e-4  # the root's own floor


def noise(seconds=1.0, seed=0, level=0.1, clips=1):
    shape = (clips, 1, int(seconds * RATE))
    return level * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tone(frequency, level, seconds=1.0):
    time = torch.arange(int(seconds * RATE), dtype=torch.float64) / RATE
    return level * torch.sin(2 * math.pi * frequency * time)[None, None]


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
def test_every_bin_but_the_offset_belongs_to_one_band(rate):
    term = Loudness(rate)
    assert torch.equal(term.bands.sum(0)[1:], torch.ones(term.n_fft // 2, dtype=torch.float64))
    assert term.bands[:, 0].sum() == 0 and bool((term.bands.sum(1) > 0).all())
    _, centres = critical_bands(term.n_fft, rate)
    assert bool((centres.diff() > 0).all())


def test_bands_add_up_to_the_power_of_a_sound():
    sound = noise(4.0)
    excitation = Loudness(RATE).excitation(sound)
    assert float(excitation.sum(-1)[:, 4:-4].mean()) == pytest.approx(float(sound.square().mean()), rel=0.02)


def test_a_tone_excites_the_band_of_its_frequency():
    term = Loudness(RATE)
    _, centres = critical_bands(term.n_fft, RATE)
    for frequency in (250.0, 1000.0, 4000.0):
        loudest = term.excitation(tone(frequency, 0.1))[0, 50].argmax()
        assert float(centres[loudest]) == pytest.approx(frequency, rel=0.1)


def test_threshold_in_quiet_is_lowest_where_ears_are_best():
    level = threshold_in_quiet(torch.tensor([50.0, 1000.0, 3300.0, 15000.0], dtype=torch.float64))
    assert 35 < level[0] < 45 and 2 < level[1] < 5 and -6 < level[2] < -3 and 45 < level[3] < 60


def test_the_same_sound_costs_nothing_and_the_same_gain_of_both_changes_nothing():
    a, b, term = noise(), noise(seed=1), Loudness(RATE)
    assert float(term(a, a)) == pytest.approx(NOTHING)
    assert torch.allclose(term(7 * a, 7 * b), term(a, b))


def test_what_lies_below_the_threshold_in_quiet_is_not_heard():
    sound, term = tone(1000.0, 0.5), Loudness(RATE)
    quiet = float(threshold_in_quiet(torch.tensor([6000.0]))[0]) - LEVEL  # dB below the tone
    assert float(term(sound + tone(6000.0, 0.5 * 10 ** ((quiet - 6) / 20)), sound)) < 2 * NOTHING
    assert float(term(sound + tone(6000.0, 0.5 * 10 ** ((quiet + 30) / 20)), sound)) > 100 * NOTHING


def test_small_differences_of_level_are_masked_and_large_ones_are_not():
    sound = noise()
    louder = lambda decibels: 10 ** (decibels / 20) * sound  # noqa: E731
    assert float(Loudness(RATE)(louder(1), sound)) < 0.01  # 1 dB: loudness + 5 %, more near the threshold alone
    assert float(Loudness(RATE)(louder(6), sound)) > 0.1
    assert float(Loudness(RATE, masked=0)(louder(1), sound)) > 0.03


def test_what_is_added_costs_more_than_what_is_missing():
    sound = tone(500.0, 0.5)
    both = sound + tone(2000.0, 0.02)
    even, worse = Loudness(RATE, added=0), Loudness(RATE, added=1)
    assert float(even(both, sound)) == pytest.approx(float(even(sound, both)), rel=0.02)
    assert float(worse(both, sound)) > 1.1 * float(worse(sound, both))


def test_gradients_are_finite_in_silence_and_where_nothing_is_heard():
    for test, reference in ((noise(level=0.0), noise(level=0.0)), (noise(), noise(level=0.0)), (noise(), noise())):
        test = test.clone().requires_grad_()
        Loudness(RATE)(test, reference).sum().backward()
        assert bool(torch.isfinite(test.grad).all())


def test_a_descent_along_it_raises_pesq():
    pesq = pytest.importorskip("pesq").pesq
    sound = audio.read(SPEECH, RATE)[0][:, : 2 * RATE][None]
    spoilt = sound + 0.1 * sound.std() * noise(2.0).float()
    made, term = spoilt.clone().requires_grad_(), Loudness(RATE)
    optimizer = torch.optim.Adam([made], lr=3e-4)
    for _ in range(30):
        optimizer.zero_grad()
        term(made, sound).sum().backward()
        optimizer.step()
    before, after = (pesq(RATE, sound.flatten().numpy(), x.detach().flatten().numpy(), "wb") for x in (spoilt, made))
    assert after > before + 0.2


@pytest.mark.parametrize(
    "wrong", [{"sample_rate": 0}, {"masked": -1.0}, {"added": -0.1}, {"seconds": 0.0}, {"weight": 0}]
)
def test_numbers_that_make_no_sense_are_told(wrong):
    with pytest.raises(ValueError, match="positive"):
        Loudness(**({"sample_rate": RATE} | wrong))
