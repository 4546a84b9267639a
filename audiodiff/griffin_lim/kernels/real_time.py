"""Compiled iterations of `griffin_lim.real_time` on the few frames that are still open; one thread.

Open frames lie side by side, [samples, frames], and the signal under them is stored as [hop, blocks], as in `frames`.
Importing this module compiles it, or reads what was compiled from disk.
"""

import numpy as np
from numba import boolean, float32, int64

from audiodiff.griffin_lim.kernels.fft import ONE, ROW, ROWS, compiled, pack, transform, unpack
from audiodiff.griffin_lim.kernels.frames import BANK, MEL, TABLES, add_up, cut, fit
from audiodiff.griffin_lim.kernels.iterations import SCRATCH, pad

TINY = np.float32(1e-24)  # as in projection.power_of


@compiled(ROWS, ROWS, ROWS)
def divide(numerator: np.ndarray, divisor: np.ndarray, out: np.ndarray) -> None:
    """Write numerator / divisor, entry by entry."""
    for r in range(len(out)):
        over, under, to = numerator[r], divisor[r], out[r]
        for j in range(len(to)):
            to[j] = over[j] / under[j]


@compiled(ROW, ROW, int64, ROW, ROW, ROW)
def open_newest(
    a: np.ndarray, b: np.ndarray, width: int, magnitudes: np.ndarray, hint_re: np.ndarray, hint_im: np.ndarray
) -> None:
    """Give the last of the frames, [K width], these magnitudes and the phases of its spectrum plus a hint, [K]."""
    for k in range(len(magnitudes)):
        i = k * width + width - 1
        re, im = a[i] + hint_re[k], b[i] + hint_im[k]
        scale = magnitudes[k] / np.sqrt(max(re * re + im * im, TINY))
        a[i], b[i] = scale * re, scale * im


@compiled(
    *[ROWS] * 7, *[ROW] * 3, ROWS, ROWS, SCRATCH, BANK, MEL, ROW, TABLES, int64, float32, int64, boolean
)  # fmt: skip
def iterate_open(
    committed: np.ndarray,
    divisor: np.ndarray,
    even: np.ndarray,
    odd: np.ndarray,
    cosines: np.ndarray,
    sines: np.ndarray,
    wanted: np.ndarray,
    magnitudes: np.ndarray,
    hint_re: np.ndarray,
    hint_im: np.ndarray,
    signal: np.ndarray,
    total: np.ndarray,
    scratch: tuple[np.ndarray, ...],
    bank: tuple[np.ndarray, ...],
    mel: tuple[float, float],
    window: np.ndarray,
    tables: tuple[np.ndarray, np.ndarray],
    n_iter: int,
    extrapolation: float,
    begin: int,
    reflect: bool,
) -> None:
    """Iterate the open frames, of which the last has just come and is still zero; in place, without allocating.

    Args:
        committed: Overlap-added closed frames, [hop, blocks].
        divisor: Sum of squared windows, in the same places.
        even, odd: Samples of the open frames before their synthesis window, [N / 2, frames].
        cosines, sines: Their phases in the previous iteration, [K, frames]; zeros where there was none.
        wanted: Their log-magnitudes in the bands, [M, frames].
        magnitudes: Those with which the last one begins, [K].
        hint_re, hint_im: What is added to its spectrum before its phases are taken, [K].
        signal, total: Space like `committed`.
        scratch: Four arrays for spectra, then magnitudes, [K frames] each, and bands, [(M + 2) frames].
        bank, mel, window, tables: As in `iterations.iterate_open`.
        n_iter: Iterations.
        extrapolation: Weight of the previous phases.
        begin: Where the sound begins, in samples from the first block; what lies before is padding.
        reflect: Whether the padding is the sound's reflection.
    """
    (size, width), (a, b, x, y, amounts, bands), (roots, turns) = even.shape, scratch, tables
    used = (size + 1) * width
    for i in range(size):
        for j in range(width):
            a[i * width + j], b[i * width + j] = even[i, j], odd[i, j]
    for n in range(n_iter):
        for r in range(len(total)):
            for j in range(total.shape[1]):
                total[r, j] = committed[r, j]
        add_up(total, window, 0, width, width, a, b)
        divide(total, divisor, signal)
        pad(signal, begin, signal.size, signal.shape[1], reflect)
        cut(signal, window, 0, width, a, b)
        if transform(a, b, x, y, size, width, roots, ONE):
            a, b, x, y = x, y, a, b
        unpack(a, b, x, y, size, width, turns)
        if n == 0:
            open_newest(x[:used], y[:used], width, magnitudes, hint_re, hint_im)
        fit(x[:used], y[:used], cosines, sines, 0, width, wanted, bank, mel, extrapolation, amounts, bands)
        pack(x, y, a, b, size, width, turns)
        if transform(a, b, x, y, size, width, roots, -ONE):
            a, b, x, y = x, y, a, b
    for i in range(size):
        for j in range(width):
            even[i, j], odd[i, j] = a[i * width + j], b[i * width + j]
