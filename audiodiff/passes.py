"""The compiled rounds of `fused`: a tile of frames after the other, all that is done with it at once.

A signal is stored as [hop, blocks]: sample b hop + r is at row r, column b. Sample q hop + r of frame f is then at row
r, column f + q, so a row of frames is a row of the signal, and cutting, transforms, the mel and adding up run along
rows. Nothing is called but square roots; logarithms and exponentials are polynomials.

Numba compiles a file anew when it has changed, and does not look at what it imports: after a change of `fourier` delete
what it keeps, __pycache__/passes.*.nb?.
"""

import math

import numpy as np
from numba import boolean, float32, int64
from numba.types import Tuple, UniTuple

from audiodiff.fourier import HALF, ONE, ROW, ROWS, ZERO, compiled, pack, transform, unpack

__all__ = ["do_rounds", "take_logarithm"]

TINY = np.float32(1e-24)  # as in consistency.power_of
LIMIT = np.float32(3.0)  # as in octaves
LN_2, ROOT_2 = np.float32(math.log(2)), np.float32(math.sqrt(2))
ODD = tuple(np.float32(2 / n) for n in (1, 3, 5, 7, 9))
TAYLOR = tuple(np.float32(1 / math.factorial(n)) for n in range(1, 6))
PART = np.float32(1 / 32)
TILE = 1 << 17  # samples at once: complex, twice, and their magnitudes lie in a second-level cache
INDEX = int64[::1]
BANK, MEL, TABLES = Tuple((INDEX, ROW, ROW, ROW, ROW)), UniTuple(float32, 2), UniTuple(ROWS, 2)


@compiled(ROW)
def take_logarithm(values: np.ndarray) -> None:
    """Replaces positive float32 by their logarithms, to 1e-7.

    log(2^e m) = e log 2 + 2 artanh((m - 1) / (m + 1)),    m in [√½, √2)
    """
    bits = values.view(np.int32)
    for i in range(len(values)):
        exponent = (bits[i] >> 23) - 127
        bits[i] = (bits[i] & 0x7FFFFF) | 0x3F800000
        m = values[i]
        high = m > ROOT_2
        m = m * HALF if high else m
        e = np.float32(exponent + 1 if high else exponent)
        y = (m - ONE) / (m + ONE)
        z = y * y
        values[i] = e * LN_2 + y * (ODD[0] + z * (ODD[1] + z * (ODD[2] + z * (ODD[3] + z * ODD[4]))))


@compiled(float32, gives=float32)
def exponential(x: float) -> float:
    """Returns e^x = (e^(x / 32))^32: five terms give 1e-6 where |x| is below 1.7 LIMIT."""
    z = PART * x
    y = ONE + z * (TAYLOR[0] + z * (TAYLOR[1] + z * (TAYLOR[2] + z * (TAYLOR[3] + z * TAYLOR[4]))))
    y = y * y
    y = y * y
    y = y * y
    y = y * y
    return y * y


@compiled(ROW, ROW, ROWS, ROWS, int64, int64, ROWS, BANK, MEL, float32, ROW, ROW)
def fit(
    a: np.ndarray,
    b: np.ndarray,
    cosines: np.ndarray,
    sines: np.ndarray,
    first: int,
    width: int,
    wanted: np.ndarray,
    bank: tuple[np.ndarray, ...],
    mel: tuple[float, float],
    extrapolation: float,
    magnitudes: np.ndarray,
    bands: np.ndarray,
) -> None:
    """Moves the magnitudes of a tile of frames towards a mel and extrapolates their phases, in place.

    Args:
        a, b: Real and imaginary parts, [K width].
        cosines, sines: Phases of the round before, which those of this round replace, [K, F]; [0, F] for none.
        first, width: Which of the frames.
        wanted: Log-magnitudes of the bands, [M, F].
        bank: `fused.Bank`.
        mel: Its floor and power.
        extrapolation: Weight of the previous phases.
        magnitudes, bands: Space for [K width] and [(M + 2) width].
    """
    (band, lower, upper, back_lower, back_upper), (floor, power) = bank, mel
    n_bins, n_bands, per_power = len(band), len(wanted), ONE / power
    for i in range(n_bins * width):
        magnitudes[i] = math.sqrt(max(a[i] * a[i] + b[i] * b[i], TINY))
    bands[:] = ZERO
    for k in range(n_bins):
        m, u, v = band[k] * width, lower[k], upper[k]
        amount, low = magnitudes[k * width : k * width + width], bands[m : m + width]
        high = bands[m + width : m + 2 * width]
        if power == ONE:
            for j in range(width):
                low[j] += u * amount[j]
                high[j] += v * amount[j]
        else:
            for j in range(width):
                low[j] += u * (amount[j] * amount[j])
                high[j] += v * (amount[j] * amount[j])
    for i in range(len(bands)):
        bands[i] = max(bands[i], floor)
    take_logarithm(bands)
    bands[:width], bands[(n_bands + 1) * width :] = ZERO, ZERO
    for m in range(n_bands):
        has, want = bands[(m + 1) * width : (m + 2) * width], wanted[m, first : first + width]
        for j in range(width):
            has[j] = min(max(want[j] - per_power * has[j], -LIMIT), LIMIT)
    a[:width], b[:width] = ZERO, ZERO  # no band holds a constant offset
    for k in range(1, n_bins):
        m, u, v = band[k] * width, back_lower[k], back_upper[k]
        low, high, of = bands[m : m + width], bands[m + width : m + 2 * width], slice(k * width, k * width + width)
        re, im, amount = a[of], b[of], magnitudes[of]
        if len(cosines) == 0:
            for j in range(width):
                gain = exponential(u * low[j] + v * high[j])
                re[j], im[j] = gain * re[j], gain * im[j]
            continue
        last_re, last_im = cosines[k, first : first + width], sines[k, first : first + width]
        for j in range(width):
            unit = ONE / amount[j]
            p, q = re[j] * unit, im[j] * unit
            c, d = p - extrapolation * last_re[j], q - extrapolation * last_im[j]
            last_re[j], last_im[j] = p, q
            gain = exponential(u * low[j] + v * high[j])
            scale = gain * amount[j] / math.sqrt(max(c * c + d * d, TINY))
            re[j], im[j] = scale * c, scale * d


