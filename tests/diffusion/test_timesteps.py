"""What is built on paths: the grids of times, and denoisers moved from one path to another; and what both refuse."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.schedules import PATHS, double, every_path

from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.predictions import EpsPrediction, FlowPrediction, VPrediction, XPrediction
from audiodiff.diffusion.schedules import (
    CosineVP,
    GeometricVE,
    KarrasVE,
    LaplaceVP,
    LinearVP,
    LogisticVP,
    RangedSchedule,
    RectifiedFlow,
    Schedule,
    SigmoidVP,
    SubVP,
    ZeroTerminalSNR,
)
from audiodiff.diffusion.timesteps import (
    TIMESTEP_GRIDS,
    check_timesteps,
    karras_timesteps,
    linear_timesteps,
    log_snr_timesteps,
    quadratic_timesteps,
)

every_grid = pytest.mark.parametrize("grid", TIMESTEP_GRIDS)
of_a_path = pytest.mark.parametrize(
    "grid", [log_snr_timesteps, karras_timesteps, functools.partial(karras_timesteps, rho=2.0)]
)


@every_path
@every_grid
@settings(max_examples=20)
@given(steps=st.integers(1, 200), start=st.floats(0.01, 0.999))
def test_schedule_grids_fall_from_start_to_zero_in_float64(path, grid, steps, start):
    if not isinstance(PATHS[path], ZeroTerminalSNR) and steps % 3 == 0:
        start = 1.0
    times = TIMESTEP_GRIDS[grid](PATHS[path], steps, start)
    assert times.dtype == torch.float64
    assert times.shape == (steps + 1,)
    assert (float(times[0]), float(times[-1])) == (start, 0.0)
    assert bool((times.diff() < 0).all())


def evenly(values):
    """Says whether values are equally far apart: to 1e-8 of the whole way, which float64 keeps where times near 1."""
    steps = values.diff()
    return torch.allclose(
        steps, steps.mean().expand_as(steps), rtol=0, atol=1e-8 * float((values[-1] - values[0]).abs())
    )


@pytest.mark.parametrize("start", [1.0, 0.3])
def test_schedule_grids_in_time_are_even_in_what_they_say(start):
    assert evenly(linear_timesteps(8, start))
    assert evenly(quadratic_timesteps(8, start).sqrt())


@every_path
@pytest.mark.parametrize("start", [1.0, 0.95, 0.3])
def test_schedule_grids_are_even_in_what_they_say(path, start):
    schedule = PATHS[path]
    if isinstance(schedule, ZeroTerminalSNR) and start == 1:
        start = 0.999
    assert evenly(schedule.log_snr(log_snr_timesteps(schedule, 7, start)))
    for rho in (1.0, 3.0, 7.0):
        alpha, sigma = schedule(karras_timesteps(schedule, 7, start, rho))
        assert evenly((sigma / alpha) ** (1 / rho))


def test_schedule_grids_take_explicit_times_as_they_are():
    assert torch.equal(check_timesteps([0.9, 0.2, 0]), double([0.9, 0.2, 0]))
    assert torch.equal(check_timesteps(torch.tensor([1.0, 0.0])), double([1, 0]))


@pytest.mark.parametrize(
    "times",
    [[], [0], [[1, 0]], [1, 0.5], [0.5, 0.7, 0], [1, 0.5, 0.5, 0], [1.1, 0], [1, math.nan, 0], [math.nan, 0], [1, -1]],
)
def test_schedule_grids_refuse_explicit_times_that_are_no_grid(times):
    with pytest.raises(ValueError, match=r"times=.*falls strictly"):
        check_timesteps(times)


@every_grid
@pytest.mark.parametrize("steps", [0, -3, 1.5])
def test_schedule_grids_refuse_no_steps_and_parts_of_one(grid, steps):
    with pytest.raises(ValueError, match=rf"steps={steps}.*at least 1"):
        TIMESTEP_GRIDS[grid](CosineVP(), steps, 1.0)


@every_grid
@pytest.mark.parametrize("start", [0.0, -0.5, 1.01, math.nan])
def test_schedule_grids_refuse_a_start_outside_of_the_path(grid, start):
    with pytest.raises(ValueError, match="start="):
        TIMESTEP_GRIDS[grid](CosineVP(), 4, start)


@pytest.mark.parametrize("rho", [0.0, -7.0, math.nan])
def test_schedule_grids_refuse_a_rho_that_is_not_positive(rho):
    with pytest.raises(ValueError, match="rho="):
        karras_timesteps(CosineVP(), 4, rho=rho)


@of_a_path
def test_schedule_grids_refuse_to_divide_an_infinite_log_snr(grid):
    path = ZeroTerminalSNR(CosineVP())
    with pytest.raises(ValueError, match="even-t or quadratic"):
        grid(path, 4)
    assert len(grid(path, 4, 0.99)) == 5  # the remedies
    assert len(linear_timesteps(4)) == len(quadratic_timesteps(4)) == 5


class Straight(RangedSchedule):
    """A curve as steep as it is told, and a shift with open ends."""

    def __init__(self, slope, shift=0.0):
        self.slope = slope
        super().__init__(shift=shift)

    def curve(self, u):
        return 8 - self.slope * u

    def place(self, log_snr):
        return (8 - log_snr) / self.slope

    def scales(self, log_snr):
        return log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()


class Forward(Schedule):
    """A path that knows no inverse."""

    def __call__(self, t):
        return 1 - t, t

    def log_snr(self, t):
        return -2 * t.logit()


@pytest.mark.parametrize("slope", [-3.0, 1e-30])
def test_schedule_that_does_not_fall_is_refused_when_built(slope):
    with pytest.raises(ValueError, match=r"Straight.*must fall"):
        Straight(slope)


@of_a_path
def test_schedule_without_an_inverse_says_so(grid):
    with pytest.raises(ValueError, match=r"Forward has no inverse.*linear_timesteps"):
        Forward().time(double(0.0))
    with pytest.raises(ValueError, match="Forward has no inverse"):
        grid(Forward(), 4, 0.9)


BAD = [
    *((kind, {"log_snr_min": 3.0, "log_snr_max": 3.0}, "log_snr_min") for kind in (CosineVP, LinearVP, RectifiedFlow)),
    *((kind, {"log_snr_min": 5.0, "log_snr_max": -5.0}, "log_snr_min") for kind in (LaplaceVP, LogisticVP, SubVP)),
    *((CosineVP, {end: value}, end) for end in ("log_snr_min", "log_snr_max") for value in (math.nan, math.inf)),
    *((kind, {"log_snr_max": None}, "log_snr_max") for kind in (CosineVP, LinearVP, SubVP, RectifiedFlow)),
    *((kind, {"log_snr_min": None}, "log_snr_min") for kind in (LogisticVP, LaplaceVP, RectifiedFlow, SigmoidVP)),
    *((kind, {"log_snr_min": end}, "float64") for kind in (LogisticVP, LaplaceVP, SigmoidVP) for end in (-36.0, -60.0)),
    (CosineVP, {"shift": math.nan}, "finite arguments"),
    (LogisticVP, {"mean": math.inf}, "finite arguments"),
    *((LinearVP, {"beta_min": beta}, "beta_min") for beta in (0.0, -1.0, math.nan, 20.0)),
    *((SubVP, {"beta_max": beta}, "beta_max") for beta in (0.1, -1.0, math.nan)),
    *((GeometricVE, {"sigma_min": sigma}, "sigma_min") for sigma in (0.0, -1.0, math.nan, 1000.0)),
    *((KarrasVE, {"sigma_max": sigma}, "sigma_max") for sigma in (0.001, math.inf, math.nan)),
    *((KarrasVE, {"rho": rho}, "rho") for rho in (0.0, -1.0, math.inf, math.nan)),
    *((kind, {"scale": scale}, "scale") for kind in (LogisticVP, LaplaceVP) for scale in (0.0, -1.0, math.nan)),
    *((SigmoidVP, {"tau": tau}, "tau") for tau in (0.0, -1.0, math.nan)),
    *((SigmoidVP, {"start": start}, "start") for start in (3.0, 4.0, math.nan)),
    *((ZeroTerminalSNR, {"schedule": path}, "variance-preserving") for path in (SubVP(), RectifiedFlow(), KarrasVE())),
]


@pytest.mark.parametrize(("kind", "arguments", "named"), BAD)
def test_schedule_refuses_bad_arguments_by_name(kind, arguments, named):
    with pytest.raises(ValueError, match=named):
        kind(**arguments)


class Smooth(torch.nn.Module):
    """Stands in for a network: no symmetry, and a smooth dependence on log-SNR."""

    def __init__(self):
        super().__init__()
        weights = torch.randn(8, 1, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.inward, self.outward = weights / 3, weights.transpose(0, 1).flip(2) / 9

    def forward(self, signal, log_snr, condition):
        hidden = torch.nn.functional.conv1d(signal, self.inward, padding=4)
        level = (log_snr[:, None, None] / 5 + torch.arange(8)[:, None]).sin()
        return torch.nn.functional.conv1d((hidden + level).tanh(), self.outward, padding=4)


PREDICTIONS = [
    kind(sigma_data) for kind in (XPrediction, EpsPrediction, VPrediction, FlowPrediction) for sigma_data in (1.0, 0.3)
]
LOG_SNR = double([-6.0, -2.5, 0.0, 1.7, 6.0])  # every path has them


# A denoiser of eps is refused on a path that ends at zero SNR.
PAIRS = [
    pytest.param(path, prediction, id=f"{path}-{type(prediction).__name__}-{prediction.sigma_data}")
    for path in PATHS
    for prediction in PREDICTIONS
    if not (isinstance(prediction, EpsPrediction) and isinstance(PATHS[path], ZeroTerminalSNR))
]


@pytest.mark.parametrize(("path", "prediction"), PAIRS)
def test_schedule_may_be_changed_under_a_denoiser(path, prediction):
    """From one path to any other by way of the log-SNR: x_t is scaled, and neither estimate changes."""

    def estimate(schedule):
        t = schedule.time(LOG_SNR)
        alpha, sigma = (scale[:, None, None] for scale in schedule(t))
        x_t = alpha * mixed
        guess = Denoiser(Smooth(), prediction, schedule)(x_t, t)
        assert torch.allclose(alpha * guess.x + sigma * guess.eps, x_t, rtol=1e-10, atol=1e-10)  # float64, e^3 apart
        return guess

    mixed = torch.randn(5, 1, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mixed = mixed * (prediction.sigma_data**2 + (-LOG_SNR).exp()).sqrt()[:, None, None]  # x + eps sigma / alpha
    moved, still = estimate(PATHS[path]), estimate(CosineVP())
    # An inverse of TAIL's precision, times e^3 where eps is told from x_t at high log-SNR.
    assert torch.allclose(moved.x, still.x, rtol=0, atol=1e-8)
    assert torch.allclose(moved.eps, still.eps, rtol=0, atol=1e-8)
