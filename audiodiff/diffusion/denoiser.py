"""Turn a network into a denoiser: (x_t, t) in, an estimate of the clean signal and of the noise out.

A network predicts one of four quantities, equivalent in exact arithmetic, since x_t, t and any one of them determine
the others:

    data      x                          flow      eps - x   (the velocity of rectified flow)
    noise     eps                        velocity  v = (alpha sd² eps - sigma x) / (r sd),  r² = alpha² sd² + sigma²

``sd`` is the standard deviation of the data. ``v`` is the preconditioning of EDM on an arbitrary path (Karras et al.,
2022, arXiv:2206.00364, table 1): its target has unit variance at every t, and neither end of the path divides by a
vanishing number. Solvers see none of this, only the `Estimate`.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from audiodiff.diffusion.predictions import EpsPrediction, Estimate, Prediction, noise_of
from audiodiff.diffusion.schedules.base import Schedule
from audiodiff.utils import devices

MOST_LOG_SNR = 20.0  # of a network's condition; beyond it float32 holds signal alone or noise alone


class Denoise(Protocol):
    """Describe the only interface that solvers see; an exact Gaussian satisfies it as well as a network."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Estimate:
        """Estimate x and eps from x_t, [B, 1, T], at time t, [] or [B]."""
        ...


class Denoiser(nn.Module):
    """Wrap a network: normalise its input, condition it on log-SNR, convert its output to an `Estimate`.

    With normalised input and log-SNR as condition, the estimate of x does not depend on the path: a trained network may
    be moved to another schedule.

    Args:
        network: Maps (signal [B, 1, T], log-SNR [B], condition) to a tensor like the signal.
        prediction: Meaning of its output.
        schedule: The path; not necessarily that of training.

    Raises:
        ValueError: The network predicts eps, and the path ends in noise alone.
    """

    def __init__(self, network: nn.Module, prediction: Prediction, schedule: Schedule) -> None:
        super().__init__()
        if (
            isinstance(prediction, EpsPrediction)
            and float(schedule.log_snr(torch.tensor(1.0, dtype=torch.float64))) == -math.inf
        ):
            raise ValueError(
                "the path ends at zero SNR, where eps does not tell the signal: predict Data, Velocity or Flow, or "
                "take a schedule without zero terminal SNR"
            )
        self.network = network
        self.prediction = prediction
        self.schedule = schedule

    def forward(self, x_t: Tensor, t: Tensor, condition: Any = None) -> Estimate:
        """Estimate x and eps.

        Args:
            x_t: Noisy signal, [B, 1, T].
            t: Time on the CPU in float64, [] or [B].
            condition: Output of the network's `encode`, or None.
        """
        alpha, sigma = scales(self.schedule, t, x_t)
        log_snr = self.schedule.log_snr(t).clamp(-MOST_LOG_SNR, MOST_LOG_SNR).to(x_t).expand(len(x_t))
        output = self.network(x_t / self.prediction.norm(alpha, sigma), log_snr, condition)
        return self.prediction.estimate(output.to(x_t.dtype), x_t, alpha, sigma)


def scales(schedule: Schedule, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Evaluate alpha_t and sigma_t, and cast them to a signal's device and dtype, [B or 1, 1, 1]."""
    alpha, sigma = schedule(t)
    return alpha.to(like).reshape(-1, 1, 1), sigma.to(like).reshape(-1, 1, 1)


class Conditioned:
    """Bind a condition to a denoiser, for solvers.

    Args:
        denoiser: The denoiser.
        condition: Output of its network's `encode`, or None.
        precision: Precision of the network's matrix products, as for `devices.arithmetic`.
    """

    def __init__(self, denoiser: Denoiser, condition: Any, precision: str = "float32") -> None:
        self.denoiser = denoiser
        self.condition = condition
        self.precision = precision
        self.schedule = denoiser.schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Estimate:
        """Estimate x and eps under the bound condition."""
        with devices.arithmetic(x_t.device, self.precision):
            return self.denoiser(x_t, t, self.condition)


class ConstrainedDenoiser:
    """Correct every estimate of x by a constraint, such as a mel; the estimate of eps follows.

    Args:
        denoise: The denoiser to correct.
        refine: Maps an estimate of x, [B, 1, T], to a better one.
    """

    def __init__(self, denoise: Denoise, refine: Callable[[Tensor], Tensor]) -> None:
        self.denoise = denoise
        self.refine = refine
        self.schedule = denoise.schedule

    def __call__(self, x_t: Tensor, t: Tensor) -> Estimate:
        """Estimate x, refine it, and return it with the consistent eps."""
        x = self.refine(self.denoise(x_t, t).x)
        return Estimate(x, noise_of(x_t, x, *scales(self.schedule, t, x_t)))
