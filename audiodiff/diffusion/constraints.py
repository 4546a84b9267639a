"""What is known of a signal that is to be restored, each as the nearest signal that agrees with it.

    some samples                       Known         inpainting, missing packets, continuation
    the spectrum up to a frequency     BandLimited   bandwidth extension
    all below the clipping level       Clipped       declipping

The sets of signals that agree are convex, so the nearest is unique and `project` is exact.
"""

import abc
import math

import torch
from torch import Tensor


class Constraint(abc.ABC):
    """Say what is known of a signal, as the nearest signal that agrees with it.

    Args:
        observed: What was observed, [B, 1, T]; B = 1 serves a batch of any size.

    Raises:
        ValueError: observed is no [B, 1, T].
    """

    def __init__(self, observed: Tensor) -> None:
        if observed.ndim != 3 or observed.shape[1] != 1 or not observed.is_floating_point():
            raise ValueError(f"observed is {observed.dtype} {list(observed.shape)}: give floating-point [B, 1, T]")
        self.observed = observed

    @abc.abstractmethod
    def nearest(self, x: Tensor, observed: Tensor) -> Tensor:
        """Find the signal nearest to x that agrees with `observed`, which has the device and dtype of x."""

    def project(self, x: Tensor) -> Tensor:
        """Return the nearest signal that agrees, [B, 1, T].

        Raises:
            ValueError: x is not shaped like the observed signal.
        """
        if x.shape[1:] != self.observed.shape[1:] or len(self.observed) not in (1, len(x)):
            raise ValueError(f"x is {list(x.shape)}, the observed {list(self.observed.shape)}: cut or pad to one shape")
        return self.nearest(x, self.observed.to(x))

    def residual(self, x: Tensor) -> Tensor:
        """Return x - project(x), [B, 1, T]: zero where x agrees."""
        return x - self.project(x)


class InpaintingConstraint(Constraint):
    """Know some samples: inpainting, missing packets, continuation.

    Args:
        observed: The signal, [B, 1, T]; anything, even NaN, where the mask is False.
        mask: True where a sample is known, like `observed`.

    Raises:
        ValueError: The mask is not boolean, or not shaped like `observed`.
    """

    def __init__(self, observed: Tensor, mask: Tensor) -> None:
        super().__init__(observed)
        if mask.dtype != torch.bool or mask.shape != observed.shape:
            shape = list(observed.shape)
            raise ValueError(f"mask is {mask.dtype} {list(mask.shape)}: give torch.bool {shape}, True where known")
        with torch.inference_mode(False):  # autograd saves it, and does not save what inference mode made
            self.mask = mask.clone()

    def nearest(self, x: Tensor, observed: Tensor) -> Tensor:
        """Replace the known samples."""
        return torch.where(self.mask.to(x.device), observed, x)


class BandwidthConstraint(Constraint):
    """Know the spectrum from 0 up to a cutoff, taken over the whole clip: bandwidth extension.

    Args:
        observed: The signal, [B, 1, T], at the rate of the wanted one; anything above the cutoff.
        cutoff: Highest known frequency in hertz.
        sample_rate: In hertz.

    Raises:
        ValueError: cutoff is not in (0, sample_rate / 2].
    """

    def __init__(self, observed: Tensor, cutoff: float, sample_rate: float) -> None:
        super().__init__(observed)
        if not 0 < cutoff <= sample_rate / 2:
            raise ValueError(f"cutoff={cutoff} Hz at sample_rate={sample_rate}: give one in (0, {sample_rate / 2}]")
        self.n_known = math.floor(cutoff * observed.shape[-1] / sample_rate) + 1  # bins of the transform

    def nearest(self, x: Tensor, observed: Tensor) -> Tensor:
        """Replace the known bins."""
        wrong = torch.fft.rfft(observed - x)[..., : self.n_known]
        return x + torch.fft.irfft(wrong, n=x.shape[-1])


class ClippingConstraint(Constraint):
    """Know the samples below a limit, and that the others lie at or beyond it, each on its own side: declipping.

    Args:
        observed: The clipped signal, [B, 1, T].
        limit: Amplitude at which it was clipped.

    Raises:
        ValueError: limit is not positive.
    """

    def __init__(self, observed: Tensor, limit: float) -> None:
        super().__init__(observed)
        if not limit > 0:
            raise ValueError(f"limit={limit}: give the positive amplitude at which the signal was clipped")
        self.limit = limit

    def nearest(self, x: Tensor, observed: Tensor) -> Tensor:
        """Replace the samples below the limit and pushes the others out to it."""
        outside = torch.where(observed >= self.limit, x.clamp(min=self.limit), x.clamp(max=-self.limit))
        return torch.where(observed.abs() < self.limit, observed, outside)
