"""Paths on which the signal stays and noise is added to it: alpha = 1, sigma = exp(-log_snr / 2)."""

import math

import torch
from torch import Tensor

from audiodiff.diffusion.schedules.base import RangedSchedule


class GeometricVE(RangedSchedule):
    """Let sigma grow by equal factors: sigma_t = sigma_min (sigma_max / sigma_min)^t.

    Reference: Song et al., 2020, arXiv:2011.13456, equation 31.

    Args:
        sigma_min: Standard deviation of the noise at t = 0.
        sigma_max: At t = 1; a few hundred times the signal's, so that this is noise alone.

    Raises:
        ValueError: The standard deviations are not positive or do not grow.
    """

    def __init__(self, sigma_min: float = 5e-4, sigma_max: float = 1000.0) -> None:
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(f"sigma_min={sigma_min}, sigma_max={sigma_max}: need 0 < sigma_min < sigma_max < inf")
        self.sigma_min, self.sigma_max = sigma_min, sigma_max
        super().__init__()

    def curve(self, u: Tensor) -> Tensor:
        """Return -2 log sigma."""
        return -2 * (math.log(self.sigma_min) + u * math.log(self.sigma_max / self.sigma_min))

    def place(self, log_snr: Tensor) -> Tensor:
        """Return log(sigma / sigma_min) / log(sigma_max / sigma_min)."""
        return (-log_snr / 2 - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)

    def scales(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Return 1 and exp(-log_snr / 2)."""
        return torch.ones_like(log_snr), (-log_snr / 2).exp()


class KarrasVE(GeometricVE):
    """Let the rho-th root of sigma grow linearly, which spends more time at low noise than it seems.

        sigma_t = (sigma_min^(1/rho) + t (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho

    Reference: Karras et al., 2022, arXiv:2206.00364, equation 5.

    Args:
        sigma_min, sigma_max: As in GeometricVE.
        rho: 1 is linear, large is geometric.
    """

    def __init__(self, sigma_min: float = 2e-3, sigma_max: float = 80.0, rho: float = 7.0) -> None:
        if not 0 < rho < math.inf:
            raise ValueError(f"rho={rho} must be positive and finite")
        self.rho = rho
        super().__init__(sigma_min, sigma_max)

    def curve(self, u: Tensor) -> Tensor:
        """Return -2 log sigma."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return -2 * self.rho * (low + u * (high - low)).log()

    def place(self, log_snr: Tensor) -> Tensor:
        """Return u of the rho-th root of sigma."""
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return ((-log_snr / (2 * self.rho)).exp() - low) / (high - low)
