"""DDIM: hold the estimates of signal and noise fixed, and mix them anew for the next time."""

import math

from torch import Tensor

from audiodiff.diffusion.denoiser import Denoise
from audiodiff.diffusion.solvers.base import NoiseSource, Solver, SolverState, endpoints, white_noise


class DDIM(Solver):
    """First order, one call a step; the safest choice at one to four steps.

    Args:
        eta: Share of the noise that is drawn anew: 0 follows the probability-flow ODE, 1 is the ancestral sampler of
            DDPM.

    Raises:
        ValueError: eta is not in [0, 1].
    """

    order = 1
    calls_per_step = 1

    def __init__(self, eta: float = 0.0) -> None:
        if not 0 <= eta <= 1:
            raise ValueError(f"eta={eta}: a share of the noise lies in [0, 1]")
        self.eta = eta
        self.stochastic = eta > 0

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: SolverState = None,
        generator: NoiseSource = None,
    ) -> tuple[Tensor, SolverState]:
        """Move x_t to x_s; what is drawn anew has the variance of the posterior q(x_s | x_t, x̂) at eta = 1.

            x_s = alpha_s x̂ + sqrt(sigma_s² - d²) ε̂ + d z,      d² = eta² sigma_s² (1 - SNR_t / SNR_s)

        Reference: Song et al., 2020, arXiv:2010.02502, equations 12 and 16.
        """
        estimate = denoise(x_t, t)
        now, then = endpoints(denoise.schedule, t, s)
        drawn = self.eta * then.sigma * math.sqrt(-math.expm1(2 * (now.lam - then.lam)))
        x_s = then.alpha * estimate.x + math.sqrt(then.sigma**2 - drawn**2) * estimate.eps
        return x_s + drawn * white_noise(x_t, generator) if self.stochastic else x_s, None
