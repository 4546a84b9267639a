"""Cuts training clips out of a packed corpus. Clip n is a pure function of (seed, n) and of the index.

Chunks are dealt out to lanes, and clip n comes from lane n mod LANES: within a lane one chunk after the other, shuffled
anew each time around, and within a chunk its pieces, shuffled too. So few chunks are in use at a time; a run is resumed
at any clip, with any number of workers; and where the number of processes divides LANES, each reads chunks of its own.
(litdata's own order would be a state of each worker's, valid for as many workers and processes as there were.)
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.data.augment.chain import Augment
from audiodiff.data.crops import Clips
from audiodiff.data.shards.index import Chunk, Shards, opened

__all__ = ["LANES", "Lanes", "ShardClips", "Source"]

LANES = 8

Source = tuple[int, int]
"""Number of a chunk, and of a piece in it."""


class Lanes:
    """Says in which piece a clip begins.

    Args:
        chunks: Of the corpus.
        seed: Of the orders.
    """

    def __init__(self, chunks: Sequence[Chunk], seed: int = 0) -> None:
        self.chunks, self.seed = chunks, seed
        self.n_lanes = min(LANES, len(chunks))
        self._orders: dict[int, tuple[int, list[int], list[int]]] = {}  # lane: time around, chunks, where they end
        self._pieces: dict[int, tuple[int, int, list[int]]] = {}  # lane: time around, chunk, its pieces

    def place(self, number: int) -> Source:
        """Says where clip `number` begins: in which chunk, and in which piece of it."""
        turn, lane = divmod(number, self.n_lanes)
        chunks = range(lane, len(self.chunks), self.n_lanes)
        around, turn = divmod(turn, sum(self.chunks[c].n_pieces for c in chunks))
        if self._orders.get(lane, (None,))[0] != around:
            order = random.Random(f"{self.seed}/lane {lane}/{around}").sample(chunks, len(chunks))
            ends = list(accumulate(self.chunks[c].n_pieces for c in order))
            self._orders[lane] = around, order, ends
        _, order, ends = self._orders[lane]
        at = bisect_right(ends, turn)
        return order[at], self._shuffled(lane, around, order[at])[turn - (ends[at - 1] if at else 0)]

    def _shuffled(self, lane: int, around: int, chunk: int) -> list[int]:
        if self._pieces.get(lane, (None, None))[:2] != (around, chunk):
            n_pieces = self.chunks[chunk].n_pieces
            rng = random.Random(f"{self.seed}/chunk {chunk}/{around}")
            self._pieces[lane] = around, chunk, rng.sample(range(n_pieces), n_pieces)
        return self._pieces[lane][2]


class ShardClips(Clips):
    """Cuts each clip out of a piece; where that is too short, other pieces of its chunk follow.

    Args:
        shards: The packed corpus.
        n_samples: Length of a clip.
        sample_rate: Rate of the clips, Hz.
        seed: With the clip's number it determines everything about the clip.
        augment: Changes of speed and level, mixtures, effects.
        max_bad: Share of the pieces that may be unreadable.
    """

    def __init__(
        self,
        shards: Shards,
        n_samples: int,
        sample_rate: int,
        seed: int = 0,
        augment: Augment | None = None,
        max_bad: float = 1.0,
    ) -> None:
        super().__init__(len(shards), n_samples, sample_rate, seed, augment, max_bad)
        self.shards = shards
        self.lanes = Lanes(shards.chunks, seed)

    def place(self, number: int) -> Source:
        """Says where clip `number` begins: in which chunk, and in which piece of it."""
        return self.lanes.place(number)

    def _draw(self, rng: random.Random, number: int, tried: int) -> tuple[Path, Source]:
        chunk, piece = self.place(number)
        if tried:
            piece = rng.randrange(self.shards.chunks[chunk].n_pieces)
        path = self.shards.path(chunk)  # here, since a chunk that does not come is no bad piece
        return Path(f"{path}#{piece}"), (chunk, piece)

    def _cut(self, source: Source, wanted: int, speed: float, rng: random.Random) -> Tensor:
        with opened(self.shards.read(*source)) as file:
            rate = file.samplerate * speed
            needed = min(file.frames, int(wanted * rate / self.sample_rate) + 2)
            file.seek(rng.randint(0, file.frames - needed))
            samples = file.read(needed, dtype="float32", always_2d=True)
        waveform = torch.from_numpy(samples.mean(1))[None]
        return audio.resample(waveform, rate, self.sample_rate)[:, :wanted]
