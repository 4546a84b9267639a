"""The door to the compiled kernels: whether they can serve, and what they do to tensors.

    signal ─ cut ─► frames ─ transform ─► spectrum ─ fit, extrapolate ─► spectrum ─ inverse ─► frames ─ add up ─► signal

`projection.MelProjection` and `real_time` define the iterations, and serve gradients and other devices; the kernels are
the same arithmetic, compiled by Numba and cached on disk. The triangles of a filter bank overlap only with their
neighbours, so a bin belongs to two bands at most, and products with the filters are sums over the bins between two
centres. Every kernel runs on one thread: clips in other threads run beside it, since it releases the interpreter.
"""

import functools
import logging
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from audiodiff.griffin_lim.kernels import objects
from audiodiff.griffin_lim.subband import SubbandSTFT, subband_filters
from audiodiff.mel import MelSpec

log = logging.getLogger(__name__)
LINE = 16  # numbers of a cache line, as in iterations
TILE = 1 << 17  # samples at once: complex, twice, and their magnitudes lie in a second-level cache


class Bank(NamedTuple):
    """Hold a filter bank bin by bin, [K] each; bands count from 1, and 0 and M + 1 are none.

    Bin k belongs to bands band[k] and band[k] + 1: by lower[k] and upper[k] when bands are summed up, by back_lower[k]
    and back_upper[k] when they are spread again.
    """

    band: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    back_lower: np.ndarray
    back_upper: np.ndarray


def can_project(octave: SubbandSTFT, signal: Tensor) -> bool:
    """Tell whether `project` can serve: single precision on a CPU, no gradients, a mel of triangles."""
    covered = (_overlap(octave) - 1) * octave.hop_length >= octave.padding[0]
    return _serves(octave, signal) and covered and signal.shape[-1] > max(octave.padding)


def can_iterate_open_frames(octave: SubbandSTFT) -> bool:
    """Tell whether `iterate_open_frames` can serve, likewise."""
    return _serves(octave, octave.wanted)


def _serves(octave: SubbandSTFT, signal: Tensor) -> bool:
    plain = signal.device.type == "cpu" and signal.dtype == torch.float32 == octave.wanted.dtype
    if not plain or (torch.is_grad_enabled() and (signal.requires_grad or octave.wanted.requires_grad)):
        return False
    if octave.spec.power not in (1, 2) or _kernels() is None or roots_of(len(octave.window)) is None:
        return False
    return bank_of(octave.spec, octave.n_bins) is not None


def project(octave: SubbandSTFT, signal: Tensor, n_iter: int, extrapolation: float) -> Tensor:
    """Run the loop of `projection.MelProjection`, [B, F hop / r] to the same.

    Args:
        octave: The transform and the mel that is wanted.
        signal: Where the iterations begin; it is not changed.
        n_iter: Iterations.
        extrapolation: Weight of the phases of the previous iteration.
    """
    left, length = octave.padding[0], signal.shape[-1]
    divisor, out = _in_blocks(octave, 1 / octave.weights.numpy()), signal.detach().clone()
    for n in range(len(signal)):
        padded = np.zeros(len(octave.weights), np.float32)
        padded[left : left + length] = signal[n].detach().numpy()
        wanted = octave.wanted[n % len(octave.wanted)].detach().numpy()
        blocks = _project_clip(octave, _in_blocks(octave, padded), divisor, wanted, length, n_iter, extrapolation)
        out[n] = torch.from_numpy(blocks.T.reshape(-1)[left : left + length])
    return out


def _project_clip(
    octave: SubbandSTFT,
    blocks: np.ndarray,
    divisor: np.ndarray,
    wanted: np.ndarray,
    length: int,
    n_iter: int,
    extrapolation: float,
) -> np.ndarray:
    left, n_blocks, n_frames = octave.padding[0], blocks.shape[1], _whole_lines(octave.n_frames)
    signal, space = _zeros(2, octave.hop_length, n_blocks + LINE)
    signal[:, :n_blocks] = blocks
    targets = _zeros(wanted.shape[1], n_frames)
    targets[:, : len(wanted)] = wanted.T
    phases = _zeros(2, octave.n_bins if n_iter > 1 and extrapolation else 0, n_frames)
    scratch = allocate_scratch(n_frames, len(octave.window), len(targets))
    ends = (left, left + length - 1, octave.spec.pad_mode == "reflect")
    _kernels()[0](
        signal, divisor, *phases, targets, space, scratch, *_constants(octave), n_iter, *ends, np.float32(extrapolation)
    )
    return signal[:, :n_blocks]


