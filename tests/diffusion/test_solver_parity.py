"""Solvers against diffusers: the same path, the same grid, the same random network, step by step."""

import pytest
import torch
from torch import nn

from audiodiff.diffusion.denoiser import Denoiser
from audiodiff.diffusion.predictions import EpsPrediction, VPrediction, XPrediction
from audiodiff.diffusion.sampling import sample
from audiodiff.diffusion.schedules import CosineVP, GeometricVE
from audiodiff.diffusion.solvers import DDIM, DPMSolver3M, Heun, UniPC
from audiodiff.utils.config import choose

diffusers = pytest.importorskip("diffusers")
PREDICTIONS = [(VPrediction, "v_prediction"), (EpsPrediction, "epsilon"), (XPrediction, "sample")]
EVEN = list(range(1000, -1, -50))
JUMPY = [1000, 960, 900, 800, 640, 500, 330, 200, 120, 50, 20, 0]
PATH = CosineVP(-5, 8)  # some of them cast to float32, which eps / alpha magnifies where alpha is small


class Waves(nn.Module):
    """A fixed random network, smooth in its input and in log-SNR."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.register_buffer("mix", torch.randn(16, 16, generator=generator) / 4)

    def forward(self, x, log_snr, condition=None):
        mix = self.mix.to(x.dtype)
        return (x @ mix + 0.1 * log_snr[:, None, None]).tanh() @ mix + 0.3 * x


class HalfCurvature(DPMSolver3M):
    """Diffusers' (test_solvers.py shows what that costs)."""

    curvature_share = 0.5


def noise_for(seed):
    return torch.Generator().manual_seed(seed)


def starting_noise():
    return torch.randn(2, 1, 16, generator=noise_for(1), dtype=torch.float64)


def our_trajectory(solver, prediction, index, schedule=PATH):
    ours: list[torch.Tensor] = []
    sample(
        Denoiser(Waves(), prediction(), schedule),
        solver,
        starting_noise(),
        torch.tensor(index, dtype=torch.float64) / 1000,
        generator=noise_for(2),
        callback=lambda i, x: ours.append(x),
    )
    return ours


def on_our_path(scheduler, index):
    """Gives a scheduler of sigma = sigma_t / alpha_t our times; training step i is our time i / 1000."""
    alpha, sigma = PATH(torch.arange(1001, dtype=torch.float64) / 1000)
    scheduler.alphas_cumprod = alpha**2
    scheduler.alpha_t, scheduler.sigma_t, scheduler.lambda_t = alpha, sigma, (alpha / sigma).log()
    scheduler.set_timesteps(len(index) - 1)
    scheduler.timesteps = torch.tensor(index[:-1])
    scheduler.sigmas = (sigma / alpha)[torch.tensor(index)]  # they keep float32, which costs four digits at the start
    return scheduler


def their_trajectory(scheduler, index, **options):
    network, x, theirs = Waves(), starting_noise(), []
    for t in scheduler.timesteps:
        log_snr = PATH.log_snr(t.double() / 1000).expand(2)
        extra = {name: make(x) for name, make in options.items()}
        x = scheduler.step(network(x.double(), log_snr), t, x, **extra).prev_sample.double()
        theirs.append(x)
    return theirs


def assert_together(ours, theirs, atol=1e-5):
    assert len(ours) == len(theirs)
    assert max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)) < atol


@pytest.mark.parametrize(("prediction", "theirs"), PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_solver_ddim_follows_the_trajectory_of_diffusers(prediction, theirs, eta):
    alpha, _ = PATH(torch.arange(1001, dtype=torch.float64) / 1000)
    scheduler = diffusers.DDIMScheduler(1001, prediction_type=theirs, clip_sample=False, set_alpha_to_one=False)
    scheduler.alphas_cumprod, scheduler.final_alpha_cumprod = alpha**2, alpha[0] ** 2
    scheduler.set_timesteps(len(EVEN) - 1)
    scheduler.timesteps = torch.tensor(EVEN[:-1])
    generator = noise_for(2)
    drawn = {"variance_noise": lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)} if eta else {}
    found = their_trajectory(scheduler, EVEN, eta=lambda x: eta, **drawn)
    assert_together(our_trajectory(DDIM(eta), prediction, EVEN), found, atol=1e-9)


