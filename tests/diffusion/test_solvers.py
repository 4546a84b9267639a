"""Solvers against truths: distributions whose denoiser is known exactly, and closed forms of single steps."""

import math

import numpy as np
import pytest
import torch
from support.drawn import seeded
from support.exact import ExactGaussian, Mixture

from audiodiff.diffusion.denoiser import scales
from audiodiff.diffusion.sampling import sample
from audiodiff.diffusion.schedules import CosineVP, RectifiedFlow, ZeroTerminalSNR
from audiodiff.diffusion.solvers import DDIM, DPMSolver2M, DPMSolver3M, Heun, PredictorCorrector, UniPC
from audiodiff.diffusion.solvers.base import white_noise
from audiodiff.diffusion.timesteps import linear_timesteps, log_snr_timesteps
from audiodiff.utils.config import choices, choose, name_of

ONE, ZERO = torch.tensor([1.0, 0.0], dtype=torch.float64)
SOLVERS = {name: choose("solver", name) for name in choices("solver")}
DETERMINISTIC = [name for name, solver in SOLVERS.items() if not solver.stochastic]
STOCHASTIC = [name for name, solver in SOLVERS.items() if solver.stochastic]


def standardised():
    return torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(1, 1, -1)


def warped_grid(schedule, steps):
    """Steps of log-SNR that grow smoothly, so that no two are equal."""
    begin, end = schedule.log_snr(torch.stack([ONE, ZERO]))
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    times = schedule.time(begin + (end - begin) * (0.6 * u + 0.4 * u**2))
    times[0], times[-1] = 1, 0
    return times


COUNTS = (64, 96, 128, 192, 256)
REFERENCE = {}


def errors(exact, solver, grid, counts=COUNTS):
    """The largest error over nine trajectories, against sixteen thousand steps of UniPC."""
    if exact.schedule not in REFERENCE:
        REFERENCE[exact.schedule] = sample(exact, UniPC(), standardised(), log_snr_timesteps(exact.schedule, 16000))
    true = REFERENCE[exact.schedule]
    return [float((sample(exact, solver, standardised(), grid(exact.schedule, n)) - true).abs().max()) for n in counts]


MIXTURE = Mixture()


@pytest.mark.parametrize("grid", [log_snr_timesteps, warped_grid])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_solver_reaches_declared_order(name, grid):
    # On a mixture, whose flow bends. Unequal steps matter: a wrong ratio of steps is invisible on an even grid.
    order = -np.polyfit(np.log(COUNTS), np.log(errors(MIXTURE, SOLVERS[name], grid)), 1)[0]
    assert order == pytest.approx(SOLVERS[name].order, abs=0.15)


SIZES = {  # at 128 steps; the order alone would not notice a constant factor of the error
    "ddim": 1.2e-2,
    "dpmpp-1": 1.2e-2,
    "dpmpp-2m": 2.0e-4,
    "dpmpp-2s": 2.8e-4,
    "dpmpp-3m": 7.0e-6,
    "heun": 3.5e-4,
    "midpoint": 1.0e-4,
    "unipc": 1.2e-5,
    "unipc-bh1": 2.2e-5,
}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_solver_error_has_its_known_size(name):
    assert errors(MIXTURE, SOLVERS[name], log_snr_timesteps, [128])[0] == pytest.approx(SIZES.get(name, 0.0), rel=0.15)


def test_solver_with_half_the_curvature_has_only_order_two():
    # What diffusers and the authors' code do in their third-order multistep update.
    class Half(DPMSolver3M):
        curvature_share = 0.5

    found, ours = (errors(MIXTURE, solver, log_snr_timesteps) for solver in (Half(), DPMSolver3M()))
    assert -np.polyfit(np.log(COUNTS), np.log(found), 1)[0] == pytest.approx(2, abs=0.15)
    assert found[0] > 3 * ours[0]
    assert found[-1] > 12 * ours[-1]


@pytest.mark.parametrize("steps_back", [1, 2, 3])
@pytest.mark.parametrize("variant", [1, 2])
def test_solver_unipc_gains_an_order_by_correcting(steps_back, variant):
    order = -np.polyfit(np.log(COUNTS), np.log(errors(MIXTURE, UniPC(steps_back, variant), warped_grid)), 1)[0]
    # From three estimates a fourth order is due; its first steps, of lower order, leave 3.6.
    assert order == pytest.approx({1: 2, 2: 3, 3: 3.6}[steps_back], abs=0.15)


