"""DPM-Solver++: the exact solution of the linear part of the ODE, a polynomial in log-SNR for the rest.

With lam = log(alpha / sigma) and h = lam_s - lam_t, all of them move by

    x_s = (sigma_s / sigma_t) x_t - alpha_s (e^{-h} - 1) D + higher terms

and differ in how D is made of estimates of x. Reference: Lu et al., 2022, arXiv:2211.01095.
"""

import math

from torch import Tensor

from audiodiff.diffusion.denoiser import Denoise
from audiodiff.diffusion.solvers.base import (
    NoiseSource,
    PathPoint,
    Solver,
    SolverState,
    endpoints,
    path_point,
    white_noise,
)


def exponential_step(x_t: Tensor, direction: Tensor, now: PathPoint, then: PathPoint) -> Tensor:
    """Move along the ODE as if the clean estimate were `direction` on the whole way."""
    return then.sigma / now.sigma * x_t - then.alpha * math.expm1(now.lam - then.lam) * direction


class DPMSolver1(Solver):
    """First order, one call a step: DDIM in other words."""

    order = 1
    calls_per_step = 1

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: SolverState = None,
        generator: NoiseSource = None,
    ) -> tuple[Tensor, SolverState]:
        """Take D = x̂_t."""
        return exponential_step(x_t, denoise(x_t, t).x, *endpoints(denoise.schedule, t, s)), None


class DPMSolver2S(Solver):
    """Second order from two calls a step, without memory: for grids that jump."""

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
        """Take D = x̂_m, estimated halfway in log-SNR from a first-order step to there. Algorithm 1, r = 1/2."""
        now, then = endpoints(denoise.schedule, t, s)
        middle = denoise.schedule.time((denoise.schedule.log_snr(t) + denoise.schedule.log_snr(s)) / 2)
        if math.isinf(now.lam):  # from zero SNR there is no half of the way
            middle = (t + s) / 2
        x_m = exponential_step(x_t, denoise(x_t, t).x, now, path_point(denoise.schedule, middle))
        return exponential_step(x_t, denoise(x_m, middle).x, now, then), None


class DPMSolver2M(Solver):
    """Second order from one call a step, by remembering the previous estimate; best from about eight steps on.

    Not for one to three steps: the extrapolation then rests on estimates that are far apart.
    """

    order = 2
    calls_per_step = 1
    grid = "even-log-snr"  # it extrapolates in log-SNR; the last of even times is a jump

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: SolverState = None,
        generator: NoiseSource = None,
    ) -> tuple[Tensor, SolverState]:
        """Extrapolate to the middle of the step; the first has nothing to remember and equals DDIM. Algorithm 2.

        D = x̂_t + h / (2 h_prev) (x̂_t - x̂_prev)
        """
        x, now, then = denoise(x_t, t).x, *endpoints(denoise.schedule, t, s)
        return exponential_step(x_t, ahead(x, now, then, memory), now, then), (x, then.lam - now.lam)


def ahead(x: Tensor, now: PathPoint, then: PathPoint, memory: SolverState) -> Tensor:
    """Extrapolate the clean estimate to the middle of the coming step by the line through the last two."""
    if memory is None:
        return x
    x_prev, h_prev = memory
    return x + (then.lam - now.lam) / (2 * h_prev) * (x - x_prev)


class DPMSolver3M(Solver):
    """Third order from one call a step, by remembering two estimates; for ten steps and more.

    The authors' code and diffusers' add half of the curvature term, and then converge with order two: on a Gaussian
    mixture their error at 64 steps is four times that of the whole term, at 256 steps eighteen times.
    """

    order = 3
    calls_per_step = 1
    grid = "even-log-snr"  # it extrapolates in log-SNR; the last of even times is a jump
    curvature_share = 1.0  # 0.5 gives the trajectory of diffusers

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: SolverState = None,
        generator: NoiseSource = None,
    ) -> tuple[Tensor, SolverState]:
        """Add slope D' and curvature D'' of the estimate as a function of lam, from divided differences.

            x_s = (sigma_s / sigma_t) x_t - alpha_s (phi_1 x̂ - phi_2 h D' + phi_3 h² D'')
            phi_1 = e^{-h} - 1,   phi_2 = phi_1 / h + 1,   phi_3 = phi_2 / h - 1/2

        The second step has one slope and takes D of 2M instead. Reference: arXiv:2211.01095, equation 9 with n = 3.
        """
        x, now, then = denoise(x_t, t).x, *endpoints(denoise.schedule, t, s)
        h = then.lam - now.lam
        previous = memory or ()
        remembered = ((x, h), *previous[:1])
        if len(previous) < 2:
            return exponential_step(x_t, ahead(x, now, then, previous[0] if previous else None), now, then), remembered
        (x_1, h_1), (x_2, h_2) = previous
        slope_1, slope_2 = (x - x_1) / h_1, (x_1 - x_2) / h_2
        half_curvature = (slope_1 - slope_2) / (h_1 + h_2)
        slope = slope_1 + h_1 * half_curvature
        phi_2 = math.expm1(-h) / h + 1
        phi_3 = phi_2 / h - 0.5
        bend = 2 * self.curvature_share * phi_3 * h**2
        x_s = exponential_step(x_t, x, now, then) + then.alpha * (phi_2 * h * slope - bend * half_curvature)
        return x_s, remembered


class SDEDPMSolver2M(Solver):
    """Second order (weakly) on the reverse SDE, one call a step: fresh noise washes old errors out.

    From about sixteen steps on it may sound fuller than the ODE; at fewer the fresh noise costs more than it mends.
    """

    order = 2
    calls_per_step = 1
    stochastic = True
    grid = "even-log-snr"  # it extrapolates in log-SNR; the last of even times is a jump

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: SolverState = None,
        generator: NoiseSource = None,
    ) -> tuple[Tensor, SolverState]:
        """Move x_t along the reverse SDE; D as in 2M.

            x_s = (sigma_s / sigma_t) e^{-h} x_t + alpha_s (1 - e^{-2h}) D + sigma_s sqrt(1 - e^{-2h}) z

        Reference: arXiv:2211.01095, equation 16 (SDE-DPM-Solver++(2M)).
        """
        x, now, then = denoise(x_t, t).x, *endpoints(denoise.schedule, t, s)
        h = then.lam - now.lam
        fresh = -math.expm1(-2 * h)
        kept = then.sigma / now.sigma * math.exp(-h) * x_t + then.alpha * fresh * ahead(x, now, then, memory)
        return kept + then.sigma * math.sqrt(fresh) * white_noise(x_t, generator), (x, h)
