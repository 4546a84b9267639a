"""Octaves: the lowest bins of a mel's transform at a lower rate, and Griffin-Lim from there upwards."""

import pytest
import torch
from conftest import voiced
from hypothesis import given
from hypothesis import strategies as st

from audiodiff.griffin_lim.estimate import coarse_to_fine, random_phase_spectrum
from audiodiff.griffin_lim.projection import MelProjection
from audiodiff.griffin_lim.subband import SubbandSTFT, lowest_octave
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.filterbank import mel_filters
from audiodiff.models.starts import CoarseToFine, GriffinLim, MelNoise

SPEC = MelSpec(16000)
ODD = MelSpec(44100, n_fft=2048, win_length=2048, hop_length=441, f_max=22050.0)


def low_sound(octave, n=24 * 256):
    """Something in the lowest eighth of what an octave holds, at the whole rate and at the octave's."""
    rate = 2**octave
    t = torch.arange(n, dtype=torch.float64)
    whole = sum(torch.sin(2 * torch.pi * f * t / 16000 + p) for f, p in ((220, 0.3), (440, 1.1), (690, 2.0)))
    return whole[None], whole[None, ::rate]


def some_mel(spec=SPEC, frames=24, dtype=torch.float64):
    return torch.full((1, spec.n_mels, frames), -4.0, dtype=dtype)


@pytest.mark.parametrize("octave", [0, 1, 2])
def test_octave_sees_the_lowest_bins_of_the_whole(octave):
    """Away from the ends, where what is mirrored differs."""
    whole, low = low_sound(octave)
    part = SubbandSTFT(SPEC, some_mel(), octave)
    found, wanted = 2**octave * part.stft(low), SPEC.stft(whole)[..., : part.n_bins]
    assert torch.allclose(found[:, 3:-3, :-1], wanted[:, 3:-3, :-1], atol=1e-3 * float(wanted.abs().max()))


