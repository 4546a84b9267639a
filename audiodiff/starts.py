"""Where sampling starts: from pure noise at t = 1, or from a cheap estimate, noised to an earlier time.

Most of a vocoder's work is to find phases that agree with each other. An estimate whose phases agree already may be
noised to t0 < 1: the noise drowns its artefacts, the denoiser removes the noise, and one or two calls suffice.
Reference for the idea: SDEdit (Meng et al., 2021, arXiv:2108.01073).
"""

import abc
from collections.abc import Callable

import torch
from torch import Tensor

from audiodiff.consistency import MelProjection, fit_magnitudes, with_phase
from audiodiff.denoisers import scales
from audiodiff.mel import MelSpec, band_weights
from audiodiff.schedules import Schedule

__all__ = ["GriffinLim", "PureNoise", "Start", "Variation", "band_magnitudes"]


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
    """Starts from an estimate by Griffin-Lim's principle, noised to time `time`.

    Takes magnitudes that fit the mel and the phases of the noise that is added later (so it draws nothing itself), then
    lets `consistency.MelProjection` make them agree.

    Args:
        mel: The mel's contract.
        time: Time to which the estimate is noised.
        n_iter: Rounds of the projection.
        momentum: Of the projection.

    Raises:
        ValueError: time is not in (0, 1], n_iter is negative, or momentum not in [0, 1).
    """

    def __init__(self, mel: MelSpec, time: float = 0.45, n_iter: int = 32, momentum: float = 0.99) -> None:
        if not 0 < time <= 1:
            raise ValueError(f"time={time}: sampling starts at a time in (0, 1]")
        if n_iter < 0 or not 0 <= momentum < 1:
            raise ValueError(f"n_iter={n_iter}, momentum={momentum}: need n_iter >= 0 and momentum in [0, 1)")
        self.mel = mel
        self.time = time
        self.n_iter = n_iter
        self.momentum = momentum

    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Estimates the waveform that has the mel."""
        spec = self.mel
        phases = spec.stft(noise[:, 0])[:, : mel.shape[-1]]
        first = spec.istft(with_phase(band_magnitudes(spec, mel), phases))[:, None]
        return MelProjection(spec, mel, self.n_iter, self.momentum)(first)


class Variation(Start):
    """Starts from a given recording, noised to time `time`: the later, the less of it remains.

    Reference: SDEdit (Meng et al., 2021, arXiv:2108.01073).

    Args:
        waveform: The recording, [B, 1, F hop]; B = 1 serves a batch of any size.
        time: Time to which it is noised.

    Raises:
        ValueError: time is not in (0, 1], or the recording no [B, 1, T].
    """

    def __init__(self, waveform: Tensor, time: float) -> None:
        if not 0 < time <= 1:
            raise ValueError(f"time={time}: sampling starts at a time in (0, 1]")
        if waveform.ndim != 3 or waveform.shape[1] != 1:
            raise ValueError(f"the recording is {list(waveform.shape)}: give [B, 1, T]")
        self.recording = waveform
        self.time = time

    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Returns the recording.

        Raises:
            ValueError: It is not as long as the noise, or not of as many clips.
        """
        given, wanted = list(self.recording.shape), list(noise.shape)
        if given[1:] != wanted[1:] or given[0] not in (1, wanted[0]):
            raise ValueError(f"the recording is {given}, the sound to be made {wanted}: cut or pad it to that")
        return self.recording.to(noise).expand_as(noise)


def band_magnitudes(spec: MelSpec, mel: Tensor, n_iter: int = 10) -> Tensor:
    """Finds STFT magnitudes whose mel is the given one, [B, F, n_fft // 2 + 1], beginning with the bands spread out."""
    spread = band_weights(spec, spec.n_fft // 2 + 1, spec.sample_rate / spec.n_fft, 0.0, mel)
    return fit_magnitudes(spec, spec.magnitudes(mel) @ spread, mel, n_iter)
