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

__all__ = ["Context", "Piece", "cut", "overlapped", "regrouped"]

Aligned = Any
"""Tensors that share their last axis, time, at a whole number of samples per frame; in tuples, lists and mappings, with
numbers and None among them, which hold for all times."""


class Piece(NamedTuple):
    """Holds so many frames of a stream, and whether it is known that no more will come."""

    frames: int
    tree: Aligned
    last: bool = False


@dataclasses.dataclass(frozen=True)
class Context:
    """Says how far away, in samples, what comes out may depend on what goes in.

    Args:
        past: Samples before.
        future: Samples after: the look-ahead.

    >>> Reach(3, 1) + 2 * Reach(10, 0)
    Reach(past=23, future=1)
    """

    past: int = 0
    future: int = 0

    def __add__(self, other: "Context") -> "Context":
        """Returns the context of one stage after another."""
        return Context(self.past + other.past, self.future + other.future)

    def __rmul__(self, times: int) -> "Context":
        """Returns the context of a stage that is gone through several times."""
        return Context(times * self.past, times * self.future)

    def in_frames(self, hop_length: int) -> "Context":
        """Rounds up to whole frames."""
        return Context(-(-self.past // hop_length), -(-self.future // hop_length))


def regrouped(pieces: Iterable[Tensor], frames: int, total: int | None = None) -> Iterator[Piece]:
    """Gathers tensors, [..., any], into pieces of so many frames; the last may be shorter.

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


def overlapped(pieces: Iterable[Piece], context: Context, work: Callable[[Aligned, int], Aligned]) -> Iterator[Piece]:
    """Works on a stream in overlapping windows.

    Args:
        pieces: What arrives, in order.
        context: Of the work, in frames.
        work: Gets a window and the position of its first frame, and returns as many frames.

    Yields:
        What the work would give of the whole stream, piece by piece.
    """
    held: Aligned = None
    begin = end = done = 0  # of what is held, and of what has been given away

    def until(ready: int) -> Iterator[Piece]:
        nonlocal held, begin, done
        if ready > done:
            out = cut(work(held, begin), done - begin, ready - begin, end - begin)
            keep = max(begin, ready - context.past)
            held = cut(held, keep - begin, end - begin, end - begin)
            length, begin, done = ready - done, keep, ready
            yield Piece(length, out, last)

    last = False
    for piece in pieces:
        held = piece.tree if held is None else _joined(held, piece.tree)
        end, last = end + piece.frames, piece.last
        yield from until(end if last else end - context.future)
    last = True
    yield from until(end)


def cut(tree: Aligned, begin: int, end: int, frames: int) -> Aligned:
    """Cuts frames [begin, end) out of tensors that last so many frames."""
    if isinstance(tree, Tensor):
        each = tree.shape[-1] // frames
        return tree[..., begin * each : end * each]
    return _mapped(tree, lambda leaf: cut(leaf, begin, end, frames))


def _joined(left: Aligned, right: Aligned) -> Aligned:
    if isinstance(left, Tensor):
        return torch.cat([left, right], -1)
    if isinstance(left, Mapping):
        return {key: _joined(left[key], right[key]) for key in left}
    if isinstance(left, tuple | list):
        return _like(left, [_joined(a, b) for a, b in zip(left, right, strict=True)])
    return right


def _mapped(tree: Aligned, work: Callable[[Aligned], Aligned]) -> Aligned:
    if isinstance(tree, Mapping):
        return {key: work(leaf) for key, leaf in tree.items()}
    if isinstance(tree, tuple | list):
        return _like(tree, [work(leaf) for leaf in tree])
    return tree


def _like(old: tuple[Any, ...] | list[Any], leaves: list[Any]) -> Aligned:
    """Makes a list, a tuple or a named tuple of the kind of another."""
    return type(old)(*leaves) if hasattr(old, "_fields") else type(old)(leaves)
