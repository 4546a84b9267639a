"""Sounds with a class each, out of a packed corpus. Clip n is a pure function of (seed, n) and of the index.

Of a recording that was cut the first piece alone has the class: the others do not begin with an onset. Clip n comes
from the chunk in which `shard_clips` would begin it, so that few chunks are in use at a time, and from another one only
if its class is rare and not in there.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from audiodiff.data.augment.chain import Augment
from audiodiff.data.one_shots import Labelled, beginning
from audiodiff.data.shards.crops import Lanes, Source
from audiodiff.data.shards.index import Shards, opened

__all__ = ["ShardOneShots"]


class ShardOneShots(Labelled):
    """Provides pieces from their onset on, and their classes, by number.

    Args:
        shards: The packed corpus.
        labels, n_samples, sample_rate, seed, augment, max_bad: As for `Labelled`.

    Raises:
        ValueError: The corpus was packed without classes or in pieces shorter than a clip, or a class has no piece.
    """

    def __init__(
        self,
        shards: Shards,
        labels: Sequence[str],
        n_samples: int,
        sample_rate: int,
        seed: int = 0,
        augment: Augment | None = None,
        max_bad: float = 1.0,
    ) -> None:
        self.by_label: dict[str, dict[int, list[int]]] = {}  # class: chunk: its pieces
        for chunk, of_chunk in enumerate(shards.classes()):
            for piece, label in enumerate(of_chunk):
                if label is not None:
                    self.by_label.setdefault(label, {}).setdefault(chunk, []).append(piece)
        cut, longest = shards.facts["pieces"] > shards.facts["recordings"], shards.facts.get("seconds", 0.0)
        if cut and longest * sample_rate < n_samples:
            raise ValueError(
                f"{shards.place.address}: recordings were cut after at most {longest:g} s, clips are "
                f"{n_samples / sample_rate:g} s long; pack again with a larger --seconds"
            )
        self.shards, self.lanes = shards, Lanes(shards.chunks, seed)
        super().__init__(len(shards), self.by_label, labels, n_samples, sample_rate, seed, augment, max_bad=max_bad)

    def _sounds(self, rng: random.Random, number: int, label: str) -> list[Source]:
        chunks, (chunk, _) = self.by_label[label], self.lanes.place(number)
        if chunk not in chunks:
            chunk = rng.choice(list(chunks))
        self.shards.path(chunk)  # here, since a chunk that does not come is no bad piece
        return [(chunk, piece) for piece in chunks[chunk]]

    def _name(self, sound: Source) -> Path:
        return Path(f"{self.shards.path(sound[0])}#{sound[1]}")

    def _read(self, sound: Source, speed: float) -> Tensor:
        with opened(self.shards.read(*sound)) as file:

            def read(frames: int) -> Tensor:
                return torch.from_numpy(file.read(frames, dtype="float32", always_2d=True).T)

            return beginning(read, file.frames, file.samplerate * speed, self.n_samples, self.sample_rate)