@compiled(ROWS, ROW, int64, int64, ROW, ROW)
def cut(signal: np.ndarray, window: np.ndarray, first: int, width: int, even: np.ndarray, odd: np.ndarray) -> None:
    """Cuts windowed frames out of a signal, [hop, blocks]: their even and odd samples, [N / 2 width] each."""
    hop = len(signal)
    for n in range(len(window)):
        begin, at, w = first + n // hop, n // 2 * width, window[n]
        row, to = signal[n % hop, begin : begin + width], (odd if n % 2 else even)[at : at + width]
        for j in range(width):
            to[j] = w * row[j]


@compiled(ROWS, ROW, int64, int64, ROW, ROW)
def add_up(signal: np.ndarray, window: np.ndarray, first: int, width: int, even: np.ndarray, odd: np.ndarray) -> None:
    """Adds frames, windowed, to a signal: the transpose of `cut`."""
    hop = len(signal)
    for n in range(len(window)):
        begin, at, w = first + n // hop, n // 2 * width, window[n]
        row, made = signal[n % hop, begin : begin + width], (odd if n % 2 else even)[at : at + width]
        for j in range(width):
            row[j] += w * made[j]


@compiled(ROWS, int64, int64, boolean)
def pad(signal: np.ndarray, first: int, last: int, reflect: bool) -> None:
    """Writes the padding before the first and behind the last sample of a signal, [hop, blocks]."""
    hop, n_blocks = signal.shape
    for n in range(first):
        m = 2 * first - n
        signal[n % hop, n // hop] = signal[m % hop, m // hop] if reflect else ZERO
    for n in range(last + 1, hop * n_blocks):
        m = 2 * last - n
        signal[n % hop, n // hop] = signal[m % hop, m // hop] if reflect else ZERO


@compiled(ROWS, ROWS, ROWS, ROWS, ROWS, BANK, MEL, ROW, TABLES, INDEX, float32)
def do_rounds(
    signal: np.ndarray,
    divisor: np.ndarray,
    cosines: np.ndarray,
    sines: np.ndarray,
    wanted: np.ndarray,
    bank: tuple[np.ndarray, ...],
    mel: tuple[float, float],
    window: np.ndarray,
    tables: tuple[np.ndarray, np.ndarray],
    plan: np.ndarray,
    extrapolation: float,
) -> None:
    """Does rounds of the projection on one clip, in place.

    Args:
        signal: [hop, F + laps - 1], with room for the padding.
        divisor: 1 / sum of squared windows, in the same places.
        cosines, sines, wanted, bank, mel: As for `fit`.
        window: [N].
        tables: Cosine and sine of -2 pi k / (N / 2), [N / 2, 2], and of -2 pi k / N, [N / 2 + 1, 2].
        plan: Rounds; first and last sample that are not padding; 1 to reflect beyond them, 0 for zeros.
        extrapolation: Weight of the phases of the round before.
    """
    hop, n_blocks = signal.shape
    size, n_frames, (roots, turns) = len(window) // 2, wanted.shape[1], tables
    tiles = (n_frames * len(window) + TILE - 1) // TILE
    most = (n_frames + tiles - 1) // tiles
    a, b = np.empty((size + 1) * most, np.float32), np.empty((size + 1) * most, np.float32)
    x, y = np.empty((size + 1) * most, np.float32), np.empty((size + 1) * most, np.float32)
    magnitudes, bands = np.empty((size + 1) * most, np.float32), np.empty((len(wanted) + 2) * most, np.float32)
    out = np.empty_like(signal)
    for n in range(plan[0]):
        weight = extrapolation if n else ZERO
        pad(signal, plan[1], plan[2], plan[3] == 1)
        out[:] = ZERO
        for first in range(0, n_frames, most):
            width = min(most, n_frames - first)
            cut(signal, window, first, width, a, b)
            if transform(a, b, x, y, size, width, roots, ONE):
                a, b, x, y = x, y, a, b
            unpack(a, b, x, y, size, width, turns)
            spectrum, held = slice(0, (size + 1) * width), bands[: (len(wanted) + 2) * width]
            fit(x[spectrum], y[spectrum], cosines, sines, first, width, wanted, bank, mel, weight, magnitudes, held)
            pack(x, y, a, b, size, width, turns)
            if transform(a, b, x, y, size, width, roots, -ONE):
                a, b, x, y = x, y, a, b
            add_up(out, window, first, width, a, b)
        for r in range(hop):
            row, made, by = signal[r], out[r], divisor[r]
            for j in range(n_blocks):
                row[j] = made[j] * by[j]
