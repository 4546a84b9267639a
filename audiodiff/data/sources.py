"""Sources of clips: sounds that can be drawn, listed by class, and opened."""

import contextlib
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from audiodiff import audio
from audiodiff.data.balance import sampling_weights
from audiodiff.data.manifest import Recording
from audiodiff.data.vectors import vectors_of

log = logging.getLogger(__name__)
Sound = TypeVar("Sound")


class Source(ABC, Generic[Sound]):
    """Provide the sounds of `Crops` and `OneShots`."""

    labels: Collection[str | None]
    """The classes of the sounds."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of sounds."""

    @abstractmethod
    def draw(self, rng: random.Random, drawn: int) -> Sound:
        """Draw a sound for a clip, after `drawn` others for it."""

    @abstractmethod
    def of_label(self, label: str) -> list[Sound]:
        """List the sounds of a class."""

    def choose(self, rng: random.Random, sounds: Sequence[Sound]) -> int:
        """Choose one of several sounds of a class and return its index."""
        return rng.randrange(len(sounds))

    def available(self, labels: Sequence[str]) -> Sequence[str]:
        """Return the classes with sounds at the present place of the source."""
        return labels

    def vectors(self, size: int) -> dict[Path, Tensor]:
        """Return the vectors of all sounds by name, [size] each; raise ValueError without any."""
        raise ValueError("a packed corpus holds no vectors: train on the recordings, or with data.condition=label")

    @abstractmethod
    def name(self, sound: Sound) -> Path:
        """Name a sound in messages."""

    @abstractmethod
    def open(self, sound: Sound) -> contextlib.AbstractContextManager[audio.Reader]:
        """Open a sound; raise ValueError if it cannot be read."""


class Files(Source[Recording]):
    """Draw recordings in proportion to their length.

    Args:
        recordings: Recordings of a manifest or a folder; their length and rate decide how often they are drawn.
        balance: Field of the manifest, such as "speaker", whose values are drawn equally often, and their recordings in
            proportion to their length, or equally often within a class. None draws by length, or number, alone.
        balance_power: As for `sampling_weights`.

    Raises:
        ValueError: There is no recording that holds samples, or one lacks the field.
    """

    def __init__(self, recordings: Sequence[Recording], balance: str | None = None, balance_power: float = 0.0) -> None:
        self.recordings = [r for r in recordings if r.n_samples > 0]
        if not self.recordings:
            raise ValueError("there is no recording that holds samples: give another manifest or folder")
        seconds = [r.n_samples / r.sample_rate for r in self.recordings]
        self._weights = list(accumulate(sampling_weights(self.recordings, seconds, balance, balance_power)))
        self._choices: dict[Path, float] = {}  # weight within the class, if groups are balanced
        self._by_label: dict[str | None, list[Recording]] = {}
        for recording in self.recordings:
            self._by_label.setdefault(recording.label, []).append(recording)
        self.labels = self._by_label.keys()
        for own in self._by_label.values() if balance is not None else ():
            weights = sampling_weights(own, [1.0] * len(own), balance, balance_power)
            self._choices |= dict(zip((r.path for r in own), weights, strict=True))
        self._stale = False  # whether a file differs from its list

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.recordings)

    def draw(self, rng: random.Random, drawn: int) -> Recording:
        """Draw a recording in proportion to its length in seconds."""
        (recording,) = rng.choices(self.recordings, cum_weights=self._weights)
        return recording

    def of_label(self, label: str) -> list[Recording]:
        """List the recordings of a class."""
        return list(self._by_label.get(label, []))

    def choose(self, rng: random.Random, sounds: Sequence[Recording]) -> int:
        """Choose one of a class' recordings by weight."""
        if not self._choices:
            return super().choose(rng, sounds)
        return rng.choices(range(len(sounds)), [self._choices[sound.path] for sound in sounds])[0]

    def vectors(self, size: int) -> dict[Path, Tensor]:
        """Return the recordings' vectors."""
        return vectors_of(self.recordings, size)

    def name(self, sound: Recording) -> Path:
        """Return the path of a recording."""
        return sound.path

    def open(self, sound: Recording) -> contextlib.AbstractContextManager[audio.Reader]:
        """Open a recording; warn once if a file differs from its list, and follow the file."""
        return self._compared(sound)

    @contextlib.contextmanager
    def _compared(self, sound: Recording) -> Any:
        with audio.opened(sound.path) as file:
            listed, real = (sound.n_samples, sound.sample_rate), (file.n_samples, file.sample_rate)
            if listed != real and not self._stale:
                self._stale = True
                log.warning(
                    "%s: is listed with %d samples at %d Hz and holds %d at %d Hz; the files count, "
                    "list them again to draw each by its true length",
                    *(sound.path, *listed, *real),
                )
            yield file
