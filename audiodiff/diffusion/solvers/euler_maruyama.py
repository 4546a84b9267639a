"""Euler–Maruyama on the reverse SDE: the textbook sampler."""

import math

from torch import Tensor

from audiodiff.diffusion.denoiser import Denoise
from audiodiff.diffusion.solvers.base import NoiseSource, Solver, SolverState, endpoints, white_noise
from audiodiff.diffusion.solvers.ddim import DDIM


class EulerMaruyama(Solver):
    """First order (weakly), one call a step; wants hundreds of steps, even in log-SNR."""

    order = 1
    calls_per_step = 1
    stochastic = True

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: SolverState = None,
        generator: NoiseSource = None,
    ) -> tuple[Tensor, SolverState]:
        """Move x_t to x_s; the score is -ε̂ / sigma_t.

            x_s = x_t + (s - t) (f_t x_t + g_t² ε̂ / sigma_t) + g_t sqrt(t - s) z

        The step to t = 0 takes DDIM's instead, which leaves no noise behind, and one from zero SNR, where f has no
        limit, the ancestral one.
        Reference: Song et al., 2020, arXiv:2011.13456, equation 6.
        """
        now, _ = endpoints(denoise.schedule, t, s)
        if s == 0 or math.isinf(now.lam):
            return DDIM(0.0 if s == 0 else 1.0).step(denoise, x_t, t, s, None, generator)
        drift, diffusion = (float(c) for c in denoise.schedule.drift_and_diffusion(t))
        slope = drift * x_t + diffusion**2 / now.sigma * denoise(x_t, t).eps
        return x_t + float(s - t) * slope + diffusion * math.sqrt(float(t - s)) * white_noise(x_t, generator), None
