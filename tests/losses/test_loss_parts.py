"""The parts of the loss, each against its closed form: times, weightings, distances and terms."""

import math

import auraloss
import numpy as np
import pytest
import scipy.ndimage
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.drawn import draw, seeded

from audiodiff.diffusion.denoiser import Denoiser, scales
from audiodiff.diffusion.predictions import EpsPrediction, VPrediction, XPrediction
from audiodiff.diffusion.schedules import CosineVP, KarrasVE, RectifiedFlow
from audiodiff.losses import (
    DataWeight,
    DenoisingLoss,
    EnergyBalanced,
    LogitNormalTimes,
    LogNormalTimes,
    LogSpectral,
    MelL1,
    MinSNR,
    MultiResolutionSTFT,
    NoiseWeight,
    OctaveWeighted,
    Phase,
    PowerTimes,
    SigmoidWeight,
    SquaredError,
    VelocityWeight,
)
from audiodiff.mel import MelSpec
from audiodiff.utils.config import choices, choose

SCHEDULE = CosineVP()
MEL = MelSpec(16000)
TERMS = {
    "log_spectral": LogSpectral(),
    "stft": MultiResolutionSTFT(),
    "mel": MelL1(MEL),
    "mel_log10_power": MelL1(MelSpec(16000, log="log10", power=2.0, floor=1e-10)),
    "phase": Phase(floor=1e-9),
}
every_term = pytest.mark.parametrize("term", TERMS.values(), ids=TERMS)


def tone(frequency, n=16000, amplitude=1.0, phase=0.0, sample_rate=16000):
    """A tone that fades in and out, so that none of it leaks over the spectrum at the ends, [1, 1, n]."""
    time = torch.arange(n, dtype=torch.float64) / sample_rate
    fade = torch.hann_window(n, periodic=False, dtype=torch.float64)
    return (amplitude * fade * torch.cos(2 * math.pi * frequency * time + phase))[None, None]


def same(x):
    return x


# Times: the inverse of each quantile function, which says in which share of the draws a time lies.
def share_of_power(times, t, schedule):
    return ((t - times.low) / (times.high - times.low)) ** (1 / times.power)


def share_of_logit_normal(times, t, schedule):
    return scipy.stats.norm.cdf((scipy.special.logit(t) - times.mean) / times.std)


def share_of_log_normal(times, t, schedule):
    alpha, sigma = (scale.numpy() for scale in schedule(torch.as_tensor(t)))
    return scipy.stats.norm.cdf((np.log(sigma / alpha) - times.mean) / times.std)


DRAWN = [
    (PowerTimes(), share_of_power),
    (PowerTimes(2.0, 0.1, 0.7), share_of_power),
    (LogitNormalTimes(), share_of_logit_normal),
    (LogitNormalTimes(-0.5, 1.5), share_of_logit_normal),
    (LogNormalTimes(), share_of_log_normal),
    (LogNormalTimes(0.3, 0.8), share_of_log_normal),
]
every_times = pytest.mark.parametrize(("times", "share"), DRAWN)
every_path = pytest.mark.parametrize("schedule", [SCHEDULE, RectifiedFlow(), KarrasVE()])


@every_times
@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("seeds_apart", [1, 0])
@given(batch=st.integers(1, 12), seed=st.integers(0, 999))
def test_schedule_of_training_times_has_one_in_each_stratum_over_all_ranks(
    times, share, world, seeds_apart, batch, seed
):
    found = []
    for rank in range(world):
        t = times(batch, seeded(seed + seeds_apart * rank), SCHEDULE, rank, world)
        assert t.dtype == torch.float64
        assert t.shape == (batch,)
        strata = np.floor(share(times, t.numpy(), SCHEDULE) * batch * world).astype(int).tolist()
        assert sorted(strata) == list(range(rank, batch * world, world))  # each rank sees all noise levels
        found += strata
    assert sorted(found) == list(range(batch * world))


