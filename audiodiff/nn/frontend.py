"""Moves between waveform and frame rate by a fixed lapped transform."""

import torch
from torch import Tensor, nn

from audiodiff.stft import hann, istft, stft

__all__ = ["LappedTransform"]


class LappedTransform(nn.Module):
    """Transforms waveforms to frames of real and imaginary STFT parts, and back.

    The window is the square root of a Hann window on both sides, zeros lie beyond the ends, and there are exactly
    T / hop_length frames. A waveform of unit white noise has frames of unit variance.

    Args:
        n_fft: Samples per frame.
        hop_length: Samples between frames.
    """

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.n_features = 2 * (n_fft // 2 + 1)
        self.padding = ((n_fft - hop_length) // 2, n_fft - hop_length - (n_fft - hop_length) // 2)
        self.scale = 2 / n_fft**0.5  # the window's energy is n_fft / 2, half of it in each of the two parts

    def analyse(self, x: Tensor) -> Tensor:
        """Maps [B, 1, T] to [B, T / hop_length, n_features]."""
        window = hann(self.n_fft, self.n_fft, 0.5, x.dtype, x.device)
        spectrum = stft(x[:, 0], window, self.hop_length, self.padding, "constant")
        return self.scale * torch.cat([spectrum.real, spectrum.imag], dim=-1)

    def synthesise(self, frames: Tensor) -> Tensor:
        """Maps frames back to [B, 1, T], the inverse of `analyse`."""
        window = hann(self.n_fft, self.n_fft, 0.5, frames.dtype, frames.device)
        real, imag = (frames / self.scale).chunk(2, dim=-1)
        length = frames.shape[1] * self.hop_length
        return istft(torch.complex(real, imag), window, self.hop_length, self.padding, length)[:, None]
