"""What every path answers, and the part that all but one of them share: a curve of log-SNR, cut to a range."""

import abc

import torch
from torch import Tensor


class Schedule(abc.ABC):
    """Define the path x_t = alpha_t x + sigma_t eps by its two scales."""

    @abc.abstractmethod
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha_t and sigma_t, each shaped like t."""

    @abc.abstractmethod
    def log_snr(self, t: Tensor) -> Tensor:
        """Return log(alpha_t² / sigma_t²), strictly decreasing in t."""

    def time(self, log_snr: Tensor) -> Tensor:
        """Return the t at which the path has this log-SNR: the exact inverse of `log_snr`.

        Raises:
            ValueError: The path does not say.
        """
        raise ValueError(
            f"{type(self).__name__} has no inverse: define time(log_snr), or keep to what needs none, as DDIM on "
            "linear_timesteps"
        )

    def derivatives(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return d alpha_t / dt and d sigma_t / dt, by automatic differentiation: a path is defined once."""
        with torch.inference_mode(False), torch.enable_grad():
            t = t.detach().clone().requires_grad_()
            alpha_t, sigma_t = self(t)
            return tuple(
                torch.autograd.grad(scale.sum(), t, retain_graph=True)[0]
                if scale.requires_grad
                else torch.zeros_like(t)
                for scale in (alpha_t, sigma_t)
            )

    def drift_and_diffusion(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return f_t and g_t of the forward process dx = f_t x dt + g_t dw.

            f_t = d log alpha_t / dt,      g_t² = d sigma_t² / dt - 2 f_t sigma_t²

        Reference: Kingma et al., 2021, arXiv:2107.00630, equation 20.
        """
        (alpha, sigma), (d_alpha, d_sigma) = self(t), self.derivatives(t)
        drift = d_alpha / alpha
        return drift, (2 * sigma * (d_sigma - drift * sigma)).clamp(min=0).sqrt()


class RangedSchedule(Schedule):
    """Walk a curve of log-SNR at constant speed in the curve's own time u, from one log-SNR to another.

        log_snr(t) = curve(u_0 + (u_1 - u_0) t) + shift

    A subclass gives `curve`, its inverse `place`, and the `scales` of a log-SNR.

    Args:
        log_snr_min: Log-SNR at t = 1, shift included; None for that of u = 1.
        log_snr_max: Log-SNR at t = 0, shift included; None for that of u = 0.
        shift: Added to the curve: 2 log c is the path of a signal c times as loud (Hoogeboom et al., 2023,
            arXiv:2301.11093, section 3.1).

    Raises:
        ValueError: The range is empty, has no finite end or is wider than float64 resolves, or the curve rises.
    """

    def __init__(self, log_snr_min: float | None = None, log_snr_max: float | None = None, shift: float = 0.0) -> None:
        self.log_snr_min, self.log_snr_max, self.shift = log_snr_min, log_snr_max, shift
        self._begin = 0.0 if log_snr_max is None else self._place(log_snr_max)
        self._end = 1.0 if log_snr_min is None else self._place(log_snr_min)
        ends = self.log_snr(torch.linspace(0, 1, 101, dtype=torch.float64))
        asked = zip((log_snr_max, log_snr_min), ends[[0, -1]].tolist(), strict=True)
        missed = any(wanted is not None and abs(wanted - reached) > 0.01 for wanted, reached in asked)
        if missed or not bool(torch.isfinite(ends).all()):
            raise ValueError(
                f"{type(self).__name__}: the log-SNR goes from {float(ends[0]):g} to {float(ends[-1]):g}; give finite "
                "arguments, and a log_snr_min and log_snr_max that float64 can tell from t = 1 and t = 0 (nearer to 0)"
            )
        if not bool((ends.diff() < 0).all()):
            raise ValueError(
                f"{type(self).__name__}: the log-SNR goes from {float(ends[0]):g} to {float(ends[-1]):g}; it must "
                "fall, or it has no inverse: set log_snr_min below log_snr_max"
            )

    @abc.abstractmethod
    def curve(self, u: Tensor) -> Tensor:
        """Return the log-SNR at the curve's own time u, falling in u."""

    @abc.abstractmethod
    def place(self, log_snr: Tensor) -> Tensor:
        """Return u: the inverse of `curve`."""

    @abc.abstractmethod
    def scales(self, log_snr: Tensor) -> tuple[Tensor, Tensor]:
        """Return alpha and sigma, log(alpha² / sigma²) being given."""

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scales of the log-SNR at t."""
        return self.scales(self.log_snr(t))

    def log_snr(self, t: Tensor) -> Tensor:
        """Return curve(u) + shift."""
        return self.curve(self._begin + (self._end - self._begin) * t) + self.shift

    def time(self, log_snr: Tensor) -> Tensor:
        """Return the time of a log-SNR."""
        return (self.place(log_snr - self.shift) - self._begin) / (self._end - self._begin)

    def _place(self, log_snr: float) -> float:
        return float(self.place(torch.tensor(log_snr - self.shift, dtype=torch.float64)))
