"""Heun's rule in sigma / alpha, with the churn of EDM."""

import math

import torch
from torch import Tensor

from audiodiff.diffusion.denoiser import Denoise
from audiodiff.diffusion.solvers.base import (
    NoiseSource,
    Solver,
    SolverState,
    check_order,
    endpoints,
    mix,
    path_point,
    white_noise,
)

MOST_CHURN = math.sqrt(2) - 1


class Heun(Solver):
    """Second order from two calls a step: a first-order step, then the mean of the slopes at both ends.

    Args:
        churn: Before each step noise is added until sigma / alpha has grown by this share (EDM's S_churn / N), at most
            sqrt(2) - 1; 0 follows the ODE.
        noise: Standard deviation of what is added, relative to what the path wants; EDM found 1.003 to 1.007 useful.

    Raises:
        ValueError: churn or noise is out of range.
    """

    order = 2
    calls_per_step = 2
    grid = "even-log-snr"  # sigma / alpha spans many orders of magnitude; the first of even times would leap over most

    def __init__(self, churn: float = 0.0, noise: float = 1.0) -> None:
        if not (0 <= churn <= MOST_CHURN and noise > 0):
            raise ValueError(f"churn={churn}, noise={noise}: need churn in [0, {MOST_CHURN:.3f}] and noise > 0")
        self.churn = churn
        self.noise = noise
        self.stochastic = churn > 0

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: SolverState = None,
        generator: NoiseSource = None,
    ) -> tuple[Tensor, SolverState]:
        """Move x_t to x_s; the slope of x / alpha by sigma / alpha is ε̂.

            x' = alpha_s x̂_t + sigma_s ε̂_t,    x_s = x' + alpha_s (sigma_s / alpha_s - sigma_t / alpha_t) (ε̂' - ε̂_t) / 2

        From zero SNR, where the slope has no end, x' is the step. Reference: Karras et al., 2022, arXiv:2206.00364,
        algorithm 2.
        """
        check_order(t, s)
        if self.stochastic:
            x_t, t = self._churned(denoise, x_t, t, generator)
        now, then = endpoints(denoise.schedule, t, s)
        estimate = denoise(x_t, t)
        x_s = mix(estimate, then)
        if math.isinf(now.lam):
            return x_s, None
        way = math.exp(-then.lam) - math.exp(-now.lam)
        return x_s + then.alpha * way / 2 * (denoise(x_s, s).eps - estimate.eps), None

    def _churned(self, denoise: Denoise, x_t: Tensor, t: Tensor, generator: NoiseSource) -> tuple[Tensor, Tensor]:
        """Add noise and move back to the time at which the path has as much."""
        schedule = denoise.schedule
        end = schedule.log_snr(torch.ones_like(t))
        back = schedule.time(torch.maximum(schedule.log_snr(t) - 2 * math.log1p(self.churn), end)).clamp(t, 1.0)
        now, before = path_point(schedule, t), path_point(schedule, back)
        drawn = white_noise(x_t, generator)
        if not before.lam < now.lam:
            return x_t, t
        added = before.alpha * math.sqrt(math.exp(-2 * before.lam) - math.exp(-2 * now.lam))
        return before.alpha / now.alpha * x_t + self.noise * added * drawn, back