def allocate_scratch(n_frames: int, size: int, n_bands: int) -> tuple[np.ndarray, ...]:
    """Allocate the arrays in which `project` works on a tile of frames of `size` samples."""
    tiles = -(-n_frames * size // TILE)
    most = _whole_lines(-(-n_frames // tiles))
    return tuple(_zeros(length) for length in [(size // 2 + 1) * most] * 5 + [(n_bands + 2) * most])


def _whole_lines(n_frames: int) -> int:
    """Round up to whole cache lines: vectors of them need no rest, and lie across no border."""
    return -(-n_frames // LINE) * LINE


def _zeros(*shape: int) -> np.ndarray:
    """Allocate zeros that begin with a cache line."""
    room = np.zeros(math.prod(shape) + LINE, np.float32)
    first = -room.ctypes.data // room.itemsize % LINE
    return room[first : first + math.prod(shape)].reshape(shape)


def iterate_open_frames(
    octave: SubbandSTFT,
    committed: Tensor,
    divisor: Tensor,
    frames: Tensor,
    phases: Tensor,
    newest: Tensor,
    hint: Tensor,
    begin: int,
    n_iter: int,
    extrapolation: float,
) -> tuple[Tensor, Tensor]:
    """Run the loop of `real_time.iterate_open_frames`, with its arguments."""
    how = (n_iter, np.float32(extrapolation), begin, octave.spec.pad_mode == "reflect")
    clips = [
        _iterate_clip(octave, (octave.wanted[n], committed[n], divisor, frames[n], phases[n], newest[n], hint[n]), how)
        for n in range(len(frames))
    ]
    return torch.stack([samples for samples, _ in clips]), torch.stack([phases for _, phases in clips])


def _iterate_clip(octave: SubbandSTFT, clip: tuple[Tensor, ...], how: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    wanted, committed, divisor, frames, phases, newest, hint = clip
    width, wanted = len(frames), _columns(wanted)
    even, odd, cosines, sines = map(_columns, (frames[:, 0::2], frames[:, 1::2], phases.real, phases.imag))
    blocks = [_columns(signal.view(-1, octave.hop_length)) for signal in (committed, divisor)]
    first = (np.array(part.detach().numpy(), order="C") for part in (newest, hint.real, hint.imag))
    lengths = [octave.n_bins * width] * 5 + [(len(wanted) + 2) * width]
    scratch = tuple(np.empty(length, np.float32) for length in lengths)
    space = (np.empty_like(blocks[0]), np.empty_like(blocks[0]))
    _kernels()[1](*blocks, even, odd, cosines, sines, wanted, *first, *space, scratch, *_constants(octave), *how)
    samples = np.stack([even, odd], axis=1).reshape(-1, width).T.copy()
    return torch.from_numpy(samples), torch.complex(*(torch.from_numpy(z.T.copy()) for z in (cosines, sines)))


def loaded() -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """Load the compiled loops if they can be, as `prepare` does, and return them."""
    return _kernels()


def prepare() -> None:
    """Compile the kernels, or load them from disk, so that no sound waits for it."""
    _kernels()


@functools.cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]] | None:
    """Load the compiled loops, of `project` and of `iterate_open_frames`; None where Numba cannot be imported."""
    try:
        return objects.kernel("iterations", "iterate"), objects.kernel("real_time", "iterate_open")
    except ImportError as error:
        log.info("without Numba iterations take several times as long: %s", error)
        return None


def _constants(octave: SubbandSTFT) -> tuple[Any, ...]:
    """Gather what all kernels take of a transform: bank, mel, window, tables."""
    mel = (np.float32(octave.floor), np.float32(octave.spec.power))
    bank = tuple(bank_of(octave.spec, octave.n_bins))
    return bank, mel, octave.window.numpy(), roots_of(len(octave.window))


def _in_blocks(octave: SubbandSTFT, padded: np.ndarray) -> np.ndarray:
    """Reorder a padded signal as the kernels want it, [hop, blocks]."""
    return np.ascontiguousarray(padded.reshape(-1, octave.hop_length).T)


def _columns(rows: Tensor) -> np.ndarray:
    """Copy [F, N] to an array [N, F], whose rows are contiguous."""
    return np.array(rows.detach().numpy().T, order="C")


def _overlap(octave: SubbandSTFT) -> int:
    """Count the hops that a frame covers."""
    return -(-len(octave.window) // octave.hop_length)


@functools.lru_cache(maxsize=16)
def roots_of(size: int) -> tuple[np.ndarray, np.ndarray] | None:
    """List the roots of unity of a transform of so many samples; None where it has a prime factor above 5."""
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


@functools.lru_cache(maxsize=64)
def bank_of(spec: MelSpec, n_bins: int) -> Bank | None:
    """List the two bands of each of the lowest bins; None where a bin belongs to others than two neighbours."""
    filters, spread, _ = subband_filters(spec, n_bins, torch.float32, torch.device("cpu"))
    return bank_from(filters.numpy(), spread.numpy())


def bank_from(filters: np.ndarray, spread: np.ndarray) -> Bank | None:
    """Build a bank from filters and weights, [K, M] each; None where a bin belongs to others than two neighbours."""
    lowest = (spread != 0).argmax(1)
    each, padded = np.arange(len(spread)), [np.pad(m, ((0, 0), (0, 1))) for m in (filters, spread)]
    pairs = [(m[each, lowest], m[each, lowest + 1]) for m in padded]
    whole = all(
        ((m != 0).sum(1) == (low != 0).astype(int) + (high != 0)).all()
        for m, (low, high) in zip(padded, pairs, strict=True)
    )
    return Bank(lowest + 1, *(np.ascontiguousarray(w) for pair in pairs for w in pair)) if whole else None
