"""DPM-Solver++: the exact solution of the linear part of the ODE, a polynomial in log-SNR for the rest."""

import torch
from torch import Tensor

from audiodiff.denoisers import Denoise, scales
from audiodiff.solvers.base import Memory, Solver

__all__ = ["DPMSolver2M"]


class DPMSolver2M(Solver):
    """Second order from one call a step, by remembering the previous estimate; best from about eight steps on.

    Not for one to three steps: the extrapolation then rests on estimates that are far apart.
    """

    order = 2
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
        """Moves x_t to x_s along the probability-flow ODE by the second-order multistep rule.

            h = lam_s - lam_t,   lam = log(alpha / sigma);   D = x̂_t + h / (2 h_prev) (x̂_t - x̂_prev)
            x_s = (sigma_s / sigma_t) x_t - alpha_s (e^{-h} - 1) D

        The first step has nothing to remember and equals DDIM.
        Reference: Lu et al., 2022, arXiv:2211.01095, Algorithm 2.
        """
        x = denoise(x_t, t).x
        lam_t, lam_s = denoise.schedule.log_snr(t) / 2, denoise.schedule.log_snr(s) / 2
        h = lam_s - lam_t
        direction = x
        if memory is not None:
            x_prev, h_prev = memory
            direction = x + float(h / (2 * h_prev)) * (x - x_prev)
        (_, sigma_t), (alpha_s, sigma_s) = scales(denoise.schedule, t, x_t), scales(denoise.schedule, s, x_t)
        x_s = sigma_s / sigma_t * x_t - alpha_s * float(torch.expm1(-h)) * direction
        return x_s, (x, h)