@pytest.mark.parametrize("index", [EVEN, JUMPY], ids=["even", "jumpy"])
@pytest.mark.parametrize(("prediction", "theirs"), PREDICTIONS)
@pytest.mark.parametrize(
    ("solver", "order"), [(choose("solver", "dpmpp-1"), 1), (choose("solver", "dpmpp-2m"), 2), (HalfCurvature(), 3)]
)
def test_solver_dpm_follows_the_trajectory_of_diffusers(solver, order, prediction, theirs, index):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        1001, prediction_type=theirs, solver_order=order, lower_order_final=False, final_sigmas_type="sigma_min"
    )
    found = their_trajectory(on_our_path(scheduler, index), index)
    assert_together(our_trajectory(solver, prediction, index), found)


@pytest.mark.parametrize("index", [EVEN, JUMPY], ids=["even", "jumpy"])
@pytest.mark.parametrize(("prediction", "theirs"), PREDICTIONS)
def test_solver_sde_dpm_follows_the_trajectory_of_diffusers(prediction, theirs, index):
    scheduler = diffusers.DPMSolverMultistepScheduler(
        1001,
        prediction_type=theirs,
        algorithm_type="sde-dpmsolver++",
        solver_order=2,
        lower_order_final=False,
        final_sigmas_type="sigma_min",
    )
    generator = noise_for(2)
    draw = {"variance_noise": lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)}
    found = their_trajectory(on_our_path(scheduler, index), index, **draw)
    assert_together(our_trajectory(choose("solver", "dpmpp-2m-sde"), prediction, index), found)


@pytest.mark.parametrize("index", [EVEN, JUMPY], ids=["even", "jumpy"])
@pytest.mark.parametrize(("prediction", "theirs"), PREDICTIONS)
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("variant", [1, 2])
def test_solver_unipc_follows_the_trajectory_of_diffusers(variant, order, prediction, theirs, index):
    scheduler = diffusers.UniPCMultistepScheduler(
        1001,
        prediction_type=theirs,
        solver_order=order,
        solver_type=f"bh{variant}",
        lower_order_final=False,
        final_sigmas_type="sigma_min",
    )
    found = their_trajectory(on_our_path(scheduler, index), index)
    assert_together(our_trajectory(UniPC(order, variant), prediction, index), found)


@pytest.mark.parametrize("prediction", [EpsPrediction, XPrediction, VPrediction])
def test_solver_heun_follows_the_trajectory_of_diffusers(prediction):
    # They walk in sigma, as EDM does: compared on a path on which alpha = 1.
    path = GeometricVE(0.01, 50.0)
    times = torch.tensor(JUMPY, dtype=torch.float64) / 1000
    denoiser = Denoiser(Waves(), prediction(), path)
    scheduler = diffusers.HeunDiscreteScheduler(1001, prediction_type="epsilon")
    scheduler.set_timesteps(len(JUMPY) - 1)
    sigmas = path(times)[1]
    # Each sigma but the first stands twice: a step is two calls.
    scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:].repeat_interleave(2)])
    scheduler.timesteps = torch.cat([times[:1], times[1:].repeat_interleave(2)])[:-1] * 1000
    x, theirs = 50 * starting_noise(), []
    for i, t in enumerate(scheduler.timesteps):
        x = scheduler.step(denoiser(x, t / 1000).eps, t, x).prev_sample
        if i % 2:
            theirs.append(x)
    ours: list[torch.Tensor] = []
    sample(denoiser, Heun(), 50 * starting_noise(), times, callback=lambda i, y: ours.append(y))
    assert_together(ours, theirs)
