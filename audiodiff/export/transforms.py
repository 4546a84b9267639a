"""Short-time Fourier transforms in real numbers: frames times matrices of cosines and sines.

Runtimes of exported networks have no complex numbers, and onnxruntime's DFT is slower than a matrix product at the
frame lengths of vocoders. A signal is [B, F, hop_length], so that all sizes are counted in frames; a spectrum is
[B, 2, F, K]: real parts, then imaginary ones. Tests compare the transforms with `audiodiff.audio.stft`.

A long frame is folded about its middle: cosines are even and sines odd, so sums of mirrored samples give the real
parts, differences the imaginary ones, and the products take half as long.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from audiodiff.griffin_lim.projection import Pair

SHORTEST_FOLDED = 256  # samples; of shorter frames, folding takes longer than it saves


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
        self.n_fft = len(window)
        self.laps = -(-self.n_fft // hop_length)
        self.folds = self.n_fft >= SHORTEST_FOLDED and _is_even(window)
        beyond = self.laps * hop_length - self.n_fft  # where the hop does not divide the window
        padded = functional.pad(window.double(), (0, beyond))
        self.factors = self._factors(padded)
        self.register_buffer("forward_matrix", self.factors.forward_matrix().float(), persistent=False)
        self.register_buffer("backward_matrix", self.factors.backward_matrix().float(), persistent=False)
        self.register_buffer("squares", padded.square().float(), persistent=False)

    def _factors(self, window: Tensor) -> "Factors":
        """Return what the matrices are made of: of a folded frame, samples 1 to n_fft / 2.

        The last of them is its own mirror image, so that it is counted twice in a sum.
        """
        if not self.folds:
            return Factors(self.n_fft, torch.arange(len(window)), window, window)
        samples = torch.arange(1, self.n_fft // 2 + 1)
        backward = window[samples]
        forward = backward.clone()
        forward[-1] /= 2
        return Factors(self.n_fft, samples, forward, backward)

    def weights(self, frames: Tensor) -> Tensor:
        """Add up the squares of the windows over frames, [B, 2, F, K]: what `inverse` divides by, [1, samples]."""
        ones = torch.ones_like(frames[:1, 0, :, :1])
        return overlap_add(ones * self.squares, self.hop_length).clamp(min=1e-5)

    def analyse(self, hops: Tensor) -> Tensor:
        """Transform a signal, [B, F, hop_length], to its first F frames, [B, 2, F, K]."""
        return self.spectrum_of(self.framed(hops))

    def framed(self, hops: Tensor) -> Tensor:
        """Cut a signal, [B, F, hop_length], into its first F frames without a window, [B, F, laps hop]."""
        n_frames, signal = hops.shape[1], hops.flatten(1)
        if any(self.padding):
            signal = functional.pad(signal.unsqueeze(1), self.padding, mode=self.pad_mode).squeeze(1)
        wanted = (self.laps - 1) * self.hop_length
        if sum(self.padding) < wanted:  # more under the matrix' zeros than under the window
            signal = functional.pad(signal, (0, wanted - sum(self.padding)))
        signal = signal.narrow(1, 0, n_frames * self.hop_length + wanted)
        blocks = signal.unflatten(1, (n_frames + self.laps - 1, self.hop_length))
        return torch.cat([blocks.narrow(1, lap, n_frames) for lap in range(self.laps)], dim=-1)

    def inverse(self, spectrum: Tensor, weights: Tensor) -> Tensor:
        """Transform [B, 2, F, K] back to [B, F, hop_length]; weights as from `weights`."""
        return self.joined(self.frames_of(spectrum), weights)

    def joined(self, frames: Tensor, weights: Tensor) -> Tensor:
        """Add windowed frames, [B, F, laps hop], up to a signal, [B, F, hop_length]; weights as from `weights`."""
        n_frames, left = frames.shape[1], self.padding[0]
        waveform = overlap_add(frames, self.hop_length) / weights
        missing = left - (self.laps - 1) * self.hop_length
        if missing > 0:
            waveform = functional.pad(waveform, (0, missing))
        return waveform.narrow(1, left, n_frames * self.hop_length).unflatten(1, (n_frames, self.hop_length))

    def spectrum_of(self, frames: Tensor) -> Tensor:
        """Transform frames without a window, [B, F, laps hop], to [B, 2, F, K]."""
        return torch.stack(self.pair_of(frames), dim=1)

    def pair_of(self, frames: Tensor, first: int = 0) -> Pair:
        """Transform frames without a window, [B, F, laps hop], to their bins from a first one on, [B, F, K] each."""
        real, imaginary = self.forward_matrix[..., first:]
        even, odd = self._fold(frames)
        return even @ real, odd @ imaginary

    def frames_of(self, spectrum: Tensor) -> Tensor:
        """Transform [B, 2, F, K] back to windowed frames, [B, F, laps hop]."""
        return self.frames_of_pair(spectrum.unbind(1))

    def frames_of_pair(self, pair: Sequence[Tensor], first: int = 0) -> Tensor:
        """Invert `pair_of`: the bins before the first are zero."""
        even, odd = (part @ matrix for part, matrix in zip(pair, self.backward_matrix[:, first:], strict=True))
        return self._unfold(even, odd)

    def _fold(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Map frames, [B, F, laps hop], to sums and to differences of mirrored samples, [B, F, n_fft / 2] each."""
        if not self.folds:
            return frames, frames
        half = self.n_fft // 2
        left, right = frames.narrow(-1, 1, half), frames.narrow(-1, half, half).flip(-1)
        return left + right, left - right

    def _unfold(self, even: Tensor, odd: Tensor) -> Tensor:
        """Map what even and odd waves add up to, [B, F, n_fft / 2] each, to frames, [B, F, laps hop]."""
        if not self.folds:
            return even + odd
        beyond = self.laps * self.hop_length - self.n_fft
        frames = torch.cat([functional.pad(even + odd, (1, -1)), (even - odd).flip(-1)], dim=-1)
        return functional.pad(frames, (0, beyond)) if beyond else frames


def overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Add frames, [B, F, laps hop], at distances of hop_length: [B, (F + laps - 1) hop].

    >>> overlap_add(torch.ones(1, 3, 4), 2).tolist()
    [[1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0]]
    """
    parts = frames.split(hop_length, dim=-1)
    padded = [functional.pad(part, (0, 0, lap, len(parts) - 1 - lap)) for lap, part in enumerate(parts)]
    return functools.reduce(torch.add, padded).flatten(1)


@dataclasses.dataclass(frozen=True)
class Factors:
    """Hold what the matrices of a transform are made of, in float64: far less than the matrices.

    Args:
        n_fft: Samples of a frame.
        samples: Which of them the matrices are for, [N].
        forward: The window over them in the transform, [N].
        backward: The same in the inverse transform.
    """

    n_fft: int
    samples: Tensor
    forward: Tensor
    backward: Tensor

    @property
    def bins(self) -> Tensor:
        """Return the numbers of the bins, [K]."""
        return torch.arange(self.n_fft // 2 + 1)

    @property
    def wave(self) -> Tensor:
        """Return one period of a cosine and of a falling sine, [2, n_fft]."""
        angle = 2 * math.pi / self.n_fft * torch.arange(self.n_fft, dtype=torch.float64)
        return torch.stack([angle.cos(), -angle.sin()])

    @property
    def shares(self) -> Tensor:
        """Return the weights of the bins in the inverse, [K]: those of a real signal count twice, but for the ends."""
        single = (self.bins == 0) | (2 * self.bins == self.n_fft)
        return torch.where(single, 1.0, 2.0).double() / self.n_fft

    def forward_matrix(self) -> Tensor:
        """Compute the windowed transform, [2, N, K]."""
        return self._waves() * self.forward[:, None]

    def backward_matrix(self) -> Tensor:
        """Compute the windowed inverse, [2, K, N]."""
        return self._waves().mT * self.shares[:, None] * self.backward

    def _waves(self) -> Tensor:
        return self.wave[:, self.samples[:, None] * self.bins % self.n_fft]


def _is_even(window: Tensor) -> bool:
    """Tell whether a window of even length is zero at its first sample and the same forwards and backwards behind."""
    return len(window) % 2 == 0 and not window[0] and torch.allclose(window[1:], window[1:].flip(0), rtol=0, atol=1e-6)
