"""Distances of an estimate from the clean signal in the diffused space, per clip."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from audiodiff.audio.stft import hann, stft


class Distance(Protocol):
    """Compare two signals of the diffused space."""

    def __call__(self, estimate: Tensor, x: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a distance per clip, [B], that grows as a squared error does; the signals are [B, 1, T]."""
        ...


class SquaredError:
    """Take the mean of |x̂ - x|² over samples."""

    def __call__(self, estimate: Tensor, x: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the mean squared error, [B]."""
        return (estimate - x).square().mean((1, 2))


class OctaveWeighted:
    """Take a squared error of transform coefficients in which each octave above a corner counts the same.

        d = mean over k of w_k (x̂_k - x_k)²,      w_k ∝ 1 / (k + corner), of mean 1

    Half of all coefficients belong to the highest octave, where a sound is mostly noise. What has a pitch is in a few
    of the lowest, and would hardly count.

    Args:
        block: Coefficients in a block, in order of their frequency, as `PowerMDCT` has them.
        corner: Coefficient below which all count the same.

    Raises:
        ValueError: A number is not positive.
    """

    def __init__(self, block: int = 512, corner: float = 8.0) -> None:
        if block < 1 or not corner > 0:
            raise ValueError(f"block={block}, corner={corner}: both must be positive")
        weights = 1 / (torch.arange(block, dtype=torch.float64) + corner)
        self.weights = (weights / weights.mean()).float()

    def __call__(self, estimate: Tensor, x: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the weighted mean squared error, [B]."""
        error = (estimate - x).square().unflatten(-1, (-1, len(self.weights)))
        return (error * self.weights.to(error)).mean((1, 2, 3))


class EnergyBalanced:
    """Weight errors of the waveform's spectrum by its own energy, so that weak bins count too.

        d = mean(x²) sum w |STFT(ŷ - y)|² / sum w (|STFT(y)|² + floor²),      w = (E + floor²)^(-exponent)

    y is the decoded waveform and E the energy of its spectrum, averaged over 3 × 3 neighbours. The factor mean(x²)
    makes it comparable with `SquaredError`: well above the floor d does not depend on the waveform's gain, and grows
    with the square of the diffused signal's. A mel-shaped whitening with exponent 0.5 already does most of this.
    References: RFWave, 2024, arXiv:2403.05010; Flow2GAN, 2025, arXiv:2512.23278, which scale by (S + eps)^(-1/2).

    Args:
        n_fft: Samples per frame.
        exponent: 0 is the plain relative error, 1 whitens.
        floor: Magnitude below which weights grow no further, full scale = 1.
    """

    def __init__(self, n_fft: int = 512, exponent: float = 0.5, floor: float = 1e-2) -> None:
        if not 0 <= exponent <= 1 or not floor > 0:
            raise ValueError(f"exponent={exponent}, floor={floor}: need exponent in [0, 1] and floor > 0")
        self.n_fft = n_fft
        self.exponent = exponent
        self.floor = floor

    def __call__(self, estimate: Tensor, x: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the balanced relative error times the signal's power, [B]."""
        truth = decode(x)
        reference, error = (self._energy(w) for w in (truth, decode(estimate) - truth))
        around = functional.avg_pool2d(reference[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
        weight = (around + self.floor**2) ** -self.exponent
        relative = (weight * error).sum((1, 2)) / (weight * (reference + self.floor**2)).sum((1, 2))
        return x.square().mean((1, 2)) * relative

    def _energy(self, waveform: Tensor) -> Tensor:
        window = hann(self.n_fft, self.n_fft, 1.0, waveform.dtype, waveform.device)
        half = self.n_fft // 2
        spectrum = stft(waveform[:, 0], window, self.n_fft // 4, (half, half), "constant")
        return spectrum.real**2 + spectrum.imag**2
