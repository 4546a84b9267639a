"""Rounds of the mel projection on a CPU, fused: a tile of frames after the other, all that is done with it at once.

    signal ─ cut ─► frames ─ transform ─► spectrum ─ fit, extrapolate ─► spectrum ─ inverse ─► frames ─ add up ─► signal

`consistency.MelProjection` says what a round is, and is what gradients and other devices use; the passes here are the
same arithmetic, compiled by Numba and kept on disk. A filter bank's triangles overlap only with their neighbours, so a
bin belongs to two bands at most, and the products with the filters are sums over bank of bins between two centres.
Threads work on clips, or on parts of a long clip with as many neighbouring frames as a few rounds look at; then they
exchange what they have found.
"""

import functools
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from audiodiff.compiling import one_process_at_a_time
from audiodiff.mel import MelSpec
from audiodiff.octaves import Octave, restricted

__all__ = ["fused_rounds", "is_fusable", "prepare"]

log = logging.getLogger(__name__)

EXCHANGE = 8  # rounds between two exchanges of threads that share a clip
FEWEST = 64  # frames of a part that is worth a thread


class Bank(NamedTuple):
    """Holds a filter bank bin by bin, [K] each; bands count from 1, and 0 and M + 1 are none.

    Bin k belongs to bands band[k] and band[k] + 1: by lower[k] and upper[k] when bands are summed up, by back_lower[k]
    and back_upper[k] when they are spread again.
    """

    band: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    back_lower: np.ndarray
    back_upper: np.ndarray


def is_fusable(octave: Octave, signal: Tensor) -> bool:
    """Says whether the compiled passes can serve: single precision on a CPU, no gradients, a mel of triangles."""
    plain = signal.device.type == "cpu" and signal.dtype == torch.float32 == octave.wanted.dtype
    needs_gradients = torch.is_grad_enabled() and (signal.requires_grad or octave.wanted.requires_grad)
    covered = (_laps(octave) - 1) * octave.hop_length >= octave.padding[0]
    if not plain or needs_gradients or not covered or signal.shape[-1] <= max(octave.padding):
        return False
    if octave.spec.power not in (1, 2) or _passes() is None or _tables(len(octave.window)) is None:
        return False
    return _bank(octave.spec, octave.n_bins) is not None


