"""The projection onto the waveforms with a given mel."""

import math

import pytest
import torch

from audiodiff.griffin_lim.projection import MelProjection, fit_magnitudes, magnitudes_of, with_phase
from audiodiff.griffin_lim.subband import LIMIT, RELAXATION
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.filterbank import band_weights, mel_filters

CONTRACTS = {
    "default": {},
    "power, log10": {"power": 2.0, "log": "log10", "floor": 1e-10},
    "centred": {"center": True},
    "short window": {"win_length": 800, "hop_length": 200},
}
every_contract = pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
HOPS = 40
EXACT = 1e-4  # of peaks of 0.3: cut at 100 Hz, a Hann window still leaks -60 dB into the bin of constant offsets


def above_100_hz(waveform):
    """Cuts what constant offsets leak into, since the projection takes them away."""
    spectrum = torch.fft.rfft(waveform)
    spectrum[..., : 100 * waveform.shape[-1] // 16000] = 0
    return torch.fft.irfft(spectrum, n=waveform.shape[-1])


def noise(n, seed=0, level=0.1):
    generator = torch.Generator().manual_seed(seed)
    return above_100_hz(level * torch.randn(1, 1, n, generator=generator, dtype=torch.float64))


def error(spec, waveform, mel):
    return float((LogMel(spec)(waveform)[..., :HOPS] - mel).abs().mean()) * spec._log_unit / spec.power


@pytest.fixture
def clip(waveform):
    return above_100_hz(waveform[None].double())


@every_contract
def test_projection_brings_noise_near_the_mel(clip, contract):
    spec = MelSpec(16000, **contract)
    clip = clip[..., 4000 : 4000 + HOPS * spec.hop_length]
    mel = LogMel(spec)(clip)[..., :HOPS]
    start = noise(clip.shape[-1])
    errors = [error(spec, MelProjection(spec, mel, n)(start), mel) for n in (0, 1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.4 * errors[0]  # measured 2.2, 0.74 and, after eight, 0.13 nepers
    assert errors[4] < 0.08 * errors[0]
    assert torch.equal(MelProjection(spec, mel, 0)(start), start)
    assert torch.equal(MelProjection(spec, mel)(start), MelProjection(spec, mel, 8, 0.99)(start))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
def test_projection_follows_its_recursion(clip, momentum):
    """The docstring's rule with angles in place of quotients, three rounds."""
    spec, start = MelSpec(16000), noise(HOPS * 256)
    mel = LogMel(spec)(clip[..., 4000 : 4000 + HOPS * 256])
    wanted, last = start, None
    for _ in range(3):
        spectrum = spec.stft(wanted[:, 0])
        phase = torch.polar(torch.ones_like(spectrum.real), spectrum.angle())
        ahead = phase if last is None else phase + momentum * (phase - last)
        magnitudes = fit_magnitudes(spec, spectrum.abs(), mel, 1)
        magnitudes[..., 0] = 0
        wanted, last = spec.istft(torch.polar(magnitudes, ahead.angle()))[:, None], phase
    assert torch.allclose(MelProjection(spec, mel, 3, momentum)(start), wanted, atol=1e-9)  # float64


def test_projection_mends_levels_and_keeps_phases(clip):
    """A clip that lost 1 neper above 3 kHz, as few-step estimates do, comes back."""
    spec = MelSpec(16000)
    clip = clip[..., 4000 : 4000 + HOPS * 256]
    mel, spectrum = LogMel(spec)(clip), torch.fft.rfft(clip)
    frequency = torch.linspace(0, 8000, spectrum.shape[-1], dtype=torch.float64)
    dull = torch.fft.irfft(spectrum * torch.exp(-((frequency - 2000) / 1000).clamp(0, 1)), n=clip.shape[-1])
    misses = [error(spec, MelProjection(spec, mel, n)(dull), mel) for n in (0, 4, 8, 16)]
    assert misses == sorted(misses, reverse=True)
    assert misses[2] < 0.15 * misses[0]  # measured 0.37, 0.09, 0.02 and 0.001 nepers
    inner = slice(1024, -1024)  # beyond the ends, which are reflected, lies another sound than before
    # Of a peak of 0.3; measured 4.5e-2 before and 4.9e-4 after.
    assert torch.allclose(MelProjection(spec, mel, 16)(dull)[..., inner], clip[..., inner], atol=2e-3)


def test_magnitudes_and_phases_are_taken_apart_and_put_together():
    spectrum = torch.complex(*noise(2000).view(2, 1, 10, 100))
    assert torch.allclose(magnitudes_of(spectrum), spectrum.abs(), atol=1e-15)
    assert torch.allclose(with_phase(spectrum.abs(), 7 * spectrum), spectrum, atol=1e-14)
    silence = torch.zeros(1, 2, 3, dtype=torch.complex128)
    assert torch.equal(with_phase(torch.ones(1, 2, 3).double(), silence), silence)  # no phase, no sound, no nan
    assert torch.allclose(magnitudes_of(silence), torch.tensor(1e-12, dtype=torch.float64), rtol=1e-6)


@pytest.mark.parametrize("wrong", [{"n_iter": -1}, {"momentum": 1.0}, {"momentum": -0.1}])
def test_projection_refuses_rounds_that_diverge_or_are_none(wrong):
    with pytest.raises(ValueError, match=r"need n_iter >= 0 and momentum in \[0, 1\)"):
        MelProjection(MelSpec(16000), torch.zeros(1, 80, 4), **wrong)


@every_contract
def test_projection_leaves_what_has_the_mel_already(clip, contract):
    spec = MelSpec(16000, **contract)
    clip = clip[..., 4000 : 4000 + HOPS * spec.hop_length]
    projected = MelProjection(spec, LogMel(spec)(clip)[..., :HOPS])(clip)
    assert projected.shape == clip.shape
    inner = slice(spec.n_fft, -spec.n_fft)  # not the reflected ends, nor the last centred frame, which 40 frames lack
    assert torch.allclose(projected[..., inner], clip[..., inner], atol=EXACT)


def test_projection_leaves_no_constant_offset(clip):
    spec = MelSpec(16000)
    clip = clip[..., 4000 : 4000 + HOPS * 256]
    made = MelProjection(spec, LogMel(spec)(clip))(clip + 0.01)
    assert abs(float(made.mean())) < 1e-4
    assert torch.allclose(made[..., 1024:-1024], clip[..., 1024:-1024], atol=1e-3)


@every_contract
@pytest.mark.parametrize("gain", [2.0, 0.25])
@pytest.mark.parametrize("n_iter", [1, 2, 3])
def test_projection_moves_the_level_to_that_of_the_mel(contract, gain, n_iter):
    spec = MelSpec(16000, **contract)
    start = noise(HOPS * spec.hop_length)
    mel = LogMel(spec)(gain * start)[..., :HOPS]
    projected = MelProjection(spec, mel, n_iter)(start)
    # All bands alike: each round leaves 1 - relaxation of the logarithm of the gain.
    reached = gain ** (1 - (1 - RELAXATION) ** n_iter)
    inner = slice(spec.n_fft, -n_iter * spec.n_fft)  # the reflected ends have a constant offset
    assert torch.allclose(projected[..., inner], reached * start[..., inner], atol=EXACT * reached)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("n_iter", [1, 2])
def test_projection_moves_no_further_than_its_limit(direction, n_iter):
    spec = MelSpec(16000, floor=1e-300)
    start = noise(HOPS * 256)
    mel = LogMel(spec)(start) + direction * 20.0
    projected = MelProjection(spec, mel, n_iter)(start)
    factor, inner = math.exp(direction * n_iter * RELAXATION * LIMIT), slice(1024, -1024)
    assert torch.allclose(projected[..., inner], factor * start[..., inner], atol=EXACT * factor)


def test_projection_onto_silence_is_silent():
    spec = MelSpec(16000)
    mel = LogMel(spec)(torch.zeros(1, 1, HOPS * 256).double())
    projected = MelProjection(spec, mel)(noise(HOPS * 256))
    assert float(20 * projected.square().mean().sqrt().log10()) < -60  # dBFS, from noise at -20; measured -108


@every_contract
def test_magnitudes_are_fitted_by_the_rule_of_the_paper(contract):
    """S exp(relaxation sum_m w clamp(log(wanted / has))), written out for one step."""
    spec = MelSpec(16000, **contract)
    like = torch.zeros(1).double()
    filters, spread = mel_filters(spec, like), band_weights(spec, 513, 16000 / 1024, 0.0, like)
    magnitudes, wanted = noise(513).abs()[:, 0] + 0.01, noise(513, 1).abs()[:, 0] + 0.01
    mel = spec.compress(wanted**spec.power @ filters)
    energies = [(m**spec.power @ filters).clamp(min=spec.floor) for m in (wanted, magnitudes)]
    ratio = (energies[0] / energies[1]).log() / spec.power
    fitted = fit_magnitudes(spec, magnitudes[None], mel[:, :, None], 1)[0]
    by_hand = magnitudes * torch.exp(RELAXATION * ratio.clamp(-LIMIT, LIMIT) @ spread)
    assert torch.allclose(fitted[:, 1:], by_hand[:, 1:], rtol=1e-9)
    assert bool((fitted[:, 0] == 0).all())  # a constant offset is in no band
    assert torch.equal(fit_magnitudes(spec, magnitudes[None], mel[:, :, None], 0)[0], magnitudes)


@every_contract
def test_magnitudes_are_fitted_ever_more_nearly(clip, contract):
    spec = MelSpec(16000, **contract)
    mel, filters = LogMel(spec)(clip[..., : HOPS * spec.hop_length]), mel_filters(spec, clip)
    flat = torch.full((1, mel.shape[-1], 513), 0.1).double()

    def miss(n):
        fitted = fit_magnitudes(spec, flat, mel, n)
        return float(spec.log_ratio(mel, spec.compress(fitted**spec.power @ filters).transpose(1, 2)).abs().mean())

    misses = [miss(n) for n in (0, 1, 2, 5, 10, 20)]
    assert misses == sorted(misses, reverse=True)
    assert misses[4] < 0.05 * misses[0]  # nepers; measured 1.4, 0.21 after five, 0.04 after ten, 0.001 after twenty


def test_projection_treats_each_clip_of_a_batch_alone(clip):
    spec = MelSpec(16000)
    clips = torch.cat([clip[..., : HOPS * 256], clip[..., 4000 : 4000 + HOPS * 256]])
    mel, start = LogMel(spec)(clips), torch.cat([noise(HOPS * 256, seed) for seed in (0, 1)])
    together, alone = MelProjection(spec, mel)(start), MelProjection(spec, mel[1:])(start[1:])
    assert torch.allclose(together[1:], alone, atol=1e-12)


def test_projection_is_differentiable(clip):
    spec, start = MelSpec(16000), noise(HOPS * 256).requires_grad_()
    MelProjection(spec, LogMel(spec)(clip[..., : HOPS * 256]))(start).square().sum().backward()
    assert bool(start.grad.isfinite().all())
    assert bool((start.grad != 0).any())