def test_solver_midpoint_is_exact_on_a_straight_flow():
    # A point mass at the origin on rectified flow: u = x / t is constant along the trajectory.
    exact = ExactGaussian(mean=0.3, std=0.0, schedule=RectifiedFlow(-30, 30))
    end = sample(exact, SOLVERS["midpoint"], exact.at(standardised(), ONE), linear_timesteps(2))
    assert torch.allclose(end, exact.at(standardised(), ZERO), atol=1e-6)  # float64 over sigma = 3e-7


def moments_of(solver, exact, x_1, steps, generator):
    end = sample(exact, solver, x_1, log_snr_timesteps(exact.schedule, steps), generator=generator)
    return float(end.mean()), float(end.var())


@pytest.mark.parametrize("name", STOCHASTIC)
def test_solver_that_draws_noise_reproduces_mean_and_variance(name):
    n, generator, exact = 20000, seeded(1), MIXTURE
    x = exact.draw(n, generator)
    eps = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    alpha, sigma = scales(exact.schedule, ONE, x)
    mean, variance = moments_of(SOLVERS[name], exact, alpha * x + sigma * eps, 400, generator)
    w, m, std = (np.array(v) for v in (exact.weights, exact.means, exact.stds))
    true_mean = (w * m).sum()
    d = m - true_mean
    true_variance = (w * (d**2 + std**2)).sum()
    fourth = (w * (d**4 + 6 * d**2 * std**2 + 3 * std**4)).sum()
    assert mean == pytest.approx(true_mean, abs=3 * (true_variance / n) ** 0.5)  # three standard errors
    assert variance == pytest.approx(true_variance, abs=3 * ((fourth - true_variance**2) / n) ** 0.5)


@pytest.mark.parametrize(("solver", "steps", "found"), [(DDIM(1.0), 60, 0.0792), (SOLVERS["dpmpp-2m-sde"], 20, 0.095)])
def test_solver_that_draws_noise_has_its_known_variance_at_few_steps(solver, steps, found):
    # True is 0.09: the ancestral sampler, of order one, loses 12 % at 60 steps; the second order errs by 5 % at 20.
    exact, generator = ExactGaussian(mean=0.0, std=0.3, schedule=CosineVP(-8, 8)), seeded(2)
    x_1 = exact.at(torch.randn(40000, 1, 1, generator=generator, dtype=torch.float64), ONE)
    _, variance = moments_of(solver, exact, x_1, steps, generator)
    assert variance == pytest.approx(found, rel=0.03)  # four standard errors


def test_solver_langevin_step_keeps_the_variance_of_pure_noise():
    # Where there is no signal ε̂ = x / sigma, and a correction leaves the distribution as it was, whatever its size.
    class Stay(PredictorCorrector):
        def __init__(self):
            super().__init__(corrections=20, snr=0.3)
            self._predictor = type("Nothing", (), {"step": staticmethod(lambda d, x, t, s, m, g: (x, None))})

    exact, generator = ExactGaussian(0.0, 0.0), seeded(3)
    x = torch.randn(1, 1, 100000, generator=generator, dtype=torch.float64)
    after, _ = Stay().step(exact, x, ONE, ZERO, None, generator)
    assert float(after.var()) == pytest.approx(1, abs=0.02)  # four standard errors
    assert float((after * x).mean()) == pytest.approx((1 - 2 * 0.3**2) ** 20, abs=0.02)


