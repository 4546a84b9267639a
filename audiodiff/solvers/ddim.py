"""DDIM: hold the estimates of signal and noise fixed, and mix them anew for the next time."""

import torch
from torch import Tensor

from audiodiff.denoisers import Denoise, scales
from audiodiff.solvers.base import Memory, Solver

__all__ = ["DDIM"]


class DDIM(Solver):
    """First order, one call a step; the safest choice at one to four steps."""

    order = 1
    calls_per_step = 1

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: Memory = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Memory]:
        """Moves x_t to x_s along the probability-flow ODE by the first-order exponential rule.

            x_s = alpha_s x̂ + sigma_s ε̂

        Reference: Song et al., 2020, arXiv:2010.02502, equation 12 with sigma = 0.
        """
        estimate = denoise(x_t, t)
        alpha_s, sigma_s = scales(denoise.schedule, s, x_t)
        return alpha_s * estimate.x + sigma_s * estimate.eps, None
