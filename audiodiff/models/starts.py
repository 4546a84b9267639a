"""Initial states of sampling: pure noise at t = 1, or a cheap estimate, noised to an earlier time.

Most of a vocoder's work is to find consistent phases. An estimate with consistent phases may be noised to t0 < 1: the
noise masks its artefacts, the denoiser removes the noise, and one or two calls suffice.
Reference for the idea: SDEdit (Meng et al., 2021, arXiv:2108.01073).
"""

import abc
from collections.abc import Callable

import torch
from torch import Tensor

from audiodiff.audio.chunks import Context
from audiodiff.diffusion.denoiser import scales
from audiodiff.diffusion.schedules import Schedule
from audiodiff.griffin_lim.estimate import coarse_to_fine, random_phase_spectrum
from audiodiff.griffin_lim.projection import MelProjection, projection_context
from audiodiff.griffin_lim.real_time import RealTimeInversion
from audiodiff.mel import MelSpec
from audiodiff.utils.validation import check_counts

UNLIMITED = 2**31  # samples: the output depends on the whole past


class Start(abc.ABC):
    """Provide the state at which sampling starts, and its time.

    Attributes:
        time: t at which sampling starts, in (0, 1].
        context: Context of the estimate, in samples.
    """

    time: float = 1.0
    context: Context = Context()

    def part(self, begin: int, end: int) -> "Start":
        """Return the start of the samples from `begin` to `end`; itself, unless it holds a recording."""
        return self

    @abc.abstractmethod
    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor | None:
        """Estimate the waveform, [B, 1, F hop], from the mel; return None for pure noise."""

    def __call__(self, mel: Tensor, noise: Tensor, encode: Callable[[Tensor], Tensor], schedule: Schedule) -> Tensor:
        """Return x at the start time: alpha encode(waveform) + sigma noise.

        Args:
            mel: Log-mel spectrogram, [B, M, F].
            noise: White noise of unit variance, [B, 1, F hop].
            encode: Maps a waveform to the diffused space.
            schedule: The path.
        """
        waveform = self.waveform(mel, noise)
        return self.noised(None if waveform is None else encode(waveform), noise, schedule)

    def noised(self, x: Tensor | None, noise: Tensor, schedule: Schedule) -> Tensor:
        """Return alpha x + sigma noise at the start time; sigma noise where there is no estimate."""
        alpha, sigma = scales(schedule, torch.tensor(self.time, dtype=torch.float64), noise)
        return sigma * noise if x is None else alpha * x + sigma * noise


class PureNoise(Start):
    """Start from noise at t = 1."""

    def waveform(self, mel: Tensor, noise: Tensor) -> None:
        """Return None: there is no estimate."""
        return None


class MelNoise(Start):
    """Start at `time` from noise shaped to the spectral envelope of the mel.

    Args:
        mel: Mel parameters.
        time: Time to which the estimate is noised.

    Raises:
        ValueError: time is not in (0, 1].
    """

    def __init__(self, mel: MelSpec, time: float = 0.9) -> None:
        self.mel = mel
        self.time = _checked(time)
        self.context = projection_context(mel, 1)

    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Combine the magnitudes of the mel with the phases of the noise that is added later."""
        return self.mel.istft(random_phase_spectrum(self.mel, mel, noise))[:, None]


class GriffinLim(MelNoise):
    """Start at `time` from an estimate by Griffin-Lim on all bins, by `MelProjection`.

    Args:
        mel: Mel parameters.
        time: Time to which the estimate is noised.
        n_iter: Iterations of the projection.
        momentum: Of the projection.

    Raises:
        ValueError: time is not in (0, 1], n_iter is negative, or momentum not in [0, 1).
    """

    def __init__(self, mel: MelSpec, time: float = 0.45, n_iter: int = 32, momentum: float = 0.99) -> None:
        super().__init__(mel, time)
        check_counts(n_iter=n_iter)
        _check_momentum(momentum)
        self.n_iter = n_iter
        self.momentum = momentum
        self.context = projection_context(mel, 1 + n_iter)

    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Estimate a waveform with the mel."""
        first = self.mel.istft(random_phase_spectrum(self.mel, mel, noise, n_iter=0))[:, None]
        return MelProjection(self.mel, mel, self.n_iter, self.momentum)(first)


