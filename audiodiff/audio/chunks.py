"""Work on a long sound piece by piece, with the result that it has as a whole.

    pieces ─► held: past │ new │ future ─► work ─► the middle of what comes out ─► pieces

Every stage of sampling is local: what comes out at a sample depends on what goes in no further away than its `Context`.
So a piece is worked on together with as much of its neighbours, and what the edges have spoilt is thrown away. Stages
are chained as iterators, and hold no more than a piece and their context: memory does not grow with the sound, and what
one stage knows early enough, the next may have before the sound has ended.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["Context", "OverlappingWindows", "Piece", "cut", "joined", "overlapped", "regrouped"]

Aligned = Any
"""Tensors that share their last axis, time, at a whole number of samples per frame; in tuples, lists and mappings, with
numbers and None among them, which hold for all times."""


class Piece(NamedTuple):
    """Hold so many frames of a stream, and whether it is known that no more will come."""

    frames: int
    tree: Aligned
    last: bool = False


@dataclasses.dataclass(frozen=True)
class Context:
    """Say how far away, in samples, what comes out may depend on what goes in.

    Args:
        past: Samples before.
        future: Samples after: the look-ahead.

    >>> Context(3, 1) + 2 * Context(10, 0)
    Context(past=23, future=1)
    """

    past: int = 0
    future: int = 0

    def __add__(self, other: "Context") -> "Context":
        """Return the context of one stage after another."""
        return Context(self.past + other.past, self.future + other.future)

    def __rmul__(self, times: int) -> "Context":
        """Return the context of a stage that is gone through several times."""
        return Context(times * self.past, times * self.future)

    def in_frames(self, hop_length: int) -> "Context":
        """Round up to whole frames."""
        return Context(-(-self.past // hop_length), -(-self.future // hop_length))


def regrouped(pieces: Iterable[Tensor], frames: int, total: int | None = None) -> Iterator[Piece]:
    """Gather tensors, [..., any], into pieces of so many frames; the last may be shorter.

    Args:
        pieces: What arrives.
        frames: Length of what comes out.
        total: Frames that will have come, if that is known: then nothing is done twice at the end.

    Raises:
        ValueError: The number is below 1.
    """
    if frames < 1:
        raise ValueError(f"chunk_frames={frames}: at least 1 is wanted")
    held: Tensor | None = None
    done = 0
    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece], -1)
        while held.shape[-1] >= frames:
            done += frames
            yield Piece(frames, held[..., :frames], done == total)
            held = held[..., frames:]
    if held is not None and held.shape[-1]:
        yield Piece(held.shape[-1], held, True)


class OverlappingWindows:
    """Work on a stream in overlapping windows, as pieces of it are pushed.

    Args:
        context: Of the work, in frames.
        work: Gets a window and the position of its first frame, and returns as many frames.
    """

    def __init__(self, context: Context, work: Callable[[Aligned, int], Aligned]) -> None:
        self.context = context
        self.work = work
        self.held: Aligned = None
        self.begin = self.end = self.done = 0  # of what is held, and of what has been given away

    def push(self, piece: Piece) -> Piece | None:
        """Take a piece; return what the work gives of all frames whose context is known, if there are any."""
        self.held = piece.tree if self.held is None else joined(self.held, piece.tree)
        self.end += piece.frames
        return self._until(self.end if piece.last else self.end - self.context.future, piece.last)

    def finish(self) -> Piece | None:
        """Return what the work gives of the frames that remain: there are no more."""
        return self._until(self.end, True)

    def _until(self, ready: int, last: bool) -> Piece | None:
        if ready <= self.done:
            return None
        begin, end, done = self.begin, self.end, self.done
        out = cut(self.work(self.held, begin), done - begin, ready - begin, end - begin)
        keep = max(begin, ready - self.context.past)
        self.held = cut(self.held, keep - begin, end - begin, end - begin)
        self.begin, self.done = keep, ready
        return Piece(ready - done, out, last)


def overlapped(pieces: Iterable[Piece], context: Context, work: Callable[[Aligned, int], Aligned]) -> Iterator[Piece]:
    """Work on a stream in overlapping windows; yield what the work would give of the whole stream, piece by piece."""
    windows = OverlappingWindows(context, work)
    for piece in pieces:
        if (out := windows.push(piece)) is not None:
            yield out
    if (out := windows.finish()) is not None:
        yield out


def cut(tree: Aligned, begin: int, end: int, frames: int) -> Aligned:
    """Cut frames [begin, end) out of tensors that last so many frames."""
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
    """Make a list, a tuple or a named tuple of the kind of another."""
    return type(old)(*leaves) if hasattr(old, "_fields") else type(old)(leaves)