@every_times
@every_path
def test_schedule_of_training_times_has_the_distribution_that_it_declares(times, share, schedule):
    t, n = times(2000, seeded(), schedule).numpy(), 2000
    # Of one draw per stratum the empirical distribution is never further than one stratum from the true one.
    assert scipy.stats.kstest(share(times, t, schedule), "uniform").statistic <= 1 / n + 1e-9


@every_times
def test_schedule_of_training_times_is_even_within_a_stratum(times, share):
    within = share(times, times(2000, seeded(), SCHEDULE).numpy(), SCHEDULE) * 2000 % 1
    assert scipy.stats.kstest(within, "uniform").pvalue > 0.01  # the one seed, far from the tail


@pytest.mark.parametrize("path", [CosineVP, RectifiedFlow])
def test_schedule_of_training_times_of_edm_is_clamped_to_its_path(path):
    schedule, n = path(-1.0, 2.0), 4000  # log(sigma / alpha) from -1 to 0.5
    t = LogNormalTimes(-0.5, 1.0)(n, seeded(), schedule)
    assert bool(((t >= 0) & (t <= 1)).all())
    # What the path does not reach lies at its ends, exactly.
    assert float((t == 0).double().mean()) == pytest.approx(scipy.stats.norm.cdf(-0.5), abs=1 / n)
    assert float((t == 1).double().mean()) == pytest.approx(scipy.stats.norm.sf(1.0), abs=1 / n)
    for mean, end in ((-100.0, 0.0), (100.0, 1.0)):
        assert LogNormalTimes(mean)(7, seeded(), schedule).tolist() == [end] * 7


@pytest.mark.parametrize("name", choices("schedule"))
def test_schedule_of_training_times_lies_on_every_path(name):
    schedule, far = choose("schedule", name), torch.tensor([2**-60, 1 - 2**-53], dtype=torch.float64)
    for times in (choose("time_sampling", kind) for kind in choices("time_sampling")):
        t = torch.cat([times(64, seeded(), schedule), times.quantile(far, schedule)])
        assert bool(((t >= 0) & (t <= 1)).all())


@pytest.mark.parametrize("kind", [LogitNormalTimes, LogNormalTimes])
@pytest.mark.parametrize("std", [0.0, -1.0, math.nan])
def test_schedule_of_training_times_refuses_a_normal_without_width(kind, std):
    with pytest.raises(ValueError, match=r"std=.* must be positive"):
        kind(0.0, std)


def test_schedule_of_training_times_is_shuffled_and_repeatable():
    times = PowerTimes()(64, seeded(), SCHEDULE)
    assert torch.equal(PowerTimes()(64, seeded(), SCHEDULE), times)
    assert not torch.equal(PowerTimes()(64, seeded(1), SCHEDULE), times)
    assert not torch.equal(times.sort().values, times)
    assert abs(float(torch.corrcoef(torch.stack([times, torch.arange(64).double()]))[0, 1])) < 0.5  # 4 standard errors


@pytest.mark.parametrize(
    "wrong", [{"low": 0.5, "high": 0.5}, {"low": -0.1}, {"high": 1.1}, {"low": 0.6, "high": 0.4}, {"power": 0.0}]
)
def test_schedule_of_training_times_refuses_an_empty_range(wrong):
    with pytest.raises(ValueError, match="need 0 <= low < high <= 1 and power > 0"):
        PowerTimes(**wrong)


# Weightings: SNR is alpha² / sigma², sd the standard deviation of the data.
LEVELS = torch.linspace(-40, 40, 161, dtype=torch.float64)
CLOSED_FORMS = {
    "v": (VelocityWeight(None), lambda snr, sd: snr + 1 / sd**2),  # Salimans & Ho: SNR + 1 at sd = 1
    "v limited": (VelocityWeight(10.0), lambda snr, sd: np.minimum(10, snr + 1 / sd**2)),
    "edm": (VelocityWeight(None), lambda snr, sd: (1 / snr + sd**2) / (sd**2 / snr)),  # sigma² = 1 / SNR on a VE path
    "eps": (NoiseWeight(None), lambda snr, sd: snr),
    "eps limited": (NoiseWeight(7.0), lambda snr, sd: np.minimum(7, snr)),
    "min-snr": (MinSNR(), lambda snr, sd: np.minimum(5, snr)),  # Hang et al., gamma = 5
    "sigmoid": (SigmoidWeight(), lambda snr, sd: snr / (1 + snr * math.exp(-2))),  # SNR sigmoid(2 - log SNR)
    "sigmoid -1": (SigmoidWeight(-1.0), lambda snr, sd: snr * scipy.special.expit(-1 - np.log(snr))),
    "data": (DataWeight(), lambda snr, sd: np.full_like(snr, 1 / sd**2)),
}