def test_solver_churn_adds_what_the_path_has_at_the_time_that_it_goes_back_to():
    # A denoiser that sees no signal: churned noise must have the variance of the path where it is evaluated.
    class Watch(ExactGaussian):
        def __call__(self, x_t, t):
            seen.append((float(self.schedule(t)[1]), float(x_t.std()), float(t)))
            return super().__call__(x_t, t)

    seen, exact = [], Watch(0.0, 0.0)
    x_t = exact.at(
        torch.randn(1, 1, 100000, generator=seeded(), dtype=torch.float64), t := torch.tensor(0.4, dtype=torch.float64)
    )
    Heun(churn=0.3).step(exact, x_t, t, 0.5 * t, None, seeded(1))
    sigma, std, back = seen[0]
    ratio = [float(s / a) for a, s in (exact.schedule(torch.tensor(v, dtype=torch.float64)) for v in (0.4, back))]
    assert ratio[1] == pytest.approx(1.3 * ratio[0], rel=1e-9)
    assert std == pytest.approx(sigma, rel=0.01)  # four standard errors
    seen.clear()
    Heun(churn=0.3).step(exact, x_t, ONE, t, None, seeded(1))
    assert seen[0][2] == 1  # nothing beyond the end of the path


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_leaves_zero_snr_without_dividing_by_it(name):
    schedule = ZeroTerminalSNR(CosineVP(-15, 15))
    exact = ExactGaussian(schedule=schedule)
    times = torch.cat([ONE[None], log_snr_timesteps(schedule, 39, start=0.98)])
    end = sample(exact, SOLVERS[name], exact.at(standardised(), ONE), times, generator=seeded())
    assert bool(end.isfinite().all())
    if not SOLVERS[name].stochastic:
        assert torch.allclose(end, exact.at(standardised(), ZERO), atol=0.06)  # 40 steps, of order one at worst


@pytest.mark.parametrize(("name", "kept"), [("ddim", 0.635), ("dpmpp-2m", 0.965), ("dpmpp-2s", 0.857)])
def test_solver_keeps_as_much_of_a_weak_component_as_is_known(name, kept):
    # A component with 3 % of the signal's amplitude, at 8 calls or 16 (2S).
    exact, z = ExactGaussian(mean=0.0, std=0.03), standardised()
    end = sample(exact, SOLVERS[name], exact.at(z, ONE), log_snr_timesteps(exact.schedule, 8))
    assert float(end.std() / exact.at(z, ZERO).std()) == pytest.approx(kept, abs=0.005)


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


