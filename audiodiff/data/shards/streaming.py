"""Stream clips from a packed corpus by litdata: shuffled, divided among processes, resumable.

litdata shuffles chunks and the pieces within each, divides them among processes and loader workers so that no piece is
repeated in a pass, fetches chunks ahead of their use, and limits the cache. Its `state_dict` holds the position of a
run. The clip of piece i in pass p is a function of seed, p and i alone.
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
from litdata import StreamingDataLoader, StreamingDataset
from litdata.streaming.sampler import ChunkedIndex

from audiodiff import audio
from audiodiff.data.shards.corpus import Corpus, check_bytes, index_of, readable
from audiodiff.data.sources import Source


class ChunkPieces(Source[int]):
    """Provide the pieces of the present chunk by their number in it; the one in turn is drawn first."""

    def __init__(self, corpus: Corpus) -> None:
        self.n_pieces, self.names = len(corpus), corpus.facts["labels"]
        self.labels = set(self.names)
        self.path, self.turn = Path(), 0
        self.read: Callable[[int], bytes] = lambda piece: b""
        self.classes: list[int] = []  # class of each piece, as an index of `names`, -1 for none

    def __len__(self) -> int:
        """Return the number of pieces of the whole corpus."""
        return self.n_pieces

    def draw(self, rng: random.Random, drawn: int) -> int:
        """Return the piece in turn, then others of its chunk."""
        return rng.randrange(len(self.classes)) if drawn else self.turn

    def available(self, labels: Sequence[str]) -> list[str]:
        """Return the classes with a sound in the chunk: all, unless pieces were unreadable when it was packed.

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
    """Provide clips of a packed corpus in litdata's order, with their numbers: pass times length of a pass, plus piece.

    Args:
        corpus: The corpus.
        view: Builds the clips of a source: `Crops` or `OneShots` with their arguments.
        seed: Seed of the order.
        at_least: Clips of a pass; a smaller corpus is repeated.
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
        """Begin or resume a pass."""
        with readable(f"{self.corpus.address}/train", "copy the corpus again", self._damaged):
            super().__iter__()
        return self

    def __getitem__(self, index: ChunkedIndex) -> tuple[int, Any]:
        """Return the next clip."""
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

        in_turn = read(turn)  # always: litdata counts its position by reads
        pieces.turn, pieces.read = turn, lambda piece: in_turn if piece == turn else read(piece)
        number = (self.current_epoch - 1) * self.length + int(index.index)
        clip = self.view[number]
        if index.is_last_index:
            read(turn, last=True)  # the chunk may be removed
        return number, clip

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the position of the run, without litdata's (0.2.76) change of the state that it resumes from."""
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
        """Describe the first local chunk of a wrong length; return an empty string if all are right."""
        for name, size in self._bytes.items():
            path = Path(str(self.input_dir.path), name)
            if self.input_dir.url is None and (size != (there := path.stat().st_size if path.is_file() else 0)):
                return f"{self.corpus.address}/train/{name}: has {there} of {size} bytes"
        return ""


class StreamLoader:
    """Load batches of a `ClipStream`, pass after pass without end, from the position of its `state_dict`.

    Args:
        stream: The clips.
        batch_size, n_workers: As for a DataLoader.
        length: Batches of the whole run.
        per_step: Batches of a step.
        steps: Returns the number of finished steps. A state within a step is that from before it.
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
        self._before: dict[str, Any] = {}  # the state before the present step
        self._end = 0.0  # the number of steps after it

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
        """Return the position of the run after its last finished step."""
        return self._now() if self.steps() >= self._end else self._before

    def _now(self) -> dict[str, Any]:
        """Return the loader's state, with the pass that litdata's data set (0.2.76) forgets after a resumption."""
        state = self.loader.state_dict()
        return state | {"dataset": state["dataset"] | {"current_epoch": state["current_epoch"]}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume the position of another loader of the same corpus, at the present place of corpus and cache."""
        here = {"input_dir_path": str(self.stream.input_dir.path), "input_dir_url": self.stream.input_dir.url}
        here["cache_dir_path"] = self.stream.cache_dir.path
        self.loader.load_state_dict(state | {"dataset": state["dataset"] | here})

    def sources(self) -> list[Path]:
        """List the chunks of the last batches."""
        return [self.stream.chunk_of(number) for numbers in self.numbers for number in numbers]
