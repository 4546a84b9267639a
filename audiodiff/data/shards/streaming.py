"""Stream clips out of a packed corpus by litdata: from a folder or a bucket, in shuffled order, shared out, resumable.

litdata shuffles chunks and the pieces within each, deals them out to processes and loader workers so that no piece is
seen twice in a pass, fetches chunks ahead of their use, and keeps as many on the disk as it may. Its `state_dict` says
how far a run has come. What becomes of piece i in pass p is a function of the seed and of p and i alone.
"""

import contextlib
import copy
import dataclasses
import itertools
import math
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from audiodiff import audio
from audiodiff.data.shards.corpus import (
    ChunkedIndex,
    Corpus,
    StreamingDataLoader,
    StreamingDataset,
    check_bytes,
    index_of,
    readable,
)
from audiodiff.data.sources import Source

__all__ = ["ClipStream", "StreamLoader"]


class ChunkPieces(Source[int]):
    """The pieces of the chunk that a stream has reached, by their number in it; the one in turn is drawn first."""

    def __init__(self, corpus: Corpus) -> None:
        self.n_pieces, self.names = len(corpus), corpus.facts["labels"]
        self.labels = set(self.names)
        self.path, self.turn = Path(), 0
        self.read: Callable[[int], bytes] = lambda piece: b""
        self.classes: list[int] = []  # of each piece, as an index of `names`, -1 for none

    def __len__(self) -> int:
        """Return the number of pieces of the whole corpus."""
        return self.n_pieces

    def draw(self, rng: random.Random, drawn: int) -> int:
        """Return the piece in turn, then others of its chunk."""
        return rng.randrange(len(self.classes)) if drawn else self.turn

    def at_hand(self, labels: Sequence[str]) -> list[str]:
        """Return those classes of which the chunk holds a sound: all, unless some could not be read when it was made.

        Raises:
            ValueError: There is none.
        """
        here = [label for label in labels if self.of_label(label)]
        if not here:
            raise ValueError(f"{self.path}: holds no sound of {', '.join(labels)}; pack the corpus again with them")
        return here

    def of_label(self, label: str) -> list[int]:
        """List the chunk's pieces of a class."""
        number = self.names.index(label)
        return [piece for piece, own in enumerate(self.classes) if own == number]

    def name(self, sound: int) -> Path:
        """Name the chunk and the piece."""
        return Path(f"{self.path}#{sound}")

    def open(self, sound: int) -> contextlib.AbstractContextManager[audio.Reader]:
        """Open a piece."""
        return audio.opened(self.read(sound), str(self.name(sound)))


