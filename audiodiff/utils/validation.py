"""Check values that came from JSON, such as those of a sidecar or a checkpoint."""

import difflib
import itertools
import math
from collections.abc import Iterable
from typing import Any

__all__ = ["LARGEST_COUNT", "is_falling_grid", "is_int", "is_interval", "is_number", "nearest"]

LARGEST_COUNT = (
    10_000  # of steps, iterations and threads: more is a typing error, or an attempt to keep the machine busy
)


def is_int(value: Any, low: int = 0, high: int = LARGEST_COUNT) -> bool:
    """Tell whether a value is a whole number in [low, high]."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_interval(value: Any) -> bool:
    """Tell whether a value is a list of two numbers, 0 <= first < second."""
    return isinstance(value, list) and len(value) == 2 and all(map(is_number, value)) and 0 <= value[0] < value[1]


def is_falling_grid(times: Any) -> bool:
    """Tell whether a value is a list of times that falls strictly from at most 1 to exactly 0."""
    if not (isinstance(times, list) and 2 <= len(times) <= LARGEST_COUNT + 1 and all(is_number(t) for t in times)):
        return False
    return times[0] <= 1 and times[-1] == 0 and all(a > b for a, b in itertools.pairwise(times))


def nearest(text: Any, names: Iterable[str], cutoff: float = 0.6) -> str:
    """Ask whether the name that is most like a text was meant; say nothing if none is like it.

    >>> nearest("ddmi", ["ddim", "heun"]), nearest("x", ["ddim"])
    (' (did you mean ddim?)', '')
    """
    near = difflib.get_close_matches(str(text), list(names), n=1, cutoff=cutoff)
    return f" (did you mean {near[0]}?)" if near else ""
