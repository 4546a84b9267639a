"""Maps time to signal and noise scales.

A diffusion path mixes a clean signal ``x`` with white noise ``eps``:

    x_t = alpha_t x + sigma_t eps,        log_snr(t) = log(alpha_t² / sigma_t²)

Time runs from ``t = 0`` (audio) to ``t = 1`` (noise). All that distinguishes two schedules of one family is how fast
the log-SNR falls with time; solvers and networks therefore speak of log-SNR, and a trained network may be moved to
another schedule. Schedules are plain objects without parameters: they compute in the dtype of the time that they are
given, which the library keeps in float64 on the CPU and casts where it meets a signal.
"""

import abc
import math

import torch
from torch import Tensor

__all__ = ["CosineVP", "Schedule", "even_log_snr", "even_times"]


class Schedule(abc.ABC):
    """Defines the path x_t = alpha_t x + sigma_t eps by its two scales."""

    @abc.abstractmethod
    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Returns alpha_t and sigma_t, each shaped like t."""

    @abc.abstractmethod
    def log_snr(self, t: Tensor) -> Tensor:
        """Returns log(alpha_t² / sigma_t²), strictly decreasing in t."""

    @abc.abstractmethod
    def time(self, log_snr: Tensor) -> Tensor:
        """Returns the t at which the path has this log-SNR: the inverse of `log_snr`."""

    def drift_and_diffusion(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Returns f_t and g_t of the forward process dx = f_t x dt + g_t dw.

            f_t = d log alpha_t / dt,      g_t² = d sigma_t² / dt - 2 f_t sigma_t²

        The derivatives are taken by automatic differentiation of the path itself, so that a schedule is defined once.
        Reference: Kingma et al., 2021, arXiv:2107.00630, equation 20.
        """
        with torch.inference_mode(False), torch.enable_grad():
            t = t.detach().clone().requires_grad_()
            alpha_t, sigma_t = self(t)
            (drift,) = torch.autograd.grad(alpha_t.log().sum(), t, retain_graph=True)
            (growth,) = torch.autograd.grad((sigma_t**2).sum(), t)
        return drift, (growth - 2 * drift * sigma_t.detach() ** 2).clamp(min=0).sqrt()


class CosineVP(Schedule):
    """Turns audio into noise at constant speed on the unit circle (variance preserving, alpha² + sigma² = 1).

        alpha_t = cos(phi_t),  sigma_t = sin(phi_t),  phi_t linear in t,  log_snr(t) = -2 log tan(phi_t)

    The angle runs over the part of (0, pi/2) in which the log-SNR lies within the given range, so both ends are finite
    and the inverse is exact.
    References: Nichol & Dhariwal, 2021, arXiv:2102.09672; log-SNR form: Hoogeboom et al., 2023, arXiv:2301.11093.

    Args:
        log_snr_min: Log-SNR at t = 1.
        log_snr_max: Log-SNR at t = 0.

    Raises:
        ValueError: The range is empty.

    >>> alpha, sigma = CosineVP()(torch.tensor(0.5))
    >>> round(float(alpha), 4), round(float(sigma), 4)
    (0.7071, 0.7071)
    """

    def __init__(self, log_snr_min: float = -15.0, log_snr_max: float = 15.0) -> None:
        if not log_snr_min < log_snr_max:
            raise ValueError(f"log_snr_min={log_snr_min} must be below log_snr_max={log_snr_max}")
        self.log_snr_min = log_snr_min
        self.log_snr_max = log_snr_max
        self._start = math.atan(math.exp(-log_snr_max / 2))
        self._end = math.atan(math.exp(-log_snr_min / 2))

    def _angle(self, t: Tensor) -> Tensor:
        return self._start + (self._end - self._start) * t

    def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Returns cos(phi_t) and sin(phi_t)."""
        angle = self._angle(t)
        return angle.cos(), angle.sin()

    def log_snr(self, t: Tensor) -> Tensor:
        """Returns -2 log tan(phi_t)."""
        return -2 * self._angle(t).tan().log()

    def time(self, log_snr: Tensor) -> Tensor:
        """Returns the time of a log-SNR."""
        return ((-log_snr / 2).exp().atan() - self._start) / (self._end - self._start)


def even_times(steps: int, start: float = 1.0) -> Tensor:
    """Divides [start, 0] into equal steps of time; float64, [steps + 1], decreasing.

    DDIM converges best on this grid.

    >>> even_times(2).tolist()
    [1.0, 0.5, 0.0]
    """
    _check(steps, start)
    return torch.linspace(start, 0.0, steps + 1, dtype=torch.float64)


def even_log_snr(schedule: Schedule, steps: int, start: float = 1.0) -> Tensor:
    """Divides the way from `start` to 0 into equal steps of log-SNR; float64, [steps + 1], decreasing.

    High-order multistep solvers converge best on this grid.
    Reference: DPM-Solver (Lu et al., 2022), arXiv:2206.00927, section 4.1.
    """
    _check(steps, start)
    ends = schedule.log_snr(torch.tensor([start, 0.0], dtype=torch.float64))
    times = schedule.time(torch.linspace(float(ends[0]), float(ends[1]), steps + 1, dtype=torch.float64))
    times[0], times[-1] = start, 0.0
    return times


def _check(steps: int, start: float) -> None:
    if steps < 1:
        raise ValueError(f"steps={steps}: a sampler takes at least 1 step")
    if not 0 < start <= 1:
        raise ValueError(f"start={start}: sampling starts at a time in (0, 1]")
