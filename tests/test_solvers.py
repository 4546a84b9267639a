"""Solvers against truths: an exactly solvable Gaussian, closed forms, and diffusers as an oracle."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from audiodiff.denoisers import Data, Denoiser, Estimate, Noise, Velocity, scales
from audiodiff.schedules import CosineVP, even_log_snr, even_times
from audiodiff.solvers import DDIM, SOLVERS, DPMSolver2M, sample, solver_named

ONE, ZERO = torch.tensor([1.0, 0.0], dtype=torch.float64)
EVEN_TIMES = ("ddim",)  # solvers whose error falls fastest on even times; the others want even log-SNR


class ExactGaussian:
    """The posterior means of x ~ N(mean, std²) in closed form, and the flow that solvers approximate.

    r² = alpha² std² + sigma²,   x̂ = mean + alpha std² (x_t - alpha mean) / r²,   ε̂ = sigma (x_t - alpha mean) / r²
    The probability-flow ODE conserves (x_t - alpha mean) / r.
    """

    def __init__(self, mean=0.7, std=0.3, schedule=None):
        self.mean, self.std, self.schedule = mean, std, schedule or CosineVP()
        self.calls = 0

    def __call__(self, x_t, t):
        self.calls += 1
        alpha, sigma = scales(self.schedule, t, x_t)
        residual = (x_t - alpha * self.mean) / ((alpha * self.std) ** 2 + sigma**2)
        return Estimate(self.mean + alpha * self.std**2 * residual, sigma * residual)

    def at(self, standardised, t):
        alpha, sigma = scales(self.schedule, t, standardised)
        return alpha * self.mean + ((alpha * self.std) ** 2 + sigma**2).sqrt() * standardised


def standardised():
    return torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(1, 1, -1)


def best_grid(name, schedule, steps):
    return even_times(steps) if name in EVEN_TIMES else even_log_snr(schedule, steps)


def warped_grid(schedule, steps):
    """Steps of log-SNR that grow smoothly, so that no two are equal."""
    begin, end = schedule.log_snr(torch.stack([ONE, ZERO]))
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    times = schedule.time(begin + (end - begin) * (0.6 * u + 0.4 * u**2))
    times[0], times[-1] = 1, 0
    return times


def measured_order(solver, grid):
    """Regresses the log of the error on the log of the step."""
    exact, z, counts = ExactGaussian(), standardised(), (32, 64, 128, 256, 512)
    errors = [
        float((sample(exact, solver, exact.at(z, ONE), grid(exact.schedule, n)) - exact.at(z, ZERO)).abs().max())
        for n in counts
    ]
    return np.polyfit(-np.log(counts), np.log(errors), 1)[0]


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_reaches_declared_order(name):
    # Measured: 0.989 (DDIM), 1.973 (2M). Not yet asymptotic at 32 steps, hence 0.15.
    order = measured_order(SOLVERS[name](), lambda schedule, n: best_grid(name, schedule, n))
    assert order == pytest.approx(SOLVERS[name].order, abs=0.15)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_reaches_declared_order_on_unequal_steps(name):
    # Measured: 0.979, 1.997. A wrong ratio of steps is invisible on an even grid and costs an order here.
    assert measured_order(SOLVERS[name](), warped_grid) == pytest.approx(SOLVERS[name].order, abs=0.15)


@pytest.mark.parametrize(("name", "bound"), [("ddim", 0.012), ("dpmpp-2m", 6e-4)])
def test_solver_error_has_its_known_size(name, bound):
    # At 128 steps: 1.04e-2 and 5.13e-4. The order alone would not notice a constant factor of the error.
    exact, z = ExactGaussian(), standardised()
    end = sample(exact, SOLVERS[name](), exact.at(z, ONE), best_grid(name, exact.schedule, 128))
    assert bound / 2 < float((end - exact.at(z, ZERO)).abs().max()) < bound


def test_solver_grid_matters_as_much_as_the_solver():
    exact, z = ExactGaussian(), standardised()

    def error(solver, times):
        return float((sample(exact, solver, exact.at(z, ONE), times) - exact.at(z, ZERO)).abs().max())

    even_t, even_l = even_times(64), even_log_snr(exact.schedule, 64)
    assert error(DDIM(), even_t) < 0.7 * error(DDIM(), even_l)  # 1.04e-2 × 2 against 1.73e-2 × 2
    assert error(DPMSolver2M(), even_l) < 0.2 * error(DPMSolver2M(), even_t)  # 2.0e-3 against 2.7e-2


@pytest.mark.parametrize("name", [n for n, solver in SOLVERS.items() if solver.order >= 2])
def test_solver_keeps_a_weak_component(name):
    # A component with 3 % of the signal's amplitude. Measured at 8 steps: 2M 0.965 (DDIM, first order, 0.635).
    exact, z = ExactGaussian(mean=0.0, std=0.03), standardised()
    end = sample(exact, SOLVERS[name](), exact.at(z, ONE), even_log_snr(exact.schedule, 8))
    assert 0.9 < float(end.std() / exact.at(z, ZERO).std()) < 1.1


def test_solver_that_stops_early_shrinks_a_weak_component():
    exact, z = ExactGaussian(mean=0.0, std=0.03), standardised()
    times, early = even_log_snr(exact.schedule, 8), {}
    end = sample(
        exact, DPMSolver2M(), exact.at(z, ONE), times, callback=lambda i, x: early.update({i: exact(x, times[i + 1]).x})
    )
    # The clean estimate one interval before the end; measured 0.86 against 0.965.
    assert float(early[6].std()) < 0.93 * float(end.std())


def test_solver_ddim_takes_the_closed_form_step():
    exact, x_t = ExactGaussian(), standardised()
    t, s = torch.tensor([0.8, 0.55], dtype=torch.float64)
    estimate = exact(x_t, t)
    angle = math.atan(math.exp(-7.5)) + (math.atan(math.exp(7.5)) - math.atan(math.exp(-7.5))) * 0.55
    wanted = math.cos(angle) * estimate.x + math.sin(angle) * estimate.eps
    assert torch.allclose(DDIM().step(exact, x_t, t, s)[0], wanted, atol=1e-12)  # float64


@pytest.mark.parametrize("steps_before", [0, 1])
def test_solver_dpm_takes_the_step_of_the_paper(steps_before):
    """Algorithm 2 of arXiv:2211.01095, written out with D built from r = h_prev / h, on unequal steps."""
    exact, x = ExactGaussian(), standardised()
    t0, t1, t2 = torch.tensor([0.9, 0.7, 0.3], dtype=torch.float64)
    alpha, sigma = np.array([[float(v) for v in exact.schedule(t)] for t in (t0, t1, t2)]).T
    lam = np.log(alpha / sigma)
    h1, h2 = lam[1] - lam[0], lam[2] - lam[1]
    first = sigma[1] / sigma[0] * x - alpha[1] * (np.exp(-h1) - 1) * exact(x, t0).x
    step, memory = DPMSolver2M().step(exact, x, t0, t1)
    if steps_before:
        r = h1 / h2
        direction = (1 + 1 / (2 * r)) * exact(first, t1).x - 1 / (2 * r) * exact(x, t0).x
        first = sigma[2] / sigma[1] * first - alpha[2] * (np.exp(-h2) - 1) * direction
        step, _ = DPMSolver2M().step(exact, step, t1, t2, memory)
    assert torch.allclose(step, first, atol=1e-12)  # float64


@pytest.mark.parametrize("name", [n for n, solver in SOLVERS.items() if n != "ddim" and solver.calls_per_step == 1])
def test_solver_without_memory_equals_ddim(name):
    exact, x_t = ExactGaussian(), standardised()
    for t, s in ((1.0, 0.6), (0.5, 0.1), (0.2, 0.0)):
        t, s = torch.tensor([t, s], dtype=torch.float64)
        first, ddim = SOLVERS[name]().step(exact, x_t, t, s)[0], DDIM().step(exact, x_t, t, s)[0]
        assert torch.allclose(first, ddim, rtol=1e-9, atol=1e-9)  # float64, after a division by sigma


class Waves(nn.Module):
    """A fixed random network, smooth in its input and in log-SNR."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.register_buffer("mix", torch.randn(16, 16, generator=generator) / 4)

    def forward(self, x, log_snr, condition=None):
        mix = self.mix.to(x.dtype)
        return (x @ mix + 0.1 * log_snr[:, None, None]).tanh() @ mix + 0.3 * x


