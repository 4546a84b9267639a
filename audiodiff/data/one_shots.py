"""Sounds from their onset, with a label, a vector or both: training data of a conditional generator.

Every class is drawn equally often.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from audiodiff import audio
from audiodiff.audio import io as audio_io
from audiodiff.data.augment.chain import Augment
from audiodiff.data.manifest import Recording
from audiodiff.data.sources import Source
from audiodiff.data.views import View

FADE = 0.02  # seconds at the end of a cut sound


def labels_of(recordings: Sequence[Recording]) -> list[str]:
    """Return the classes of recordings, sorted.

    Raises:
        ValueError: A recording has none, or there are fewer than two classes.
    """
    labels = sorted({str(r.label) for r in recordings if r.label is not None})
    bare = next((r.path for r in recordings if r.label is None), None)
    if bare is not None or len(labels) < 2:
        raise ValueError(
            f"{bare or recordings[0].path}: classes are wanted; put each into a sub-folder of its own, or give `label` "
            "in the manifest's lines"
        )
    return labels


class OneShots(View[tuple[Any, ...]]):
    """Read the beginnings of sounds, padded with silence or faded out, with their classes.

    Args:
        source, n_samples, sample_rate, seed, max_bad: As for `View`.
        labels: Classes in the order of their numbers; sounds of other classes are left out.
        augment: Changes of speed and level, effects; no mixtures.
        all_classes: Whether every class must have a sound.
        vector_size: Size of the vector of each clip; 0 for none. The vector is the manifest's field `vector` or the
            .npy file beside the recording, and describes the recording before augmentation.
        peak_db: Peak level of every sound before augmentation, dB of full scale; None keeps the recordings' levels.

    Raises:
        ValueError: A class has no sound, or a sound has no vector of this size.
    """

    def __init__(
        self,
        source: Source[Any] | Sequence[Recording],
        labels: Sequence[str],
        n_samples: int,
        sample_rate: int,
        seed: int = 0,
        augment: Augment | None = None,
        all_classes: bool = True,
        max_bad: float = 1.0,
        vector_size: int = 0,
        peak_db: float | None = None,
    ) -> None:
        super().__init__(source, n_samples, sample_rate, seed, augment, max_bad)
        self.labels = list(labels)
        empty = [label for label in self.labels if label not in self.source.labels]
        if len(empty) == len(self.labels) or (empty and all_classes):
            raise ValueError(f"no recording has the label {empty[0]}: leave it out of labels, or add some")
        self.present = [label for label in self.labels if label not in empty]
        self.vectors = self.source.vectors(vector_size) if vector_size else {}
        self.peak = None if peak_db is None else 10 ** (peak_db / 20)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        """Read clip `number`: [1, n_samples], the number of its class and, with vector_size, its vector."""
        label, path, clip, gain, rng = self._drawn(number)
        if self.peak is not None:
            clip = clip * (self.peak / clip.abs().max().clamp(min=1e-4))
        vector = (self.vectors[path],) if self.vectors else ()
        return self._finished(clip, rng, gain), self.labels.index(label), *vector

    def sources(self, number: int) -> list[Path]:
        """List the sound of clip `number`."""
        return [self._drawn(number)[1]]

    def _drawn(self, number: int) -> tuple[str, Path, Tensor, float, random.Random]:
        """Read the sound of a clip, or, where it is unreadable, another of its class."""
        rng = self._rng(number)
        speed, gain = self.augment.draw(rng)
        label = rng.choice(self.source.available(self.present))
        candidates = self.source.of_label(label)
        while candidates:
            sound = candidates.pop(self.source.choose(rng, candidates))
            path = self.source.name(sound)
            try:
                with self.source.open(sound) as file:
                    return label, path, beginning(file, self.n_samples, self.sample_rate, speed), gain, rng
            except ValueError as error:
                self.bad.add(path, str(error))
        raise ValueError(f"no recording of {label} can be read: look at them with `audiodiff scan`")


def read_one_shot(recording: Recording, n_samples: int, sample_rate: int, speed: float = 1.0) -> Tensor:
    """Read the beginning of a recording, [1, n_samples], padded with silence or faded out."""
    with audio.opened(recording.path) as file:
        return beginning(file, n_samples, sample_rate, speed)


def beginning(file: audio.Reader, n_samples: int, sample_rate: int, speed: float = 1.0) -> Tensor:
    """Read the first samples of a file as a clip, [1, n_samples]."""
    rate = file.sample_rate * speed
    needed = min(file.n_samples, int(n_samples * rate / sample_rate) + 2)
    clip = audio.resample(audio_io.mono(file.read(0, needed)), rate, sample_rate)[:, :n_samples]
    if needed < file.n_samples:
        fade = min(int(FADE * sample_rate), clip.shape[-1])
        clip[:, -fade:] *= torch.linspace(1, 0, fade)
    return functional.pad(clip, (0, n_samples - clip.shape[-1]))
