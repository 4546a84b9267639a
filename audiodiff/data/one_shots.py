"""Whole sounds with a class each, from their onset on: what a class-conditional generator learns from.

Clip n of a run is a pure function of (seed, n), as in `clips`; every class is drawn equally often.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from audiodiff import audio
from audiodiff.data.augment import Augment
from audiodiff.recordings import BadFiles, Recording

__all__ = ["OneShots", "labels_of"]

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


class OneShots(Dataset[tuple[Tensor, int]]):
    """Provides sounds of equal length and their classes, by number.

    Args:
        recordings: Each with a label.
        labels: Classes, in the order by which they are numbered; recordings of others are left out.
        n_samples: Length of a clip; shorter sounds are followed by silence, longer ones faded out.
        sample_rate: Rate of the clips, Hz.
        seed: With the clip's number it determines everything about the clip.
        augment: Changes of speed and level, effects; no mixtures, for a sound has one class.
        all_classes: Whether every class must have a recording.
        max_bad: Share of the recordings that may be unreadable.

    Raises:
        ValueError: A class has no recording.
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
    ) -> None:
        self.labels = list(labels)
        self.by_label = {label: [r for r in recordings if r.label == label] for label in self.labels}
        empty = [label for label, found in self.by_label.items() if not found]
        if len(empty) == len(self.labels) or (empty and all_classes):
            raise ValueError(f"no recording has the label {empty[0]}: leave it out of labels, or add some")
        self.present = [label for label in self.labels if label not in empty]
        self.n_samples = n_samples
        self.sample_rate = sample_rate
        self.seed = seed
        self.augment = augment or Augment()
        self.bad = BadFiles(len(recordings), max_bad)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        """Reads clip `number`: [1, n_samples] and the number of its class."""
        label, _, clip, gain, rng = self._drawn(number)
        clip = self.augment.apply(clip, self.sample_rate, rng) * gain
        return clip / max(1.0, float(clip.abs().max())), self.labels.index(label)

    def sources(self, number: int) -> list[Path]:
        """Names the file of which clip `number` is made."""
        return [self._drawn(number)[1].path]

    def _drawn(self, number: int) -> tuple[str, Recording, Tensor, float, random.Random]:
        """Reads the sound of a clip; where it cannot be read, draws another of its class."""
        rng = random.Random(f"{self.seed}/{number}")
        speed, gain = self.augment.draw(rng)
        label = rng.choice(self.present)
        left = list(self.by_label[label])
        while left:
            recording = left.pop(rng.randrange(len(left)))
            try:
                clip = read_one_shot(recording, self.n_samples, self.sample_rate, speed)
                return label, recording, clip, gain, rng
            except ValueError as error:
                self.bad.add(recording.path, str(error))
        raise ValueError(f"no recording of {label} can be read: look at them with `audiodiff scan`")


def read_one_shot(recording: Recording, n_samples: int, sample_rate: int, speed: float = 1.0) -> Tensor:
    """Reads the beginning of a recording, [1, n_samples]: then comes silence, or a fade where it is longer."""
    rate = recording.sample_rate * speed
    needed = min(recording.n_samples, int(n_samples * rate / sample_rate) + 2)
    waveform, _ = audio.read(recording.path, frames=needed)
    clip = audio.resample(waveform.mean(0, keepdim=True), rate, sample_rate)[:, :n_samples]
    if needed < recording.n_samples:
        fade = min(int(FADE * sample_rate), clip.shape[-1])
        clip[:, -fade:] *= torch.linspace(1, 0, fade)
    return functional.pad(clip, (0, n_samples - clip.shape[-1]))