def diffusers_scheduler(name, schedule, steps, times_as_index, prediction):
    """A scheduler of diffusers on our path: its training step i is our time i / 1000."""
    diffusers = pytest.importorskip("diffusers")
    alpha, sigma = schedule(torch.arange(1001, dtype=torch.float64) / 1000)
    common = dict(num_train_timesteps=1001, prediction_type=prediction)
    if name == "ddim":
        scheduler = diffusers.DDIMScheduler(**common, clip_sample=False, set_alpha_to_one=False)
        scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = alpha**2, alpha[0] ** 2
        scheduler.set_timesteps(steps)
        scheduler.timesteps = torch.tensor(times_as_index[:-1])
        return scheduler
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **common, solver_order=2, lower_order_final=False, final_sigmas_type="sigma_min"
    )
    scheduler.alphas_cumprod = alpha**2
    scheduler.alpha_t, scheduler.sigma_t, scheduler.lambda_t = alpha, sigma, (alpha / sigma).log()
    scheduler.set_timesteps(timesteps=times_as_index[:-1])
    return scheduler


@pytest.mark.parametrize(("prediction", "theirs"), [(Velocity, "v_prediction"), (Noise, "epsilon"), (Data, "sample")])
@pytest.mark.parametrize("name", ["ddim", "dpmpp-2m"])
def test_solver_and_prediction_follow_the_trajectory_of_diffusers(name, prediction, theirs):
    schedule = CosineVP(-8, 8)  # their sigmas are float32 made of 1 - alpha², inexact where that is tiny
    index = list(range(1000, -1, -50)) if name == "ddim" else [1000, 960, 900, 800, 640, 500, 330, 200, 120, 50, 20, 0]
    network = Waves()
    denoiser = Denoiser(network, prediction(), schedule)
    noise = torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours: list[torch.Tensor] = []
    sample(
        denoiser,
        SOLVERS[name](),
        noise,
        torch.tensor(index, dtype=torch.float64) / 1000,
        callback=lambda i, x: ours.append(x),
    )
    scheduler, x = diffusers_scheduler(name, schedule, len(index) - 1, index, theirs), noise
    assert scheduler.timesteps.tolist() == index[:-1]
    for step, t in enumerate(scheduler.timesteps):
        log_snr = schedule.log_snr(t.double() / 1000).expand(2)
        x = scheduler.step(network(x, log_snr), t, x).prev_sample.double()
        # DDIM runs in float64; their multistep casts to float32, which eps / alpha at t = 1 magnifies 50 times.
        assert torch.allclose(ours[step], x, rtol=0, atol=1e-9 if name == "ddim" else 3e-5)  # measured up to 1e-5
    assert len(ours) == len(index) - 1


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_calls_the_denoiser_as_often_as_it_declares(name):
    exact, seen = ExactGaussian(), []
    sample(exact, SOLVERS[name](), standardised(), even_times(7), callback=lambda i, x: seen.append((i, x.shape)))
    assert exact.calls == 7 * SOLVERS[name].calls_per_step
    assert seen == [(i, (1, 1, 9)) for i in range(7)]


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_is_deterministic_for_a_seed_and_keeps_no_state(name):
    exact, solver = ExactGaussian(), SOLVERS[name]()

    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(1, 1, 64, generator=generator, dtype=torch.float64)
        return sample(exact, solver, x, even_log_snr(exact.schedule, 6), generator=generator)

    first, other, again = run(0), run(1), run(0)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_treats_each_clip_of_a_batch_alone(name):
    exact = ExactGaussian()
    x = torch.randn(3, 1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    together = sample(exact, SOLVERS[name](), x, even_times(5))
    alone = [sample(exact, SOLVERS[name](), x[i : i + 1], even_times(5)) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_keeps_the_dtype_of_the_signal(name):
    exact = ExactGaussian()
    end = sample(exact, SOLVERS[name](), exact.at(standardised().float(), ONE), even_log_snr(exact.schedule, 32))
    wanted = sample(exact, SOLVERS[name](), exact.at(standardised(), ONE), even_log_snr(exact.schedule, 32))
    assert end.dtype == torch.float32
    assert torch.allclose(end.double(), wanted, atol=1e-5)  # 32 steps of float32


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_hands_the_sampler_memory_and_generator_through(name):
    class Spy(SOLVERS[name]):
        def step(self, denoise, x_t, t, s, memory=None, generator=None):
            x_s, _ = super().step(denoise, x_t, t, s, None, generator)
            seen.append((memory, generator, float(t), float(s)))
            return x_s, len(seen)

    seen, generator = [], torch.Generator()
    sample(ExactGaussian(), Spy(), standardised(), even_times(2), generator=generator)
    assert seen == [(None, generator, 1.0, 0.5), (1, generator, 0.5, 0.0)]


def test_solver_may_start_below_one():
    exact, z, start = ExactGaussian(), standardised(), torch.tensor(0.3, dtype=torch.float64)
    end = sample(exact, DPMSolver2M(), exact.at(z, start), even_log_snr(exact.schedule, 64, start=0.3))
    assert torch.allclose(end, exact.at(z, ZERO), atol=1e-3)  # second order at 64 steps


@pytest.mark.parametrize(
    "times",
    [
        [1.0],
        [0.0],
        [],
        [0.0, 1.0],
        [1.0, 0.5, 0.5, 0.0],
        [1.0, 0.2, 0.5, 0.0],
        [1.0, 0.5],
        [1.5, 0.5, 0.0],
        [1.0, 0.5, -0.1],
        [1.0, math.nan, 0.0],
        [math.nan, 0.0],
    ],
)
def test_solver_refuses_a_grid_that_is_none(times):
    exact = ExactGaussian()
    with pytest.raises(ValueError, match="falls strictly"):
        sample(exact, DDIM(), standardised(), torch.tensor(times, dtype=torch.float64))
    assert not exact.calls


def test_solver_accepts_the_shortest_grid():
    exact, z = ExactGaussian(), standardised()
    end = sample(exact, DDIM(), exact.at(z, ONE), torch.stack([ONE, ZERO]))
    assert torch.equal(end, DDIM().step(exact, exact.at(z, ONE), ONE, ZERO)[0])


def test_solver_names_lead_to_solvers():
    for name, solver in SOLVERS.items():
        assert type(solver_named(name)) is solver
    with pytest.raises(ValueError, match=r"unknown solver 'euler'.*ddim, dpmpp-2m"):
        solver_named("euler")