@pytest.mark.parametrize(("weighting", "law"), CLOSED_FORMS.values(), ids=CLOSED_FORMS)
@pytest.mark.parametrize("sigma_data", [1.0, 0.5, 3.0])
def test_prediction_weight_is_its_closed_form_and_finite_over_eighty_units_of_log_snr(weighting, law, sigma_data):
    weight = weighting(LEVELS, sigma_data)
    assert weight.dtype == torch.float64
    assert weight.shape == LEVELS.shape
    assert bool(weight.isfinite().all())
    assert bool((weight > 0).all())
    assert np.allclose(weight.numpy(), law(LEVELS.exp().numpy(), sigma_data), rtol=1e-12, atol=0)  # float64


@pytest.mark.parametrize(
    ("prediction", "weighting"),
    [(VPrediction, VelocityWeight(None)), (EpsPrediction, NoiseWeight(None)), (XPrediction, DataWeight())],
)
@pytest.mark.parametrize("sigma_data", [1.0, 0.3])
@every_path
def test_prediction_weighted_error_is_that_of_a_network_that_predicts_the_quantity(
    prediction, weighting, sigma_data, schedule
):
    class Network(torch.nn.Module):
        def forward(self, x, log_snr, condition=None):
            self.output = draw(*x.shape, seed=2)  # far from the target: no two nearly equal numbers are subtracted
            return self.output

    network, made, times = Network(), prediction(sigma_data), PowerTimes()
    x = sigma_data * draw(8, 1, 64, seed=1)
    found = DenoisingLoss(times, weighting)(Denoiser(network, made, schedule), x, None, same, seeded(3)).error
    generator = seeded(3)
    alpha, sigma = scales(schedule, times(8, generator, schedule), x)
    eps = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    wanted = (network.output - made.target(x, eps, alpha, sigma)).square().mean((1, 2))
    assert torch.allclose(found, wanted, rtol=1e-9)  # the same number as x̂ - x and as v̂ - v, up to float64


@pytest.mark.parametrize("made", [VelocityWeight, NoiseWeight, MinSNR])
@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_prediction_weight_refuses_a_limit_that_leaves_nothing(made, limit):
    with pytest.raises(ValueError, match=r"limit=.* must be positive"):
        made(limit)


