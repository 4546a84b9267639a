"""What training minimises: draw a time and noise, denoise, compare. Terms come per clip, unreduced.

    L = w(t) mean |x̂ - x|² + spectral_weight · mean |log S(x̂) - log S(x)|,     w(t) = min(max_weight, r² / (sigma sd)²)

The first term is the squared error in v (whatever the network predicts), with its growth at low noise cut off. The
second compares log-magnitudes of the decoded waveforms, which a squared error neglects where the signal is weak.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from audiodiff.denoisers import Denoiser, scales, snr_weight
from audiodiff.stft import hann, stft

__all__ = ["DenoisingLoss", "LossTerms", "PowerTimes", "log_spectral_distance"]


class LossTerms(NamedTuple):
    """Holds what a loss found for each clip, [B] each."""

    total: Tensor
    v: Tensor
    spectral: Tensor
    log_snr: Tensor


class PowerTimes:
    """Draws training times t = low + (high - low) u^power, u uniform and stratified over the batch.

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

    def __call__(self, batch: int, generator: torch.Generator) -> Tensor:
        """Draws one time per clip, [B], float64 on the CPU; the generator is a CPU one."""
        jitter = torch.rand(batch, dtype=torch.float64, generator=generator)
        u = (torch.randperm(batch, generator=generator) + jitter) / batch
        return self.low + (self.high - self.low) * u**self.power


class DenoisingLoss:
    """Measures how well a denoiser recovers clips from random noise levels.

    Args:
        times: Draws the times.
        max_weight: Cut-off of the weight at low noise.
        spectral_weight: Weight of the log-spectral term; 0 leaves it out.
        n_fft: Samples per frame of the log-spectral term.
        floor: Magnitude below which the log-spectral term sees nothing, full scale = 1.
    """

    def __init__(
        self,
        times: PowerTimes,
        max_weight: float = 10.0,
        spectral_weight: float = 0.0,
        n_fft: int = 512,
        floor: float = 1e-3,
    ) -> None:
        self.times = times
        self.max_weight = max_weight
        self.spectral_weight = spectral_weight
        self.n_fft = n_fft
        self.floor = floor

    def __call__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        condition: Tensor | None,
        decode: Callable[[Tensor], Tensor],
        generator: torch.Generator,
    ) -> LossTerms:
        """Returns the terms of a batch.

        Args:
            x: Clean signals in the diffused space, [B, 1, T].
            condition: What the network's `encode` returned, or None.
            decode: Maps the diffused space to waveforms.
            generator: A CPU generator, from which times and noise are drawn.
        """
        t = self.times(len(x), generator)
        eps = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        alpha, sigma = scales(denoiser.schedule, t, x)
        estimate = denoiser(alpha * x + sigma * eps, t, condition)
        weight = snr_weight(denoiser.prediction, alpha, sigma).clamp(max=self.max_weight)
        v = (weight * (estimate.x - x) ** 2).mean((1, 2))
        spectral = torch.zeros_like(v)
        if self.spectral_weight:
            spectral = log_spectral_distance(decode(estimate.x), decode(x), self.n_fft, self.floor)
        total = v + self.spectral_weight * spectral
        return LossTerms(total, v.detach(), spectral.detach(), denoiser.schedule.log_snr(t).to(v))


def log_spectral_distance(test: Tensor, reference: Tensor, n_fft: int = 512, floor: float = 1e-3) -> Tensor:
    """Returns the mean absolute difference of log STFT magnitudes per clip, [B], in nepers.

    Args:
        test: [B, 1, T].
        reference: [B, 1, T].
        n_fft: Samples per frame; the hop is a quarter of it.
        floor: Magnitudes are compared after adding this.
    """
    window = hann(n_fft, n_fft, 1.0, test.dtype, test.device)
    # |X|² + floor² under the root keeps the gradient of the magnitude finite at 0.
    test, reference = (
        ((s.real**2 + s.imag**2) + floor**2).log() / 2
        for s in (stft(w[:, 0], window, n_fft // 4, (n_fft // 2, n_fft // 2), "constant") for w in (test, reference))
    )
    return (test - reference).abs().mean((1, 2))
