"""Paths on which noise replaces the signal at constant variance (and sub-VP, on which the variance dips).

VP:      alpha² + sigma² = 1     alpha² = sigmoid(log_snr),  sigma² = sigmoid(-log_snr)
sub-VP:  alpha² + sigma = 1      (sigma is the standard deviation of the noise)
"""

import math

import torch
from torch import Tensor

from audiodiff.diffusion.schedules.base import RangedSchedule


class VariancePreserving(RangedSchedule):
    """Keep alpha² + sigma² = 1."""

    def __init__(self, log_snr_min: float | None = -15.0, log_snr_max: float | None = 15.0, shift: float = 0.0) -> None:
        super().__init__(log_snr_min, log_snr_max, shift)

    def scales(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Return sqrt(sigmoid(log_snr)) and sqrt(sigmoid(-log_snr))."""
        return log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()


class CosineVP(VariancePreserving):
    """Turn audio into noise at constant speed on the unit circle.

        alpha_t = cos(phi),  sigma_t = sin(phi),  phi linear in t,  curve(u) = -2 log tan(pi u / 2)

    The angle runs over the part of (0, pi/2) in which the log-SNR lies within the range, so both ends are finite.
    References: Nichol & Dhariwal, 2021, arXiv:2102.09672; log-SNR form and shift: Hoogeboom et al., 2023,
    arXiv:2301.11093.

    >>> alpha, sigma = CosineVP()(torch.tensor(0.5))
    >>> round(float(alpha), 4), round(float(sigma), 4)
    (0.7071, 0.7071)
    """

    def curve(self, u: Tensor) -> Tensor:
        """Return -2 log tan(pi u / 2)."""
        return -2 * (u * (math.pi / 2)).tan().log()

    def place(self, log_snr: Tensor) -> Tensor:
        """Return 2 / pi arctan(exp(-log_snr / 2))."""
        return (-log_snr / 2).exp().atan() * (2 / math.pi)


class LinearVP(VariancePreserving):
    """Let the rate of noise grow linearly: the path of DDPM, in continuous time.

        alpha² = exp(-B),   B(u) = beta_min u + (beta_max - beta_min) u² / 2,   curve = -log(exp(B) - 1)

    Reference: Song et al., 2020, arXiv:2011.13456, equation 32.

    Args:
        beta_min: Rate at u = 0.
        beta_max: Rate at u = 1.
        log_snr_min, log_snr_max, shift: As for every schedule; the path itself ends at u = 1.
    """

    def __init__(
        self,
        beta_min: float = 0.1,
        beta_max: float = 20.0,
        log_snr_min: float | None = None,
        log_snr_max: float | None = 15.0,
        shift: float = 0.0,
    ) -> None:
        if not (beta_min > 0 and beta_max > beta_min):
            raise ValueError(f"beta_min={beta_min}, beta_max={beta_max}: the rate must be positive and grow")
        self.beta_min, self.beta_max = beta_min, beta_max
        super().__init__(log_snr_min, log_snr_max, shift)

    def curve(self, u: Tensor) -> Tensor:
        """Return -log(exp(B) - 1)."""
        return -self._exponent(u).expm1().log()

    def place(self, log_snr: Tensor) -> Tensor:
        """Solve B(u) = log(1 + exp(-log_snr)) for u."""
        return self._at(torch.nn.functional.softplus(-log_snr, threshold=700))

    def _exponent(self, u: Tensor) -> Tensor:
        return u * (self.beta_min + (self.beta_max - self.beta_min) / 2 * u)

    def _at(self, exponent: Tensor) -> Tensor:
        return (
            2 * exponent / (self.beta_min + (self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * exponent).sqrt())
        )


class SubVP(LinearVP):
    """Add less noise than VP at the same alpha.

        alpha² = exp(-B),   sigma = 1 - exp(-B),   B as in LinearVP

    Reference: Song et al., 2020, arXiv:2011.13456, equation 29.
    """

    def curve(self, u: Tensor) -> Tensor:
        """Return -B - 2 log(1 - exp(-B))."""
        exponent = self._exponent(u)
        return -exponent - 2 * (-(-exponent).expm1()).log()

    def place(self, log_snr: Tensor) -> Tensor:
        """Solve for u by way of alpha."""
        return self._at(-2 * self.scales(log_snr)[0].log())

    def scales(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Solve alpha / (1 - alpha²) = exp(log_snr / 2) =: r, and return alpha and alpha / r = 1 - alpha²."""
        r = (log_snr / 2).exp()
        alpha = 2 * r / (1 + (1 + 4 * r**2).sqrt())
        return alpha, alpha / r


class SigmoidVP(VariancePreserving):
    """Let alpha² fall along the middle of a logistic curve: more time at the ends than the cosine.

        alpha² = (s(end) - s(start + (end - start) u)) / (s(end) - s(start)),   s(a) = sigmoid(a / tau)

    Reference: Jabri et al., 2022, arXiv:2212.11972, appendix B.

    Args:
        start: Left end of the curve.
        end: Right end of the curve.
        tau: Width of the logistic.
        log_snr_min, log_snr_max, shift: As for every schedule.
    """

    def __init__(
        self,
        start: float = -3.0,
        end: float = 3.0,
        tau: float = 1.0,
        log_snr_min: float | None = -15.0,
        log_snr_max: float | None = 15.0,
        shift: float = 0.0,
    ) -> None:
        if not (start < end and tau > 0):
            raise ValueError(f"start={start}, end={end}, tau={tau}: need start < end and tau > 0")
        self.start, self.end, self.tau = start, end, tau
        self._low, self._high = torch.tensor([start / tau, end / tau], dtype=torch.float64).sigmoid().tolist()
        super().__init__(log_snr_min, log_snr_max, shift)

    def curve(self, u: Tensor) -> Tensor:
        """Return log(alpha² / (1 - alpha²))."""
        middle = ((self.start + (self.end - self.start) * u) / self.tau).sigmoid()
        return (self._high - middle).log() - (middle - self._low).log()

    def place(self, log_snr: Tensor) -> Tensor:
        """Invert the logistic."""
        middle = self._low + (self._high - self._low) * (-log_snr).sigmoid()
        return (self.tau * middle.logit() - self.start) / (self.end - self.start)


class LogisticVP(VariancePreserving):
    """Distribute log-SNR, over uniform time, as a logistic: curve(u) = mean - scale logit(u).

    `scale` 2 has the log-SNR of rectified flow; 1 makes alpha² = 1 - u.
    Reference: Kingma & Gao, 2023, arXiv:2303.00848, table 1 (rectified flow's is logistic).

    Args:
        mean: Log-SNR at u = 1/2.
        scale: Scale of the distribution.
        log_snr_min, log_snr_max, shift: As for every schedule.
    """

    def __init__(
        self,
        mean: float = 0.0,
        scale: float = 1.0,
        log_snr_min: float | None = -15.0,
        log_snr_max: float | None = 15.0,
        shift: float = 0.0,
    ) -> None:
        if not scale > 0:
            raise ValueError(f"scale={scale} must be positive")
        self.mean, self.scale = mean, scale
        super().__init__(log_snr_min, log_snr_max, shift)

    def curve(self, u: Tensor) -> Tensor:
        """Return mean - scale log(u / (1 - u))."""
        return self.mean - self.scale * u.logit()

    def place(self, log_snr: Tensor) -> Tensor:
        """Return sigmoid((mean - log_snr) / scale)."""
        return ((self.mean - log_snr) / self.scale).sigmoid()


class LaplaceVP(LogisticVP):
    """Distribute log-SNR, over uniform time, as a Laplace: sharply about `mean`.

        curve(u) = mean - scale sign(u - 1/2) · (-log(1 - 2 |u - 1/2|))

    Reference: Hang et al., 2024, arXiv:2407.03297, table 1.
    """

    def curve(self, u: Tensor) -> Tensor:
        """Return the quantile function of a Laplace distribution at 1 - u."""
        return self.mean + self.scale * torch.where(u < 0.5, -(2 * u).log(), (2 - 2 * u).log())

    def place(self, log_snr: Tensor) -> Tensor:
        """Return one minus the distribution function."""
        away = (log_snr - self.mean) / self.scale
        tail = (-away.abs()).exp() / 2
        return torch.where(away > 0, tail, 1 - tail)
