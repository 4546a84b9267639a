"""Every path that `conf/schedule` builds, and variants of them, against the laws and closed forms of their papers."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.schedules import PATHS, double, every_path

from audiodiff.diffusion.schedules import (
    CosineVP,
    GeometricVE,
    KarrasVE,
    LaplaceVP,
    LinearVP,
    LogisticVP,
    RangedSchedule,
    RectifiedFlow,
    SigmoidVP,
    SubVP,
    ZeroTerminalSNR,
)
from audiodiff.diffusion.schedules.variance_preserving import VariancePreserving

RANGED = [CosineVP, LaplaceVP, LinearVP, LogisticVP, RectifiedFlow, SigmoidVP, SubVP]
UNIT = st.floats(0, 1)
# float64 tells 1 - u = e^-15 / 2, which is where the longest tails end, from 0 to a relative 1e-16 / 1.5e-7 = 7e-10.
TAIL = 1e-8

every_ranged = pytest.mark.parametrize("kind", RANGED)


LAWS = {  # the first that fits; a new family needs a law here
    SubVP: lambda alpha, sigma: alpha**2 + sigma,
    VariancePreserving: lambda alpha, sigma: alpha**2 + sigma**2,
    ZeroTerminalSNR: lambda alpha, sigma: alpha**2 + sigma**2,
    RectifiedFlow: lambda alpha, sigma: alpha + sigma,
    GeometricVE: lambda alpha, sigma: alpha,
}


@every_path
@given(t=UNIT)
def test_schedule_keeps_the_law_of_its_family(path, t):
    law = next(law for kind, law in LAWS.items() if isinstance(PATHS[path], kind))
    alpha, sigma = PATHS[path](double(t))
    assert float(law(alpha, sigma)) == pytest.approx(1, abs=1e-14)  # float64
    assert alpha > 0 or (alpha == 0 and t == 1)
    assert sigma > 0


@every_path
@given(t=UNIT)
def test_schedule_log_snr_is_that_of_its_scales(path, t):
    alpha, sigma = PATHS[path](double(t))
    assert float(PATHS[path].log_snr(double(t))) == pytest.approx(float(2 * (alpha.log() - sigma.log())), abs=1e-12)


@every_path
def test_schedule_log_snr_falls(path):
    log_snr = PATHS[path].log_snr(torch.linspace(0, 1, 4001, dtype=torch.float64))
    assert bool((log_snr.diff() < 0).all())
    assert bool(log_snr[:-1].isfinite().all())


@every_ranged
@given(low=st.floats(-15, -1), high=st.floats(1, 15), shift=st.floats(-4, 4))
def test_schedule_log_snr_spans_its_range_whatever_the_shift(kind, low, high, shift):
    ends = kind(log_snr_min=low, log_snr_max=high, shift=shift).log_snr(double([0, 1]))
    assert ends.tolist() == pytest.approx([high, low], abs=1e-6)  # TAIL, e^4 closer to 1


@every_ranged
@given(t=UNIT, shift=st.floats(-4, 4))
def test_schedule_shift_moves_the_whole_curve(kind, t, shift):
    still, moved = kind(log_snr_min=-9, log_snr_max=9), kind(log_snr_min=-9 + shift, log_snr_max=9 + shift, shift=shift)
    assert float(moved.log_snr(double(t))) == pytest.approx(float(still.log_snr(double(t))) + shift, abs=TAIL)


@pytest.mark.parametrize("kind", [LinearVP, SubVP, CosineVP])
@pytest.mark.parametrize("shift", [-2 * math.log(4), 1.0])
def test_schedule_shift_moves_an_open_end_by_itself(kind, shift):
    end = double(1.0)
    moved = kind(log_snr_min=None, shift=shift).log_snr(end) - kind(log_snr_min=None).log_snr(end)
    assert float(moved) == pytest.approx(shift, abs=1e-12)


@pytest.mark.parametrize("times_as_loud", [0.25, 3.0])
def test_schedule_shift_of_flow_is_that_of_esser(times_as_loud):
    # sigma = m u / (1 + (m - 1) u) with m = 1 / c (Esser et al., 2024, equation 23); u is as long as the ends are far.
    u, m = torch.linspace(0.01, 0.99, 99, dtype=torch.float64), 1 / times_as_loud
    schedule = RectifiedFlow(-30, 30, shift=2 * math.log(times_as_loud))
    assert torch.allclose(schedule(u)[1], m * u / (1 + (m - 1) * u), atol=1e-5)  # e^-15 and its shift at either end


@every_path
@given(t=UNIT)
def test_schedule_time_inverts_log_snr(path, t):
    # TAIL at the far end of a path, where log_snr moves at least 50 times as fast as t.
    assert float(PATHS[path].time(PATHS[path].log_snr(double(t)))) == pytest.approx(t, abs=1e-10)


@every_path
@given(part=UNIT)
def test_schedule_log_snr_inverts_time(path, part):
    high, low = PATHS[path].log_snr(double([0, 1])).clamp(min=-15).tolist()
    log_snr = low + part * (high - low)
    assert float(PATHS[path].log_snr(PATHS[path].time(double(log_snr)))) == pytest.approx(log_snr, abs=TAIL)


# Closed forms: alpha, sigma, d log alpha / du and g² / (du/dt), in numpy, in the curve's own time u.


def vp(alpha_squared, slope):
    """Completes alpha² and its slope: f = slope / (2 alpha²), g² = -2 f."""
    return alpha_squared**0.5, (1 - alpha_squared) ** 0.5, slope / alpha_squared / 2, -slope / alpha_squared


def rate_of(schedule, u):
    def beta(s):
        return schedule.beta_min + s * (schedule.beta_max - schedule.beta_min)

    return beta(u), np.array([scipy.integrate.quad(beta, 0, end)[0] for end in u])


def cosine(_, u):
    return (
        np.cos(np.pi * u / 2),
        np.sin(np.pi * u / 2),
        -np.pi / 2 * np.tan(np.pi * u / 2),
        np.pi * np.tan(np.pi * u / 2),
    )


def linear(schedule, u):
    """Song et al., 2020, equation 32: f = -beta / 2, g² = beta."""
    beta, total = rate_of(schedule, u)
    return np.exp(-total / 2), np.sqrt(1 - np.exp(-total)), -beta / 2, beta


def sub_vp(schedule, u):
    """Song et al., 2020, equation 29, and below it g² = beta (1 - exp(-2 B))."""
    beta, total = rate_of(schedule, u)
    return np.exp(-total / 2), 1 - np.exp(-total), -beta / 2, beta * (1 - np.exp(-2 * total))


def geometric(schedule, u):
    """Song et al., 2020, equation 31: g² = d sigma² / du."""
    growth = schedule.sigma_max / schedule.sigma_min
    sigma = schedule.sigma_min * growth**u
    return np.ones_like(u), sigma, 0 * u, 2 * np.log(growth) * sigma**2


def karras(schedule, u):
    """Karras et al., 2022, equation 5: g² = d sigma² / du."""
    low, high = (sigma ** (1 / schedule.rho) for sigma in (schedule.sigma_min, schedule.sigma_max))
    root = low + u * (high - low)
    power = 2 * schedule.rho
    return np.ones_like(u), root**schedule.rho, 0 * u, power * root ** (power - 1) * (high - low)


def flow(_, u):
    return 1 - u, u, -1 / (1 - u), 2 * u / (1 - u)


def sigmoid(schedule, u):
    """Jabri et al., 2022, appendix B: gamma = alpha²."""
    width = schedule.end - schedule.start
    first, here, last = (scipy.special.expit((schedule.start + width * a) / schedule.tau) for a in (0, u, 1))
    return vp((last - here) / (last - first), -here * (1 - here) * width / schedule.tau / (last - first))


def quantile(distribution):
    """Takes log_snr as the upper quantile: d log_snr / du = -1 / density, d alpha² = alpha² sigma² d log_snr."""

    def form(schedule, u):
        law = distribution(schedule.mean, schedule.scale)
        alpha_squared = scipy.special.expit(law.isf(u))
        return vp(alpha_squared, -alpha_squared * (1 - alpha_squared) / law.pdf(law.isf(u)))

    return form


FORMS = {
    CosineVP: cosine,
    LinearVP: linear,
    SubVP: sub_vp,
    GeometricVE: geometric,
    KarrasVE: karras,
    RectifiedFlow: flow,
    SigmoidVP: sigmoid,
    LogisticVP: quantile(scipy.stats.logistic),
    LaplaceVP: quantile(scipy.stats.laplace),
}
# A shift has no part in the closed forms; a rescaled path has its own below.
FORMED = [name for name, path in PATHS.items() if isinstance(path, RangedSchedule) and path.shift == 0]


def formed(path, t):
    """Returns the closed form at t, and du/dt."""
    schedule = PATHS[path]
    first, last = schedule.place(schedule.log_snr(double([0, 1]))).tolist()
    return *FORMS[type(schedule)](schedule, (first + (last - first) * t).numpy()), last - first


@pytest.mark.parametrize("path", FORMED)
def test_schedule_has_the_closed_form_of_its_paper(path):
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    for scale, wanted in zip(PATHS[path](t), formed(path, t), strict=False):
        assert np.allclose(scale.numpy(), wanted, rtol=1e-10, atol=1e-12)  # float64; 1 - exp(-B) cancels in numpy


@pytest.mark.parametrize("path", FORMED)
def test_schedule_drift_and_diffusion_are_those_of_its_paper(path):
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    *_, wanted_drift, wanted_variance, speed = formed(path, t)
    drift, diffusion = PATHS[path].drift_and_diffusion(t)
    assert np.allclose(drift.numpy(), wanted_drift * speed, rtol=1e-9, atol=0)  # float64
    assert np.allclose(diffusion.square().numpy(), wanted_variance * speed, rtol=1e-9, atol=0)
    assert not drift.requires_grad
    assert not diffusion.requires_grad


def test_schedule_laplace_falls_at_its_sharpest_point_too():
    u = double(0.5).requires_grad_()
    LaplaceVP(1, 3).curve(u).backward()
    assert float(u.grad) == pytest.approx(-6)  # -1 / density = -2 scale


def algorithm_1(alpha_bar):
    """Rescales cumulative products as Lin et al., 2023, arXiv:2305.08891, algorithm 1, and returns sqrt(alpha_bar)."""
    root = np.sqrt(alpha_bar)
    first, last = root[0], root[-1]
    return (root - last) * (first / (first - last))


@pytest.mark.parametrize("within", [CosineVP(-15, 20), CosineVP(-6, 3), LinearVP()])
def test_schedule_zero_terminal_is_algorithm_1_of_lin_et_al(within):
    t = torch.linspace(0, 1, 1000, dtype=torch.float64)
    alpha, sigma = ZeroTerminalSNR(within)(t)
    wanted = algorithm_1(within(t)[0].square().numpy())
    assert np.allclose(alpha.numpy(), wanted, rtol=0, atol=1e-12)  # float64
    assert np.allclose(sigma.numpy(), np.sqrt(1 - wanted**2), rtol=0, atol=1e-7)  # the wanted one cancels at t = 0
    assert (float(alpha[-1]), float(sigma[-1])) == (0.0, pytest.approx(1, abs=1e-15))


def test_schedule_zero_terminal_keeps_its_precision_and_its_slope_at_the_ends():
    path = ZeroTerminalSNR(CosineVP(-15, 40))
    assert float(path.log_snr(double(0.0))) == pytest.approx(40, abs=1e-9)  # 1 - alpha² is 4e-18
    d_alpha, d_sigma = path.derivatives(double([1 - 1e-9, 1]))
    assert float(d_alpha[1]) == pytest.approx(float(d_alpha[0]), rel=1e-8)
    assert float(d_sigma[1]) == pytest.approx(0, abs=1e-12)
    assert float(path.drift_and_diffusion(double(1.0))[0]) == -math.inf


@every_path
@pytest.mark.parametrize("variance", [0.0, 4.0])
def test_schedule_drift_and_diffusion_carry_the_variance_forward(path, variance):
    # Var x_t obeys d Var = (2 f Var + g²) dt: a midpoint rule from t = 0.1 to 0.9 for data of some variance.
    schedule, n = PATHS[path], 20000
    t = 0.1 + 0.8 * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    drift, diffusion = schedule.drift_and_diffusion(t)
    growth = 2 * drift * 0.8 / n
    until_end = growth.flip(0).cumsum(0).flip(0) - growth / 2  # from the middle of each step
    (alpha, alpha_end), (sigma, sigma_end) = schedule(double([0.1, 0.9]))
    carried = (alpha**2 * variance + sigma**2) * growth.sum().exp()
    added = (until_end.exp() * diffusion**2 * 0.8 / n).sum()
    # Second order in 1 / n; a path that is all slope in its middle has the largest error.
    assert float(carried + added) == pytest.approx(float(alpha_end**2 * variance + sigma_end**2), rel=1e-5)


def test_schedule_drift_and_diffusion_can_be_had_while_sampling():
    t = double(0.5)
    wanted = CosineVP().drift_and_diffusion(t)
    with torch.inference_mode():
        assert CosineVP().drift_and_diffusion(torch.full_like(t, 0.5)) == wanted
    with torch.no_grad():
        assert CosineVP().drift_and_diffusion(t) == wanted
    assert t.grad is None


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,), (2, 1)])
def test_schedule_keeps_shape_and_dtype_of_time(path, dtype, shape):
    schedule, t = PATHS[path], torch.full(shape, 0.4, dtype=dtype)
    log_snr = schedule.log_snr(t)
    answers = *schedule(t), log_snr, schedule.time(log_snr), *schedule.derivatives(t), *schedule.drift_and_diffusion(t)
    assert [(value.shape, value.dtype) for value in answers] == [(shape, dtype)] * len(answers)
    assert all(bool(value.isfinite().all()) for value in answers)
