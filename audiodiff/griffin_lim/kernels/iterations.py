"""Compiled Griffin-Lim iterations of one clip: one tile of frames after the other, everything at once for a tile."""

import numpy as np
from numba import boolean, float32, int64
from numba.types import UniTuple  # ty: ignore[missing-module-member]  (made by numba at import)

from audiodiff.griffin_lim.kernels.fft import ONE, ROW, ROWS, ZERO, compiled, pack, transform, unpack
from audiodiff.griffin_lim.kernels.frames import BANK, MEL, TABLES, add_up, cut, fit

SCRATCH = UniTuple(ROW, 6)
LINE = 16  # numbers of a cache line


@compiled(ROWS, int64, int64, int64, boolean)
def pad(signal: np.ndarray, first: int, last: int, n_blocks: int, reflect: bool) -> None:
    """Write the padding before the first and behind the last sample of a signal, [hop, n_blocks or more]."""
    hop = len(signal)
    length = hop * n_blocks
    for n in range(min(first, length)):
        m = 2 * first - n
        mirrored = reflect and m < length
        signal[n % hop, n // hop] = signal[m % hop, m // hop] if mirrored else ZERO
    for n in range(last + 1, length):
        m = 2 * last - n
        signal[n % hop, n // hop] = signal[m % hop, m // hop] if reflect else ZERO


@compiled(ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, SCRATCH, BANK, MEL, ROW, TABLES, int64, int64, int64, boolean, float32)
def iterate(
    signal: np.ndarray,
    divisor: np.ndarray,
    cosines: np.ndarray,
    sines: np.ndarray,
    wanted: np.ndarray,
    out: np.ndarray,
    scratch: tuple[np.ndarray, ...],
    bank: tuple[np.ndarray, ...],
    mel: tuple[float, float],
    window: np.ndarray,
    tables: tuple[np.ndarray, np.ndarray],
    n_iter: int,
    begin: int,
    last: int,
    reflect: bool,
    extrapolation: float,
) -> None:
    """Iterate the projection on one clip, in place; allocate nothing.

    Args:
        signal: [hop, blocks + LINE], with room for the padding; zeros behind it.
        divisor: 1 / sum of squared windows, in the same places, [hop, blocks].
        cosines, sines, wanted, bank, mel: As for `frames.fit`, with whole lines of frames.
        out: Space like the signal.
        scratch: Space for a tile of frames, from `dispatch.allocate_scratch`.
        window: [N].
        tables: Cosine and sine of -2 pi k / (N / 2), [N / 2, 2], and of -2 pi k / N, [N / 2 + 1, 2].
        n_iter: Iterations.
        begin, last: First and last sample that are not padding.
        reflect: Whether the padding is the signal's reflection; zeros otherwise.
        extrapolation: Weight of the phases of the previous iteration.
    """
    hop, n_blocks = divisor.shape
    size, n_frames, (roots, turns) = len(window) // 2, n_blocks + 1 - -(-len(window) // hop), tables
    a, b, x, y, magnitudes, bands = scratch
    most = len(magnitudes) // (size + 1)
    for n in range(n_iter):
        weight = extrapolation if n else ZERO
        pad(signal, begin, last, n_blocks, reflect)
        out[:] = ZERO
        for first in range(0, n_frames, most):
            count = min(most, n_frames - first)
            width = -(-count // LINE) * LINE  # what lies behind the last frame is worked on, and not added up
            cut(signal, window, first, width, a, b)
            if transform(a, b, x, y, size, width, roots, ONE):
                a, b, x, y = x, y, a, b
            unpack(a, b, x, y, size, width, turns)
            used, of_bands = slice(0, (size + 1) * width), bands[: (len(wanted) + 2) * width]
            fit(x[used], y[used], cosines, sines, first, width, wanted, bank, mel, weight, magnitudes, of_bands)
            pack(x, y, a, b, size, width, turns)
            if transform(a, b, x, y, size, width, roots, -ONE):
                a, b, x, y = x, y, a, b
            add_up(out, window, first, width, count, a, b)
        for r in range(hop):
            row, total, factor = signal[r], out[r], divisor[r]
            for j in range(n_blocks):
                row[j] = total[j] * factor[j]