# Distances
def energy(waveform, n_fft=512):
    window = torch.hann_window(n_fft, dtype=torch.float64)
    frames = torch.stft(waveform[:, 0], n_fft, n_fft // 4, window=window, pad_mode="constant", return_complex=True)
    return frames.abs().square()


def test_loss_squared_error_is_the_mean_square_of_each_clip():
    x, error = draw(3, 1, 100), torch.tensor([0.0, 0.5, 2.0]).double()
    assert torch.allclose(SquaredError()(x + error[:, None, None], x, None), error**2)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_loss_balanced_distance_is_zero_for_equal_signals_alone(exponent):
    x = draw(3, 1, 2000)
    assert torch.equal(EnergyBalanced(exponent=exponent)(x, x, same), torch.zeros(3).double())
    assert bool((EnergyBalanced(exponent=exponent)(x + 0.01 * draw(3, 1, 2000, seed=1), x, same) > 0).all())


@pytest.mark.parametrize(("exponent", "floor", "n_fft"), [(0.0, 1e-2, 512), (0.5, 3.0, 512), (0.8, 1e-2, 128)])
def test_loss_balanced_distance_is_its_formula(exponent, floor, n_fft):
    x, estimate = draw(2, 1, 3000), draw(2, 1, 3000, seed=1)
    reference, error = energy(2 * x, n_fft).numpy(), energy(2 * (estimate - x), n_fft).numpy()
    window = (1, 3, 3)  # the mean of 3 × 3 bins, fewer at the edges
    around = scipy.ndimage.uniform_filter(reference, window, mode="constant")
    around /= scipy.ndimage.uniform_filter(np.ones_like(reference), window, mode="constant")
    weight = (around + floor**2) ** -exponent
    relative = (weight * error).sum((1, 2)) / (weight * (reference + floor**2)).sum((1, 2))
    found = EnergyBalanced(n_fft, exponent, floor)(estimate, x, lambda z: 2 * z)
    assert np.allclose(found.numpy(), x.square().mean((1, 2)).numpy() * relative, rtol=1e-9)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("gain", [1e-2, 30.0])
def test_loss_balanced_distance_does_not_know_how_loud_the_decoder_is(exponent, gain):
    """A gain of the waveform alone changes nothing; one of the diffused signal counts squared, as for SquaredError."""
    x, estimate = draw(2, 1, 3000), draw(2, 1, 3000, seed=1)
    distance = EnergyBalanced(exponent=exponent, floor=1e-9)
    plain = distance(estimate, x, same)
    assert torch.allclose(distance(estimate, x, lambda z: gain * z), plain, rtol=1e-9)
    assert torch.allclose(distance(gain * estimate, gain * x, same), gain**2 * plain, rtol=1e-9)
    assert torch.allclose(distance(gain * estimate, gain * x, lambda z: z / gain), gain**2 * plain, rtol=1e-9)


def test_loss_balanced_distance_has_a_gradient_at_silence():
    for x in (draw(2, 1, 2000), torch.zeros(2, 1, 2000).double()):
        silence = torch.zeros(2, 1, 2000).double().requires_grad_()
        distance = EnergyBalanced()(silence, x, same)
        distance.sum().backward()
        assert bool(distance.isfinite().all())
        assert bool(silence.grad.isfinite().all())


def test_loss_of_octaves_counts_an_error_by_the_octave_it_is_in():
    distance, found = OctaveWeighted(64, corner=2.0), []
    for k in (0, 2, 6, 14):
        x = torch.zeros(1, 1, 128, dtype=torch.float64)
        error = x.clone()
        error[..., 64 + k] = 0.5  # in the second block
        found.append(float(distance(x + error, x, same)))
    assert [found[0] / f for f in found] == pytest.approx([1, 2, 4, 8], rel=1e-6)  # (k + 2) / 2
    everywhere = torch.full((1, 1, 128), 0.5, dtype=torch.float64)
    assert float(distance(everywhere, 0 * everywhere, same)) == pytest.approx(0.25)


def test_loss_of_octaves_refuses_what_it_cannot_divide_by():
    with pytest.raises(ValueError, match=r"block=0, corner=8\.0: both must be positive"):
        OctaveWeighted(0)
    with pytest.raises(ValueError, match="block=4, corner=0: both must be positive"):
        OctaveWeighted(4, 0)


@pytest.mark.parametrize("distance", [SquaredError(), EnergyBalanced(), OctaveWeighted(64)])
def test_loss_distance_of_a_clip_does_not_depend_on_its_batch(distance):
    x, estimate = draw(3, 1, 2048), draw(3, 1, 2048, seed=1)
    together = distance(estimate, x, same)
    assert together.shape == (3,)
    alone = [distance(estimate[i : i + 1], x[i : i + 1], same) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-12)


@pytest.mark.parametrize("wrong", [{"exponent": -0.1}, {"exponent": 1.1}, {"floor": 0.0}, {"floor": math.nan}])
def test_loss_balanced_distance_refuses_what_it_cannot_weigh(wrong):
    with pytest.raises(ValueError, match="need exponent in"):
        EnergyBalanced(**wrong)


# Terms
@every_term
def test_loss_term_is_zero_for_equal_waveforms_alone(term):
    x = 0.1 * draw(2, 1, 4096)
    assert torch.allclose(term(x, x), torch.zeros(2).double(), atol=1e-12)
    assert bool((term(x + 0.01 * draw(2, 1, 4096, seed=1), x) > 1e-4).all())


@every_term
def test_loss_term_of_a_clip_does_not_depend_on_its_batch(term):
    test, reference = 0.1 * draw(3, 1, 4096), 0.1 * draw(3, 1, 4096, seed=1)
    together = term(test, reference)
    assert together.shape == (3,)
    alone = [term(test[i : i + 1], reference[i : i + 1]) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-9)


@every_term
def test_loss_term_has_a_gradient_at_silence(term):
    for reference in (0.1 * draw(2, 1, 4096), torch.zeros(2, 1, 4096).double()):
        silence = torch.zeros(2, 1, 4096).double().requires_grad_()
        distance = term(silence, reference)
        distance.sum().backward()
        assert bool(distance.isfinite().all())
        assert bool(silence.grad.isfinite().all())


@pytest.mark.parametrize("made", [LogSpectral, MultiResolutionSTFT, lambda weight: MelL1(MEL, weight), Phase])
def test_loss_term_has_a_positive_weight(made):
    assert made(0.7).weight == 0.7
    for weight in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="must be positive"):
            made(weight)


