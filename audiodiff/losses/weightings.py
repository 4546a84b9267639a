"""Weights of the squared error in x by noise level, as functions of SNR = exp(log_snr).

A weighting is named after the quantity whose plain squared error it gives. At low noise an error in v or eps is a many
times magnified error in x, so most weights have a limit.
"""

import abc
import math

import torch
from torch import Tensor


class Weighting(abc.ABC):
    """Weight |x̂ - x|²."""

    @abc.abstractmethod
    def __call__(self, log_snr: Tensor, sigma_data: float) -> Tensor:
        """Return the weight at a log-SNR, shaped like it."""


class VelocityWeight(Weighting):
    """Weight as the error of v: w = min(limit, SNR + 1 / sd²). EDM's weight is the same, without a limit.

    References: Salimans & Ho, 2022, arXiv:2202.00512, section 4 (SNR + 1); Karras et al., 2022, arXiv:2206.00364,
    table 1 (there as (sigma² + sd²) / (sigma sd)²).

    Args:
        limit: Largest weight; None for none.

    Raises:
        ValueError: The limit is not positive.
    """

    def __init__(self, limit: float | None = 10.0) -> None:
        self.limit = math.inf if limit is None else limit
        if not self.limit > 0:
            raise ValueError(f"limit={limit} must be positive, or None for no limit")

    def __call__(self, log_snr: Tensor, sigma_data: float) -> Tensor:
        """Return min(limit, SNR + 1 / sd²)."""
        return (log_snr.exp() + sigma_data**-2).clamp(max=self.limit)


class NoiseWeight(VelocityWeight):
    """Weight as the error of eps: w = min(limit, SNR), which is 0 for pure noise."""

    def __call__(self, log_snr: Tensor, sigma_data: float) -> Tensor:
        """Return min(limit, SNR)."""
        return log_snr.exp().clamp(max=self.limit)


class DataWeight(Weighting):
    """Weight as the error of x in units of sd: w = 1 / sd²."""

    def __call__(self, log_snr: Tensor, sigma_data: float) -> Tensor:
        """Return 1 / sd²."""
        return torch.full_like(log_snr, sigma_data**-2)


class MinSNR(NoiseWeight):
    """Cut the weight of eps off at gamma: w = min(gamma, SNR).

    Reference: Hang et al., 2023, arXiv:2303.09556.

    Args:
        gamma: Largest weight.
    """

    def __init__(self, gamma: float = 5.0) -> None:
        super().__init__(gamma)


class SigmoidWeight(Weighting):
    """Cut the weight of eps off smoothly: w = SNR sigmoid(bias - log_snr), which tends to exp(bias).

    Reference: Kingma & Gao, 2023, arXiv:2303.00848; Hoogeboom et al., 2024, arXiv:2410.19324, section 3.1.

    Args:
        bias: Log-SNR at which half of the weight is cut.
    """

    def __init__(self, bias: float = 2.0) -> None:
        self.bias = bias

    def __call__(self, log_snr: Tensor, sigma_data: float) -> Tensor:
        """Return SNR sigmoid(bias - log_snr), as exp(bias) sigmoid(log_snr - bias)."""
        return math.exp(self.bias) * (log_snr - self.bias).sigmoid()
