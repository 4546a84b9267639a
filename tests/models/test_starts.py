"""Where sampling starts: the noise level is that of the time, and Griffin-Lim does what its paper says."""

import pytest
import torch

from audiodiff.diffusion.schedules import CosineVP
from audiodiff.griffin_lim.estimate import band_magnitudes
from audiodiff.griffin_lim.projection import fit_magnitudes
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.filterbank import band_weights, mel_filters
from audiodiff.mel.magnitudes import mean_magnitudes
from audiodiff.models.starts import GriffinLim, PureNoise

SPEC, SCHEDULE = MelSpec(16000), CosineVP()
FRAMES = 40


def draw(seed=0, dtype=torch.float64):
    return torch.randn(1, 1, FRAMES * 256, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture(scope="module")
def mel(waveform):
    return LogMel(SPEC)(waveform[None, :, 4000 : 4000 + FRAMES * 256].double())


def identity(waveform):
    return waveform


def distance(mel, waveform):
    """Mean error of the log-mel, in nepers."""
    return float((LogMel(SPEC)(waveform) - mel).abs().mean())


def test_start_from_pure_noise_has_the_noise_of_time_one(mel):
    noise, sigma = draw(), float(SCHEDULE(torch.tensor(1.0, dtype=torch.float64))[1])
    assert PureNoise().time == 1.0
    assert PureNoise().waveform(mel, noise) is None
    assert torch.allclose(PureNoise()(mel, noise, identity, SCHEDULE), sigma * noise, atol=1e-12)


@pytest.mark.parametrize("time", [0.1, 0.3, 1.0])
def test_start_is_noised_to_its_time(mel, time):
    start, noise = GriffinLim(SPEC, time=time, n_iter=1), draw()
    alpha, sigma = (float(v) for v in SCHEDULE(torch.tensor(time, dtype=torch.float64)))
    x = start(mel, noise, lambda waveform: 5 * waveform, SCHEDULE)
    residual = x - alpha * 5 * start.waveform(mel, noise)
    assert start.time == time
    assert torch.allclose(residual, sigma * noise, atol=1e-12)  # float64
    assert float(residual.std()) == pytest.approx(sigma, rel=0.03)  # standard error 0.7 %


def test_start_depends_on_mel_and_noise_alone(mel):
    start = GriffinLim(SPEC, n_iter=3)
    state = torch.random.get_rng_state()
    first = start(mel, draw(), identity, SCHEDULE)
    assert torch.equal(start(mel, draw(), identity, SCHEDULE), first)
    assert not torch.allclose(start(mel, draw(1), identity, SCHEDULE), first, atol=1e-3)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_griffin_lim_comes_nearer_with_more_iterations(mel):
    found = [distance(mel, GriffinLim(SPEC, n_iter=n).waveform(mel, draw())) for n in (0, 4, 16, 64)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.25 * found[0]


def test_griffin_lim_is_faster_with_momentum(mel):
    plain, fast = (distance(mel, GriffinLim(SPEC, n_iter=32, momentum=m).waveform(mel, draw())) for m in (0.0, 0.99))
    assert fast < 0.9 * plain


@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_griffin_lim_follows_its_recursion(mel, momentum):
    """Magnitudes fitted to the mel in each round, phases extrapolated by momentum / (1 + momentum), written out."""
    spectrum = SPEC.stft(SPEC.istft(torch.polar(band_magnitudes(SPEC, mel, 0), SPEC.stft(draw()[:, 0]).angle())))
    previous = None
    for _ in range(3):
        phase = spectrum / spectrum.abs()
        step = 0 if previous is None else momentum / (1 + momentum) * previous
        magnitudes = fit_magnitudes(SPEC, spectrum.abs(), mel, 1)
        magnitudes[..., 0] = 0  # no constant offset
        wanted = SPEC.istft(torch.polar(magnitudes, (phase - step).angle()))
        previous, spectrum = phase, SPEC.stft(wanted)
    ours = GriffinLim(SPEC, n_iter=3, momentum=momentum).waveform(mel, draw())
    assert torch.allclose(ours, wanted[:, None], atol=1e-9)  # float64


def test_griffin_lim_without_iterations_keeps_the_phases_of_the_noise(mel):
    first = SPEC.istft(torch.polar(band_magnitudes(SPEC, mel, 0), SPEC.stft(draw()[:, 0]).angle()))[:, None]
    assert torch.allclose(GriffinLim(SPEC, n_iter=0).waveform(mel, draw()), first, atol=1e-12)  # float64


def test_griffin_lim_has_the_mel(mel):
    made = GriffinLim(SPEC).waveform(mel, draw())
    assert made.shape == (1, 1, FRAMES * 256)
    assert float((LogMel(SPEC)(made) - mel).abs().mean()) < 0.15  # nepers; measured 0.07


def test_griffin_lim_serves_a_centred_mel(waveform):
    spec = MelSpec(16000, center=True, power=2.0, log="log10", floor=1e-10)
    mel = LogMel(spec)(waveform[None, :, : FRAMES * 256].double())[..., :FRAMES]
    made = GriffinLim(spec).waveform(mel, draw())
    assert made.shape == (1, 1, FRAMES * 256)
    miss = spec.log_ratio(LogMel(spec)(made)[..., 2 : FRAMES - 2], mel[..., 2:-2])  # the ends reach beyond 40 hops
    assert float(miss.abs().mean()) < 0.15  # nepers


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_band_magnitudes_have_the_mel_ever_more_nearly(waveform, power):
    spec = MelSpec(16000, power=power)
    mel = LogMel(spec)(waveform[None, :, : FRAMES * 256].double())
    filters = mel_filters(spec, mel)

    def miss(n):
        magnitudes = band_magnitudes(spec, mel, n)
        assert magnitudes.shape == (1, FRAMES, 513)
        assert bool((magnitudes >= 0).all())
        return float(spec.log_ratio(mel, spec.compress(magnitudes**power @ filters).transpose(1, 2)).abs().mean())

    misses = [miss(n) for n in (0, 2, 5, 10, 20)]
    assert misses == sorted(misses, reverse=True)
    assert misses[3] < 0.02 * misses[0]  # nepers; measured 0.15 and, after the default of ten, 0.0004 to 0.002


def test_band_magnitudes_begin_with_bands_spread_over_the_frequencies_of_the_bins(mel):
    spec = MelSpec(16000, win_length=800, hop_length=200)
    spread = band_weights(spec, 513, 16000 / 1024, 0.0, mel)  # bin k lies at 15.625 k Hz, however short the window
    assert torch.allclose(band_magnitudes(spec, mel, 0), mean_magnitudes(spec, mel) @ spread, rtol=1e-12)


def test_band_magnitudes_of_a_flat_spectrum_are_flat():
    filters = mel_filters(SPEC, draw())
    mel = SPEC.compress(0.7 * filters.sum(0))[None, :, None].expand(-1, -1, 3)
    for n in (0, 3):  # a solution already, which the updates leave
        inside = band_magnitudes(SPEC, mel, n)[..., 1:-1]  # no filter holds the first and the last bin
        assert torch.allclose(inside, torch.full_like(inside, 0.7), rtol=1e-6)


@pytest.mark.parametrize("wrong", [{"time": 0.0}, {"time": 1.1}, {"time": -0.3}])
def test_griffin_lim_refuses_a_time_outside_of_the_path(wrong):
    with pytest.raises(ValueError, match=r"time=.*\(0, 1\]"):
        GriffinLim(SPEC, **wrong)


@pytest.mark.parametrize("wrong", [{"momentum": 1.0}, {"momentum": -0.1}, {"n_iter": -1}])
def test_griffin_lim_refuses_rounds_that_diverge_or_are_none(wrong):
    with pytest.raises(ValueError, match=r"momentum=.*in \[0, 1\)|n_iter=-1: a whole number"):
        GriffinLim(SPEC, **wrong)
    assert GriffinLim(SPEC, momentum=0.0, time=1.0, n_iter=0).time == 1.0
