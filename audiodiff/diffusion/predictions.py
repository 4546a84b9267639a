"""What a network predicts: noise, signal, velocity or flow; each determines the others."""

import abc
from typing import NamedTuple

from torch import Tensor

TINY = 1e-12  # below every scale that a schedule reaches; keeps 0 / 0 at the very ends of a path finite


class Estimate(NamedTuple):
    """Hold what a denoiser believes: clean signal and noise, both shaped like x_t."""

    x: Tensor
    eps: Tensor


def noise_of(x_t: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return the noise that turns x into x_t: eps = (x_t - alpha x) / sigma."""
    return (x_t - alpha * x) / sigma.clamp(min=TINY)


def data_of(x_t: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return the signal that eps turns into x_t: x = (x_t - sigma eps) / alpha."""
    return (x_t - sigma * eps) / alpha.clamp(min=TINY)


class Prediction(abc.ABC):
    """Say what a network's output means.

    Args:
        sigma_data: Standard deviation of the clean signals in the diffused space.

    Raises:
        ValueError: sigma_data is not positive.
    """

    def __init__(self, sigma_data: float = 1.0) -> None:
        if not sigma_data > 0:
            raise ValueError(f"sigma_data={sigma_data} must be positive: measure it on the training data")
        self.sigma_data = sigma_data

    def norm(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return r = sqrt(alpha² sd² + sigma²), the standard deviation of x_t."""
        return ((alpha * self.sigma_data) ** 2 + sigma**2).sqrt()

    @abc.abstractmethod
    def estimate(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Estimate:
        """Read x and eps off the network's output."""

    @abc.abstractmethod
    def target(self, x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return the output that a perfect network would give: the inverse of `estimate`."""


class VPrediction(Prediction):
    """Read the output as v, which equals alpha eps - sigma x at sigma_data = 1.

    x = (alpha sd² x_t / r - sigma sd v) / r,      eps = (sigma x_t / r + alpha sd v) / r

    References: Salimans & Ho, 2022, arXiv:2202.00512, section 4; Karras et al., 2022, arXiv:2206.00364.
    """

    def estimate(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Estimate:
        """Rotate (x_t, v) to (x, eps)."""
        sd, r = self.sigma_data, self.norm(alpha, sigma)
        x = (alpha * sd**2 * (x_t / r) - sigma * sd * output) / r
        eps = (sigma * (x_t / r) + alpha * sd * output) / r
        return Estimate(x, eps)

    def target(self, x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return v = (alpha sd² eps - sigma x) / (r sd)."""
        sd = self.sigma_data
        return (alpha * sd**2 * eps - sigma * x) / (self.norm(alpha, sigma) * sd)


class EpsPrediction(Prediction):
    """Read the output as eps. The clean signal is then undetermined where alpha vanishes."""

    def estimate(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Estimate:
        """Solve x_t = alpha x + sigma eps for x."""
        return Estimate(data_of(x_t, output, alpha, sigma), output)

    def target(self, x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return eps."""
        return eps


class XPrediction(Prediction):
    """Read the output as the clean signal in units of sigma_data.

    The target has nothing of the noise in it, so a narrow network on wide frames need not carry noise through its
    width. Reference: Li & He, 2025, arXiv:2511.13720.
    """

    def estimate(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Estimate:
        """Solve x_t = alpha x + sigma eps for eps."""
        x = self.sigma_data * output
        return Estimate(x, noise_of(x_t, x, alpha, sigma))

    def target(self, x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return x / sd."""
        return x / self.sigma_data


class FlowPrediction(Prediction):
    """Read the output as eps - x in units of its own standard deviation, sqrt(1 + sd²).

    x = (x_t - sigma u) / (alpha + sigma),      eps = (x_t + alpha u) / (alpha + sigma),      u = eps - x

    Reference: Liu et al., 2022, arXiv:2209.03003 (there for alpha = 1 - t; it holds on any path).
    """

    def estimate(self, output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Estimate:
        """Solve the two linear equations for x and eps."""
        u = output * (1 + self.sigma_data**2) ** 0.5
        return Estimate((x_t - sigma * u) / (alpha + sigma), (x_t + alpha * u) / (alpha + sigma))

    def target(self, x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Return (eps - x) / sqrt(1 + sd²)."""
        return (eps - x) / (1 + self.sigma_data**2) ** 0.5