@pytest.mark.parametrize("octave", [0, 1, 2, 3])
def test_octave_inverts_its_own_transform(octave):
    part = SubbandSTFT(SPEC, some_mel(), octave)
    signal = torch.randn(2, 24 * 256 // 2**octave, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(part.istft(part.stft(signal)), signal, atol=1e-9)


@pytest.mark.parametrize("octave", [0, 1, 3])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_magnitudes_that_have_the_mel_stay_as_they_are(octave, power):
    spec = MelSpec(16000, power=power)
    magnitudes = torch.rand(1, 7, 513, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    mel = spec.compress(magnitudes**power @ mel_filters(spec, magnitudes)).transpose(1, 2)
    part = SubbandSTFT(spec, mel, octave)
    factors = part.gains(magnitudes[..., : part.n_bins] / 2**octave)
    assert torch.allclose(factors[..., 1:], torch.ones_like(factors[..., 1:]), atol=1e-9)
    assert bool((factors[..., 0] == 0).all())  # a constant offset is in no band


@pytest.mark.parametrize("octave", [0, 2])
def test_gains_raise_what_is_too_quiet(octave):
    part = SubbandSTFT(SPEC, some_mel(frames=3), octave)
    assert bool((part.gains(torch.full((1, 3, part.n_bins), 1e-7, dtype=torch.float64))[..., 1:] > 1).all())
    assert bool((part.gains(torch.full((1, 3, part.n_bins), 1e3, dtype=torch.float64)) < 1).all())


def test_octaves_end_where_frames_no_longer_divide():
    assert lowest_octave(ODD) == 0
    assert lowest_octave(MelSpec(16000, hop_length=160)) == 4  # the hop divides by 32, the padding of 432 by 16
    with pytest.raises(ValueError, match=r"divide by 2\^0 at most"):
        SubbandSTFT(ODD, some_mel(ODD), 1)


def distance(mel, waveform, spec=SPEC):
    return float((LogMel(spec)(waveform)[..., : mel.shape[-1]] - mel).abs().mean())


def test_projection_of_an_octave_brings_it_its_bands():
    waveform = voiced()[:, : 80 * 256].double()[None]
    mel = LogMel(SPEC)(waveform)
    noise = torch.randn(1, 1, 80 * 256 // 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    project = MelProjection(SPEC, mel, 32, octave=2)
    low = project(noise)[:, 0]
    has = (project.octave.stft(low).abs() @ project.octave.filters).clamp(min=project.octave.floor).log()
    assert float((has - project.octave.wanted).abs().mean()) < 0.1


def test_coarse_to_fine_without_rounds_is_the_first_estimate():
    mel = some_mel(dtype=torch.float64)
    noise = torch.randn(1, 1, 24 * 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = CoarseToFine(SPEC, full=0, half=0, quarter=0, eighth=0)
    first = SPEC.istft(random_phase_spectrum(SPEC, mel, noise, n_iter=0))[:, None]
    assert torch.allclose(start.waveform(mel, noise), first, atol=1e-12)


def test_coarse_to_fine_with_all_rounds_on_all_bins_is_griffin_lim():
    mel = LogMel(SPEC)(voiced()[None, :, : 40 * 256].double())
    noise = torch.randn(1, 1, 40 * 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = CoarseToFine(SPEC, full=5, half=0, quarter=0, eighth=0).waveform(mel, noise)
    plain = GriffinLim(SPEC, n_iter=5).waveform(mel, noise)
    # Up to one more transform and its inverse.
    assert torch.allclose(ours, plain, atol=1e-9)


def test_coarse_to_fine_agrees_more_with_itself_than_griffin_lim_at_twice_the_cost():
    """Spectral convergence of the lower bins: how far the magnitudes of the sound are from those of the recording."""
    waveform = voiced()[None, :, : 80 * 256]
    mel = LogMel(SPEC)(waveform)
    noise = torch.randn(1, 1, 80 * 256, generator=torch.Generator().manual_seed(0))

    def error(start):
        found, true = (SPEC.stft(w[:, 0]).abs()[:, :80, :128] for w in (start.waveform(mel, noise), waveform))
        return float((found - true).norm() / true.norm())

    cheap = error(CoarseToFine(SPEC, full=2, half=4, quarter=16, eighth=32))  # 12 rounds' worth
    assert cheap < error(GriffinLim(SPEC, n_iter=24))


@pytest.mark.parametrize("spec", [ODD, MelSpec(24000, hop_length=300, win_length=1024), MelSpec(16000, center=True)])
def test_coarse_to_fine_works_for_any_mel(spec):
    sound = voiced(60 * spec.hop_length / spec.sample_rate, spec.sample_rate)[None]
    mel = LogMel(spec)(sound)[..., :60]
    noise = torch.randn(1, 1, 60 * spec.hop_length, generator=torch.Generator().manual_seed(0))
    start = CoarseToFine(spec, full=4, half=4, quarter=4, eighth=4)
    found = start.waveform(mel, noise)
    assert found.shape == noise.shape
    assert distance(mel, found, spec) < distance(mel, MelNoise(spec).waveform(mel, noise), spec)


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_coarse_to_fine_keeps_shape_and_is_finite(full, half, quarter):
    mel = some_mel(frames=9, dtype=torch.float32)
    spectrum = torch.ones(1, 9, 513, dtype=torch.complex64)
    found = coarse_to_fine(SPEC, mel, spectrum, (full, half, quarter), 0.99)
    assert found.shape == (1, 1, 9 * 256)
    assert bool(torch.isfinite(found).all())


@pytest.mark.parametrize("wrong", [{"full": -1}, {"eighth": -1}, {"momentum": 1.0}])
def test_coarse_to_fine_refuses_what_makes_no_sense(wrong):
    with pytest.raises(ValueError, match=r"a whole number from 0|a number in"):
        CoarseToFine(SPEC, **wrong)
    with pytest.raises(ValueError, match="time in"):
        CoarseToFine(SPEC, time=0.0)