@pytest.mark.parametrize("made", [LogSpectral, Phase])
@pytest.mark.parametrize("floor", [0.0, -1.0, math.nan])
def test_loss_term_refuses_a_floor_that_leaves_silence_without_a_gradient(made, floor):
    with pytest.raises(ValueError, match=r"floor=.* must be positive"):
        made(floor=floor)


@pytest.mark.parametrize("gain", [3.0, 0.2])
@pytest.mark.parametrize("changes", [{}, {"log": "log10"}, {"power": 2.0}, {"log": "log10", "power": 2.0}])
def test_loss_mel_term_of_a_gain_is_its_logarithm_in_nepers_whatever_the_contract(gain, changes):
    term, x = MelL1(MelSpec(16000, **changes)), draw(2, 1, 4096)
    assert torch.allclose(term(gain * x, x), torch.full((2,), abs(math.log(gain))).double(), atol=1e-9)
    assert float(term(1e-9 * x, 0 * x).max()) == 0  # below the floor


def test_loss_stft_term_is_that_of_auraloss_on_each_clip_alone():
    test, reference = 0.1 * draw(3, 1, 4096), 0.1 * draw(3, 1, 4096, seed=1) * torch.tensor([[[1.0]], [[5]], [[0.1]]])
    theirs = auraloss.freq.MultiResolutionSTFTLoss()
    wanted = torch.stack([theirs(test[i : i + 1], reference[i : i + 1]) for i in range(3)])
    assert torch.allclose(MultiResolutionSTFT()(test, reference), wanted, rtol=1e-12)
    assert abs(float(theirs(test, reference) - wanted.mean())) > 0.1  # over a batch theirs is another number


@given(seed=st.integers(0, 99), scale=st.floats(1e-3, 10))
def test_loss_phase_term_lies_between_zero_and_two(seed, scale):
    test, reference = scale * draw(2, 1, 1024, seed=seed), draw(2, 1, 1024, seed=seed + 1)
    distance = Phase(n_fft=128)(test, reference)
    assert bool(((distance >= 0) & (distance <= 2)).all())
    # Unrelated phases: the mean of 1 - cos is 1, for all three.
    assert torch.allclose(distance, torch.ones(2).double(), atol=0.4)


@pytest.mark.parametrize("gain", [1e-3, 0.5, 20.0])
def test_loss_phase_term_does_not_know_gain(gain):
    test, reference = draw(2, 1, 4096), draw(2, 1, 4096, seed=1)
    plain = Phase(floor=1e-9)(test, reference)
    assert torch.allclose(Phase(floor=1e-9)(gain * test, reference), plain, atol=1e-9)
    assert torch.allclose(Phase(floor=1e-9)(test, gain * reference), plain, atol=1e-9)


def test_loss_phase_term_counts_silence_as_unrelated():
    x, silence = draw(1, 1, 4096), torch.zeros(1, 1, 4096).double()
    for test, reference in ((silence, x), (x, silence), (silence, silence)):
        assert float(Phase()(test, reference)) == pytest.approx(1, abs=1e-12)