class ClipStream(StreamingDataset):
    """Clips of a packed corpus in litdata's order, each behind its number: pass times length of a pass, plus piece.

    Args:
        corpus: What was packed.
        view: Makes clips of a source: `Crops` or `OneShots` with their arguments.
        seed: Of the order.
        at_least: Clips of a pass; a smaller corpus is repeated, so that every process has a batch.
    """

    def __init__(self, corpus: Corpus, view: Callable[[Source[int]], Any], seed: int = 0, at_least: int = 1) -> None:
        self.corpus, self.pieces = corpus, ChunkPieces(corpus)
        self.view = view(self.pieces)
        repeats = -(-at_least // len(corpus))
        settings = {"shuffle": True, "drop_last": True, "item_shuffle_window": 0, "subsample": float(repeats)}
        super().__init__(**corpus.place("train"), seed=seed, **settings)
        check_bytes(self)
        chunks = index_of(self)["chunks"]
        self._bytes = {chunk["filename"]: chunk["chunk_bytes"] for chunk in chunks}
        sizes = {chunk["filename"]: chunk["chunk_size"] for chunk in chunks}
        self._first = dict(zip(sizes, itertools.accumulate(sizes.values(), initial=0), strict=False))
        self._ends = list(itertools.accumulate(sizes[name] for name in self.subsampled_files))
        self.length = self._ends[-1]
        """The number of clips of a pass, over all processes."""

    def __iter__(self) -> "ClipStream":
        """Begin a pass, or go on with one."""
        with readable(f"{self.corpus.address}/train", "copy the corpus again", self._damaged):
            super().__iter__()
        return self

    def __getitem__(self, index: ChunkedIndex) -> tuple[int, Any]:
        """Make the clip whose turn it is."""
        chunk, pieces = int(index.chunk_index), self.pieces
        begin = self._ends[chunk - 1] if chunk else 0
        name, turn = self.subsampled_files[chunk], int(index.index) - begin
        if pieces.path.name != name:
            pieces.path, first = Path(f"{self.corpus.address}/train/{name}"), self._first[name]
            pieces.classes = self.corpus.numbers[first : first + self._ends[chunk] - begin]

        def read(piece: int, last: bool = False) -> bytes:
            place = dataclasses.replace(index, index=begin + piece, is_last_index=last)
            with readable(str(pieces.path), "copy the corpus again", self._damaged):
                return bytes(super(ClipStream, self).__getitem__(place))

        in_turn = read(turn)  # always, for this is how litdata knows where the stream is
        pieces.turn, pieces.read = turn, lambda piece: in_turn if piece == turn else read(piece)
        number = (self.current_epoch - 1) * self.length + int(index.index)
        clip = self.view[number]
        if index.is_last_index:
            read(turn, last=True)  # the chunk may go
        return number, clip

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return how far the run has come; litdata (0.2.76) would write it into the state that it resumes from."""
        resumed = copy.deepcopy(self._state_dict)
        try:
            return copy.deepcopy(super().state_dict(*args, **kwargs))
        finally:
            self._state_dict = resumed

    def chunk_of(self, number: int) -> Path:
        """Name the chunk of clip `number`."""
        chunk = bisect_right(self._ends, number % self.length)
        return Path(f"{self.corpus.address}/train/{self.subsampled_files[chunk]}")

    def _damaged(self) -> str:
        """Name the first chunk that lies here in another length than it should, if there is one."""
        for name, size in self._bytes.items():
            path = Path(str(self.input_dir.path), name)
            if self.input_dir.url is None and (size != (there := path.stat().st_size if path.is_file() else 0)):
                return f"{self.corpus.address}/train/{name}: has {there} of {size} bytes"
        return ""


class StreamLoader:
    """Batches of a `ClipStream`, pass after pass without end; goes on where its `state_dict` says.

    Args:
        stream: The clips.
        batch_size, n_workers: Of the loader.
        length: Batches of the whole run, for whoever counts.
        per_step: Batches of which a step is made.
        steps: Tells how many steps the run has made. A state that is asked for within one is that from before it.
    """

    def __init__(
        self,
        stream: ClipStream,
        batch_size: int,
        n_workers: int,
        length: int,
        per_step: int = 1,
        steps: Callable[[], float] = lambda: math.inf,
    ) -> None:
        pinned = torch.cuda.is_available()
        self.stream, self.length, self.per_step, self.steps = stream, length, per_step, steps
        self.loader = StreamingDataLoader(stream, batch_size=batch_size, num_workers=n_workers, pin_memory=pinned)
        self.numbers: deque[list[int]] = deque(maxlen=per_step)
        self._before: dict[str, Any] = {}  # the state before the step that is being made
        self._end = 0.0  # the number of steps when that is made

    def __len__(self) -> int:
        """Return the number of batches of the whole run."""
        return self.length

    def __iter__(self) -> Iterator[Any]:
        """Yield batches: clips, [B, 1, T], or clips and labels, [B]."""
        batches = itertools.chain.from_iterable(itertools.repeat(self.loader))
        for count in itertools.count():
            if count % self.per_step == 0:
                self._before, self._end = self._now(), self.steps() + 1
            numbers, batch = next(batches)
            self.numbers.append(numbers.tolist())
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return how far the run has come: after its last step that is whole."""
        return self._now() if self.steps() >= self._end else self._before

    def _now(self) -> dict[str, Any]:
        """Return the loader's state; the data set's of litdata (0.2.76) forgets the pass after a resumption."""
        state = self.loader.state_dict()
        return state | {"dataset": state["dataset"] | {"current_epoch": state["current_epoch"]}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another loader of the same corpus was, wherever the corpus and its cache lie now."""
        here = {"input_dir_path": str(self.stream.input_dir.path), "input_dir_url": self.stream.input_dir.url}
        here["cache_dir_path"] = self.stream.cache_dir.path
        self.loader.load_state_dict(state | {"dataset": state["dataset"] | here})

    def sources(self) -> list[Path]:
        """Name the chunks of the batches that were yielded last."""
        return [self.stream.chunk_of(number) for numbers in self.numbers for number in numbers]
