"""Rounds of the mel projection on a CPU, fused: a tile of frames after the other, all that is done with it at once.

    signal ─ cut ─► frames ─ transform ─► spectrum ─ fit, extrapolate ─► spectrum ─ inverse ─► frames ─ add up ─► signal

`consistency.MelProjection` says what a round is, and is what gradients and other devices use; the passes here are the
same arithmetic, compiled by Numba and kept on disk. A filter bank's triangles overlap only with their neighbours, so a
bin belongs to two bands at most, and the products with the filters are sums over the bins between two centres.
Threads share a clip's frames (`crew`), as many as torch may use.
"""

import functools
import logging
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from audiodiff.griffin_lim.subband import SubbandSTFT, subband_filters
from audiodiff.mel import MelSpec
from audiodiff.utils.numba_cache import one_process_at_a_time

__all__ = ["fused_rounds", "is_fusable", "prepare"]

FEWEST = 48  # frames of a thread: with fewer it waits as long as it works
log = logging.getLogger(__name__)


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


def is_fusable(octave: SubbandSTFT, signal: Tensor) -> bool:
    """Says whether the compiled passes can serve: single precision on a CPU, no gradients, a mel of triangles."""
    plain = signal.device.type == "cpu" and signal.dtype == torch.float32 == octave.wanted.dtype
    needs_gradients = torch.is_grad_enabled() and (signal.requires_grad or octave.wanted.requires_grad)
    covered = (_laps(octave) - 1) * octave.hop_length >= octave.padding[0]
    if not plain or needs_gradients or not covered or signal.shape[-1] <= max(octave.padding):
        return False
    if octave.spec.power not in (1, 2) or _rounds() is None or _tables(len(octave.window)) is None:
        return False
    return _bank(octave.spec, octave.n_bins) is not None


def fused_rounds(octave: SubbandSTFT, signal: Tensor, n_iter: int, extrapolation: float) -> Tensor:
    """Does what the loop of `consistency.MelProjection` does, [B, F hop / r] to the same.

    Args:
        octave: The transform and what is wanted.
        signal: Where the rounds begin; it is not changed.
        n_iter: Rounds.
        extrapolation: Weight of the phases of the round before.
    """
    rounds, left, length = _rounds(), octave.padding[0], signal.shape[-1]
    wanted, divisor = octave.wanted.transpose(1, 2).numpy(), _in_blocks(octave, 1 / octave.weights.numpy())
    out = torch.empty_like(signal, memory_format=torch.contiguous_format).detach()
    size, more = rounds.crew_size(octave.n_frames // max(FEWEST, 2 * _laps(octave))), _laps(octave) - 1
    for n in range(len(signal)):
        padded = np.zeros(len(octave.weights), np.float32)
        padded[left : left + length] = signal[n].detach().numpy()
        blocks, given = _in_blocks(octave, padded), (divisor, wanted[n % len(wanted)], (left, left + length))
        shares = _shares(octave, blocks, *given, n_iter, extrapolation, size)
        if not rounds.work_together(rounds.do_rounds, shares, _idle(shares[0])):
            shares, size = _shares(octave, blocks, *given, n_iter, extrapolation, 1), 1
            rounds.do_rounds(*shares[0])
        begin = 0
        for made, *_ in shares:
            blocks[:, begin + more * (begin > 0) : begin + made.shape[1]] = made[:, more * (begin > 0) :]
            begin += made.shape[1] - 2 * more
        out[n] = torch.from_numpy(blocks.T.reshape(-1)[left : left + length])
    return out


def _shares(
    octave: SubbandSTFT,
    blocks: np.ndarray,
    divisor: np.ndarray,
    wanted: np.ndarray,
    sound: tuple[int, int],
    n_iter: int,
    extrapolation: float,
    size: int,
) -> list[tuple[Any, ...]]:
    """Lists what `rounds.do_rounds` takes for each of so many parts of a clip."""
    hop, more, n_frames, rooms = octave.hop_length, _laps(octave) - 1, octave.n_frames, _rounds().rooms
    mel, window = (np.float32(octave.floor), np.float32(octave.spec.power)), octave.window.numpy()
    given = (tuple(_bank(octave.spec, octave.n_bins)), mel, window, _tables(len(window)))
    halos, counter = np.empty((2, size, 2, hop, more), np.float32), np.zeros(1, np.int64)
    n_phases, shares = octave.n_bins if n_iter > 1 and extrapolation else 0, []
    for part in range(size):
        begin, end = max(0, part * n_frames // size - more), (part + 1) * n_frames // size
        signal, weights = (np.ascontiguousarray(a[:, begin : end + more]) for a in (blocks, divisor))
        phases = np.zeros((2, n_phases, end - begin), np.float32)
        within = np.clip(np.array(sound) - begin * hop, 0, signal.size) - (0, 1)
        plan = np.array([n_iter, *within, octave.spec.pad_mode == "reflect", part])
        own = (signal, weights, *phases, np.ascontiguousarray(wanted[:, begin:end]), np.empty_like(signal))
        space = rooms(end - begin, len(window), len(wanted))
        shares.append((*own, space, *given, plan, extrapolation, halos, counter))
    return shares


def _idle(share: tuple[Any, ...]) -> tuple[Any, ...]:
    """Makes a share of no rounds."""
    *before, plan, extrapolation, halos, counter = share
    return (*before, np.zeros_like(plan), extrapolation, halos, counter)


def prepare() -> None:
    """Compiles the passes, or takes them from the disk where they are already, so that no sound waits for it."""
    _rounds()


def _in_blocks(octave: SubbandSTFT, padded: np.ndarray) -> np.ndarray:
    """Writes a padded signal as the passes want it, [hop, blocks]."""
    return np.ascontiguousarray(padded.reshape(-1, octave.hop_length).T)


def _laps(octave: SubbandSTFT) -> int:
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
def _rounds() -> Any:
    """Imports the compiled passes; None where Numba cannot be imported."""
    try:
        with one_process_at_a_time():
            from audiodiff.griffin_lim.kernels import iterations as rounds
    except ImportError as error:
        log.info("without Numba rounds take several times as long: %s", error)
        return None
    return rounds


@functools.lru_cache(maxsize=64)
def _bank(spec: MelSpec, n_bins: int) -> Bank | None:
    """Lists the two bands of each of the lowest bins; None where a bin belongs to others than two neighbours."""
    filters, spread = subband_filters(spec, n_bins, torch.float32, torch.device("cpu"))
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