@pytest.mark.parametrize("name", [n for n in DETERMINISTIC if n != "ddim" and SOLVERS[n].calls_per_step == 1])
def test_solver_without_memory_equals_ddim(name):
    exact, x_t = ExactGaussian(), standardised()
    for t, s in ((1.0, 0.6), (0.5, 0.1), (0.2, 0.0)):
        t, s = torch.tensor([t, s], dtype=torch.float64)
        first, ddim = SOLVERS[name].step(exact, x_t, t, s)[0], DDIM().step(exact, x_t, t, s)[0]
        assert torch.allclose(first, ddim, rtol=1e-9, atol=1e-9)  # float64, after a division by sigma


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_calls_the_denoiser_as_often_as_it_declares(name):
    exact, seen = ExactGaussian(), []

    def note(i, x):
        seen.append((i, x.shape))

    sample(exact, SOLVERS[name], standardised(), linear_timesteps(7), generator=seeded(), callback=note)
    assert exact.calls == 7 * SOLVERS[name].calls_per_step
    assert seen == [(i, (1, 1, 9)) for i in range(7)]


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_is_deterministic_for_a_seed_and_keeps_no_state(name):
    exact, solver = ExactGaussian(), SOLVERS[name]

    def run(seed):
        generator = seeded(seed)
        x = torch.randn(1, 1, 64, generator=generator, dtype=torch.float64)
        return sample(exact, solver, x, log_snr_timesteps(exact.schedule, 6), generator=generator)

    first, other, again = run(0), run(1), run(0)
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_treats_each_clip_of_a_batch_alone(name):
    exact = ExactGaussian()
    x = torch.randn(3, 1, 8, generator=seeded(), dtype=torch.float64)
    together = sample(exact, SOLVERS[name], x, linear_timesteps(5), generator=[seeded(i) for i in range(3)])
    alone = [sample(exact, SOLVERS[name], x[i : i + 1], linear_timesteps(5), generator=seeded(i)) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("name", STOCHASTIC)
def test_solver_that_draws_noise_refuses_to_take_it_from_nowhere(name):
    for generator in (None, [seeded()] * 2):
        with pytest.raises(ValueError, match="generator"):
            sample(ExactGaussian(), SOLVERS[name], standardised(), linear_timesteps(2), generator=generator)


def test_solver_noise_is_white_and_of_the_clip():
    like = torch.zeros(2, 1, 50000)
    noise = white_noise(like, [seeded(4), seeded(5)])
    assert torch.equal(noise[1:], white_noise(like[:1], seeded(5)))
    assert float(noise.var()) == pytest.approx(1, abs=0.02)
    assert noise.dtype == torch.float32


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_keeps_the_dtype_of_the_signal(name):
    exact = ExactGaussian()

    def run(z):
        return sample(exact, SOLVERS[name], exact.at(z, ONE), log_snr_timesteps(exact.schedule, 32), generator=seeded())

    end, wanted = run(standardised().float()), run(standardised())
    assert end.dtype == torch.float32
    if not SOLVERS[name].stochastic:  # torch draws other numbers in float32
        assert torch.allclose(end.double(), wanted, atol=5e-5)  # 32 steps of float32; Heun divides by alpha = 5e-4


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_hands_the_sampler_memory_and_generator_through(name):
    class Spy(type(SOLVERS[name])):
        def step(self, denoise, x_t, t, s, memory=None, generator=None):
            x_s, _ = super().step(denoise, x_t, t, s, None, generator)
            seen.append((memory, generator, float(t), float(s)))
            return x_s, len(seen)

    seen, generator = [], torch.Generator()
    sample(ExactGaussian(), Spy(), standardised(), linear_timesteps(2), generator=generator)
    assert seen == [(None, generator, 1.0, 0.5), (1, generator, 0.5, 0.0)]


def test_solver_may_start_below_one():
    exact, z, start = ExactGaussian(), standardised(), torch.tensor(0.3, dtype=torch.float64)
    end = sample(exact, DPMSolver2M(), exact.at(z, start), log_snr_timesteps(exact.schedule, 64, start=0.3))
    assert torch.allclose(end, exact.at(z, ZERO), atol=1e-3)  # second order at 64 steps


def test_solver_refuses_a_grid_that_is_none():
    """Before the first call; what makes no grid, test_timesteps says."""
    exact = ExactGaussian()
    with pytest.raises(ValueError, match="falls strictly"):
        sample(exact, DDIM(), standardised(), torch.tensor([1.0, 0.5, 0.5, 0.0], dtype=torch.float64))
    assert not exact.calls


def test_solver_accepts_the_shortest_grid():
    exact, z = ExactGaussian(), standardised()
    end = sample(exact, DDIM(), exact.at(z, ONE), torch.stack([ONE, ZERO]))
    assert torch.equal(end, DDIM().step(exact, exact.at(z, ONE), ONE, ZERO)[0])


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("s", [0.5, 0.6])
def test_solver_refuses_to_step_towards_noise(name, s):
    times = torch.tensor([0.5, s], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"is not below t=0\.5"):
        SOLVERS[name].step(ExactGaussian(), standardised(), *times, None, seeded())


def test_solver_names_lead_to_solvers():
    assert {"ddim", "ancestral", "dpmpp-2m", "unipc", "heun", "midpoint"} <= SOLVERS.keys()
    for name in SOLVERS:
        assert name_of("solver", choose("solver", name)) == name
    assert name_of("solver", DDIM(0.3)) is None
    with pytest.raises(ValueError, match=r"unknown solver 'unicp' \(did you mean unipc\?\).*ancestral, ddim"):
        choose("solver", "unicp")


@pytest.mark.parametrize(
    ("build", "argument"),
    [
        (lambda: DDIM(1.5), "eta"),
        (lambda: DDIM(-0.1), "eta"),
        (lambda: UniPC(4), "steps_back"),
        (lambda: UniPC(2, 3), "variant"),
        (lambda: Heun(churn=0.5), "churn"),
        (lambda: Heun(churn=-0.1), "churn"),
        (lambda: Heun(noise=0.0), "noise"),
        (lambda: PredictorCorrector(corrections=0), "corrections"),
        (lambda: PredictorCorrector(snr=0.8), "snr"),
    ],
)
def test_solver_names_the_argument_that_is_out_of_range(build, argument):
    with pytest.raises(ValueError, match=f"{argument}="):
        build()
