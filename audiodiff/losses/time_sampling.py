"""Distributions of training times, as quantile functions of stratified uniform numbers.

    t = quantile(u),    u from [0, 1], cut into B W equal parts: one draw from each, for B clips on each of W processes

Stratified, a batch covers all noise levels, and the loss of a step varies less (Kingma et al., 2021,
arXiv:2107.00630, appendix I.1).
"""

import abc

import torch
from torch import Tensor

from audiodiff.diffusion.schedules import Schedule


class TimeSampler(abc.ABC):
    """Draw training times."""

    @abc.abstractmethod
    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        """Return the time below which a share u of the draws falls; float64, u in [0, 1)."""

    def __call__(
        self, batch: int, generator: torch.Generator, schedule: Schedule, rank: int = 0, world: int = 1
    ) -> Tensor:
        """Draw one time per clip, [B], float64 on the CPU; the generator is a CPU one."""
        jitter = torch.rand(batch, dtype=torch.float64, generator=generator)
        stratum = torch.randperm(batch, generator=generator) * world + rank
        return self.quantile((stratum + jitter) / (batch * world), schedule)


class PowerTimes(TimeSampler):
    """Draw t = low + (high - low) u^power.

    Args:
        power: 1 is uniform; 2 puts half of the clips into the first quarter of the range.
        low: Smallest time.
        high: Largest time.

    Raises:
        ValueError: The range is empty or leaves [0, 1].
    """

    def __init__(self, power: float = 1.0, low: float = 0.0, high: float = 1.0) -> None:
        if not (0 <= low < high <= 1 and power > 0):
            raise ValueError(f"low={low}, high={high}, power={power}: need 0 <= low < high <= 1 and power > 0")
        self.power = power
        self.low = low
        self.high = high

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        """Return low + (high - low) u^power."""
        return self.low + (self.high - self.low) * u**self.power


class LogitNormalTimes(TimeSampler):
    """Draw t whose logit is normal: fewer clips at both ends.

    Reference: Esser et al., 2024, arXiv:2403.03206, equation 19.

    Args:
        mean: Of the logit; below 0 prefers low noise.
        std: Of the logit.

    Raises:
        ValueError: std is not positive.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        if not std > 0:
            raise ValueError(f"std={std} must be positive")
        self.mean = mean
        self.std = std

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        """Return sigmoid(mean + std ndtri(u))."""
        return (self.mean + self.std * torch.special.ndtri(u)).sigmoid()


class LogNormalTimes(LogitNormalTimes):
    """Draw t at which log(sigma / alpha) is normal: EDM's training distribution, on any path.

    Reference: Karras et al., 2022, arXiv:2206.00364, table 1.

    Args:
        mean: Of log(sigma / alpha).
        std: Of log(sigma / alpha).
    """

    def __init__(self, mean: float = -1.2, std: float = 1.2) -> None:
        super().__init__(mean, std)

    def quantile(self, u: Tensor, schedule: Schedule) -> Tensor:
        """Return the time at which log-SNR = -2 (mean + std ndtri(u)), within the path."""
        return schedule.time(-2 * (self.mean + self.std * torch.special.ndtri(u))).clamp(0, 1)
