"""Cut a tile of frames out of a signal, fit it to a mel, add it up again; compiled.

A signal is stored as [hop, blocks]: sample b hop + r is at row r, column b. Sample q hop + r of frame f is then at row
r, column f + q, so a row of frames is a row of the signal, and cutting, transforms, the mel and adding up run along
rows. Nothing is called but square roots; logarithms and exponentials are polynomials.

Numba compiles a file anew when it has changed, and does not look at what it imports: after a change here or in
`fourier` delete what it keeps, __pycache__/*.nb?.
"""

import math

import numpy as np
from numba import float32, int64
from numba.types import Tuple, UniTuple  # ty: ignore[missing-module-member]  (made by numba at import)

from audiodiff.griffin_lim.kernels.fft import HALF, ONE, ROW, ROWS, ZERO, compiled

TINY = np.float32(1e-24)  # as in projection.power_of
LIMIT = np.float32(3.0)  # as in subband
LN_2, ROOT_2 = np.float32(math.log(2)), np.float32(math.sqrt(2))
ODD = tuple(np.float32(2 / n) for n in (1, 3, 5, 7, 9))
TAYLOR = tuple(np.float32(1 / math.factorial(n)) for n in range(1, 6))
PART = np.float32(1 / 32)
INDEX = int64[::1]
BANK, MEL, TABLES = Tuple((INDEX, ROW, ROW, ROW, ROW)), UniTuple(float32, 2), UniTuple(ROWS, 2)


@compiled(ROW)
def take_logarithm(values: np.ndarray) -> None:
    """Replace positive float32 by their logarithms, to 1e-7.

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
    """Return e^x = (e^(x / 32))^32: five terms give 1e-6 where |x| is below 1.7 LIMIT."""
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
    """Move the magnitudes of a tile of frames towards a mel and extrapolates their phases, in place.

    Args:
        a, b: Real and imaginary parts, [K width].
        cosines, sines: Phases of the previous iteration, which those of this one replace, [K, F]; [0, F] for none.
        first, width: Which of the frames.
        wanted: Log-magnitudes of the bands, [M, F].
        bank: `dispatch.Bank`.
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
    """Cut windowed frames out of a signal, [hop, blocks]: their even and odd samples, [N / 2 width] each."""
    hop = len(signal)
    for n in range(len(window)):
        begin, at, w = first + n // hop, n // 2 * width, window[n]
        row, to = signal[n % hop, begin : begin + width], (odd if n % 2 else even)[at : at + width]
        for j in range(width):
            to[j] = w * row[j]


@compiled(ROWS, ROW, int64, int64, int64, ROW, ROW)
def add_up(
    signal: np.ndarray, window: np.ndarray, first: int, width: int, count: int, even: np.ndarray, odd: np.ndarray
) -> None:
    """Add the first frames, windowed, to a signal: the transpose of `cut`; to every sample the earliest frame first."""
    hop = len(signal)
    for m in range(-(-len(window) // hop) * hop):
        n = (-(-len(window) // hop) - 1 - m // hop) * hop + m % hop
        if n >= len(window):
            continue
        begin, at, w = first + n // hop, n // 2 * width, window[n]
        row, made = signal[n % hop, begin : begin + count], (odd if n % 2 else even)[at : at + count]
        for j in range(count):
            row[j] += w * made[j]
