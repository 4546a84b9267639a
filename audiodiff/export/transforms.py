"""Short-time Fourier transforms in real numbers: frames times a matrix of cosines and sines.

Runtimes of exported networks have no complex numbers, and onnxruntime's DFT is slower than a matrix product at the
frame lengths of vocoders. A signal is [B, F, hop_length], so that all sizes are counted in frames; a spectrum is
[B, F, 2, K]: K real parts, then K imaginary ones. Tests compare the transforms with `audiodiff.audio.stft`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["RealTransform", "overlap_add"]


class RealTransform(nn.Module):
    """Transform signals to frames and back, as `stft.stft` and `stft.istft` do.

    Args:
        window: [n_fft].
        hop_length: Samples between frames.
        padding: Samples added on the left and on the right.
        pad_mode: What lies there: "reflect" or "constant" (zeros).
    """

    def __init__(self, window: Tensor, hop_length: int, padding: tuple[int, int], pad_mode: str) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.padding = padding
        self.pad_mode = pad_mode
        self.laps = -(-len(window) // hop_length)
        forward, backward = _matrices(window.double())
        beyond = self.laps * hop_length - len(window)  # where the hop does not divide the window
        self.register_buffer("forward_matrix", functional.pad(forward, (0, 0, 0, beyond)).float(), persistent=False)
        self.register_buffer("backward_matrix", functional.pad(backward, (0, beyond)).float(), persistent=False)
        self.register_buffer("squares", functional.pad(window.double() ** 2, (0, beyond)).float(), persistent=False)

    def weights(self, frames: Tensor) -> Tensor:
        """Add up the squares of the windows over frames, [B, F, 2, K]: what `inverse` divides by, [1, samples]."""
        ones = torch.ones_like(frames[:1, :, 0, :1])
        return overlap_add(ones * self.squares, self.hop_length).clamp(min=1e-5)

    def analyse(self, hops: Tensor) -> Tensor:
        """Transform a signal, [B, F, hop_length], to its first F frames, [B, F, 2, K]."""
        n_frames, signal = hops.shape[1], hops.flatten(1)
        if any(self.padding):
            signal = functional.pad(signal[:, None], self.padding, mode=self.pad_mode)[:, 0]
        wanted = (self.laps - 1) * self.hop_length
        if sum(self.padding) < wanted:  # more under the matrix' zeros than under the window
            signal = functional.pad(signal, (0, wanted - sum(self.padding)))
        signal = signal.narrow(1, 0, n_frames * self.hop_length + wanted)
        blocks = signal.unflatten(1, (n_frames + self.laps - 1, self.hop_length))
        frames = torch.cat([blocks.narrow(1, lap, n_frames) for lap in range(self.laps)], dim=-1)
        return (frames @ self.forward_matrix).unflatten(-1, (2, -1))

    def inverse(self, spectrum: Tensor, weights: Tensor) -> Tensor:
        """Transform [B, F, 2, K] back to [B, F, hop_length]; weights as from `weights`."""
        n_frames, left = spectrum.shape[1], self.padding[0]
        waveform = overlap_add(spectrum.flatten(-2) @ self.backward_matrix, self.hop_length) / weights
        missing = left - (self.laps - 1) * self.hop_length
        if missing > 0:
            waveform = functional.pad(waveform, (0, missing))
        return waveform.narrow(1, left, n_frames * self.hop_length).unflatten(1, (n_frames, self.hop_length))


def overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Add frames, [B, F, laps hop], at distances of hop_length: [B, (F + laps - 1) hop].

    >>> overlap_add(torch.ones(1, 3, 4), 2).tolist()
    [[1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0]]
    """
    laps = frames.shape[-1] // hop_length
    parts = [frames[..., lap * hop_length :][..., :hop_length] for lap in range(laps)]
    return sum(functional.pad(part, (0, 0, lap, laps - 1 - lap)) for lap, part in enumerate(parts)).flatten(1)


def _matrices(window: Tensor) -> tuple[Tensor, Tensor]:
    """Return the windowed transform, [n_fft, 2 K], and its windowed inverse, [2 K, n_fft], float64.

    The inverse of a real signal's transform counts each bin twice, but for the first and the last.
    """
    n_fft = len(window)
    whole = torch.fft.rfft(torch.eye(n_fft, dtype=torch.float64))
    twice = torch.full((whole.shape[1],), 2.0, dtype=torch.float64)
    twice[0] = 1.0
    if n_fft % 2 == 0:
        twice[-1] = 1.0
    forward = torch.cat([whole.real, whole.imag], dim=1) * window[:, None]
    backward = torch.cat([whole.real * twice, whole.imag * twice], dim=1).T * window / n_fft
    return forward, backward
