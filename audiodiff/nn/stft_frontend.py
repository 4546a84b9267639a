"""Move between waveform and frame rate by a fixed lapped transform."""

from torch import Tensor, nn

from audiodiff.audio.stft import hann, istft, stft
from audiodiff.utils.validation import check_counts

LARGEST = 2**16


class LappedTransform(nn.Module):
    """Transform waveforms to complex STFT frames, and back.

    The window is the square root of a Hann window on both sides, zeros lie beyond the ends, and there are exactly
    T / hop_length frames. In a waveform of unit white noise the real and the imaginary parts have unit variance.

    Args:
        n_fft: Samples per frame.
        hop_length: Samples between frames.

    Raises:
        ValueError: n_fft is smaller than the hop, or a number out of range.
    """

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        check_counts(1, hop_length=hop_length)
        if not hop_length <= n_fft <= LARGEST:
            raise ValueError(f"n_fft={n_fft}: a number from hop_length={hop_length} to {LARGEST} is wanted")
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.n_bins = n_fft // 2 + 1
        self.padding = ((n_fft - hop_length) // 2, n_fft - hop_length - (n_fft - hop_length) // 2)
        self.scale = 2 / n_fft**0.5  # the window's energy is n_fft / 2, half of it in each of the two parts

    def analyse(self, x: Tensor) -> Tensor:
        """Map [B, 1, T] to complex frames, [B, T / hop_length, n_bins]."""
        window = hann(self.n_fft, self.n_fft, 0.5, x.dtype, x.device)
        return stft(x[:, 0], self.scale * window, self.hop_length, self.padding, "constant")

    def synthesise(self, frames: Tensor) -> Tensor:
        """Map frames back to [B, 1, T], the inverse of `analyse`."""
        window = hann(self.n_fft, self.n_fft, 0.5, frames.real.dtype, frames.device)
        length = frames.shape[1] * self.hop_length
        return istft(frames, window, self.hop_length, self.padding, length)[:, None] / self.scale
