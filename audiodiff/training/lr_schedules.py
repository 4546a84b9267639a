"""Schedules of the learning rate, as a factor of its largest value."""

import math
from collections.abc import Callable

import torch


class Constant:
    """Rise linearly, then stay constant.

    Args:
        warmup_steps: Steps of the rise.

    >>> [Constant(4)(step) for step in (0, 3, 4, 1000)]
    [0.25, 1.0, 1.0, 1.0]
    """

    def __init__(self, warmup_steps: int) -> None:
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        """Return the factor of a step."""
        return (step + 1) / self.warmup_steps if step < self.warmup_steps else 1.0


class WarmupCosine(Constant):
    """Rise linearly, then fall by half a cosine down to a fraction at the last step.

    Args:
        warmup_steps: Steps of the rise.
        total_steps: Steps of the whole run.
        final_factor: Factor at the end.

    >>> factor = WarmupCosine(10, 110, 0.1)
    >>> factor(0), factor(9), round(factor(110), 6)
    (0.1, 1.0, 0.1)
    """

    def __init__(self, warmup_steps: int, total_steps: int, final_factor: float) -> None:
        super().__init__(warmup_steps)
        self.total_steps = total_steps
        self.final_factor = final_factor

    def __call__(self, step: int) -> float:
        """Return the factor of a step."""
        if step < self.warmup_steps:
            return super().__call__(step)
        done = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * done)) / 2


class WarmupStableDecay(WarmupCosine):
    """Rise, stay constant, and fall in the last part; a run can be prolonged from any checkpoint of the constant part.

    The fall goes with the square root, 1 - sqrt(done). Reference: Hägele et al., 2024, arXiv:2405.18392.

    Args:
        warmup_steps: Steps of the rise.
        total_steps: Steps of the whole run.
        final_factor: Factor at the end.
        decay: Share of the steps in the falling part.

    >>> factor = WarmupStableDecay(10, 100, 0.1, decay=0.2)
    >>> factor(9), factor(80), factor(85), round(factor(100), 6)
    (1.0, 1.0, 0.55, 0.1)
    """

    def __init__(self, warmup_steps: int, total_steps: int, final_factor: float, decay: float = 0.2) -> None:
        super().__init__(warmup_steps, total_steps, final_factor)
        if not 0 < decay <= 1:
            raise ValueError(f"decay={decay} of the learning rate must be a share of the steps, such as 0.2")
        self.decay = decay

    def __call__(self, step: int) -> float:
        """Return the factor of a step."""
        length = self.decay * self.total_steps
        done = min(1.0, max(0.0, (step - (self.total_steps - length)) / length))
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return rise * (1 - (1 - self.final_factor) * math.sqrt(done))


def scheduled(optimizer: torch.optim.Optimizer, factor: Callable[[int], float]) -> torch.optim.lr_scheduler.LambdaLR:
    """Build the schedule of an optimiser from a factor of the step.

    The lambda hides the factor's attributes from torch, which would store and restore them: a prolonged run follows the
    present configuration.
    """
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step))
