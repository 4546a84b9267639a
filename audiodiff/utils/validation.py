"""Check values that came from JSON, such as those of a sidecar or a checkpoint."""

import collections.abc
import difflib
import itertools
import sys
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LARGEST_COUNT = 10_000  # of steps, iterations and threads: more is a typing error, or an attack


def is_int(value: Any, low: int = 0, high: int = LARGEST_COUNT) -> bool:
    """Tell whether a value is a whole number in [low, high]."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


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


def check_counts(low: int = 0, **counts: Any) -> None:
    """Check numbers of steps or iterations, as `check_counts(steps=4)`.

    Raises:
        ValueError: One is no whole number from `low` to LARGEST_COUNT.
    """
    for name, value in counts.items():
        if not is_int(value, low):
            raise ValueError(f"{name}={value!r}: a whole number from {low} to {LARGEST_COUNT} is wanted")


def fits(value: Any, hint: Any) -> bool:
    """Tell whether a value is what an annotation says, items of lists included; what cannot be told counts as yes.

    Stricter than Python where JSON is looser: `True` is no number, and a number is finite and a text no list.

    >>> fits(3, float), fits(True, int), fits("ab", list[str]), fits([1, 2], collections.abc.Sequence[int] | None)
    (True, False, False, True)
    """
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return any(fits(value, choice) for choice in inner)
    if kind in (int, float):
        return is_int(value, -(2**63), 2**63 - 1) if kind is int else is_number(value)
    if kind is Path:
        return isinstance(value, str | Path)
    if kind is collections.abc.Callable:
        return callable(value)
    if kind is tuple and isinstance(value, list):  # as JSON has it
        kind = list
    if kind is Any or not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return True
    if not isinstance(value, kind) or (isinstance(value, str) and kind is not str and kind is not object):
        return False
    if isinstance(value, collections.abc.Mapping):
        return len(inner) < 2 or all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    items = isinstance(value, list | tuple) and [item for item in inner if item is not Ellipsis]
    return not items or all(fits(item, items[0]) for item in value)


def wanted(hint: Any) -> str:
    """Say in words what an annotation wants.

    >>> wanted(int), wanted(list[float] | None)
    ('a whole number', 'a list of numbers, or none')
    """
    kind, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        choices = [wanted(choice) for choice in inner if choice is not type(None)]
        return ", or ".join(choices + ["none"] * (type(None) in inner))
    if isinstance(kind, type) and issubclass(kind, list | tuple | collections.abc.Sequence) and kind is not str:
        items = wanted(inner[0]) if inner else "a value"
        plural = items.replace("a list", "lists", 1) if items.startswith("a list") else f"{items.removeprefix('a ')}s"
        return f"a list of {plural}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "none"}
    return words.get(kind, f"a {getattr(kind, '__name__', kind)}")
