"""The mel spectrogram as a contract: a `MelSpec` says everything that makes two libraries' mels differ.

    mel[m, k] = log(max(floor, sum_f filter[m, f] |STFT(waveform)[f, k]|^power))

A model stores the spec it was trained with, and every mel is made by the one `LogMel` of that spec. The filters follow
O'Shaughnessy's formula (scale "htk") or Slaney's Auditory Toolbox ("slaney"), as librosa and torchaudio do.
"""

import dataclasses
import functools
import math

import torch
from torch import Tensor, nn

from audiodiff.stft import envelope, hann, istft, stft

__all__ = ["LogMel", "MelSpec", "band_weights", "mel_filters"]

SLANEY_BREAK_HZ = 1000.0
SLANEY_HZ_PER_MEL = 200.0 / 3
SLANEY_LOG_STEP = math.log(6.4) / 27


@dataclasses.dataclass(frozen=True)
class MelSpec:
    """Describes a log-mel spectrogram completely.

    Args:
        sample_rate: Hz.
        n_fft: Samples per transform.
        win_length: Samples under the (periodic Hann) window, at most n_fft.
        hop_length: Samples from frame to frame.
        n_mels: Bands.
        f_min: Lower edge of the lowest band, Hz.
        f_max: Upper edge of the highest band, Hz, at most half the sample rate.
        scale: "slaney" or "htk".
        norm: "slaney" (bands of equal area) or "none" (bands of equal height).
        power: 1 for magnitudes, 2 for energies.
        center: True puts frame k around sample k hop (T // hop + 1 frames, as librosa and torch.stft);
            False around the middle of the k-th hop (T // hop frames, as HiFi-GAN).
        pad_mode: What lies beyond the ends: "reflect" or "constant" (zeros).
        log: "ln" or "log10".
        floor: Smallest value before the logarithm.

    Raises:
        ValueError: Two fields contradict each other.
    """

    sample_rate: int
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float = 8000.0
    scale: str = "slaney"
    norm: str = "slaney"
    power: float = 1.0
    center: bool = False
    pad_mode: str = "reflect"
    log: str = "ln"
    floor: float = 1e-5

    def __post_init__(self) -> None:
        wrong = {
            "hop_length must be from 1 to win_length": not 1 <= self.hop_length <= self.win_length,
            "win_length must be at most n_fft": self.win_length > self.n_fft,
            f"f_max must be above f_min and at most {self.sample_rate / 2:g}": not (
                0 <= self.f_min < self.f_max <= self.sample_rate / 2
            ),
            "n_mels must be from 1 to n_fft // 2": not 1 <= self.n_mels <= self.n_fft // 2,
            "scale must be slaney or htk": self.scale not in ("slaney", "htk"),
            "norm must be slaney or none": self.norm not in ("slaney", "none"),
            "pad_mode must be reflect or constant": self.pad_mode not in ("reflect", "constant"),
            "log must be ln or log10": self.log not in ("ln", "log10"),
            "power and floor must be positive": not (self.power > 0 and self.floor > 0),
        }
        for rule, broken in wrong.items():
            if broken:
                raise ValueError(f"{rule}: got {self}")

    @property
    def padding(self) -> tuple[int, int]:
        """Samples added on the left and on the right before framing."""
        if self.center:
            return self.n_fft // 2, self.n_fft // 2
        extra = self.n_fft - self.hop_length
        return extra // 2, extra - extra // 2

    @property
    def min_samples(self) -> int:
        """Fewest samples that a waveform must have: those of one frame, and enough to be reflected at its ends."""
        reflected = max(self.padding) if self.pad_mode == "reflect" else 0
        return max(self.n_fft - sum(self.padding), reflected + 1)

    def stft(self, waveform: Tensor) -> Tensor:
        """Transforms [B, T] to the complex frames under this mel, [B, F, n_fft // 2 + 1]."""
        return stft(waveform, self._window(waveform), self.hop_length, self.padding, self.pad_mode)

    def istft(self, spectrum: Tensor, weights: Tensor | None = None) -> Tensor:
        """Inverts `stft` to [B, F hop_length]; `weights` as from `envelope`, to compute them once for many frames."""
        window, length = self._window(spectrum.real), spectrum.shape[-2] * self.hop_length
        return istft(spectrum, window, self.hop_length, self.padding, length, weights)

    def envelope(self, n_frames: int, like: Tensor) -> Tensor:
        """Computes the weights of `istft`, in the dtype and on the device of a tensor."""
        return envelope(self._window(like), n_frames, self.hop_length)

    def _window(self, like: Tensor) -> Tensor:
        return hann(self.win_length, self.n_fft, 1.0, like.dtype, like.device)

    def compress(self, bands: Tensor) -> Tensor:
        """Maps band values (magnitude^power) to log-mels."""
        return bands.clamp(min=self.floor).log() / self._log_unit

    def expand(self, mel: Tensor) -> Tensor:
        """Maps log-mels to band magnitudes: the inverse of `compress`, with the power undone."""
        return (mel * (self._log_unit / self.power)).exp()

    def log_ratio(self, wanted: Tensor, mel: Tensor) -> Tensor:
        """Maps two log-mels to the logarithm of the ratio of their magnitudes, in nepers."""
        return (wanted - mel) * (self._log_unit / self.power)

    def magnitudes(self, mel: Tensor) -> Tensor:
        """Maps log-mels, [B, M, F], to the mean STFT magnitude in each band, [B, F, M]."""
        bands = self.expand(mel.transpose(1, 2))
        weight = mel_filters(self, mel).sum(0).clamp(min=1e-8) ** (1 / self.power)
        return bands / weight

    @property
    def _log_unit(self) -> float:
        return 1.0 if self.log == "ln" else math.log(10)


