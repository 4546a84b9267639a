"""Process a long sound piece by piece, with the result of the whole.

    pieces ─► buffer: past │ new │ future ─► work ─► the middle of what comes out ─► pieces

Every stage of sampling is local: an output sample depends on no input further away than the stage's `Context`. So a
piece is processed together with as much of its neighbours, and the spoilt edges are discarded. Stages are chained as
iterators and buffer no more than a piece and its context: memory does not grow with the sound, and a stage may run
ahead of the next.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

Aligned = Any
"""Tensors that share their last axis, time, at a whole number of samples per frame; in tuples, lists and mappings, with
numbers and None among them, which hold for all times."""


class Piece(NamedTuple):
    """Hold frames of a stream, and whether they are known to be the last."""

    frames: int
    tree: Aligned
    last: bool = False


@dataclasses.dataclass(frozen=True)
class Context:
    """Bound the distance, in samples, of the inputs on which an output depends.

    Args:
        past: Samples before.
        future: Samples after: the look-ahead.

    >>> Context(3, 1) + 2 * Context(10, 0)
    Context(past=23, future=1)
    """

    past: int = 0
    future: int = 0

    def __add__(self, other: "Context") -> "Context":
        """Return the context of two stages in sequence."""
        return Context(self.past + other.past, self.future + other.future)

    def __rmul__(self, times: int) -> "Context":
        """Return the context of a repeated stage."""
        return Context(times * self.past, times * self.future)

    def in_frames(self, hop_length: int) -> "Context":
        """Round up to whole frames."""
        return Context(-(-self.past // hop_length), -(-self.future // hop_length))


def regrouped(pieces: Iterable[Tensor], frames: int, total: int | None = None) -> Iterator[Piece]:
    """Regroup tensors, [..., any], into pieces of equal length; the last may be shorter.

    Args:
        pieces: Tensors of any length.
        frames: Frames of a piece.
        total: Frames of all tensors together, if known, which saves work at the end.

    Raises:
        ValueError: The number is below 1, or is not whole.
    """
    if not isinstance(frames, Integral) or frames < 1:
        raise ValueError(f"chunk_frames={frames}: a whole number of at least 1 is wanted")
    buffer: Tensor | None = None
    done = 0
    for piece in pieces:
        buffer = piece if buffer is None else torch.cat([buffer, piece], -1)
        while buffer.shape[-1] >= frames:
            done += frames
            yield Piece(frames, buffer[..., :frames], done == total)
            buffer = buffer[..., frames:]
    if buffer is not None and buffer.shape[-1]:
        yield Piece(buffer.shape[-1], buffer, True)


class OverlappingWindows:
    """Process a stream in overlapping windows, as pieces of it are pushed.

    Args:
        context: Context of the work, in frames.
        work: Maps a window and the position of its first frame to as many frames.
    """

    def __init__(self, context: Context, work: Callable[[Aligned, int], Aligned]) -> None:
        self.context = context
        self.work = work
        self.buffer: Aligned = None
        self.begin = self.end = self.done = 0  # positions of the buffer, and of the next output

    def push(self, piece: Piece) -> Piece | None:
        """Take a piece; return the output of all frames whose context is complete, or None."""
        self.buffer = piece.tree if self.buffer is None else joined(self.buffer, piece.tree)
        self.end += piece.frames
        return self._until(self.end if piece.last else self.end - self.context.future, piece.last)

    def finish(self) -> Piece | None:
        """Return the output of the remaining frames, or None: the stream has ended."""
        return self._until(self.end, True)

    def _until(self, ready: int, last: bool) -> Piece | None:
        if ready <= self.done:
            return None
        begin, end, done = self.begin, self.end, self.done
        out = cut(self.work(self.buffer, begin), done - begin, ready - begin, end - begin)
        keep = max(begin, ready - self.context.past)
        self.buffer = cut(self.buffer, keep - begin, end - begin, end - begin)
        self.begin, self.done = keep, ready
        return Piece(ready - done, out, last)


def overlapped(pieces: Iterable[Piece], context: Context, work: Callable[[Aligned, int], Aligned]) -> Iterator[Piece]:
    """Process a stream in overlapping windows; yield the output for the whole stream, piece by piece."""
    windows = OverlappingWindows(context, work)
    for piece in pieces:
        if (out := windows.push(piece)) is not None:
            yield out
    if (out := windows.finish()) is not None:
        yield out


def cut(tree: Aligned, begin: int, end: int, frames: int) -> Aligned:
    """Cut frames [begin, end) out of tensors of `frames` frames."""
    if isinstance(tree, Tensor):
        each = tree.shape[-1] // frames
        return tree[..., begin * each : end * each]
    return _mapped(tree, lambda leaf: cut(leaf, begin, end, frames))


def joined(left: Aligned, right: Aligned) -> Aligned:
    """Append the tensors of one tree to those of another."""
    if isinstance(left, Tensor):
        return torch.cat([left, right], -1)
    if isinstance(left, Mapping):
        return {key: joined(left[key], right[key]) for key in left}
    if isinstance(left, tuple | list):
        return _like(left, [joined(a, b) for a, b in zip(left, right, strict=True)])
    return right


def _mapped(tree: Aligned, work: Callable[[Aligned], Aligned]) -> Aligned:
    if isinstance(tree, Mapping):
        return {key: work(leaf) for key, leaf in tree.items()}
    if isinstance(tree, tuple | list):
        return _like(tree, [work(leaf) for leaf in tree])
    return tree


def _like(old: tuple[Any, ...] | list[Any], leaves: list[Any]) -> Aligned:
    """Build a list, tuple or named tuple of the kind of another."""
    return type(old)(*leaves) if hasattr(old, "_fields") else type(old)(leaves)
