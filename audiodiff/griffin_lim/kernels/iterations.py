"""The compiled rounds of `fused`: a tile of frames after the other, all that is done with it at once; several threads.

Each thread has a part of a clip: some blocks of samples, and all frames over them, a few of which its left neighbour
has too. So every sample is added up by one thread, in the same order however many there are, and after a round the
threads tell each other the samples next to their borders, in one meeting.
"""

import numpy as np
from numba import boolean, float32, int64
from numba.types import UniTuple

from audiodiff.griffin_lim.kernels.fft import ONE, ROW, ROWS, ZERO, compiled, pack, transform, unpack
from audiodiff.griffin_lim.kernels.frames import BANK, INDEX, MEL, TABLES, add_up, cut, fit
from audiodiff.griffin_lim.kernels.threads import crew_size, meet, work_together

__all__ = ["crew_size", "do_rounds", "rooms", "work_together"]

TILE = 1 << 17  # samples at once: complex, twice, and their magnitudes lie in a second-level cache
HALOS, ROOMS = float32[:, :, :, :, ::1], UniTuple(ROW, 6)


def rooms(n_frames: int, size: int, n_bands: int) -> tuple[np.ndarray, ...]:
    """Makes the arrays in which `do_rounds` works on frames of `size` samples, before anybody waits for it to meet."""
    tiles = -(-n_frames * size // TILE)
    most = -(-n_frames // tiles)
    lengths = [(size // 2 + 1) * most] * 5 + [(n_bands + 2) * most]
    return tuple(np.empty(length, np.float32) for length in lengths)


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


@compiled(ROWS, HALOS, INDEX, int64, int64)
def exchange(signal: np.ndarray, halos: np.ndarray, counter: np.ndarray, n: int, part: int) -> None:
    """Fills the blocks of a part that belong to its neighbours with what these have made of them.

    A halo is written anew two rounds later; by then its reader has come to the meeting between.

    Args:
        signal: Blocks of the left neighbour, `laps - 1` of them; the part's own; as many of the right neighbour.
        halos: First and last own blocks of each part, in even and in odd rounds, [2, parts, 2, hop, laps - 1].
        counter: Of those who have come, over all rounds, [1].
        n: Which round.
        part: Which part; the first has no left neighbour, the last no right one, and they have none of their blocks.
    """
    n_parts, width, n_blocks = halos.shape[1], halos.shape[4], signal.shape[1]
    here, after = halos[n % 2], n_blocks - width
    if part:
        here[part, 0] = signal[:, width : 2 * width]
    here[part, 1] = signal[:, after - width : after]
    meet(counter, n_parts * (n + 1))
    if part:
        signal[:, :width] = here[part - 1, 1]
    if part < n_parts - 1:
        signal[:, after:] = here[part + 1, 0]


@compiled(ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, ROOMS, BANK, MEL, ROW, TABLES, INDEX, float32, HALOS, INDEX)
def do_rounds(
    signal: np.ndarray,
    divisor: np.ndarray,
    cosines: np.ndarray,
    sines: np.ndarray,
    wanted: np.ndarray,
    out: np.ndarray,
    space: tuple[np.ndarray, ...],
    bank: tuple[np.ndarray, ...],
    mel: tuple[float, float],
    window: np.ndarray,
    tables: tuple[np.ndarray, np.ndarray],
    plan: np.ndarray,
    extrapolation: float,
    halos: np.ndarray,
    counter: np.ndarray,
) -> None:
    """Does rounds of the projection on one part of a clip, in place; asks for no memory.

    Args:
        signal: [hop, F + laps - 1], with room for the padding.
        divisor: 1 / sum of squared windows, in the same places.
        cosines, sines, wanted, bank, mel: As for `fit`.
        out: Space like the signal.
        space: Space for a tile, from `rooms`.
        window: [N].
        tables: Cosine and sine of -2 pi k / (N / 2), [N / 2, 2], and of -2 pi k / N, [N / 2 + 1, 2].
        plan: Rounds; first and last sample that are not padding; 1 to reflect beyond them, 0 for zeros;
            which part it is.
        extrapolation: Weight of the phases of the round before.
        halos, counter: As for `exchange`; of one part alone they are not used.
    """
    hop, n_blocks = signal.shape
    size, n_frames, (roots, turns) = len(window) // 2, wanted.shape[1], tables
    a, b, x, y, magnitudes, bands = space
    most = len(magnitudes) // (size + 1)
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
        if halos.shape[1] > 1:
            exchange(signal, halos, counter, n, plan[4])