class LogMel(nn.Module):
    """Computes the log-mel spectrogram of a spec; equal to librosa's to 1e-5 in float64.

    Args:
        spec: The contract.
    """

    def __init__(self, spec: MelSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps [B, 1, T] to [B, n_mels, F].

        Raises:
            ValueError: The waveform is too short for one frame, or to be padded by reflection.
        """
        spec = self.spec
        if waveform.shape[-1] < spec.min_samples:
            raise ValueError(
                f"the waveform has {waveform.shape[-1]} samples ({waveform.shape[-1] / spec.sample_rate:.3f} s at "
                f"{spec.sample_rate} Hz); at least {spec.min_samples} are needed: give a longer recording"
            )
        magnitude = spec.stft(waveform[:, 0]).abs()
        bands = (magnitude if spec.power == 1 else magnitude**spec.power) @ mel_filters(spec, waveform)
        return spec.compress(bands).transpose(1, 2)


def mel_filters(spec: MelSpec, like: Tensor) -> Tensor:
    """Returns the triangular filters, [n_fft // 2 + 1, n_mels], in the dtype and on the device of a tensor."""
    return _filters(spec, like.dtype, like.device)


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)  # as in stft.hann
def _filters(spec: MelSpec, dtype: torch.dtype, device: torch.device) -> Tensor:
    frequencies = torch.linspace(0, spec.sample_rate / 2, spec.n_fft // 2 + 1, dtype=torch.float64)
    edges, triangles = _triangles(spec, frequencies)
    if spec.norm == "slaney":
        triangles = triangles * (2 / (edges[2:] - edges[:-2]))
    return triangles.to(dtype).to(device)


def band_weights(spec: MelSpec, n_bins: int, spacing: float, offset: float, like: Tensor) -> Tensor:
    """Returns the weights that spread band values over bins at (k + offset) spacing Hz, [n_mels, n_bins].

    Each bin's weights sum to one; a bin beyond the outermost bands takes the value of the nearest.
    """
    return _band_weights(spec, n_bins, spacing, offset, like.dtype, like.device)


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)  # as in stft.hann
def _band_weights(
    spec: MelSpec, n_bins: int, spacing: float, offset: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    frequencies = (torch.arange(n_bins, dtype=torch.float64) + offset) * spacing
    edges, _ = _triangles(spec, frequencies)
    inside = frequencies.clamp(float(edges[1]), float(edges[-2]))
    _, triangles = _triangles(spec, inside)
    return (triangles / triangles.sum(1, keepdim=True)).T.contiguous().to(dtype).to(device)


def _triangles(spec: MelSpec, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the band edges, [n_mels + 2], and the height of each triangle at each frequency, [len, n_mels]."""
    ends = _hz_to_mel(torch.tensor([spec.f_min, spec.f_max], dtype=torch.float64), spec.scale)
    edges = _mel_to_hz(torch.linspace(float(ends[0]), float(ends[1]), spec.n_mels + 2, dtype=torch.float64), spec.scale)
    slopes = edges[None, :] - frequencies[:, None]
    width = edges.diff()
    return edges, torch.minimum(-slopes[:, :-2] / width[:-1], slopes[:, 2:] / width[1:]).clamp(min=0)


def _hz_to_mel(hz: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return 2595 * (1 + hz / 700).log10()
    above = SLANEY_BREAK_HZ / SLANEY_HZ_PER_MEL + (hz.clamp(min=1) / SLANEY_BREAK_HZ).log() / SLANEY_LOG_STEP
    return torch.where(hz < SLANEY_BREAK_HZ, hz / SLANEY_HZ_PER_MEL, above)


def _mel_to_hz(mel: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    knee = SLANEY_BREAK_HZ / SLANEY_HZ_PER_MEL
    return torch.where(
        mel < knee, mel * SLANEY_HZ_PER_MEL, SLANEY_BREAK_HZ * ((mel - knee).clamp(min=0) * SLANEY_LOG_STEP).exp()
    )
