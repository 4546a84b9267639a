"""Schedules against the closed forms of the cosine path, and the grids made of them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiodiff.schedules import CosineVP, even_log_snr, even_times

RANGES = [(-15.0, 15.0), (-15.0, 20.0), (-6.0, 9.0)]
TIMES = st.floats(0, 1)


def moments(schedule, t):
    return schedule(torch.tensor(t, dtype=torch.float64))


@pytest.mark.parametrize("ends", RANGES)
@given(t=TIMES)
def test_schedule_preserves_variance(ends, t):
    alpha, sigma = moments(CosineVP(*ends), t)
    assert float(alpha**2 + sigma**2) == pytest.approx(1, abs=1e-14)  # float64
    assert alpha > 0
    assert sigma > 0


@pytest.mark.parametrize("ends", RANGES)
@given(t=TIMES)
def test_schedule_log_snr_is_that_of_its_scales(ends, t):
    schedule, t = CosineVP(*ends), torch.tensor(t, dtype=torch.float64)
    alpha, sigma = schedule(t)
    assert float(schedule.log_snr(t)) == pytest.approx(math.log(alpha**2 / sigma**2), abs=1e-9)  # float64


@pytest.mark.parametrize("ends", RANGES)
def test_schedule_log_snr_spans_its_range_and_falls(ends):
    schedule = CosineVP(*ends)
    log_snr = schedule.log_snr(torch.linspace(0, 1, 1001, dtype=torch.float64))
    assert bool((log_snr.diff() < 0).all())
    assert log_snr[[0, -1]].tolist() == pytest.approx([ends[1], ends[0]], abs=1e-9)


@pytest.mark.parametrize("ends", RANGES)
@given(t=TIMES)
def test_schedule_time_inverts_log_snr(ends, t):
    schedule, t = CosineVP(*ends), torch.tensor(t, dtype=torch.float64)
    log_snr = schedule.log_snr(t)
    assert float(schedule.time(log_snr)) == pytest.approx(float(t), abs=1e-12)  # float64
    assert float(schedule.log_snr(schedule.time(log_snr))) == pytest.approx(float(log_snr), abs=1e-9)


def test_schedule_is_the_cosine_of_nichol_and_dhariwal():
    # As the range widens, alpha_t tends to cos(pi t / 2) whatever its ends.
    for t in (0.1, 0.25, 0.5, 0.8):
        alpha, sigma = moments(CosineVP(-30, 30), t)
        assert float(alpha) == pytest.approx(math.cos(math.pi * t / 2), abs=1e-6)  # e^-15 is left of the angle
        assert float(sigma) == pytest.approx(math.sin(math.pi * t / 2), abs=1e-6)


@pytest.mark.parametrize("ends", RANGES)
def test_schedule_drift_and_diffusion_are_those_of_the_cosine_path(ends):
    schedule, t = CosineVP(*ends), torch.linspace(0, 1, 11, dtype=torch.float64)
    start, end = (math.atan(math.exp(-e / 2)) for e in reversed(ends))
    speed = end - start
    phi = start + speed * t
    drift, diffusion = schedule.drift_and_diffusion(t)
    assert torch.allclose(drift, -phi.tan() * speed, rtol=1e-9)  # float64; tan reaches 1808
    assert torch.allclose(diffusion**2, 2 * phi.tan() * speed, rtol=1e-9)
    assert not drift.requires_grad
    assert not diffusion.requires_grad


def test_schedule_drift_and_diffusion_carry_the_variance_forward():
    # Var x_t obeys d Var = (2 f Var + g²) dt: a midpoint rule from t = 0.1 to 0.9 for data of variance 4.
    schedule, n = CosineVP(), 20000
    t = 0.1 + 0.8 * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    drift, diffusion = schedule.drift_and_diffusion(t)
    (alpha, sigma), (alpha_end, sigma_end) = moments(schedule, 0.1), moments(schedule, 0.9)
    gain = (2 * drift * 0.8 / n).exp()
    variance = float(alpha**2 * 4 + sigma**2)
    for g, d in zip(gain.tolist(), (diffusion**2 * 0.8 / n).tolist(), strict=True):
        variance = variance * g + d * g**0.5
    assert variance == pytest.approx(float(alpha_end**2 * 4 + sigma_end**2), rel=1e-6)  # second order in 1 / n


def test_schedule_drift_and_diffusion_can_be_had_while_sampling():
    t = torch.tensor(0.5, dtype=torch.float64)
    wanted = CosineVP().drift_and_diffusion(t)
    with torch.inference_mode():
        assert CosineVP().drift_and_diffusion(torch.full_like(t, 0.5)) == wanted
    with torch.no_grad():
        assert CosineVP().drift_and_diffusion(t) == wanted
    assert t.grad is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_schedule_keeps_shape_and_dtype_of_time(dtype, shape):
    schedule, t = CosineVP(), torch.full(shape, 0.4, dtype=dtype)
    for value in (
        *schedule(t),
        schedule.log_snr(t),
        schedule.time(schedule.log_snr(t)),
        *schedule.drift_and_diffusion(t),
    ):
        assert (value.shape, value.dtype) == (shape, dtype)


@pytest.mark.parametrize("ends", [(3.0, 3.0), (5.0, -5.0), (math.nan, 1.0)])
def test_schedule_refuses_an_empty_range(ends):
    with pytest.raises(ValueError, match="log_snr_min"):
        CosineVP(*ends)


def grids(steps, start):
    return [
        even_times(steps, start),
        even_log_snr(CosineVP(), steps, start),
        even_log_snr(CosineVP(-15, 20), steps, start),
    ]


@given(steps=st.integers(1, 200), start=st.floats(0.01, 1))
def test_schedule_grids_fall_from_start_to_zero_in_float64(steps, start):
    for times in grids(steps, start):
        assert times.dtype == torch.float64
        assert times.shape == (steps + 1,)
        assert (float(times[0]), float(times[-1])) == (start, 0.0)
        assert bool((times.diff() < 0).all())


def test_schedule_grids_are_even_in_what_they_say():
    assert torch.allclose(even_times(8).diff(), torch.full((8,), -1 / 8, dtype=torch.float64), atol=1e-15)
    schedule = CosineVP(-15, 20)
    steps = schedule.log_snr(even_log_snr(schedule, 7)).diff()
    assert torch.allclose(steps, torch.full((7,), 35 / 7, dtype=torch.float64), atol=1e-9)  # float64
    late = schedule.log_snr(even_log_snr(schedule, 7, start=0.3)).diff()
    assert torch.allclose(late, late.mean().expand(7), atol=1e-9)


@pytest.mark.parametrize("steps", [0, -3])
def test_schedule_grids_refuse_no_steps(steps):
    for make in (lambda: even_times(steps), lambda: even_log_snr(CosineVP(), steps)):
        with pytest.raises(ValueError, match=rf"steps={steps}.*at least 1"):
            make()


@pytest.mark.parametrize("start", [0.0, -0.5, 1.01, math.nan])
def test_schedule_grids_refuse_a_start_outside_of_the_path(start):
    for make in (lambda: even_times(4, start), lambda: even_log_snr(CosineVP(), 4, start)):
        with pytest.raises(ValueError, match="start="):
            make()
