"""Effects on clips, one class each.

An effect maps a clip, [1, T], to one of the same length, with its probability; all it draws comes from the generator of
the clip.
"""

import abc
import math
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from audiodiff.data.augment.filters import at_level_of, convolved, filtered, ordered
from audiodiff.utils.numba_cache import librosa

REFERENCE = 1000.0  # Hz, where the gain of a tilt is 0 dB


class Effect(abc.ABC):
    """Change some of the clips.

    Args:
        probability: Share of the clips that are changed.

    Raises:
        ValueError: It is not in [0, 1].
    """

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(f"probability={probability} of {type(self).__name__} is not in [0, 1]")
        self.probability = probability

    def __call__(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Change the clip, or return it as it is."""
        return self.change(clip, sample_rate, rng) if rng.random() < self.probability else clip

    @abc.abstractmethod
    def change(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Change a clip, [1, T], at a rate in Hz."""


class Polarity(Effect):
    """Flip the sign, in which microphones differ inaudibly."""

    def change(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Return -clip."""
        return -clip


class Shift(Effect):
    """Delay a sound by silence; the samples beyond the end are lost.

    Args:
        seconds: Longest shift.
    """

    def __init__(self, probability: float = 0.5, seconds: float = 0.1) -> None:
        super().__init__(probability)
        self.seconds = seconds

    def change(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Shift by a whole number of samples."""
        by = min(clip.shape[-1], rng.randint(0, int(self.seconds * sample_rate)))
        return torch.nn.functional.pad(clip, (by, 0))[:, : clip.shape[-1]]


class PitchShift(Effect):
    """Shift pitch and formants and keep the length, by a phase vocoder (librosa).

    Args:
        semitones: Lowest and highest shift.
    """

    def __init__(self, probability: float = 0.5, semitones: Sequence[float] = (-3.0, 3.0)) -> None:
        super().__init__(probability)
        self.semitones = ordered("semitones", semitones)

    def change(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Shift by a fraction of semitones."""
        steps = rng.uniform(*self.semitones)
        moved = librosa().effects.pitch_shift(clip.numpy(), sr=sample_rate, n_steps=steps, n_fft=1024)
        return torch.from_numpy(np.ascontiguousarray(moved[:, : clip.shape[-1]], dtype=np.float32))


class Tilt(Effect):
    """Tilt the spectrum by a straight line in dB over octaves; the level stays.

    Args:
        db_per_octave: Lowest and highest slope.
    """

    def __init__(self, probability: float = 0.5, db_per_octave: Sequence[float] = (-3.0, 3.0)) -> None:
        super().__init__(probability)
        self.db_per_octave = ordered("db_per_octave", db_per_octave)

    def change(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Filter with zero phase; below 50 Hz the gain is that at 50 Hz."""
        slope = rng.uniform(*self.db_per_octave)

        def gain(frequency: Tensor) -> Tensor:
            return 10 ** (slope * (frequency.clamp(min=50) / REFERENCE).log2() / 20)

        return at_level_of(clip, filtered(clip, sample_rate, gain))


class Equaliser(Effect):
    """Raise and lower bands an octave wide; the level stays.

    Args:
        gain_db: Lowest and highest gain of a band.
    """

    def __init__(self, probability: float = 0.5, gain_db: Sequence[float] = (-6.0, 6.0)) -> None:
        super().__init__(probability)
        self.gain_db = ordered("gain_db", gain_db)

    def change(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Filter with zero phase; gains are interpolated between the octaves."""
        octaves = max(2, math.ceil(math.log2(sample_rate / 2 / 50)) + 1)
        gains = torch.tensor([rng.uniform(*self.gain_db) for _ in range(octaves)])

        def gain(frequency: Tensor) -> Tensor:
            place = (frequency.clamp(min=50) / 50).log2().clamp(max=octaves - 1.001)
            below = place.long()
            return 10 ** (torch.lerp(gains[below], gains[below + 1], place - below) / 20)

        return at_level_of(clip, filtered(clip, sample_rate, gain))


class BandLimit(Effect):
    """Remove the treble, as telephones and old recordings do.

    Args:
        cutoff: Lowest and highest cutoff in Hz; one at or above half the rate changes nothing.
    """

    def __init__(self, probability: float = 0.5, cutoff: Sequence[float] = (3400.0, 8000.0)) -> None:
        super().__init__(probability)
        self.cutoff = ordered("cutoff", cutoff)

    def change(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Filter with zero phase, falling from 1 at 0.9 of the cutoff to 0 at the cutoff."""
        cutoff = rng.uniform(*self.cutoff)
        if cutoff >= sample_rate / 2:
            return clip

        def gain(frequency: Tensor) -> Tensor:
            return 0.5 + 0.5 * torch.cos(math.pi * ((frequency / cutoff - 0.9) / 0.1).clamp(0, 1))

        return filtered(clip, sample_rate, gain)


class AdditiveNoise(Effect):
    """Add noise, from white to brown, at a ratio to the clip's own level.

    Args:
        snr_db: Lowest and highest ratio.
        slopes: Lowest and highest slope of its spectrum, dB per octave: 0 is white, -3 pink, -6 brown.
    """

    def __init__(
        self,
        probability: float = 0.5,
        snr_db: Sequence[float] = (10.0, 40.0),
        slopes: Sequence[float] = (-6.0, 0.0),
    ) -> None:
        super().__init__(probability)
        self.snr_db, self.slopes = ordered("snr_db", snr_db), ordered("slopes", slopes)

    def change(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Add stationary noise."""
        ratio, slope = rng.uniform(*self.snr_db), rng.uniform(*self.slopes)
        white = torch.randn(clip.shape, generator=torch.Generator().manual_seed(rng.getrandbits(63)))
        noise = filtered(white, sample_rate, lambda f: 10 ** (slope * (f.clamp(min=50) / REFERENCE).log2() / 20))
        return clip + at_level_of(clip, noise) * 10 ** (-ratio / 20)


class Room(Effect):
    """Add reverberation: exponentially decaying noise behind the direct sound.

    The tail begins a few milliseconds later and loses 60 dB in `seconds`; the direct sound keeps its place.
    Reference of the model: Polack, 1988; Lebart et al., 2001, Acta Acustica 87.

    Args:
        seconds: Shortest and longest reverberation time, T60.
        direct_db: Lowest and highest ratio of the direct sound's energy to the tail's.
    """

    def __init__(
        self,
        probability: float = 0.5,
        seconds: Sequence[float] = (0.15, 0.8),
        direct_db: Sequence[float] = (0.0, 15.0),
    ) -> None:
        super().__init__(probability)
        self.seconds, self.direct_db = ordered("seconds", seconds), ordered("direct_db", direct_db)
        if self.seconds[0] <= 0:
            raise ValueError(f"seconds={list(seconds)}: a reverberation time is positive")

    def change(self, clip: Tensor, sample_rate: int, rng: random.Random) -> Tensor:
        """Convolve with a random response."""
        return convolved(clip, self.response(sample_rate, rng))

    def response(self, sample_rate: int, rng: random.Random) -> Tensor:
        """Draw a room's response, [T60]; its first sample is the direct sound, of size 1."""
        seconds, ratio, gap = rng.uniform(*self.seconds), rng.uniform(*self.direct_db), rng.uniform(0.001, 0.008)
        time = torch.arange(1, max(2, int(seconds * sample_rate))) / sample_rate
        noise = torch.randn(time.shape, generator=torch.Generator().manual_seed(rng.getrandbits(63)))
        tail = noise * 10 ** (-3 * time / seconds) * (time >= gap)
        tail = tail * 10 ** (-ratio / 20) / tail.norm().clamp(min=1e-9)
        return torch.cat([torch.ones(1), tail])
