"""Rounds of the mel projection on a CPU, fused: what lies between two Fourier transforms is one pass over memory.

    frames ─ rfft ─► spectrum ─ fit, extrapolate ─► spectrum ─ irfft ─► frames ─ overlap-add, cut again ─► frames …

`consistency.MelProjection` says what a round is, and is what gradients and other devices use; the passes here are the
same arithmetic, compiled by Numba and kept on disk. A filter bank's triangles overlap only with their neighbours, so a
bin belongs to two bands at most, and the products with the filters are sums over bank of bins between two centres.
"""

import functools
import logging
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from audiodiff.compiling import one_process_at_a_time
from audiodiff.mel import MelSpec
from audiodiff.octaves import Octave, restricted

__all__ = ["fused_rounds", "is_fusable", "prepare"]

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


def is_fusable(octave: Octave, signal: Tensor) -> bool:
    """Says whether the compiled passes can serve: single precision on a CPU, no gradients, a mel of triangles."""
    plain = signal.device.type == "cpu" and signal.dtype == torch.float32 == octave.wanted.dtype
    needs_gradients = torch.is_grad_enabled() and (signal.requires_grad or octave.wanted.requires_grad)
    if not plain or needs_gradients or octave.spec.power not in (1, 2) or signal.shape[-1] <= max(octave.padding):
        return False
    return _passes() is not None and _bank(octave.spec, octave.n_bins) is not None


def fused_rounds(octave: Octave, signal: Tensor, n_iter: int, extrapolation: float) -> Tensor:
    """Does what the loop of `consistency.MelProjection` does, [B, F hop / r] to the same.

    Args:
        octave: The transform and what is wanted.
        signal: Where the rounds begin; it is not changed.
        n_iter: Rounds.
        extrapolation: Weight of the phases of the round before.
    """
    passes = _passes()
    bank = _bank(octave.spec, octave.n_bins)
    size, hop, left = len(octave.window), octave.hop_length, octave.padding[0]
    window, weights = octave.window.numpy(), octave.weights.numpy()
    wanted = octave.wanted.expand(len(signal), -1, -1).flatten(0, 1).T.contiguous().numpy()
    out = signal.detach().clone(memory_format=torch.contiguous_format)
    frames = torch.empty(len(signal) * octave.n_frames, size)
    phases = np.zeros((len(frames), 2 * octave.n_bins if n_iter > 1 and extrapolation else 0), np.float32)
    for n in range(n_iter):
        passes.cut(frames.numpy(), out.numpy(), window, hop, left, octave.spec.pad_mode == "reflect")
        spectrum = torch.fft.rfft(frames)
        values = torch.view_as_real(spectrum).flatten(1).numpy()
        weight = extrapolation if n else 0.0
        passes.fit(values, phases, wanted, *bank, octave.floor, float(octave.spec.power), weight)
        torch.fft.irfft(spectrum, n=size, out=frames)
        passes.overlap_add(frames.numpy(), out.numpy(), window, weights, hop, left)
    return out


def prepare() -> None:
    """Compiles the passes, or takes them from the disk where they are already, so that no sound waits for it."""
    if _passes() is not None:
        spec = MelSpec(1024, 64, 64, 16, n_mels=4, f_max=512.0)
        fused_rounds(Octave(spec, torch.full((1, 4, 8), -5.0)), torch.zeros(1, 128), 2, 0.5)


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
