"""What a deterministic solver does, as a list of numbers.

Whatever rule a solver follows, each signal that it hands to the denoiser, and the one that it ends with, is a sum of
the first signal and of earlier estimates, and the weights depend on the times alone:

    x_k = c_k0 x_start + sum_{i < k} (a_ki x̂_i + b_ki ε̂_i),      x̂_k, ε̂_k = denoise(x_k, t_k)

So the solver is run once on `Sum`s, which remember weights in place of samples, with a denoiser that names its answers.
The list can be walked by anything that adds: a graph that knows no solvers, or twelve lines of NumPy.
"""

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from audiodiff.diffusion.denoiser import MOST_LOG_SNR
from audiodiff.diffusion.predictions import Estimate
from audiodiff.diffusion.sampling import sample
from audiodiff.diffusion.schedules import Schedule
from audiodiff.diffusion.solvers import Solver
from audiodiff.diffusion.solvers.base import path_point
from audiodiff.export.loops import repeat


class Sum:
    """Hold weights of signals by their number: 0 is the first, 1 + 2 k and 2 + 2 k are x̂ and ε̂ of call k.

    >>> (2 * Sum({0: 1.0}) - Sum({1: 0.5}) / 2).weights
    {0: 2.0, 1: -0.25}
    """

    def __init__(self, weights: Mapping[int, float]) -> None:
        self.weights = dict(weights)

    def __add__(self, other: "Sum | int") -> "Sum":
        """Add another, or the 0 with which `sum` begins."""
        theirs = other.weights if isinstance(other, Sum) else {}
        if not isinstance(other, Sum) and other != 0:
            return NotImplemented
        keys = sorted(self.weights.keys() | theirs.keys())
        return Sum({key: self.weights.get(key, 0.0) + theirs.get(key, 0.0) for key in keys})

    __radd__ = __add__

    def __sub__(self, other: "Sum") -> "Sum":
        """Subtract another."""
        return self + -1.0 * other

    def __mul__(self, factor: float) -> "Sum":
        """Multiply by a number."""
        return Sum({key: float(factor) * weight for key, weight in self.weights.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Sum":
        """Divide by a number."""
        return self * (1 / divisor)


@dataclasses.dataclass(frozen=True)
class Call:
    """Describe a call of the denoiser: the sum of signals that it is given, its time, scales and log-SNR."""

    weights: dict[int, float]
    time: float
    alpha: float
    sigma: float
    log_snr: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """Hold the calls of a solver, in order, and the sum that it ends with."""

    calls: tuple[Call, ...]
    end: dict[int, float]


def plan_of(solver: Solver, schedule: Schedule, times: Tensor) -> Plan:
    """Find out what a solver does on a grid of times.

    Raises:
        ValueError: The solver draws noise, or does more with signals than to add them.
    """
    name = type(solver).__name__
    if solver.stochastic:
        raise ValueError(
            f"{name} draws noise in every step and cannot be exported: choose a deterministic solver, as ddim"
        )
    listener = _Listener(schedule)
    try:
        end = sample(listener, solver, Sum({0: 1.0}), times)
        weights = _used(end)
    except (TypeError, AttributeError):
        raise ValueError(
            f"{name} does more with signals than to add them, and cannot be exported: choose ddim"
        ) from None
    return Plan(tuple(listener.calls), weights)


def table_of(plan: Plan) -> Tensor:
    """Return alpha, sigma and log-SNR of each call, [calls, 3, 1, 1, 1]."""
    known = [(c.alpha, c.sigma, max(-MOST_LOG_SNR, min(MOST_LOG_SNR, c.log_snr))) for c in plan.calls]
    return torch.tensor(known, dtype=torch.float64).float()[..., None, None, None]


def weights_of(plan: Plan) -> tuple[Tensor, Tensor]:
    """Return the weights of all signals in each call, [calls, signals], and in the end, [signals].

    >>> weights_of(Plan((Call({0: 1.0}, 1.0, 0.0, 1.0, -9.0),), {1: 0.5, 2: 0.25}))[1].tolist()
    [0.0, 0.5, 0.25]
    """
    table = torch.zeros(len(plan.calls) + 1, 1 + 2 * len(plan.calls), dtype=torch.float64)
    for row, weights in zip(table, [*(call.weights for call in plan.calls), plan.end], strict=True):
        row[list(weights)] = torch.tensor(list(weights.values()), dtype=torch.float64)
    return table[:-1].float(), table[-1].float()


class PlannedSteps(nn.Module):
    """Follow a plan: one loop, whose state is every signal so far, so that a graph does not grow with the calls.

    Args:
        plan: What a solver does.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        begin, end = weights_of(plan)
        self.n_calls = len(plan.calls)
        self.register_buffer("begin", begin[..., None, None, None], persistent=False)
        self.register_buffer("end", end[..., None, None, None], persistent=False)
        self.register_buffer("scales", table_of(plan), persistent=False)

    def forward(self, first: Tensor, estimate: Callable[[Tensor, Tensor, Tensor, Tensor], Estimate]) -> Tensor:
        """Map the first signal, [B, 1, T], to the last.

        Args:
            first: What sampling starts with.
            estimate: Map x_t, alpha, sigma, [1, 1, 1] each, and the log-SNR, [B], to x and eps.
        """

        def call(signals: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
            alpha, sigma, log_snr = self.scales.index_select(0, number)[0]
            x_t = (self.begin.index_select(0, number)[0] * signals).sum(0)
            x, eps = estimate(x_t, alpha, sigma, log_snr.flatten().expand(first.shape[0]))  # len would fix the batch
            place = torch.arange(len(self.end)).reshape(-1, 1, 1, 1) - 2 * number
            return torch.where(place == 1, x, torch.where(place == 2, eps, signals)), number + 1

        signals = torch.cat([first[None], first.new_zeros(2 * self.n_calls, *first.shape)])
        signals, _ = repeat(call, self.n_calls, signals, torch.zeros(1, dtype=torch.int64))
        return (self.end * signals).sum(0)


class _Listener:
    """Stand in for a denoiser, and write down how it is called."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.calls: list[Call] = []

    def __call__(self, x_t: Sum, t: Tensor) -> Estimate:
        point, number = path_point(self.schedule, t), len(self.calls)
        self.calls.append(Call(_used(x_t), float(t), point.alpha, point.sigma, 2 * point.lam))
        return Estimate(Sum({1 + 2 * number: 1.0}), Sum({2 + 2 * number: 1.0}))


def _used(signal: Sum) -> dict[int, float]:
    return {key: weight for key, weight in signal.weights.items() if weight}
