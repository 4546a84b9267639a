"""Training clips: random crops of sounds, short sounds joined end to end."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from audiodiff import audio
from audiodiff.audio import io as audio_io
from audiodiff.data.views import View

TRIES = 100  # unreadable sounds in a row that end the run


class Crops(View[Tensor]):
    """Crop sounds at random places, [1, n_samples]; arguments as for `View`."""

    def __getitem__(self, number: int) -> Tensor:
        """Cut clip `number`: [1, n_samples]."""
        rng = self._rng(number)
        speed, gain = self.augment.draw(rng)
        clip = self._joined(rng, speed)
        if self.augment.wants_another(rng):
            clip = self.augment.mixed(clip, self._joined(rng, speed, drawn=1), rng)
        return self._finished(clip, rng, gain)

    def sources(self, number: int) -> list[Path]:
        """List the sounds of clip `number`."""
        rng = self._rng(number)
        speed, _ = self.augment.draw(rng)
        paths = [path for path, _ in self._parts(rng, speed)]
        if self.augment.wants_another(rng):
            paths += [path for path, _ in self._parts(rng, speed, drawn=1)]
        return paths

    def _joined(self, rng: random.Random, speed: float, drawn: int = 0) -> Tensor:
        return torch.cat([part for _, part in self._parts(rng, speed, drawn)], dim=-1)

    def _parts(self, rng: random.Random, speed: float, drawn: int = 0) -> Iterator[tuple[Path, Tensor]]:
        missing, failures = self.n_samples, 0
        while missing > 0:
            sound = self.source.draw(rng, drawn)
            drawn, path = drawn + 1, self.source.name(sound)
            try:
                part = self._cut(sound, missing, speed, rng)
                if not part.shape[-1]:
                    raise ValueError(f"{path}: shorter than a sample at {self.sample_rate} Hz")
            except ValueError as error:
                self.bad.add(path, str(error))
                failures += 1
                if failures == TRIES:
                    raise ValueError(
                        f"{path}: none of the recordings can be read, {TRIES} tried; see `audiodiff scan`"
                    ) from None
                continue
            missing, failures = missing - part.shape[-1], 0
            yield path, part

    def _cut(self, sound: Any, wanted: int, speed: float, rng: random.Random) -> Tensor:
        """Read at most `wanted` samples after resampling, from a random place: [1, T]."""
        with self.source.open(sound) as file:
            rate = file.sample_rate * speed  # read at a higher nominal rate, a sound plays faster
            needed = min(file.n_samples, int(wanted * rate / self.sample_rate) + 2)
            waveform = file.read(rng.randint(0, file.n_samples - needed), needed)
        return audio.resample(audio_io.mono(waveform, self.source.name(sound)), rate, self.sample_rate)[:, :wanted]


class ResumableSampler(Sampler[int]):
    """Number the clips of a run from an offset, in steps of the number of processes.

    Args:
        start: Clips of all processes before the resumption.
        stop: Clips of the whole run.
        rank: This process.
        world_size: Processes.
    """

    def __init__(self, start: int, stop: int, rank: int = 0, world_size: int = 1) -> None:
        self.remaining = range(start + rank, stop, world_size)
        self.whole = range(rank, stop, world_size)

    def __iter__(self) -> Iterator[int]:
        """Yield the remaining clip numbers."""
        return iter(self.remaining)

    def __len__(self) -> int:
        """Return the number of clips of the whole run, which a resumed trainer goes on counting."""
        return len(self.whole)


def clip_loader(data: Dataset[Any], sampler: Sampler[int], batch_size: int, n_workers: int) -> DataLoader[Any]:
    """Build a loader of batches of clips, [B, 1, T], alone or with labels, [B]."""
    return DataLoader(
        data,
        batch_size,
        sampler=sampler,
        num_workers=n_workers,
        persistent_workers=n_workers > 0,
        pin_memory=torch.cuda.is_available(),
        drop_last=True,
    )
