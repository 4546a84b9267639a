"""The loss: what it draws, what it compares, and how it is weighted."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiodiff.denoisers import Data, Denoiser, Estimate, Velocity, scales
from audiodiff.losses import DenoisingLoss, LogSpectral, PowerTimes, VelocityWeight
from audiodiff.schedules import CosineVP

SCHEDULE = CosineVP()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


class Oracle:
    """Knows the clean signal up to a given error, and remembers what it was asked."""

    def __init__(self, x, error=0.0, prediction=None):
        self.x, self.error = x, error
        self.prediction, self.schedule = prediction or Velocity(), SCHEDULE

    def __call__(self, x_t, t, condition=None):
        self.x_t, self.t, self.condition = x_t, t, condition
        return Estimate(self.x + self.error, torch.zeros_like(x_t))


def unreachable(x):
    raise RuntimeError("nothing to decode")


@given(batch=st.integers(1, 40), seed=st.integers(0, 99), power=st.sampled_from([0.5, 1.0, 2.0]))
def test_schedule_of_training_times_is_stratified(batch, seed, power):
    times = PowerTimes(power, low=0.1, high=0.7)(batch, seeded(seed), SCHEDULE)
    assert times.dtype == torch.float64
    assert times.shape == (batch,)
    u = ((times - 0.1) / 0.6) ** (1 / power)
    # One in each of `batch` equal parts of u, in random order.
    assert sorted((u * batch - 1e-9).floor().clamp(min=0).int().tolist()) == list(range(batch))


def test_schedule_of_training_times_is_shuffled_and_repeatable():
    times = PowerTimes()(64, seeded(), SCHEDULE)
    assert torch.equal(PowerTimes()(64, seeded(), SCHEDULE), times)
    assert not torch.equal(PowerTimes()(64, seeded(1), SCHEDULE), times)
    assert not torch.equal(times.sort().values, times)
    assert abs(float(torch.corrcoef(torch.stack([times, torch.arange(64).double()]))[0, 1])) < 0.5  # 4 standard errors


def test_schedule_of_training_times_of_power_two_prefers_early_ones():
    for times, share in ((PowerTimes(), 0.25), (PowerTimes(2.0), 0.5)):
        early = (times(1000, seeded(), SCHEDULE) < 0.25).double().mean()
        assert float(early) == pytest.approx(share, abs=0.002)  # stratified: exact to 1 / 1000


@pytest.mark.parametrize(
    "wrong", [{"low": 0.5, "high": 0.5}, {"low": -0.1}, {"high": 1.1}, {"low": 0.6, "high": 0.4}, {"power": 0.0}]
)
def test_schedule_of_training_times_refuses_an_empty_range(wrong):
    with pytest.raises(ValueError, match="need 0 <= low < high <= 1 and power > 0"):
        PowerTimes(**wrong)


def test_prediction_loss_of_a_perfect_denoiser_is_zero():
    x = draw(4, 1, 256)
    terms = DenoisingLoss(PowerTimes(), terms={"spectral": LogSpectral(0.5, 64)})(
        Oracle(x), x, None, lambda z: z, seeded()
    )
    for term in (terms.total, terms.error, terms.terms["spectral"]):
        assert torch.equal(term, torch.zeros(4).double())


def test_prediction_loss_shows_the_denoiser_signal_and_noise_at_its_times():
    x, oracle, condition = draw(8, 1, 256), Oracle(draw(8, 1, 256)), object()
    terms = DenoisingLoss(PowerTimes())(oracle, x, condition, unreachable, seeded(3))
    alpha, sigma = scales(SCHEDULE, oracle.t, x)
    eps = (oracle.x_t - alpha * x) / sigma
    assert torch.equal(oracle.t, PowerTimes()(8, seeded(3), SCHEDULE))
    assert oracle.condition is condition
    assert torch.allclose(terms.log_snr, SCHEDULE.log_snr(oracle.t))
    # White noise of unit variance, new for each clip: 2048 draws have standard errors of 0.016 and 0.022.
    assert float(eps.var()) == pytest.approx(1, abs=0.12)
    assert float(eps.mean()) == pytest.approx(0, abs=0.08)
    assert not torch.allclose(eps[0], eps[1])


@pytest.mark.parametrize("sigma_data", [1.0, 0.3])
@pytest.mark.parametrize("max_weight", [10.0, 2.0])
def test_prediction_loss_is_the_error_in_v_up_to_its_cut_off(sigma_data, max_weight):
    x = draw(16, 1, 64)
    oracle = Oracle(x, error=0.2, prediction=Velocity(sigma_data))
    terms = DenoisingLoss(PowerTimes(), VelocityWeight(max_weight))(oracle, x, None, unreachable, seeded())
    alpha, sigma = (v.flatten() for v in SCHEDULE(oracle.t))
    weight = ((alpha * sigma_data) ** 2 + sigma**2) / (sigma * sigma_data) ** 2
    assert bool((weight > max_weight).any())
    assert bool((weight < max_weight).any() or sigma_data < 1)
    assert torch.allclose(terms.error, 0.04 * weight.clamp(max=max_weight))
    assert torch.equal(terms.total, terms.error)


def test_prediction_loss_equals_the_squared_error_of_a_velocity_network():
    class Half(torch.nn.Module):
        def forward(self, x, log_snr, condition=None):
            return 0.5 * x

    x, velocity = draw(8, 1, 64), Velocity(0.7)
    terms = DenoisingLoss(PowerTimes(), VelocityWeight(None))(
        Denoiser(Half(), velocity, SCHEDULE), x, None, unreachable, seeded(1)
    )
    generator = seeded(1)
    alpha, sigma = scales(SCHEDULE, PowerTimes()(8, generator, SCHEDULE), x)
    eps = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    output = 0.5 * (alpha * x + sigma * eps) / velocity.norm(alpha, sigma)
    wanted = (output - velocity.target(x, eps, alpha, sigma)).square().mean((1, 2))
    assert torch.allclose(terms.error, wanted, rtol=1e-6)  # the difference of nearly equal x̂ at small sigma


def test_prediction_loss_is_a_mean_over_samples_and_unreduced_over_clips():
    x = draw(3, 1, 64)
    error = torch.zeros_like(x)
    error[1, 0, :16] = 1.0  # a quarter of clip 1
    terms = DenoisingLoss(PowerTimes(), VelocityWeight(1e-3))(Oracle(x, error), x, None, unreachable, seeded())
    assert torch.allclose(terms.error, torch.tensor([0, 0.25e-3, 0], dtype=torch.float64))


def test_prediction_loss_adds_the_spectral_term_of_decoded_waveforms():
    x = draw(3, 1, 512)
    oracle = Oracle(x, error=x)  # estimates 2 x
    loss = DenoisingLoss(PowerTimes(), VelocityWeight(1e-9), terms={"spectral": LogSpectral(0.3, 128, 1e-9)})
    terms = loss(oracle, x, None, lambda z: 5 * z, seeded())
    assert torch.allclose(terms.terms["spectral"], torch.full((3,), math.log(2)).double(), atol=1e-6)
    assert torch.allclose(terms.total, terms.error + 0.3 * terms.terms["spectral"])
    cubed = loss(oracle, x, None, lambda z: z**3, seeded())
    assert torch.allclose(cubed.terms["spectral"], torch.full((3,), math.log(8)).double(), atol=1e-6)


def test_prediction_loss_trains_by_its_total_alone():
    gain = torch.nn.Parameter(torch.tensor(1.2, dtype=torch.float64))
    x = draw(2, 1, 256)

    class Scaled(Oracle):
        def __call__(self, x_t, t, condition=None):
            return Estimate(gain * self.x, x_t)

    terms = DenoisingLoss(PowerTimes(), terms={"spectral": LogSpectral(0.1, 64)})(
        Scaled(x), x, None, lambda z: z, seeded()
    )
    assert not terms.error.requires_grad
    assert not terms.terms["spectral"].requires_grad
    terms.total.sum().backward()
    assert float(gain.grad) > 0


def test_prediction_loss_stays_finite_at_the_ends_of_the_path():
    x = draw(2, 1, 64, dtype=torch.float32)
    for low, high in ((0.0, 1e-9), (1 - 1e-9, 1.0)):
        for prediction in (Velocity(), Data(), Velocity(1e-3)):
            oracle = Oracle(x, 0.1, prediction)
            terms = DenoisingLoss(PowerTimes(1.0, low, high))(oracle, x, None, unreachable, seeded())
            assert bool(terms.total.isfinite().all())
            assert all(term.dtype == torch.float32 for term in (terms.total, terms.error, terms.log_snr))


def log_spectral_distance(test, reference, n_fft=512, floor=1e-3):
    return LogSpectral(1.0, n_fft, floor)(test, reference)


def test_log_spectral_distance_of_a_gain_is_its_logarithm():
    x = draw(2, 1, 2000)
    for gain in (2.0, 0.1):
        distance = log_spectral_distance(gain * x, x, 128, floor=1e-9)
        assert torch.allclose(distance, torch.full((2,), abs(math.log(gain))).double(), atol=1e-6)
        assert torch.allclose(log_spectral_distance(x, gain * x, 128, floor=1e-9), distance)
    assert torch.equal(log_spectral_distance(x, x), torch.zeros(2).double())


def test_log_spectral_distance_sees_nothing_below_its_floor():
    silence, faint = torch.zeros(1, 1, 2000).double(), 1e-6 * draw(1, 1, 2000)
    assert float(log_spectral_distance(faint, silence)) < 1e-2
    assert float(log_spectral_distance(faint, silence, floor=1e-8)) > 3
    # Against silence a bin of magnitude a counts log(sqrt(a² + floor²) / floor).
    tone = torch.ones(1, 1, 4096).double()
    level = log_spectral_distance(tone, torch.zeros_like(tone), 512, floor=1.0)
    window = torch.hann_window(512, dtype=torch.float64)
    spectrum = torch.stft(tone[0], 512, 128, window=window, pad_mode="constant", return_complex=True)
    assert float(level) == pytest.approx(float((spectrum.abs().square() + 1).log().mean() / 2), rel=1e-6)


def test_log_spectral_distance_has_a_gradient_at_silence():
    silence = torch.zeros(1, 1, 2000).double().requires_grad_()
    log_spectral_distance(silence, draw(1, 1, 2000)).sum().backward()
    assert bool(silence.grad.isfinite().all())
