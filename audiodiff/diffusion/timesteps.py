"""Grids of times on which a solver walks: float64, [steps + 1], falling from `start` to 0.

The grid matters as much as the solver. First-order solvers do best where steps are even in time, high-order multistep
ones where they are even in log-SNR; with one to eight steps, search (`audiodiff tune-times`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING

from audiodiff.utils.lazy import lazy_module

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from audiodiff.diffusion.schedules.base import Schedule
else:
    torch = lazy_module("torch")


def linear_timesteps(steps: int, start: float = 1.0) -> Tensor:
    """Divide [start, 0] into equal steps of time. DDIM converges best on this grid.

    >>> linear_timesteps(2).tolist()
    [1.0, 0.5, 0.0]
    """
    _check(steps, start)
    return torch.linspace(start, 0.0, steps + 1, dtype=torch.float64)


def quadratic_timesteps(steps: int, start: float = 1.0) -> Tensor:
    """Take the squares of equal steps: times crowd at low noise.

    Reference: Song et al., 2020, arXiv:2010.02502, appendix D.2.

    >>> quadratic_timesteps(2).tolist()
    [1.0, 0.25, 0.0]
    """
    _check(steps, start)
    return start * torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64) ** 2


def log_snr_timesteps(schedule: Schedule, steps: int, start: float = 1.0) -> Tensor:
    """Divide the way from `start` to 0 into equal steps of log-SNR. High-order multistep solvers like it best.

    Reference: DPM-Solver (Lu et al., 2022), arXiv:2206.00927, section 4.1.
    """
    begin, end = _ends(schedule, steps, start)
    return _between(schedule, torch.linspace(begin, end, steps + 1, dtype=torch.float64), start)


def karras_timesteps(schedule: Schedule, steps: int, start: float = 1.0, rho: float = 7.0) -> Tensor:
    """Divide the way into equal steps of (sigma / alpha)^(1/rho).

    Reference: Karras et al., 2022, arXiv:2206.00364, equation 5.

    Raises:
        ValueError: rho is not positive, or the path starts at zero SNR.
    """
    if not rho > 0:
        raise ValueError(f"rho={rho} must be positive")
    begin, end = _ends(schedule, steps, start)
    ratio = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    first, last = (torch.tensor(-log_snr / (2 * rho), dtype=torch.float64).exp() for log_snr in (begin, end))
    return _between(schedule, -2 * rho * (first + ratio * (last - first)).log(), start)


def check_timesteps(times: Sequence[float]) -> Tensor:
    """Take the times as they are.

    Raises:
        ValueError: They are no numbers, or do not fall strictly from at most 1 to exactly 0.

    >>> check_timesteps([1, 0.5, 0]).tolist()
    [1.0, 0.5, 0.0]
    """
    try:
        grid = torch.as_tensor(times, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"times={times!r}: numbers are wanted, such as [1, 0.5, 0]") from None
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() < 0).all()) or grid[-1] != 0 or not grid[0] <= 1:
        raise ValueError(f"times={grid.tolist()}: a grid falls strictly from at most 1 to 0, in at least one step")
    return grid


TIMESTEP_GRIDS: dict[str, Callable[[Schedule, int, float], Tensor]] = {
    "even-t": lambda schedule, steps, start: linear_timesteps(steps, start),
    "even-log-snr": log_snr_timesteps,
    "karras": karras_timesteps,
    "quadratic": lambda schedule, steps, start: quadratic_timesteps(steps, start),
}
"""The names by which the command line knows the grids."""


def _between(schedule: Schedule, log_snr: Tensor, start: float) -> Tensor:
    times = schedule.time(log_snr)
    times[0], times[-1] = start, 0.0
    return times


def _ends(schedule: Schedule, steps: int, start: float) -> tuple[float, float]:
    _check(steps, start)
    begin, end = schedule.log_snr(torch.tensor([start, 0.0], dtype=torch.float64)).tolist()
    if begin == float("-inf"):
        raise ValueError(
            f"the log-SNR is -inf at start={start:g}, so no steps from there are equal: take even-t or quadratic"
        )
    return begin, end


def _check(steps: int, start: float) -> None:
    if not isinstance(steps, Integral) or steps < 1:
        raise ValueError(f"steps={steps}: a whole number, at least 1, is wanted")
    if not 0 < start <= 1:
        raise ValueError(f"start={start}: sampling starts at a time in (0, 1]")