class CoarseToFine(MelNoise):
    """Start at `time` from an estimate by Griffin-Lim, octave by octave: `griffin_lim.estimate.coarse_to_fine`.

    Many cheap iterations on the lowest eighth of the bins, few on all (compared in `demos/experiments/starts`).

    Args:
        mel: Mel parameters.
        time: Time to which the estimate is noised.
        full, half, quarter, eighth: Iterations on all bins, the lower half, quarter and eighth.
        momentum: Momentum of the iterations.

    Raises:
        ValueError: time is not in (0, 1], a count is negative, or momentum not in [0, 1).
    """

    def __init__(
        self,
        mel: MelSpec,
        time: float = 0.4,
        full: int = 2,
        half: int = 8,
        quarter: int = 32,
        eighth: int = 64,
        momentum: float = 0.99,
    ) -> None:
        super().__init__(mel, time)
        check_counts(full=full, half=half, quarter=quarter, eighth=eighth)
        _check_momentum(momentum)
        self.full, self.half, self.quarter, self.eighth = full, half, quarter, eighth
        self.iterations = (full, half, quarter, eighth)
        self.momentum = momentum
        self.context = projection_context(
            mel, 1 + sum(n + 1 for n in self.iterations if n)
        )  # one more for the transition to each octave

    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Estimate a waveform with the mel."""
        spectrum = random_phase_spectrum(self.mel, mel, noise, n_iter=0)
        return coarse_to_fine(self.mel, mel, spectrum, self.iterations, self.momentum)


class RealTimeGriffinLim(MelNoise):
    """Start at `time` from an estimate that looks `look_ahead` frames and half a window ahead.

    `griffin_lim.real_time.RealTimeInversion` computes the same bits from all frames at once and frame by frame.

    Args:
        mel: Mel parameters.
        time: Time to which the estimate is noised.
        look_ahead: Frames that must follow a frame before its samples are final.
        n_iter: Iterations for each frame that arrives.
        momentum: Of the phase extrapolation.

    Raises:
        ValueError: time is not in (0, 1], look_ahead is negative, n_iter below 1, or momentum not in [0, 1).
    """

    def __init__(
        self, mel: MelSpec, time: float = 0.2, look_ahead: int = 3, n_iter: int = 16, momentum: float = 0.99
    ) -> None:
        super().__init__(mel, time)
        check_counts(look_ahead=look_ahead, n_iter=n_iter)
        self.look_ahead, self.n_iter, self.momentum = look_ahead, n_iter, momentum
        self.inversion()  # checks the numbers
        self.context = Context(UNLIMITED, mel.padding[0] + look_ahead * mel.hop_length)

    def inversion(self) -> RealTimeInversion:
        """Build the state of one stream."""
        return RealTimeInversion(self.mel, self.look_ahead, self.n_iter, self.momentum)

    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Estimate a waveform with the mel."""
        inversion = self.inversion()
        return torch.cat([inversion.push(mel, noise), inversion.finish()], dim=-1)


class Variation(Start):
    """Start from a recording, noised to `time`: the later, the less of it remains.

    Reference: SDEdit (Meng et al., 2021, arXiv:2108.01073).

    Args:
        waveform: The recording, [B, 1, F hop]; B = 1 serves a batch of any size.
        time: Time to which the estimate is noised.

    Raises:
        ValueError: time is not in (0, 1], or the recording no [B, 1, T].
    """

    def __init__(self, waveform: Tensor, time: float) -> None:
        if waveform.ndim != 3 or waveform.shape[1] != 1:
            raise ValueError(f"the recording is {list(waveform.shape)}: give [B, 1, T]")
        self.recording = waveform
        self.time = _checked(time)

    def part(self, begin: int, end: int) -> Start:
        """Return the variation of a part of the recording."""
        return Variation(self.recording[..., begin:end], self.time)

    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Return the recording.

        Raises:
            ValueError: It is not as long as the noise, or not of as many clips.
        """
        own, wanted = list(self.recording.shape), list(noise.shape)
        if own[1:] != wanted[1:] or own[0] not in (1, wanted[0]):
            raise ValueError(f"the recording is {own}, the sound to be made {wanted}: cut or pad it to that")
        return self.recording.to(noise).expand_as(noise)


def _checked(time: float) -> float:
    if not 0 < time <= 1:
        raise ValueError(f"time={time}: sampling starts at a time in (0, 1]")
    return time


def _check_momentum(momentum: float) -> None:
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum}: a number in [0, 1) is wanted")
