"""Cuts training clips out of recordings. Clip n of a run is a pure function of (seed, n), so a run can be resumed.

Recordings are drawn in proportion to their length, among all or within a speaker; short ones are joined end to end.
One that cannot be read is left out and another drawn, so that a clip depends on (seed, n) and on what the files hold.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from audiodiff import audio
from audiodiff.audio import io as audio_io
from audiodiff.data.augment.chain import Augment
from audiodiff.data.balance import sampling_weights
from audiodiff.data.manifest import BadFiles, Recording

__all__ = ["ClipData", "Clips", "ResumableSampler", "clip_loader"]

TRIES = 100  # sources in a row that give nothing, after which there is no hope


class Clips(Dataset[Tensor], ABC):
    """Provides clips of equal length by number, joined of what `_draw` gives.

    Args:
        n_sources: Of how many recordings, or pieces of them, clips are cut.
        n_samples: Length of a clip.
        sample_rate: Rate of the clips, Hz.
        seed: With the clip's number it determines everything about the clip.
        augment: Changes of speed and level, mixtures, effects.
        max_bad: Share of the sources that may be unreadable.

    Raises:
        ValueError: A length is not positive.
    """

    def __init__(
        self,
        n_sources: int,
        n_samples: int,
        sample_rate: int,
        seed: int = 0,
        augment: Augment | None = None,
        max_bad: float = 1.0,
    ) -> None:
        if n_samples < 1 or sample_rate < 1:
            raise ValueError(f"clips of {n_samples} samples at {sample_rate} Hz: both must be 1 or more")
        self.bad = BadFiles(n_sources, max_bad)
        self.n_samples = n_samples
        self.sample_rate = sample_rate
        self.seed = seed
        self.augment = augment or Augment()

    @abstractmethod
    def _draw(self, rng: random.Random, number: int, tried: int) -> tuple[Path, Any]:
        """Draws a source for clip `number`, of which `tried` were drawn before: its name, and what `_cut` wants."""

    @abstractmethod
    def _cut(self, source: Any, wanted: int, speed: float, rng: random.Random) -> Tensor:
        """Reads at most `wanted` samples, counted after resampling, [1, T]; ValueError if it cannot be read."""

    def __getitem__(self, number: int) -> Tensor:
        """Cuts clip `number`: [1, n_samples]."""
        rng = random.Random(f"{self.seed}/{number}")
        speed, gain = self.augment.draw(rng)
        clip = self._joined(rng, speed, number)
        if self.augment.wants_another(rng):
            clip = self.augment.mixed(clip, self._joined(rng, speed, number, 1), rng)
        clip = self.augment.apply(clip, self.sample_rate, rng) * gain
        return clip / max(1.0, float(clip.abs().max()))

    def sources(self, number: int) -> list[Path]:
        """Names the files of which clip `number` is cut."""
        rng = random.Random(f"{self.seed}/{number}")
        speed, _ = self.augment.draw(rng)
        paths = [path for path, _ in self._parts(rng, speed, number)]
        if self.augment.wants_another(rng):
            paths += [path for path, _ in self._parts(rng, speed, number, 1)]
        return paths

    def _joined(self, rng: random.Random, speed: float, number: int, tried: int = 0) -> Tensor:
        return torch.cat([part for _, part in self._parts(rng, speed, number, tried)], dim=-1)

    def _parts(self, rng: random.Random, speed: float, number: int, tried: int = 0) -> Iterator[tuple[Path, Tensor]]:
        missing, in_vain = self.n_samples, 0
        while missing > 0:
            path, source = self._draw(rng, number, tried)
            tried += 1
            try:
                part = self._cut(source, missing, speed, rng)
                if not part.shape[-1]:
                    raise ValueError(f"{path}: shorter than a sample at {self.sample_rate} Hz")
            except ValueError as error:
                self.bad.add(path, str(error))
                in_vain += 1
                if in_vain == TRIES:
                    raise ValueError(
                        f"{path}: none of the recordings can be read, {TRIES} tried; see `audiodiff scan`"
                    ) from None
                continue
            missing, in_vain = missing - part.shape[-1], 0
            yield path, part


class ClipData(Clips):
    """Cuts clips out of recordings.

    Args:
        recordings: Where clips are cut from.
        n_samples: Length of a clip.
        sample_rate: Rate of the clips, Hz.
        seed: With the clip's number it determines everything about the clip.
        augment: Changes of speed and level, mixtures, effects.
        max_bad: Share of the recordings that may be unreadable.
        balance: Field of the manifest, such as "speaker": every value of it is drawn equally often, and its recordings
            in proportion to their length. None draws all recordings in proportion to their length.
        balance_power: As for `sampling_weights`.

    Raises:
        ValueError: There is no recording that holds samples, or one lacks the field.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        n_samples: int,
        sample_rate: int,
        seed: int = 0,
        augment: Augment | None = None,
        max_bad: float = 1.0,
        balance: str | None = None,
        balance_power: float = 0.0,
    ) -> None:
        self.recordings = [r for r in recordings if r.n_samples > 0]
        if not self.recordings:
            raise ValueError("there is no recording that holds samples: give another manifest or folder")
        super().__init__(len(self.recordings), n_samples, sample_rate, seed, augment, max_bad)
        seconds = [r.n_samples / r.sample_rate for r in self.recordings]
        self._weights = list(accumulate(sampling_weights(self.recordings, seconds, balance, balance_power)))

    def _draw(self, rng: random.Random, number: int, tried: int) -> tuple[Path, Recording]:
        (recording,) = rng.choices(self.recordings, cum_weights=self._weights)
        return recording.path, recording

    def _cut(self, source: Recording, wanted: int, speed: float, rng: random.Random) -> Tensor:
        rate = source.sample_rate * speed  # a recording that is read as if its rate were higher plays faster
        needed = min(source.n_samples, int(wanted * rate / self.sample_rate) + 2)
        start = rng.randint(0, source.n_samples - needed)
        waveform, _ = audio.read(source.path, start=start, frames=needed)
        return audio.resample(audio_io.mono(waveform, source.path), rate, self.sample_rate)[:, :wanted]


class ResumableSampler(Sampler[int]):
    """Counts through the clips of a run: from an offset, in steps of the number of processes.

    Args:
        start: Clips that the run has already seen, over all processes.
        stop: Clips of the whole run.
        rank: This process.
        world_size: Processes.
    """

    def __init__(self, start: int, stop: int, rank: int = 0, world_size: int = 1) -> None:
        self.left = range(start + rank, stop, world_size)
        self.whole = range(rank, stop, world_size)

    def __iter__(self) -> Iterator[int]:
        """Yields the clip numbers that are left."""
        return iter(self.left)

    def __len__(self) -> int:
        """Returns how many the whole run has: a trainer that resumes goes on counting where it stopped."""
        return len(self.whole)


def clip_loader(data: Dataset[Any], sampler: Sampler[int], batch_size: int, n_workers: int) -> DataLoader[Any]:
    """Batches clips, [B, 1, T], or clips and labels, [B]."""
    return DataLoader(
        data,
        batch_size,
        sampler=sampler,
        num_workers=n_workers,
        persistent_workers=n_workers > 0,
        pin_memory=torch.cuda.is_available(),
        drop_last=True,
    )
