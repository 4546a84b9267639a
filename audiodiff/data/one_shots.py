"""Whole sounds from their onset on, with a class, a vector or both: training data of a conditional generator.

Clip n of a run is a pure function of (seed, n), as in `clips`; every class is drawn equally often.
"""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from audiodiff import audio
from audiodiff.audio import io as audio_io
from audiodiff.data.augment.chain import Augment
from audiodiff.data.balance import sampling_weights
from audiodiff.data.manifest import BadFiles, Recording
from audiodiff.data.vectors import vectors_of

__all__ = ["Labelled", "OneShots", "beginning", "labels_of", "read_one_shot"]

FADE = 0.02  # seconds, where a sound is longer than a clip


def labels_of(recordings: Sequence[Recording]) -> list[str]:
    """Returns the classes of recordings, sorted.

    Raises:
        ValueError: A recording has none, or there is only one class.
    """
    labels = sorted({str(r.label) for r in recordings if r.label is not None})
    bare = next((r.path for r in recordings if r.label is None), None)
    if bare is not None or len(labels) < 2:
        raise ValueError(
            f"{bare or recordings[0].path}: classes are wanted; put each into a sub-folder of its own, or give `label` "
            "in the manifest's lines"
        )
    return labels


class Labelled(Dataset[tuple[Tensor, ...]], ABC):
    """Provides sounds of equal length and their classes, by number, out of what `_sounds` and `_read` give.

    Args:
        n_sources: How many sounds there are.
        found: Their classes.
        labels: Classes, in the order by which they are numbered; sounds of others are left out.
        n_samples: Length of a clip; shorter sounds are followed by silence, longer ones faded out.
        sample_rate: Rate of the clips, Hz.
        seed: With the clip's number it determines everything about the clip.
        augment: Changes of speed and level, effects; no mixtures, for a sound has one class.
        all_classes: Whether every class must have a sound.
        max_bad: Share of the sounds that may be unreadable.
        peak_db: Level of the peak to which every sound is brought before it is augmented, dB of full scale; None keeps
            the recordings' own levels.

    Raises:
        ValueError: A class has no sound.
    """

    def __init__(
        self,
        n_sources: int,
        found: Collection[str | None],
        labels: Sequence[str],
        n_samples: int,
        sample_rate: int,
        seed: int = 0,
        augment: Augment | None = None,
        all_classes: bool = True,
        max_bad: float = 1.0,
        peak_db: float | None = None,
    ) -> None:
        self.labels = list(labels)
        self.peak = None if peak_db is None else 10 ** (peak_db / 20)
        empty = [label for label in self.labels if label not in found]
        if len(empty) == len(self.labels) or (empty and all_classes):
            raise ValueError(f"no recording has the label {empty[0]}: leave it out of labels, or add some")
        self.present = [label for label in self.labels if label not in empty]
        self.n_samples = n_samples
        self.sample_rate = sample_rate
        self.seed = seed
        self.augment = augment or Augment()
        self.bad = BadFiles(n_sources, max_bad)

    @abstractmethod
    def _sounds(self, rng: random.Random, number: int, label: str) -> list[Any]:
        """Lists the sounds of a class of which clip `number` may be made."""

    @abstractmethod
    def _name(self, sound: Any) -> Path:
        """Names a sound."""

    @abstractmethod
    def _read(self, sound: Any, speed: float) -> Tensor:
        """Reads the beginning of a sound, [1, n_samples]; ValueError if it cannot be read."""

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        """Read clip `number`: [1, n_samples], the number of its class and, if it has one, its vector."""
        label, sound, clip, gain, rng = self._drawn(number)
        if self.peak is not None:
            clip = clip * (self.peak / clip.abs().max().clamp(min=1e-4))
        clip = self.augment.apply(clip, self.sample_rate, rng) * gain
        return clip / max(1.0, float(clip.abs().max())), self.labels.index(label), *self._vector(sound)

    def _vector(self, sound: Any) -> tuple[Tensor, ...]:
        """Look up the vector that describes a sound; nothing if the data have none."""
        return ()

    def sources(self, number: int) -> list[Path]:
        """Names the file of which clip `number` is made."""
        return [self._name(self._drawn(number)[1])]

    def _drawn(self, number: int) -> tuple[str, Any, Tensor, float, random.Random]:
        """Reads the sound of a clip; where it cannot be read, draws another of its class."""
        rng = random.Random(f"{self.seed}/{number}")
        speed, gain = self.augment.draw(rng)
        label = rng.choice(self.present)
        left = self._sounds(rng, number, label)
        while left:
            sound = left.pop(self._choice(rng, left))
            path = self._name(sound)
            try:
                return label, sound, self._read(sound, speed), gain, rng
            except ValueError as error:
                self.bad.add(path, str(error))
        raise ValueError(f"no recording of {label} can be read: look at them with `audiodiff scan`")

    def _choice(self, rng: random.Random, sounds: Sequence[Any]) -> int:
        """Draw the index of one of a class' sounds."""
        return rng.randrange(len(sounds))


