"""Predictions: each determines clean signal and noise, exactly, at every time and for every level of the data."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from audiodiff.diffusion.denoiser import Conditioned, ConstrainedDenoiser, Denoiser, scales
from audiodiff.diffusion.predictions import EpsPrediction, FlowPrediction, VPrediction, XPrediction, data_of, noise_of
from audiodiff.diffusion.schedules import CosineVP, GeometricVE, KarrasVE
from audiodiff.utils.config import choices, choose

PREDICTIONS = [VPrediction, EpsPrediction, XPrediction, FlowPrediction]
LEVELS = [1.0, 0.1, 3.0]
SCHEDULE = CosineVP()
TIMES = st.floats(0, 1)
every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
every_level = pytest.mark.parametrize("sigma_data", LEVELS)
every_path = pytest.mark.parametrize("path", choices("schedule"))


def draw(seed=0, shape=(2, 1, 64), dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mixed(t, sigma_data=1.0, dtype=torch.float64):
    """x, eps, x_t, alpha, sigma of a random signal at a time."""
    x, eps = sigma_data * draw(1, dtype=dtype), draw(2, dtype=dtype)
    alpha, sigma = scales(SCHEDULE, torch.tensor(t, dtype=torch.float64), x)
    return x, eps, alpha * x + sigma * eps, alpha, sigma


@every_prediction
@every_level
@given(t=TIMES)
def test_prediction_estimate_inverts_target(prediction, sigma_data, t):
    x, eps, x_t, alpha, sigma = mixed(t, sigma_data)
    made = prediction(sigma_data)
    estimate = made.estimate(made.target(x, eps, alpha, sigma), x_t, alpha, sigma)
    # float64 (1e-16), magnified by 1 / alpha or 1 / sigma, up to 1808, where a prediction must divide by them
    assert torch.allclose(estimate.x, x, rtol=0, atol=1e-11)
    assert torch.allclose(estimate.eps, eps, rtol=0, atol=1e-11)


@every_prediction
@every_level
@given(t=TIMES)
def test_prediction_estimates_add_up_to_the_input_whatever_the_output(prediction, sigma_data, t):
    _, _, x_t, alpha, sigma = mixed(t, sigma_data)
    estimate = prediction(sigma_data).estimate(5 * draw(3), x_t, alpha, sigma)
    assert torch.allclose(alpha * estimate.x + sigma * estimate.eps, x_t, rtol=0, atol=1e-10)  # float64


@every_prediction
@every_level
@every_path
def test_prediction_estimate_inverts_target_on_every_path(prediction, sigma_data, path):
    schedule, made, eps = choose("schedule", path), prediction(sigma_data), draw(2)
    x = sigma_data * draw(1)
    for t in (0.0, 1e-3, 0.3, 0.7, 0.999, 1.0):
        alpha, sigma = scales(schedule, torch.tensor(t, dtype=torch.float64), x)
        if prediction is EpsPrediction and not bool(alpha > 0):
            continue  # nothing of the signal is left; Denoiser refuses such a path
        estimate = made.estimate(made.target(x, eps, alpha, sigma), alpha * x + sigma * eps, alpha, sigma)
        # Float64 for v and u, which divide by no scale that vanishes; the others magnify it by alpha / sigma or back.
        lost = (
            {EpsPrediction: 1 + float(sigma / alpha), XPrediction: 1 + float(alpha / sigma)}.get(prediction, 1)
            if alpha > 0
            else 1
        )
        assert torch.allclose(estimate.x, x, rtol=0, atol=1e-14 * lost)
        assert torch.allclose(estimate.eps, eps, rtol=0, atol=1e-14 * lost)


@every_prediction
@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_denoiser_stays_finite_at_both_ends_of_every_path(prediction, path, dtype):
    schedule = choose("schedule", path)
    if prediction is EpsPrediction and path == "zero-terminal":
        with pytest.raises(ValueError, match="zero SNR"):
            Denoiser(Listener(), prediction(), schedule)
        return
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    x, eps = draw(1, dtype=torch.float32).to(dtype), draw(2, dtype=torch.float32).to(dtype)
    alpha, sigma = scales(schedule, t, x)
    network, made, x_t = Listener(), prediction(), alpha * x + sigma * eps
    perfect = made.estimate(made.target(x, eps, alpha, sigma), x_t, alpha, sigma)
    for value in (*Denoiser(network, made, schedule)(x_t, t), *perfect, network.x, network.log_snr):
        assert value.dtype == dtype
        assert bool(value.isfinite().all())


@pytest.mark.parametrize("t", [0.0, 1.0])
def test_prediction_survives_scales_that_are_exactly_zero(t):
    x, eps = draw(1), draw(2)
    alpha, sigma = torch.tensor([[[1.0 - t]], [[t]]], dtype=torch.float64)
    for prediction in PREDICTIONS:
        made = prediction(1.0)
        estimate = made.estimate(made.target(x, eps, alpha, sigma), alpha * x + sigma * eps, alpha, sigma)
        assert all(bool(value.isfinite().all()) for value in estimate)
        assert torch.allclose(estimate.x if t == 0 else estimate.eps, x if t == 0 else eps, atol=1e-12)


@given(t=TIMES)
def test_prediction_velocity_is_that_of_salimans_and_ho(t):
    x, eps, _, alpha, sigma = mixed(t)
    assert torch.allclose(VPrediction().target(x, eps, alpha, sigma), alpha * eps - sigma * x, atol=1e-14)  # float64


@pytest.mark.parametrize("prediction", [VPrediction, EpsPrediction, XPrediction])
@every_level
@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_prediction_target_has_unit_variance(prediction, sigma_data, t):
    x, eps = sigma_data * draw(1, (1, 1, 400_000)), draw(2, (1, 1, 400_000))
    alpha, sigma = scales(SCHEDULE, torch.tensor(t, dtype=torch.float64), x)
    # The variance of 4e5 normal draws has a standard error of 0.0022.
    assert float(prediction(sigma_data).target(x, eps, alpha, sigma).var()) == pytest.approx(1, abs=0.01)


@every_level
def test_prediction_flow_target_has_unit_variance_at_every_time(sigma_data):
    x, eps, _, alpha, sigma = mixed(0.3, sigma_data)
    target = FlowPrediction(sigma_data).target(x, eps, alpha, sigma)
    assert torch.allclose(target * math.sqrt(1 + sigma_data**2), eps - x, atol=1e-14)  # independent: variances add


@every_prediction
@pytest.mark.parametrize("sigma_data", [0.0, -1.0, math.nan])
def test_prediction_refuses_data_without_variance(prediction, sigma_data):
    with pytest.raises(ValueError, match="sigma_data"):
        prediction(sigma_data)


def test_prediction_noise_and_data_follow_from_each_other():
    x, eps, x_t, alpha, sigma = mixed(0.4)
    assert torch.allclose(noise_of(x_t, x, alpha, sigma), eps, atol=1e-12)
    assert torch.allclose(data_of(x_t, eps, alpha, sigma), x, atol=1e-12)


class Listener(nn.Module):
    """Remembers what it was given and answers with a fixed function of it."""

    def forward(self, x, log_snr, condition=None):
        self.x, self.log_snr, self.condition = x, log_snr, condition
        return (x + 0.1 * log_snr[:, None, None].to(x)).tanh()


@every_level
@pytest.mark.parametrize("t", [0.0, 0.3, 0.7, 1.0])
def test_denoiser_gives_its_network_unit_variance(sigma_data, t):
    network, n = Listener(), 200_000
    x, eps = sigma_data * draw(1, (1, 1, n)), draw(2, (1, 1, n))
    t = torch.tensor(t, dtype=torch.float64)
    alpha, sigma = scales(SCHEDULE, t, x)
    Denoiser(network, VPrediction(sigma_data), SCHEDULE)(alpha * x + sigma * eps, t)
    assert float(network.x.std()) == pytest.approx(1, abs=0.01)  # standard error 0.0016


def test_denoiser_tells_its_network_log_snr_and_condition():
    network, condition = Listener(), object()
    denoiser = Denoiser(network, VPrediction(), SCHEDULE)
    t = torch.tensor([0.2, 0.9], dtype=torch.float64)
    denoiser(draw(dtype=torch.float32), t, condition)
    assert network.log_snr.dtype == torch.float32
    assert torch.allclose(network.log_snr.double(), SCHEDULE.log_snr(t), atol=1e-5)  # float32
    assert network.condition is condition
    denoiser(draw(dtype=torch.float32), t[1])
    assert network.log_snr.tolist() == pytest.approx([float(SCHEDULE.log_snr(t[1]))] * 2)
    assert network.condition is None


@pytest.mark.parametrize("schedule", [KarrasVE(), GeometricVE()])
@pytest.mark.parametrize("sigma_data", [0.5, 1.0])
def test_denoiser_of_velocity_is_that_of_edm_on_a_path_that_explodes(schedule, sigma_data):
    """Table 1 of arXiv:2206.00364: D = c_skip x_t + c_out F(c_in x_t); v points to the noise, so c_out is negative."""
    t, network = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=torch.float64), Listener()
    alpha, sigma = scales(schedule, t, draw())
    assert torch.equal(alpha, torch.ones_like(alpha))
    x_t = sigma_data * draw(1, (5, 1, 64)) + sigma * draw(2, (5, 1, 64))
    estimate = Denoiser(network, VPrediction(sigma_data), schedule)(x_t, t)
    total = sigma**2 + sigma_data**2
    skip, out, into = sigma_data**2 / total, -sigma * sigma_data / total.sqrt(), 1 / total.sqrt()
    assert torch.allclose(network.x, into * x_t, rtol=1e-12)
    theirs = skip * x_t + out * Listener()(into * x_t, schedule.log_snr(t).clamp(-20, 20))
    assert torch.allclose(estimate.x, theirs, rtol=1e-12, atol=1e-14)  # float64
    assert torch.allclose(x_t - estimate.x, sigma * estimate.eps, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("schedule", [CosineVP(-40, 40), choose("schedule", "zero-terminal"), KarrasVE(1e-6, 1e6)])
def test_denoiser_tells_its_network_no_more_than_twenty_units_of_log_snr(schedule):
    network, t = Listener(), torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    Denoiser(network, VPrediction(), schedule)(draw(shape=(3, 1, 64)), t)
    assert network.log_snr[[0, 2]].tolist() == pytest.approx([20, -20], abs=1e-9)
    assert float(network.log_snr[1]) == float(schedule.log_snr(t[1]))


@every_prediction
def test_denoiser_treats_each_clip_at_its_own_time(prediction):
    denoiser, x_t = Denoiser(Listener(), prediction(0.5), SCHEDULE), draw()
    t = torch.tensor([0.2, 0.9], dtype=torch.float64)
    together = denoiser(x_t, t)
    for i in range(2):
        alone = denoiser(x_t[i : i + 1], t[i])
        assert torch.allclose(together.x[i : i + 1], alone.x, atol=1e-14)
        assert torch.allclose(together.eps[i : i + 1], alone.eps, atol=1e-14)


@every_prediction
def test_denoiser_keeps_the_dtype_of_the_signal_whatever_the_network_answers(prediction):
    class Half(Listener):
        def forward(self, x, log_snr, condition=None):
            return super().forward(x, log_snr, condition).bfloat16()

    x_t, t = draw(dtype=torch.float32), torch.tensor(0.5, dtype=torch.float64)
    estimate = Denoiser(Half(), prediction(), SCHEDULE)(x_t, t)
    exact = Denoiser(Listener(), prediction(), SCHEDULE)(x_t, t)
    assert estimate.x.dtype == estimate.eps.dtype == torch.float32
    assert torch.allclose(estimate.x, exact.x, atol=0.02)  # bfloat16 has 8 bits


def test_denoiser_conditioned_binds_its_condition():
    network, condition = Listener(), object()
    denoiser = Denoiser(network, VPrediction(), SCHEDULE)
    bound, t = Conditioned(denoiser, condition), torch.tensor(0.5, dtype=torch.float64)
    estimate = bound(draw(), t)
    assert network.condition is condition
    assert bound.schedule is SCHEDULE
    assert torch.equal(estimate.x, denoiser(draw(), t, condition).x)


@given(t=TIMES)
def test_denoiser_refined_is_refined_and_still_adds_up(t):
    inner = Conditioned(Denoiser(Listener(), VPrediction(), SCHEDULE), None)
    x_t, t = draw(), torch.tensor(t, dtype=torch.float64)
    plain, refined = inner(x_t, t), ConstrainedDenoiser(inner, lambda x: 0.5 * x + 0.1)(x_t, t)
    alpha, sigma = scales(SCHEDULE, t, x_t)
    assert torch.equal(refined.x, 0.5 * plain.x + 0.1)
    assert torch.allclose(alpha * refined.x + sigma * refined.eps, x_t, atol=1e-12)  # float64
    assert ConstrainedDenoiser(inner, lambda x: x).schedule is SCHEDULE


def test_denoiser_scales_are_shaped_for_signals_and_computed_where_the_time_is():
    t = torch.tensor([0.1, 0.6], dtype=torch.float64)
    alpha, sigma = scales(SCHEDULE, t, draw(dtype=torch.float32))
    assert alpha.shape == sigma.shape == (2, 1, 1)
    assert alpha.dtype == sigma.dtype == torch.float32
    # Rounded once, after float64: sigma of log-SNR 15 is 5.53e-4 to float32's last bit.
    assert float(sigma[0]) == float(SCHEDULE(t)[1][0].float())
    assert scales(SCHEDULE, t[0], draw())[0].shape == (1, 1, 1)


def test_denoiser_multiplies_in_bfloat16_only_where_it_is_told_to():
    class Products(torch.nn.Module):
        def forward(self, x, log_snr, condition):
            seen.append((x @ x.mT).dtype)
            return x

    seen: list[torch.dtype] = []
    denoiser = Denoiser(Products(), XPrediction(), CosineVP())
    x_t, t = torch.randn(1, 1, 8), torch.tensor(0.5, dtype=torch.float64)
    estimates = [Conditioned(denoiser, None, name)(x_t, t) for name in ("float32", "bfloat16")]
    assert seen == [torch.float32, torch.bfloat16]
    assert all(estimate.x.dtype == torch.float32 for estimate in estimates)
    with torch.autocast("cpu", torch.bfloat16):  # as training has it
        Conditioned(denoiser, None)(x_t, t)
    assert seen[-1] == torch.bfloat16
