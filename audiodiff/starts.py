"""Where sampling starts: from pure noise at t = 1, or from a cheap estimate, noised to an earlier time.

Most of a vocoder's work is to find phases that agree with each other. An estimate whose phases agree already may be
noised to t0 < 1: the noise drowns its artefacts, the denoiser removes the noise, and one or two calls suffice.
Reference for the idea: SDEdit (Meng et al., 2021, arXiv:2108.01073).
"""

import abc
from collections.abc import Callable

import torch
from torch import Tensor

from audiodiff.denoisers import scales
from audiodiff.mel import MelSpec, band_weights, mel_filters
from audiodiff.schedules import Schedule

__all__ = ["GriffinLim", "PureNoise", "Start", "band_magnitudes"]


class Start(abc.ABC):
    """Provides the signal from which sampling starts, and its time.

    Attributes:
        time: t at which sampling starts, in (0, 1].
    """

    time: float = 1.0

    @abc.abstractmethod
    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor | None:
        """Estimates the waveform, [B, 1, F hop], from the mel alone; None where there is no such estimate."""

    def __call__(self, mel: Tensor, noise: Tensor, encode: Callable[[Tensor], Tensor], schedule: Schedule) -> Tensor:
        """Returns x at the start time: alpha encode(waveform) + sigma noise.

        Args:
            mel: Log-mel spectrogram, [B, M, F].
            noise: White noise of unit variance, [B, 1, F hop].
            encode: Maps a waveform to the diffused space.
            schedule: The path.
        """
        alpha, sigma = scales(schedule, torch.tensor(self.time, dtype=torch.float64), noise)
        waveform = self.waveform(mel, noise)
        return sigma * noise if waveform is None else alpha * encode(waveform) + sigma * noise


class PureNoise(Start):
    """Starts from noise at t = 1."""

    def waveform(self, mel: Tensor, noise: Tensor) -> None:
        """Returns None: nothing is known."""
        return None


class GriffinLim(Start):
    """Starts from the accelerated Griffin-Lim estimate, noised to time `time`.

        C_n = P(T_{n-1}),  T_n = C_n + momentum (C_n - C_{n-1}),  P: onto the wanted magnitudes, then onto real STFTs

    Its first phases are those of the noise that is added later, so it draws nothing itself.
    References: Griffin & Lim, 1984; Perraudin et al., 2013 (the acceleration).

    Args:
        mel: The mel's contract.
        time: Time to which the estimate is noised.
        n_iter: Iterations; 0 keeps the noise's phases.
        momentum: Weight of the extrapolation, in [0, 1).
        n_nnls: Iterations of the magnitude's inversion from the mel.

    Raises:
        ValueError: time is not in (0, 1], or momentum not in [0, 1).
    """

    def __init__(
        self, mel: MelSpec, time: float = 0.3, n_iter: int = 32, momentum: float = 0.99, n_nnls: int = 20
    ) -> None:
        if not 0 < time <= 1:
            raise ValueError(f"time={time}: sampling starts at a time in (0, 1]")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum} must be in [0, 1)")
        self.mel = mel
        self.time = time
        self.n_iter = n_iter
        self.momentum = momentum
        self.n_nnls = n_nnls

    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Estimates the waveform whose STFT has the magnitudes of the mel."""
        spec, frames = self.mel, mel.shape[-1]
        magnitude = band_magnitudes(spec, mel, self.n_nnls)
        rebuilt = spec.stft(noise[:, 0])[:, :frames]
        previous = torch.zeros_like(rebuilt)
        for _ in range(self.n_iter):
            direction = rebuilt - self.momentum / (1 + self.momentum) * previous
            previous = rebuilt
            rebuilt = spec.stft(spec.istft(_with_phase(magnitude, direction)))[:, :frames]
        direction = rebuilt - self.momentum / (1 + self.momentum) * previous
        return spec.istft(_with_phase(magnitude, direction))[:, None]


def band_magnitudes(spec: MelSpec, mel: Tensor, n_iter: int) -> Tensor:
    """Finds non-negative STFT magnitudes whose mel is the given one, [B, F, n_fft // 2 + 1].

        S ← S (V Wᵀ) / (S W Wᵀ),    S >= 0,    V the bands, W the filters

    Starts from the bands spread over the bins. Reference: Lee & Seung, 2000 (multiplicative updates).
    """
    filters, bands = mel_filters(spec, mel), spec.expand(mel.transpose(1, 2)) ** spec.power
    spread = band_weights(spec, spec.n_fft // 2 + 1, spec.sample_rate / spec.n_fft, 0.0, mel)
    solution = (spec.magnitudes(mel) @ spread) ** spec.power
    wanted = bands @ filters.T
    for _ in range(n_iter):
        solution = solution * (wanted / (solution @ filters @ filters.T).clamp(min=1e-12))
    return solution ** (1 / spec.power)


def _with_phase(magnitude: Tensor, spectrum: Tensor) -> Tensor:
    return magnitude * (spectrum / spectrum.abs().clamp(min=1e-12))
