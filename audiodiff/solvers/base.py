"""A solver takes one step from t to s < t; `sample` takes all of them.

A step sees a denoiser, the noisy signal and two times, and returns the signal at s with whatever it wants to be told at
the next step (its *memory*): solvers hold no state, so one object serves any number of trajectories. Its coefficients
are plain numbers, computed in float64 from the scales at the two times (`at`).
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from audiodiff.denoisers import Denoise, Estimate
from audiodiff.noise import NoiseField
from audiodiff.schedules import Schedule, explicit

__all__ = ["At", "Callback", "Noise", "Solver", "at", "check_order", "interval", "mix", "sample", "white_noise"]

Memory = Any
Callback = Callable[[int, Tensor], None]
Noise = NoiseField | torch.Generator | Sequence[torch.Generator] | None
"""Where noise comes from: a field, one generator for the batch, or one for each clip."""


class At(NamedTuple):
    """Holds a path's scales at one time; lam = log(alpha / sigma)."""

    alpha: float
    sigma: float
    lam: float


def at(schedule: Schedule, t: Tensor) -> At:
    """Evaluates a path at a time, []."""
    alpha, sigma = schedule(t)
    return At(float(alpha), float(sigma), float(schedule.log_snr(t)) / 2)


def interval(schedule: Schedule, t: Tensor, s: Tensor) -> tuple[At, At]:
    """Evaluates a path at both ends of a step.

    Raises:
        ValueError: s is not below t.
    """
    check_order(t, s)
    return at(schedule, t), at(schedule, s)


def check_order(t: Tensor, s: Tensor) -> None:
    """Raises ValueError if s is not below t."""
    if not s < t:
        raise ValueError(f"s={float(s):g} is not below t={float(t):g}: a step goes from noise (1) towards audio (0)")


def mix(estimate: Estimate, point: At) -> Tensor:
    """Returns alpha x̂ + sigma ε̂: where the estimates would put the signal at another time."""
    return point.alpha * estimate.x + point.sigma * estimate.eps


def white_noise(like: Tensor, generator: Noise) -> Tensor:
    """Draws white noise of unit variance, shaped like a signal, [B, 1, T]; generators draw on their own device.

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


class Solver(abc.ABC):
    """Moves a noisy signal one step along the path.

    Attributes:
        order: Declared order of convergence; a test measures it.
        calls_per_step: Denoiser calls that one step makes.
        stochastic: Whether a step draws noise.
        grid: Name of the grid of times that suits it, one of `schedules.GRIDS`.
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
        memory: Memory = None,
        generator: Noise = None,
    ) -> tuple[Tensor, Memory]:
        """Moves x_t, [B, 1, T], from time t to time s < t.

        Args:
            memory: What the previous step returned; None at the first.
            generator: Source of noise for solvers that add some.

        Returns:
            x_s, [B, 1, T], and the memory for the next step.

        Raises:
            ValueError: s is not below t.
        """


def sample(
    denoise: Denoise,
    solver: Solver,
    x: Tensor,
    times: Tensor,
    *,
    generator: Noise = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walks a grid of times and lands on the clean estimate.

    A grid ends at t = 0, where the path holds sigma_0 of noise (5e-4 at a log-SNR of 15): the step that lands there
    reaches x̂ to within that. To stop earlier would leave noise, and to return x̂ from an earlier time would shrink
    the weak components of the signal.

    Args:
        x: Signal at times[0], [B, 1, T].
        times: Strictly decreasing, from at most 1 to exactly 0; float64 on the CPU, [steps + 1].
        generator: Source of noise for stochastic solvers; a field, or one generator for each clip, makes a clip
            independent of its batch.
        callback: Called after each step with its index and the signal.

    Returns:
        The signal at t = 0, [B, 1, T].

    Raises:
        ValueError: The grid is not decreasing, or does not end at 0, or a stochastic solver has no generator.
    """
    times = explicit(times)
    memory: Memory = None
    for i in range(len(times) - 1):
        noise = generator.of_step(i + 1) if isinstance(generator, NoiseField) else generator
        x, memory = solver.step(denoise, x, times[i], times[i + 1], memory, noise)
        if callback is not None:
            callback(i, x)
    return x
