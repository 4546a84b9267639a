"""A solver takes one step from t to s < t; `sample` takes all of them.

A step gets a denoiser, the noisy signal and two times, and returns the signal at s with the solver state for the next
step (`memory`): solvers themselves are stateless, so one object serves any number of trajectories. Coefficients are
plain numbers, computed in float64 from the scales at the two times (`path_point`).
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from audiodiff.diffusion.denoiser import Denoise
from audiodiff.diffusion.noise import NoiseField
from audiodiff.diffusion.predictions import Estimate
from audiodiff.diffusion.schedules import Schedule

SolverState = Any
Callback = Callable[[int, Tensor], None]
NoiseSource = NoiseField | torch.Generator | Sequence[torch.Generator] | None
"""Where noise comes from: a field, one generator for the batch, or one for each clip."""


class Solver(abc.ABC):
    """Move a noisy signal one step along the path.

    Attributes:
        order: Declared order of convergence; a test measures it.
        calls_per_step: Denoiser calls that one step makes.
        stochastic: Whether a step draws noise.
        grid: Name of its default grid, one of `timesteps.TIMESTEP_GRIDS`.
    """

    order: int
    calls_per_step: int
    stochastic: bool = False
    grid: str = "even-t"

    @abc.abstractmethod
    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: SolverState = None,
        generator: NoiseSource = None,
    ) -> tuple[Tensor, SolverState]:
        """Move x_t, [B, 1, T], from time t to time s < t.

        Args:
            memory: Solver state of the previous step; None at the first.
            generator: Source of noise for stochastic solvers.

        Returns:
            x_s, [B, 1, T], and the memory for the next step.

        Raises:
            ValueError: s is not below t.
        """


class PathPoint(NamedTuple):
    """Hold a path's scales at one time; lam = log(alpha / sigma)."""

    alpha: float
    sigma: float
    lam: float


def endpoints(schedule: Schedule, t: Tensor, s: Tensor) -> tuple[PathPoint, PathPoint]:
    """Evaluate a path at both ends of a step.

    Raises:
        ValueError: s is not below t.
    """
    check_order(t, s)
    return path_point(schedule, t), path_point(schedule, s)


def path_point(schedule: Schedule, t: Tensor) -> PathPoint:
    """Evaluate a path at a time, []."""
    alpha, sigma = schedule(t)
    return PathPoint(float(alpha), float(sigma), float(schedule.log_snr(t)) / 2)


def check_order(t: Tensor, s: Tensor) -> None:
    """Raise ValueError if s is not below t."""
    if not s < t:
        raise ValueError(f"s={float(s):g} is not below t={float(t):g}: a step goes from noise (1) towards audio (0)")


def mix(estimate: Estimate, point: PathPoint) -> Tensor:
    """Return alpha x̂ + sigma ε̂: the signal at another time by the estimates."""
    return point.alpha * estimate.x + point.sigma * estimate.eps


def white_noise(like: Tensor, generator: NoiseSource) -> Tensor:
    """Draw white noise of unit variance, shaped like a signal, [B, 1, T]; generators draw on their own device.

    Raises:
        ValueError: There is no generator, or not one for each clip.
    """
    if isinstance(generator, NoiseField):
        return generator.draw(like)
    if isinstance(generator, torch.Generator):
        return torch.randn(like.shape, generator=generator, device=generator.device, dtype=like.dtype).to(like)
    if generator is None or len(generator) != len(like):
        raise ValueError("a stochastic solver needs a generator, or one for each clip: pass generator=")
    clips = [torch.randn(like.shape[1:], generator=g, device=g.device, dtype=like.dtype) for g in generator]
    return torch.stack(clips).to(like)
