"""What clips have in common, whatever they show of which sounds. Clip n is a pure function of (seed, n).

A sound that cannot be read is left out and another drawn, so that a clip depends on (seed, n) and on what the files
hold; a run can be resumed at any clip.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor
from torch.utils.data import Dataset

from audiodiff.data.augment.chain import Augment
from audiodiff.data.manifest import BadFiles, Recording
from audiodiff.data.sources import Files, Source

__all__ = ["View"]

Clip = TypeVar("Clip")


class View(Dataset[Clip], ABC, Generic[Clip]):
    """Clips of equal length by number.

    Args:
        source: The sounds, or a list of recordings.
        n_samples: Length of a clip.
        sample_rate: Rate of the clips, Hz.
        seed: Determines, with the clip's number, everything about the clip.
        augment: Changes of speed and level, mixtures, effects.
        max_bad: Share of the sounds that may be unreadable.

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
        """Make clip `number`."""

    @abstractmethod
    def sources(self, number: int) -> list[Path]:
        """Name the sounds of which clip `number` is made."""

    def _rng(self, number: int) -> random.Random:
        return random.Random(f"{self.seed}/{number}")

    def _finished(self, clip: Tensor, rng: random.Random, gain: float) -> Tensor:
        """Apply effects and gain to a clip, [1, T], and lower peaks above full scale."""
        clip = self.augment.apply(clip, self.sample_rate, rng) * gain
        return clip / max(1.0, float(clip.abs().max()))
