"""The common part of all clips: clip n is a pure function of (seed, n) and of the files.

A sound that cannot be read is replaced by another. A run can be resumed at any clip.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor
from torch.utils.data import Dataset

from audiodiff.data.augment.chain import Augment
from audiodiff.data.folders import BadFiles
from audiodiff.data.manifest import Recording
from audiodiff.data.sources import Files, Source

Clip = TypeVar("Clip")


class View(Dataset[Clip], ABC, Generic[Clip]):
    """Provide clips of equal length by number.

    Args:
        source: Source of sounds, or a list of recordings.
        n_samples: Length of a clip.
        sample_rate: Rate of the clips, Hz.
        seed: Seed, which together with the number determines a clip.
        augment: Changes of speed and level, mixtures, effects.
        max_bad: Largest share of unreadable sounds.

    Raises:
        ValueError: A length is not positive, or there are no sounds.
    """

    def __init__(
        self,
        source: Source[Any] | Sequence[Recording],
        n_samples: int,
        sample_rate: int,
        seed: int = 0,
        augment: Augment | None = None,
        max_bad: float = 1.0,
    ) -> None:
        if n_samples < 1 or sample_rate < 1:
            raise ValueError(f"clips of {n_samples} samples at {sample_rate} Hz: both must be 1 or more")
        self.source = source if isinstance(source, Source) else Files(source)
        self.bad = BadFiles(len(self.source), max_bad)
        self.n_samples, self.sample_rate, self.seed = n_samples, sample_rate, seed
        self.augment = augment or Augment()

    @abstractmethod
    def __getitem__(self, number: int) -> Clip:
        """Return clip `number`."""

    @abstractmethod
    def sources(self, number: int) -> list[Path]:
        """List the sounds of clip `number`."""

    def _rng(self, number: int) -> random.Random:
        return random.Random(f"{self.seed}/{number}")

    def _finished(self, clip: Tensor, rng: random.Random, gain: float) -> Tensor:
        """Apply effects and gain to a clip, [1, T], and lower peaks above full scale."""
        clip = self.augment.apply(clip, self.sample_rate, rng) * gain
        return clip / max(1.0, float(clip.abs().max()))
