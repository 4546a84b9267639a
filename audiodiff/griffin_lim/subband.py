"""The lowest half, quarter or eighth of a mel's transform, on a signal at a proportionally lower rate.

Frames of n_fft / r samples with a hop of hop / r on a signal at rate / r have, but for aliasing at the upper end, the
lowest n_fft / (2 r) + 1 bins of the whole. An iteration there costs an r-th.
"""

import functools
import math

import torch
from torch import Tensor

from audiodiff.audio.stft import envelope, hann, istft, stft
from audiodiff.mel import MelSpec
from audiodiff.mel.filterbank import band_weights, mel_filters

RELAXATION = 1.7  # 1 converges half as fast; 2 does not converge
LIMIT = 3.0  # nepers per iteration


class SubbandSTFT:
    """Transform the lowest bins, and compare their magnitudes with a mel.

    Args:
        spec: Mel parameters.
        mel: The given log-mel, [B, M, F].
        octave: 0 for all bins, n for the lowest 1 / 2^n of them.

    Raises:
        ValueError: The frames do not divide by 2^octave.
    """

    def __init__(self, spec: MelSpec, mel: Tensor, octave: int = 0) -> None:
        if octave > lowest_octave(spec):
            raise ValueError(f"octave={octave}: frames of this mel divide by 2^{lowest_octave(spec)} at most")
        self.spec = spec
        self.rate = 2**octave
        self.n_bins = spec.n_fft // self.rate // 2 + 1
        self.silent: Tensor | None  # for the bin of 0 Hz, which no band holds; None where that bin is left out
        self.filters, self.spread, self.silent = subband_filters(spec, self.n_bins, mel.dtype, mel.device)
        wanted = spec.log_magnitudes(mel.transpose(1, 2))[..., : self.filters.shape[1]]
        self.wanted = wanted - math.log(self.rate)  # windows are shorter
        self.floor = spec.floor / self.rate**spec.power
        self.n_frames = mel.shape[-1]
        self.hop_length = spec.hop_length // self.rate
        self.padding = (spec.padding[0] // self.rate, spec.padding[1] // self.rate)
        size = spec.win_length // self.rate, spec.n_fft // self.rate
        self.window = hann(*size, 1.0, mel.dtype, mel.device, spec.periodic)

    def stft(self, signal: Tensor) -> Tensor:
        """Transform [B, F hop / r] to complex frames, [B, F, n_bins]."""
        frames = stft(signal, self.window, self.hop_length, self.padding, self.spec.pad_mode)
        return frames[:, : self.n_frames]  # a centred mel has one frame beyond the last hop

    def istft(self, spectrum: Tensor) -> Tensor:
        """Invert `stft`."""
        length = spectrum.shape[-2] * self.hop_length
        return istft(spectrum, self.window, self.hop_length, self.padding, length, self.weights)

    @functools.cached_property
    def weights(self) -> Tensor:
        """What `istft` divides by."""
        return envelope(self.window, self.n_frames, self.hop_length)

    def analyse(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Transform [B, F hop / r] to the real and the imaginary parts of frames, [B, F, n_bins] each."""
        spectrum = self.stft(signal)
        return spectrum.real, spectrum.imag

    def synthesise(self, frames: tuple[Tensor, Tensor]) -> Tensor:
        """Invert `analyse`."""
        return self.istft(torch.complex(*frames))

    def gains(self, magnitudes: Tensor) -> Tensor:
        """Compute the factors of one iteration that moves magnitudes, [B, F, n_bins], towards the mel; 0 at 0 Hz."""
        power = self.spec.power
        bands = (magnitudes if power == 1 else magnitudes**power) @ self.filters
        has = bands.clamp(min=self.floor).log()
        ratio = self.wanted - (has if power == 1 else has / power)
        return torch.nn.functional.linear(ratio.clamp(-LIMIT, LIMIT), self.spread, self.silent).exp()


def lowest_octave(spec: MelSpec) -> int:
    """Return the largest n such that windows, hops and padding divide by 2^n, and some band lies below the cut.

    >>> lowest_octave(MelSpec(16000)), lowest_octave(MelSpec(44100, 2048, 2048, 441, f_max=22050))
    (7, 0)
    """
    parts = math.gcd(spec.n_fft // 2, spec.win_length, spec.hop_length, *spec.padding)
    octave = (parts & -parts).bit_length() - 1
    cpu = torch.device("cpu")
    while octave and not subband_filters(spec, spec.n_fft // 2**octave // 2 + 1, torch.float64, cpu)[0].shape[1]:
        octave -= 1
    return octave


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # as in stft.hann
def subband_filters(
    spec: MelSpec, n_bins: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return filters, [n_bins, m], relaxed weights, [n_bins, m], of the m bands below the cut as a whole, and a bias.

    Bins above the highest of these bands follow it. No band holds a constant offset, so nothing but the bias, -inf for
    0 Hz and 0 for all else, keeps it out of the sound: e^-inf = 0.
    """
    like = torch.empty(0, dtype=dtype, device=device)
    filters = mel_filters(spec, like)
    count = int((filters[n_bins:] == 0).all(0).sum()) if n_bins < len(filters) else spec.n_mels
    spread = band_weights(spec, len(filters), spec.sample_rate / spec.n_fft, 0.0, like)[:count, :n_bins].clone()
    if count:
        spread[-1, spread.sum(0) == 0] = 1
    silent = torch.zeros_like(filters[:n_bins, 0])
    silent[0] = -math.inf
    return filters[:n_bins, :count].contiguous(), (RELAXATION * spread / spread.sum(0)).T.contiguous(), silent