def fused_rounds(octave: Octave, signal: Tensor, n_iter: int, extrapolation: float) -> Tensor:
    """Does what the loop of `consistency.MelProjection` does, [B, F hop / r] to the same.

    Clips, and parts of a long one, are shared out among as many threads as torch has.

    Args:
        octave: The transform and what is wanted.
        signal: Where the rounds begin; it is not changed.
        n_iter: Rounds.
        extrapolation: Weight of the phases of the round before.
    """
    clips = [Clip(octave, signal, n, n_iter > 1 and extrapolation > 0) for n in range(len(signal))]
    per_clip = max(1, min(torch.get_num_threads() // len(clips), octave.n_frames // FEWEST))
    cuts = [n * octave.n_frames // per_clip for n in range(per_clip + 1)]
    parts = [(clip, begin, end) for clip in clips for begin, end in itertools.pairwise(cuts)]
    left = n_iter
    while left:
        n = left if per_clip == 1 else min(left, EXCHANGE)
        work = functools.partial(Clip.rounds, n=n, is_first=left == n_iter, extrapolation=extrapolation)
        for (clip, begin, end), made in zip(parts, _together(work, parts), strict=True):
            clip.take(begin, end, *made)
        left -= n
    return torch.cat([clip.waveform() for clip in clips])


class Clip:
    """Holds a clip as the passes want it, frames side by side: its signal, with the padding, and its phases.

    Args:
        octave: The transform and what is wanted.
        signal: Clips, [B, F hop / r].
        number: Which of them.
        has_memory: Whether a round uses the phases of the round before.
    """

    def __init__(self, octave: Octave, signal: Tensor, number: int, has_memory: bool) -> None:
        self.octave = octave
        self.inside = octave.padding[0], octave.padding[0] + signal.shape[-1] - 1  # first and last sample
        self.wanted = np.ascontiguousarray(octave.wanted[number % len(octave.wanted)].T.numpy())
        padded = np.zeros(len(octave.weights), np.float32)
        padded[self.inside[0] : self.inside[1] + 1] = signal[number].detach().numpy()
        self.signal, self.divisor = self._blocks(padded), self._blocks(1 / octave.weights.numpy())
        self.phases = np.zeros((2, octave.n_bins if has_memory else 0, octave.n_frames), np.float32)
        _passes().pad(self.signal, *self.inside, octave.spec.pad_mode == "reflect")

    def rounds(
        self, begin: int, end: int, n: int, is_first: bool, extrapolation: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Does rounds on some frames, and on so many neighbours that they come out as if all were worked on.

        Returns:
            The frames' blocks of the signal (the last frames have those that follow, too), and their phases.
        """
        octave, more = self.octave, _laps(self.octave) - 1
        low, high = max(0, begin - n * more), min(octave.n_frames, end + n * more)
        columns = slice(low, high + more)
        divisor, wanted = (np.ascontiguousarray(x) for x in (self.divisor[:, columns], self.wanted[:, low:high]))
        signal, phases = (
            np.array(x, order="C") for x in (self.signal[:, columns], self.phases[..., low:high])
        )  # copies
        first, last = self.inside
        first, last = first if low == 0 else 0, last if high == octave.n_frames else self.signal.size
        plan = np.array([n, is_first, first, last - low * octave.hop_length, octave.spec.pad_mode == "reflect"])
        bank, tables = tuple(_bank(octave.spec, octave.n_bins)), _tables(len(octave.window))
        mel, window = (np.float32(octave.floor), np.float32(octave.spec.power)), octave.window.numpy()
        _passes().do_rounds(signal, divisor, *phases, wanted, bank, mel, window, tables, plan, extrapolation)
        last_block = end + (more if end == octave.n_frames else 0)
        return signal[:, begin - low : last_block - low], phases[..., begin - low : end - low]

    def take(self, begin: int, end: int, signal: np.ndarray, phases: np.ndarray) -> None:
        """Takes what `rounds` has made of some frames."""
        self.signal[:, begin : begin + signal.shape[1]] = signal
        self.phases[..., begin:end] = phases

    def waveform(self) -> Tensor:
        """Returns the clip, [1, F hop / r]."""
        first, last = self.inside
        return torch.from_numpy(self.signal.T.reshape(1, -1)[:, first : last + 1])

    def _blocks(self, padded: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(padded.reshape(-1, self.octave.hop_length).T)


def prepare() -> None:
    """Compiles the passes, or takes them from the disk where they are already, so that no sound waits for it."""
    _passes()


def _together(work: Callable[..., Any], parts: Sequence[Any]) -> list[Any]:
    """Calls work with every part, with as many at a time as torch has threads."""
    threads = min(len(parts), torch.get_num_threads())
    return list((_pool(threads).map if threads > 1 else map)(work, *zip(*parts, strict=True)))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="audiodiff-rounds")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of the threads


def _laps(octave: Octave) -> int:
    """Counts the blocks of a hop that a frame lies on."""
    return -(-len(octave.window) // octave.hop_length)


@functools.lru_cache(maxsize=16)
def _tables(size: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Lists the roots of unity of a transform of so many samples; None where it has a prime factor above 5."""
    half = rest = size // 2
    for radix in (2, 3, 5):
        while rest % radix == 0:
            rest //= radix
    if size % 2 or rest != 1:
        return None
    return tuple(
        np.stack([np.cos(angle), -np.sin(angle)], 1).astype(np.float32)
        for angle in (2 * np.pi * np.arange(half) / half, np.pi * np.arange(half + 1) / half)
    )


@functools.cache
def _passes() -> Any:
    """Imports the compiled passes; None where Numba cannot be imported."""
    try:
        with one_process_at_a_time():
            from audiodiff import passes
    except ImportError as error:
        log.info("without Numba rounds take several times as long: %s", error)
        return None
    return passes


@functools.lru_cache(maxsize=64)
def _bank(spec: MelSpec, n_bins: int) -> Bank | None:
    """Lists the two bands of each of the lowest bins; None where a bin belongs to others than two neighbours."""
    filters, spread = restricted(spec, n_bins, torch.float32, torch.device("cpu"))
    return _found(filters.numpy(), spread.numpy())


def _found(filters: np.ndarray, spread: np.ndarray) -> Bank | None:
    lowest = (spread != 0).argmax(1)
    each, padded = np.arange(len(spread)), [np.pad(m, ((0, 0), (0, 1))) for m in (filters, spread)]
    pairs = [(m[each, lowest], m[each, lowest + 1]) for m in padded]
    whole = all(
        ((m != 0).sum(1) == (low != 0).astype(int) + (high != 0)).all()
        for m, (low, high) in zip(padded, pairs, strict=True)
    )
    return Bank(lowest + 1, *(np.ascontiguousarray(w) for pair in pairs for w in pair)) if whole else None
