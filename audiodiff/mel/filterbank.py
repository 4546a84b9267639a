"""The triangular filters of a mel, and the weights by which bands are spread over bins again.

The scale follows O'Shaughnessy's formula ("htk") or Slaney's Auditory Toolbox ("slaney"), as in librosa and torchaudio.
"""

import functools
import math

import torch
from torch import Tensor

from audiodiff.audio.io import resample
from audiodiff.mel.spec import MelSpec

SLANEY_BREAK_HZ = 1000.0
SLANEY_HZ_PER_MEL = 200.0 / 3
SLANEY_LOG_STEP = math.log(6.4) / 27
KEPT = 0.91  # share of half the rate up to which the usual resamplers leave a sound as it is
CLICK = 4096  # samples, longer than a resampler's filter


def mel_filters(spec: MelSpec, like: Tensor) -> Tensor:
    """Return the triangular filters, [n_fft // 2 + 1, n_mels], in the dtype and on the device of a tensor.

    They carry the scale of the window and of the rate too, where the spec has one, and what a resampler to the rate at
    which the mel is defined leaves near half of it.
    """
    return _filters(spec, like.dtype, like.device)


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)  # as in stft.hann
def _filters(spec: MelSpec, dtype: torch.dtype, device: torch.device) -> Tensor:
    highest = spec.sample_rate * (spec.n_fft // 2) / spec.n_fft  # below half the rate where n_fft is odd
    frequencies = torch.linspace(0, highest, spec.n_fft // 2 + 1, dtype=torch.float64)
    edges, triangles = _triangles(spec, frequencies)
    if spec.norm == "slaney":
        triangles = triangles * (2 / (edges[2:] - edges[:-2]))
    if spec.normalized:
        energy = spec.window(frequencies).square().sum()
        triangles = triangles * energy ** (-spec.power / 2)
    triangles = triangles * spec.gain**spec.power
    if spec.sample_rate > (low := spec.defined_at or spec.sample_rate):
        triangles = triangles * _response(spec.sample_rate, low, frequencies)[:, None] ** spec.power
    return triangles.to(dtype).to(device)


def _response(rate: int, low: int, frequencies: Tensor) -> Tensor:
    """Measure the magnitude with which sound at each frequency passes `resample` from a rate to a lower one, [len]."""
    click = torch.zeros(1, CLICK, dtype=torch.float64)
    click[0, CLICK // 2] = rate / low
    passed = resample(click, rate, low)[0]
    angles = frequencies[:, None] * torch.arange(len(passed)) * (2 * math.pi / low)
    magnitudes = torch.hypot(angles.cos() @ passed, angles.sin() @ passed)
    return torch.where(frequencies < low / 2, magnitudes, 0.0)


def band_weights(spec: MelSpec, n_bins: int, spacing: float, offset: float, like: Tensor) -> Tensor:
    """Return the weights that spread band values over bins at (k + offset) spacing Hz, [n_mels, n_bins].

    Each bin's weights sum to one; a bin beyond the outermost bands takes the value of the nearest. Of a mel that is
    defined at a lower rate, the outermost is the last that any resampler leaves as it is.
    """
    return _band_weights(spec, n_bins, spacing, offset, like.dtype, like.device)


@functools.lru_cache(maxsize=32)
@torch.inference_mode(False)  # as in stft.hann
def _band_weights(
    spec: MelSpec, n_bins: int, spacing: float, offset: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    frequencies = (torch.arange(n_bins, dtype=torch.float64) + offset) * spacing
    edges, _ = _triangles(spec, frequencies)
    low = spec.defined_at or spec.sample_rate
    reliable = edges[2:] <= (KEPT * low / 2 if low < spec.sample_rate else math.inf)
    reliable[0] = True
    inside = frequencies.clamp(float(edges[1]), float(edges[1:-1][reliable][-1]))
    _, triangles = _triangles(spec, inside)
    return (triangles / triangles.sum(1, keepdim=True)).T.contiguous().to(dtype).to(device)


def _triangles(spec: MelSpec, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Return the band edges, [n_mels + 2], and the height of each triangle at each frequency, [len, n_mels]."""
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


def band_centres(spec: MelSpec) -> Tensor:
    """Return the frequencies at which the triangles peak, Hz, [n_mels], float64."""
    return _triangles(spec, torch.zeros(1, dtype=torch.float64))[0][1:-1]