def test_loss_phase_term_sees_nothing_below_its_floor():
    x = draw(1, 1, 4096)
    assert float(Phase(floor=1e-3)(1e-6 * x, x)) == pytest.approx(1, abs=0.02)  # magnitudes of 1e-5: 1e-2 of the floor
    assert float(Phase(floor=1e-9)(1e-6 * x, x)) == pytest.approx(0, abs=1e-3)


def test_loss_phase_term_weighs_a_bin_by_its_magnitude():
    low, high = tone(1000.0), tone(5000.0, amplitude=0.2)
    found = float(Phase(floor=1e-9)(low - high, low + high))
    # Of the magnitude 0.2 / 1.2 is inverted; no step is, but for the few bins between the tones.
    assert found == pytest.approx(2 / 3 * 0.2 / 1.2, rel=0.03)


def test_loss_phase_term_of_inverted_polarity_is_two_thirds():
    x = draw(2, 1, 4096)
    # Every phase is half a turn off, no step along frequency or time is: (2 + 0 + 0) / 3.
    assert torch.allclose(Phase(floor=1e-9)(-x, x), torch.full((2,), 2 / 3).double(), atol=1e-9)


def test_loss_phase_term_of_a_delayed_pulse_is_its_phases_and_group_delay():
    n_fft, place = 512, 2050  # the pulse stays within its four frames, which begin at multiples of 128
    pulse, k = torch.zeros(1, 1, 4096).double(), np.arange(n_fft // 2 + 1)
    pulse[0, 0, place] = 1.0
    for delay in (1, 5, 20, 60):
        turn = 2 * np.pi * delay / n_fft
        wanted = (np.mean(1 - np.cos(k * turn)) + 1 - np.cos(turn)) / 3  # frames agree: no phase advance
        found = float(Phase(floor=1e-12)(pulse.roll(delay), pulse))
        assert found == pytest.approx(wanted, rel=1e-6)


def test_loss_phase_term_of_a_mistuned_tone_is_its_phase_advance():
    # 10 Hz off for 1 s: the phase turns ten times, and by 2 pi 10 · 128 / 16000 from frame to frame.
    advance = 1 - math.cos(2 * math.pi * 10 * 128 / 16000)
    found = float(Phase(floor=1e-6)(tone(1010.0), tone(1000.0)))
    assert found == pytest.approx((1 + advance) / 3, abs=5e-3)  # unrelated phases, equal group delays


def log_spectral_distance(test, reference, n_fft=512, floor=1e-3):
    return LogSpectral(1.0, n_fft, floor)(test, reference)


def test_loss_log_spectral_distance_of_a_gain_is_its_logarithm():
    x = draw(2, 1, 2000)
    for gain in (2.0, 0.1):
        distance = log_spectral_distance(gain * x, x, 128, floor=1e-9)
        assert torch.allclose(distance, torch.full((2,), abs(math.log(gain))).double(), atol=1e-6)
        assert torch.allclose(log_spectral_distance(x, gain * x, 128, floor=1e-9), distance)
    assert torch.equal(log_spectral_distance(x, x), torch.zeros(2).double())


def test_loss_log_spectral_distance_sees_nothing_below_its_floor():
    silence, faint = torch.zeros(1, 1, 2000).double(), 1e-6 * draw(1, 1, 2000)
    assert float(log_spectral_distance(faint, silence)) < 1e-2
    assert float(log_spectral_distance(faint, silence, floor=1e-8)) > 3
    # Against silence a bin of magnitude a counts log(sqrt(a² + floor²) / floor).
    tone = torch.ones(1, 1, 4096).double()
    level = log_spectral_distance(tone, torch.zeros_like(tone), 512, floor=1.0)
    window = torch.hann_window(512, dtype=torch.float64)
    spectrum = torch.stft(tone[0], 512, 128, window=window, pad_mode="constant", return_complex=True)
    assert float(level) == pytest.approx(float((spectrum.abs().square() + 1).log().mean() / 2), rel=1e-6)
