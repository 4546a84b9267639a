"""A solver takes one step from t to s < t; `sample` takes all of them.

A step sees a denoiser, the noisy signal and two times, and returns the signal at s with whatever it wants to be told at
the next step (its *memory*): solvers hold no state, so one object serves any number of trajectories.
"""

import abc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from audiodiff.denoisers import Denoise

__all__ = ["Callback", "Solver", "sample"]

Memory = Any
Callback = Callable[[int, Tensor], None]


class Solver(abc.ABC):
    """Moves a noisy signal one step along the path.

    Attributes:
        order: Declared order of convergence; a test measures it.
        calls_per_step: Denoiser calls that one step makes.
    """

    order: int
    calls_per_step: int

    @abc.abstractmethod
    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: Memory = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Memory]:
        """Moves x_t, [B, 1, T], from time t to time s < t.

        Args:
            memory: What the previous step returned; None at the first.
            generator: Source of noise for solvers that add some.

        Returns:
            x_s, [B, 1, T], and the memory for the next step.
        """


def sample(
    denoise: Denoise,
    solver: Solver,
    x: Tensor,
    times: Tensor,
    *,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walks a grid of times and lands on the clean estimate.

    A grid ends at t = 0, where the path holds sigma_0 of noise (5e-4 at a log-SNR of 15): the step that lands there
    reaches x̂ to within that. To stop earlier would leave noise, and to return x̂ from an earlier time would shrink
    the weak components of the signal.

    Args:
        x: Signal at times[0], [B, 1, T].
        times: Strictly decreasing, from at most 1 to exactly 0; float64 on the CPU, [steps + 1].
        callback: Called after each step with its index and the signal.

    Returns:
        The signal at t = 0, [B, 1, T].

    Raises:
        ValueError: The grid is not decreasing, or does not end at 0.
    """
    if len(times) < 2 or not bool((times.diff() < 0).all()) or times[-1] != 0 or times[0] > 1:
        raise ValueError(f"times={times.tolist()}: a grid falls strictly from at most 1 to 0, in at least one step")
    memory: Memory = None
    for i in range(len(times) - 1):
        x, memory = solver.step(denoise, x, times[i], times[i + 1], memory, generator)
        if callback is not None:
            callback(i, x)
    return x
