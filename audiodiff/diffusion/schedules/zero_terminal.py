"""A wrapper that takes the last trace of signal out of the noise at t = 1."""

import torch
from torch import Tensor

from audiodiff.diffusion.schedules.base import Schedule


class ZeroTerminalSNR(Schedule):
    """Rescale a variance-preserving path so that it ends in noise alone.

        alpha'_t = alpha_0 (alpha_t - alpha_1) / (alpha_0 - alpha_1),      sigma'_t² = 1 - alpha'_t²

    Training then sees what sampling starts from. The log-SNR at t = 1 is -inf: eps does not tell the signal there, and
    no grid that is even in log-SNR begins there.
    Reference: Lin et al., 2023, arXiv:2305.08891, algorithm 1.

    Args:
        schedule: The path to rescale.

    Raises:
        ValueError: The path does not preserve variance, so that its sigma does not follow from alpha.
    """

    def __init__(self, schedule: Schedule) -> None:
        alpha, sigma = schedule(torch.linspace(0, 1, 11, dtype=torch.float64))
        if not torch.allclose(alpha**2 + sigma**2, torch.ones_like(alpha)):
            raise ValueError(
                f"{type(schedule).__name__}: a zero terminal SNR is made of a variance-preserving path; take CosineVP, "
                "LinearVP, or another"
            )
        self.schedule = schedule
        alpha, sigma = schedule(torch.tensor([0.0, 1.0], dtype=torch.float64))
        self._first, self._last = alpha.tolist()
        self._lost = float(_lost(alpha, sigma)[0])

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha'_t and sqrt(1 - alpha'_t²), the latter without cancelling digits at t = 0."""
        alpha_t, sigma_t = self.schedule(t)
        alpha = self._first * (alpha_t - self._last) / (self._first - self._last)
        alpha = torch.where(t < 1, alpha, alpha - alpha.detach())  # exactly 0 in any dtype, and its slope kept
        lost = (self._first * _lost(alpha_t, sigma_t) - self._last * self._lost) / (self._first - self._last)
        return alpha, (lost * (1 + alpha)).sqrt()

    def log_snr(self, t: Tensor) -> Tensor:
        """Return log(alpha'² / sigma'²); -inf at t = 1."""
        alpha, sigma = self(t)
        return 2 * (alpha / sigma).log()

    def time(self, log_snr: Tensor) -> Tensor:
        """Undo the rescaling of alpha, then ask the path within."""
        alpha, sigma_squared = log_snr.sigmoid().sqrt(), (-log_snr).sigmoid()
        lost = ((self._first - self._last) * sigma_squared / (1 + alpha) + self._last * self._lost) / self._first
        alpha = alpha * (self._first - self._last) / self._first + self._last
        return self.schedule.time((alpha**2 / (lost * (1 + alpha))).log())


def _lost(alpha: Tensor, sigma: Tensor) -> Tensor:
    """Return 1 - alpha, exact where alpha is all but 1, on a variance-preserving path."""
    return sigma**2 / (1 + alpha)