class OneShots(Labelled):
    """Provides the beginnings of recordings and their classes, by number.

    Args:
        recordings: Each with a label.
        labels, n_samples, sample_rate, seed, augment, all_classes, max_bad, peak_db: As for `Labelled`.
        balance: Field of the manifest, such as "kit": within a class, every value of it is drawn equally often.
        balance_power: As for `sampling_weights`; one sound of its own kit is heard rarely, but not never, near 1.
        vector_size: Numbers of the vector that comes with each clip; 0 for none. It is the manifest's field `vector`,
            or the .npy file beside the recording, and describes the recording before it is augmented.

    Raises:
        ValueError: A class has no recording, or a recording lacks the field or a vector of this size.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        labels: Sequence[str],
        n_samples: int,
        sample_rate: int,
        seed: int = 0,
        augment: Augment | None = None,
        all_classes: bool = True,
        max_bad: float = 1.0,
        balance: str | None = None,
        balance_power: float = 0.0,
        vector_size: int = 0,
        peak_db: float | None = None,
    ) -> None:
        found = {r.label for r in recordings}
        super().__init__(
            len(recordings), found, labels, n_samples, sample_rate, seed, augment, all_classes, max_bad, peak_db
        )
        self.by_label = {label: [r for r in recordings if r.label == label] for label in self.labels}
        self.vectors = vectors_of(recordings, vector_size) if vector_size else {}
        self.weights: dict[Path, float] = {}
        if balance is not None:
            for sounds in self.by_label.values():
                weights = sampling_weights(sounds, [1.0] * len(sounds), balance, balance_power)
                self.weights |= dict(zip((r.path for r in sounds), weights, strict=True))

    def _sounds(self, rng: random.Random, number: int, label: str) -> list[Recording]:
        return list(self.by_label[label])

    def _choice(self, rng: random.Random, sounds: Sequence[Recording]) -> int:
        if not self.weights:
            return super()._choice(rng, sounds)
        return rng.choices(range(len(sounds)), [self.weights[sound.path] for sound in sounds])[0]

    def _vector(self, sound: Recording) -> tuple[Tensor, ...]:
        return (self.vectors[sound.path],) if self.vectors else ()

    def _name(self, sound: Recording) -> Path:
        return sound.path

    def _read(self, sound: Recording, speed: float) -> Tensor:
        return read_one_shot(sound, self.n_samples, self.sample_rate, speed)


def read_one_shot(recording: Recording, n_samples: int, sample_rate: int, speed: float = 1.0) -> Tensor:
    """Reads the beginning of a recording, [1, n_samples]: then comes silence, or a fade where it is longer."""

    def read(frames: int) -> Tensor:
        return audio.read(recording.path, frames=frames)[0]

    return beginning(read, recording.n_samples, recording.sample_rate * speed, n_samples, sample_rate)


def beginning(read: Callable[[int], Tensor], available: int, rate: float, n_samples: int, sample_rate: int) -> Tensor:
    """Makes a clip, [1, n_samples], of the first samples that `read` gives, [C, T], of so many that there are."""
    needed = min(available, int(n_samples * rate / sample_rate) + 2)
    clip = audio.resample(audio_io.mono(read(needed)), rate, sample_rate)[:, :n_samples]
    if needed < available:
        fade = min(int(FADE * sample_rate), clip.shape[-1])
        clip[:, -fade:] *= torch.linspace(1, 0, fade)
    return functional.pad(clip, (0, n_samples - clip.shape[-1]))
