"""The midpoint rule in time: the habit of flow matching."""

from torch import Tensor

from audiodiff.diffusion.denoiser import Denoise
from audiodiff.diffusion.solvers.base import NoiseSource, Solver, SolverState, check_order


class Midpoint(Solver):
    """Second order from two calls a step; made for paths that are straight in time, such as rectified flow."""

    order = 2
    calls_per_step = 2

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: SolverState = None,
        generator: NoiseSource = None,
    ) -> tuple[Tensor, SolverState]:
        """Move x_t to x_s by the velocity halfway.

            u(x, t) = alpha'_t x̂ + sigma'_t ε̂,      x_m = x_t + (m - t) u(x_t, t),      x_s = x_t + (s - t) u(x_m, m)

        Reference: Lipman et al., 2023, arXiv:2210.02747 (the velocity); Süli & Mayers, 2003, section 12.2 (the rule).
        """
        check_order(t, s)
        middle = (t + s) / 2
        x_m = x_t + float(middle - t) * velocity(denoise, x_t, t)
        return x_t + float(s - t) * velocity(denoise, x_m, middle), None


def velocity(denoise: Denoise, x_t: Tensor, t: Tensor) -> Tensor:
    """Return dx/dt of the probability-flow ODE."""
    estimate = denoise(x_t, t)
    d_alpha, d_sigma = denoise.schedule.derivatives(t)
    return float(d_alpha) * estimate.x + float(d_sigma) * estimate.eps
