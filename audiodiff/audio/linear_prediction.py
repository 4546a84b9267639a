"""Fill missing samples by linear prediction: what is known without any network, and good for a few milliseconds.

References: Janssen, Veldhuis & Vries, 1986, "Adaptive interpolation of discrete-time signals that can be modeled as
autoregressive processes" (`declipped`); Kauppinen & Roth, 2002, extrapolation from both sides (`filled`).
"""

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]
CONTEXT, LONG_ORDER = 4096, 320  # samples beside a gap, and coefficients for extrapolating over it
FRAME, ORDER, ITERATIONS = 1024, 48, 4  # of declipping
HIGHEST = 4.0  # times the limit: no peak is taken to have been higher
RIDGE = 1e-6  # relative; keeps the equations solvable


def coefficients(x: Signal, order: int) -> Signal:
    """Return a with x[n] ≈ sum_k a[k] x[n - 1 - k], by the autocorrelation method.

    >>> x = np.sin(0.3 * np.arange(2000))
    >>> a = coefficients(x, 2)
    >>> bool(abs(a[0] - 2 * np.cos(0.3)) < 0.01 and abs(a[1] + 1) < 0.01)
    True
    """
    from scipy.linalg import solve_toeplitz

    correlation = _correlation(x, order)
    return solve_toeplitz(correlation[:order], correlation[1:])


def filled(x: Signal, begin: int, end: int) -> Signal:
    """Predict x[begin:end] from both sides, and fade from the one to the other."""
    count, sides = end - begin, (x[max(0, begin - CONTEXT) : begin], x[end : end + CONTEXT][::-1])
    ahead, back = (_extrapolated(side, count) for side in sides)
    weight = np.cos(np.linspace(0, np.pi / 2, count)) ** 2
    return weight * ahead + (1 - weight) * back[::-1]


def declipped(x: Signal, limit: float) -> Signal:
    """Replace the samples at or beyond a limit by those that linear prediction expects, which lie beyond it."""
    clipped = np.abs(x) >= limit
    window = np.hanning(FRAME) + 1e-3
    padded, lost = (np.pad(v, FRAME) for v in (x, clipped))
    total, weights = np.zeros_like(padded), np.zeros_like(padded)
    for begin in range(0, len(padded) - FRAME + 1, FRAME // 4):
        part = slice(begin, begin + FRAME)
        frame = padded[part]
        if lost[part].any():
            estimate = _interpolated(frame, lost[part])
            beyond = np.sign(frame) * np.clip(np.sign(frame) * estimate, limit, HIGHEST * limit)
            frame = np.where(lost[part], beyond, frame)
        total[part] += window * frame
        weights[part] += window
    return np.where(clipped, (total / np.maximum(weights, 1e-9))[FRAME : FRAME + len(x)], x)


def _extrapolated(x: Signal, count: int) -> Signal:
    """Continue a signal beyond its end."""
    order = min(LONG_ORDER, len(x) // 3)
    if order < 2 or not np.any(x):
        return np.zeros(count)
    a, out = coefficients(x * np.hanning(len(x)), order), np.concatenate([x[-order:], np.zeros(count)])
    for n in range(order, order + count):
        out[n] = a @ out[n - order : n][::-1]
    return out[order:]


def _interpolated(frame: Signal, lost: NDArray[np.bool_]) -> Signal:
    """Find the lost samples that leave the least prediction error, and the prediction anew, in turn."""
    y, index = frame.copy(), np.flatnonzero(lost)
    distance = np.abs(index[:, None] - index[None, :])
    for _ in range(ITERATIONS):
        error_filter = np.concatenate([[1.0], -coefficients(y, ORDER)])
        b = np.correlate(error_filter, error_filter, "full")[ORDER:]
        matrix = np.where(distance <= ORDER, b[np.minimum(distance, ORDER)], 0.0) + RIDGE * b[0] * np.eye(len(index))
        known = np.where(lost, 0.0, y)
        y[index] = np.linalg.solve(matrix, -np.convolve(known, np.concatenate([b[:0:-1], b]), "same")[index])
    return y


def _correlation(x: Signal, order: int) -> Signal:
    correlation = np.correlate(x, x, "full")[len(x) - 1 : len(x) + order]
    correlation[0] = correlation[0] * (1 + RIDGE) + 1e-9
    return correlation
