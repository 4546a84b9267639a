"""The same mel described at another rate, so that a vocoder sounds above the mel's rate."""

import dataclasses

import pytest
import torch

from audiodiff import audio
from audiodiff.griffin_lim.estimate import band_magnitudes
from audiodiff.griffin_lim.mel_conversion import Conversion
from audiodiff.mel import LogMel, MelSpec
from audiodiff.utils.config import choose, shipped_path

OWN = choose("mel", "16k-hop256")
CHANGES = {
    "own": {},
    "energies": {"power": 2.0},
    "window scale": {"normalized": True},
    "window scale, energies": {"normalized": True, "power": 2.0},
    "eps": {"eps": 1e-4},
    "centred": {"center": True},
    "short window": {"win_length": 800},
}


@pytest.fixture(scope="module")
def voice():
    """Read speech that reaches above 8 kHz, at 48 kHz."""
    return audio.read(shipped_path("demos/audio/voices/it-1.flac"))[0][:1, :48000]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("rate", [24000, 48000])
def test_mel_at_another_rate_is_that_of_the_resampled_sound(voice, change, rate):
    spec = dataclasses.replace(OWN, **change)
    low = LogMel(spec)(audio.resample(voice, 48000, 16000)[None])
    sound = voice if rate == 48000 else audio.resample(voice, 48000, rate)
    high = LogMel(spec.at_rate(rate))(sound[None])
    heard = slice(2, low.shape[-1] - 2)  # reflection at the ends mirrors other samples
    bands = 79 if "eps" in change else 80  # it is added to each bin, before the last band's are weakened
    difference = (low - high)[:, :bands, heard].abs()
    assert float(difference.mean()) < 2e-3
    assert float(difference.quantile(0.99)) < 0.02


def test_mel_of_a_rate_is_taken_as_it_is_by_a_model_at_another():
    target = OWN.at_rate(24000)
    mel = torch.randn(1, 80, 20, generator=torch.Generator().manual_seed(0)) - 4
    conversion = Conversion(OWN, target)
    assert conversion.exact
    assert conversion.notes() == []
    torch.testing.assert_close(conversion(mel).mel, mel, atol=1e-5, rtol=0)


def test_mel_at_another_rate_survives_json_and_goes_back():
    spec = dataclasses.replace(OWN, eps=1e-9)
    high = spec.at_rate(48000)
    assert MelSpec.from_dict(high.to_dict()) == high
    assert high.at_rate(24000) == spec.at_rate(24000)
    assert high.at_rate(16000) == spec


@pytest.mark.parametrize(
    ("preset", "rate", "said"),
    [
        ("hifigan", 24000, "n_fft, win_length, hop_length would not be whole"),
        ("16k-hop256", 8000, "f_max must be above f_min and at most 4000"),
    ],
)
def test_rate_at_which_a_mel_cannot_be_described_is_refused(preset, rate, said):
    with pytest.raises(ValueError, match=said):
        choose("mel", preset).at_rate(rate)


def test_sound_above_the_mel_follows_no_band_that_resamplers_weaken():
    spec = OWN.at_rate(24000)
    mel = torch.randn(1, 80, 20, generator=torch.Generator().manual_seed(0)) - 4
    weakened = mel.clone()
    weakened[:, -1] -= 1.0  # soxr's filter takes 8.7 dB of it, others less
    expected = band_magnitudes(spec, mel, n_iter=0)
    torch.testing.assert_close(band_magnitudes(spec, weakened, n_iter=0), expected)
    assert float(expected[..., -1].amin()) > 0
