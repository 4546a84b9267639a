"""The compiled passes of `fused`: how frames are moved towards a mel, added up, and cut again.

Loops are written so that a compiler turns each into vector instructions: over the bins of a frame, or over the frames
of a tile that fits into a cache; nothing is called but square roots, logarithms and exponentials are polynomials.
"""

import contextlib
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import boolean, float32, float64, int32, int64, njit, void

__all__ = ["cut", "fit", "overlap_add"]

TINY = np.float32(1e-24)  # as in consistency.power_of
LIMIT = np.float32(3.0)  # as in octaves
LN_2, ROOT_2 = np.float32(math.log(2)), np.float32(math.sqrt(2))
ONE, HALF, ZERO = np.float32(1), np.float32(0.5), np.float32(0)
ODD = tuple(np.float32(2 / n) for n in (1, 3, 5, 7, 9))
TAYLOR = tuple(np.float32(1 / math.factorial(n)) for n in range(1, 6))
PART = np.float32(1 / 32)
TILE = 64  # frames
VALUES, ROWS = float32[::1], float32[:, ::1]
LAX = {"contract", "reassoc", "nsz", "arcp"}  # infinities and what is not a number keep their meaning


def compiled(*takes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compiles for arguments of these types, and keeps the result on disk where some place can be written to."""
    compiler = functools.partial(njit, void(*takes), fastmath=LAX, nogil=True, error_model="numpy")

    def of(function: Callable[..., Any]) -> Callable[..., Any]:
        with contextlib.suppress(RuntimeError):  # no such place
            return compiler(cache=True)(function)
        return compiler()(function)

    return of


@compiled(VALUES, int32[::1])
def take_logarithm(values: np.ndarray, bits: np.ndarray) -> None:
    """Replaces positive float32 by their logarithms, to 1e-7; `bits` is the same memory as int32.

    log(2^e m) = e log 2 + 2 artanh((m - 1) / (m + 1)),    m in [√½, √2)
    """
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


@compiled(ROWS, ROWS, ROWS, int64[::1], VALUES, VALUES, VALUES, VALUES, float64, float64, float64)
def fit(
    values: np.ndarray,
    previous: np.ndarray,
    wanted: np.ndarray,
    band: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    back_lower: np.ndarray,
    back_upper: np.ndarray,
    floor: float,
    power: float,
    extrapolation: float,
) -> None:
    """Moves the magnitudes of frames towards a mel and extrapolates their phases, in place.

    a + ib is a value, then its phase; c + id the phase ahead.

    Args:
        values: Real and imaginary parts in turn, [F, 2 K].
        previous: Phases of the round before, which those of this round replace, [F, 2 K]; [F, 0] for no extrapolation.
        wanted: Log-magnitudes of the bands, [M, F].
        band, lower, upper, back_lower, back_upper: `fused.Bank`.
        floor, power: Of the mel.
        extrapolation: Weight of the previous phases.
    """
    n_bins, n_bands = values.shape[1] // 2, len(wanted)
    magnitudes, gains = np.empty((TILE, n_bins), np.float32), np.empty(n_bins, np.float32)
    columns = np.empty((n_bins, TILE), np.float32)  # of magnitudes, then of gains
    bands = np.empty((n_bands + 2, TILE), np.float32)
    flat = bands.reshape(-1)
    bits = flat.view(np.int32)
    least, per_power, weight = np.float32(floor), np.float32(1 / power), np.float32(extrapolation)
    for first in range(0, len(values), TILE):
        frames = min(TILE, len(values) - first)
        for j in range(frames):
            for k in range(n_bins):
                a, b = values[first + j, 2 * k], values[first + j, 2 * k + 1]
                magnitudes[j, k] = math.sqrt(max(a * a + b * b, TINY))
            for k in range(n_bins):
                columns[k, j] = magnitudes[j, k]
        bands[:] = ZERO
        for k in range(n_bins):
            amount, low, high = columns[k], bands[band[k]], bands[band[k] + 1]
            a, b = lower[k], upper[k]
            if power == 1:
                for j in range(frames):
                    low[j] += a * amount[j]
                    high[j] += b * amount[j]
            else:
                for j in range(frames):
                    low[j] += a * (amount[j] * amount[j])
                    high[j] += b * (amount[j] * amount[j])
        for i in range(len(flat)):
            flat[i] = max(flat[i], least)
        take_logarithm(flat, bits)
        bands[0], bands[n_bands + 1] = ZERO, ZERO
        for m in range(n_bands):
            has, want = bands[m + 1], wanted[m, first : first + frames]
            for j in range(frames):
                has[j] = min(max(want[j] - per_power * has[j], -LIMIT), LIMIT)
        for k in range(n_bins):  # at most 1.7 LIMIT: e^x = (e^(x / 32))^32, and five terms give 1e-6
            gain, low, high = columns[k], bands[band[k]], bands[band[k] + 1]
            a, b = PART * back_lower[k], PART * back_upper[k]
            for j in range(frames):
                x = a * low[j] + b * high[j]
                y = ONE + x * (TAYLOR[0] + x * (TAYLOR[1] + x * (TAYLOR[2] + x * (TAYLOR[3] + x * TAYLOR[4]))))
                y = y * y
                y = y * y
                y = y * y
                y = y * y
                gain[j] = y * y
        columns[0] = ZERO  # no band holds a constant offset
        for j in range(frames):
            for k in range(n_bins):
                gains[k] = columns[k, j]
            if previous.shape[1] == 0:
                for k in range(n_bins):
                    values[first + j, 2 * k] *= gains[k]
                    values[first + j, 2 * k + 1] *= gains[k]
                continue
            for k in range(n_bins):
                unit = ONE / magnitudes[j, k]
                a, b = values[first + j, 2 * k] * unit, values[first + j, 2 * k + 1] * unit
                c = a - weight * previous[first + j, 2 * k]
                d = b - weight * previous[first + j, 2 * k + 1]
                previous[first + j, 2 * k], previous[first + j, 2 * k + 1] = a, b
                scale = gains[k] * magnitudes[j, k] / math.sqrt(max(c * c + d * d, TINY))
                values[first + j, 2 * k], values[first + j, 2 * k + 1] = scale * c, scale * d


@compiled(ROWS, ROWS, VALUES, VALUES, int64, int64)
def overlap_add(
    frames: np.ndarray, out: np.ndarray, window: np.ndarray, weights: np.ndarray, hop: int, left: int
) -> None:
    """Adds up windowed frames, [B F, N], to signals, [B, F hop]; `weights` is the divisor, over the padded signal."""
    clips, length = out.shape
    per_clip, size = len(frames) // clips, frames.shape[1]
    signal = np.empty(max(left + length, (per_clip - 1) * hop + size), np.float32)
    known = min(length, len(weights) - left)
    for clip in range(clips):
        signal[:] = ZERO
        for f in range(per_clip):
            row, part = frames[clip * per_clip + f], signal[f * hop : f * hop + size]
            for n in range(size):
                part[n] += row[n] * window[n]
        made, part, by = out[clip], signal[left:], weights[left:]
        for n in range(known):
            made[n] = part[n] / by[n]
        made[known:] = ZERO


@compiled(ROWS, ROWS, VALUES, int64, int64, boolean)
def cut(frames: np.ndarray, out: np.ndarray, window: np.ndarray, hop: int, left: int, reflect: bool) -> None:
    """Cuts signals, [B, F hop], into windowed frames, [B F, N]; beyond the ends they are reflected or zero."""
    clips, length = out.shape
    per_clip, size = len(frames) // clips, frames.shape[1]
    signal = np.zeros(max(left + length, (per_clip - 1) * hop + size), np.float32)
    for clip in range(clips):
        signal[left : left + length] = out[clip]
        if reflect:
            for n in range(left):
                signal[n] = out[clip, left - n]
            for n in range(left + length, len(signal)):
                signal[n] = out[clip, length - 2 - (n - left - length)]
        for f in range(per_clip):
            row, part = frames[clip * per_clip + f], signal[f * hop : f * hop + size]
            for n in range(size):
                row[n] = part[n] * window[n]
