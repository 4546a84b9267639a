"""Shared by the tests of threads."""

import numpy as np
from numba import int64

from audiodiff.griffin_lim.kernels import threads
from audiodiff.griffin_lim.kernels.fft import compiled


@compiled(int64[::1], int64[::1], int64, int64)
def leave_and_look(seen, counter, part, size):
    """Writes a value for every neighbour, meets them, and sums up what all have written; a thousand times."""
    for n in range(1000):
        seen[size * (n % 2) + part] = n + part
        threads.meet(counter, size * (n + 1))
        for other in range(size):
            seen[2 * size + part] += seen[size * (n % 2) + other]


IDLE = (np.zeros(1, np.int64), np.zeros(1, np.int64), 0, 0)
