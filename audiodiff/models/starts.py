"""Where sampling starts: from pure noise at t = 1, or from a cheap estimate, noised to an earlier time.

Most of a vocoder's work is to find phases that agree with each other. An estimate whose phases agree already may be
noised to t0 < 1: the noise drowns its artefacts, the denoiser removes the noise, and one or two calls suffice.
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

__all__ = ["CoarseToFine", "GriffinLim", "MelNoise", "PureNoise", "RealTimeGriffinLim", "Start", "Variation"]

UNLIMITED = 2**31  # samples: what comes out depends on all that came before


class Start(abc.ABC):
    """Provide the signal from which sampling starts, and its time.

    Attributes:
        time: t at which sampling starts, in (0, 1].
        context: How far, in samples, the estimate looks.
    """

    time: float = 1.0
    context: Context = Context()

    def part(self, begin: int, end: int) -> "Start":
        """Return the start of the samples from `begin` to `end` alone; itself, unless it holds a recording."""
        return self

    @abc.abstractmethod
    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor | None:
        """Estimate the waveform, [B, 1, F hop], from the mel alone; None where there is no such estimate."""

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
        """Return None: nothing is known."""
        return None


class MelNoise(Start):
    """Start from noise with the spectrum that the mel announces, noised to time `time`.

    Args:
        mel: The mel's contract.
        time: Time to which it is noised.

    Raises:
        ValueError: time is not in (0, 1].
    """

    def __init__(self, mel: MelSpec, time: float = 0.9) -> None:
        self.mel = mel
        self.time = _checked(time)
        self.context = projection_context(mel, 1)

    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Give the phases of the noise that is added later (so it draws nothing itself) the magnitudes of the mel."""
        return self.mel.istft(random_phase_spectrum(self.mel, mel, noise))[:, None]


class GriffinLim(MelNoise):
    """Start from an estimate by Griffin-Lim's principle, noised to time `time`.

    Lets `consistency.MelProjection` make the phases of `MelNoise` agree, all bins at once.

    Args:
        mel: The mel's contract.
        time: Time to which the estimate is noised.
        n_iter: Rounds of the projection.
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
        """Estimate the waveform that has the mel."""
        first = self.mel.istft(random_phase_spectrum(self.mel, mel, noise, n_iter=0))[:, None]
        return MelProjection(self.mel, mel, self.n_iter, self.momentum)(first)


class CoarseToFine(MelNoise):
    """Start from Griffin-Lim's principle applied octave by octave, noised to time `time`.

    Many cheap rounds on the lowest eighth of the bins, few on all: `consistency.coarse_to_fine`. Counted in operations
    it comes to 22 rounds on all bins; PESQ-wb 3.16, and plain Griffin-Lim 3.04 after 32 and 3.25 after 64 (the table of
    `demos/experiments/starts/run.py`).

    Args:
        mel: The mel's contract.
        time: Time to which the estimate is noised.
        full, half, quarter, eighth: Rounds on so many of the bins.
        momentum: Of the projection_iters.

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
        self.rounds = (full, half, quarter, eighth)
        self.momentum = momentum
        self.context = projection_context(
            mel, 1 + sum(n + 1 for n in self.rounds if n)
        )  # one more on the way into each octave

    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Estimate the waveform that has the mel."""
        spectrum = random_phase_spectrum(self.mel, mel, noise, n_iter=0)
        return coarse_to_fine(self.mel, mel, spectrum, self.rounds, self.momentum)


class RealTimeGriffinLim(MelNoise):
    """Start from an estimate that looks `look_ahead` frames and half a window ahead, noised to time `time`.

    Runs `griffin_lim.real_time.RealTimeInversion` on all frames; on a stream it runs frame by frame, to the same bits.

    Args:
        mel: The mel's contract.
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
        """Make the state of one stream."""
        return RealTimeInversion(self.mel, self.look_ahead, self.n_iter, self.momentum)

    def waveform(self, mel: Tensor, noise: Tensor) -> Tensor:
        """Estimate the waveform that has the mel."""
        inversion = self.inversion()
        return torch.cat([inversion.push(mel, noise), inversion.finish()], dim=-1)


class Variation(Start):
    """Start from a given recording, noised to time `time`: the later, the less of it remains.

    Reference: SDEdit (Meng et al., 2021, arXiv:2108.01073).

    Args:
        waveform: The recording, [B, 1, F hop]; B = 1 serves a batch of any size.
        time: Time to which it is noised.

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
        given, wanted = list(self.recording.shape), list(noise.shape)
        if given[1:] != wanted[1:] or given[0] not in (1, wanted[0]):
            raise ValueError(f"the recording is {given}, the sound to be made {wanted}: cut or pad it to that")
        return self.recording.to(noise).expand_as(noise)


def _checked(time: float) -> float:
    if not 0 < time <= 1:
        raise ValueError(f"time={time}: sampling starts at a time in (0, 1]")
    return time


def _check_momentum(momentum: float) -> None:
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum}: a number in [0, 1) is wanted")
