"""The starts by name, as recipes, the command line and exported files write them down."""

import inspect
from collections.abc import Callable
from typing import Any

from audiodiff.mel import MelSpec
from audiodiff.models.starts import CoarseToFine, Start
from audiodiff.models.vocoder import Vocoder
from audiodiff.utils.config import choices, describe, kind_of, name_of
from audiodiff.utils.validation import LARGEST_COUNT, is_int, is_number


def named_start(name: str, vocoder: Vocoder) -> Start:
    """Return the start of a name: the model's own where it is of this kind, else with default parameters.

    A name may go on with counts, as in coarse-to-fine=1/2/4/8 or griffin-lim=32: those and the model's time are taken.

    Raises:
        ValueError: No start is called so, or it does not take so many numbers.
    """
    name, _, counts = name.partition("=")
    kind = _start_kind(name)
    if counts:
        return _with_rounds(name, kind, counts, vocoder)
    if type(vocoder.start) is kind:
        return vocoder.start
    return build_start({"name": name, **_parameters(kind)}, vocoder.mel)


def _with_rounds(name: str, kind: type[Start], counts: str, vocoder: Vocoder) -> Start:
    counted = [key for key, default in _parameters(kind).items() if isinstance(default, int)]
    numbers = counts.split("/")
    if not counted or len(numbers) != len(counted) or not all(g.isdecimal() and is_int(int(g)) for g in numbers):
        takes = f"{name}={'/'.join(counted)}, whole numbers up to {LARGEST_COUNT}" if counted else f"{name} alone"
        raise ValueError(f"start {name}={counts}: it takes {takes}")
    described = {"name": name, **_parameters(kind), **dict(zip(counted, map(int, numbers), strict=True))}
    return build_start(described | {"time": vocoder.start.time}, vocoder.mel)


def describe_start(start: Start) -> dict[str, Any]:
    """Describe a start as its name and parameters.

    >>> from audiodiff.models.starts import PureNoise
    >>> describe_start(PureNoise())
    {'name': 'noise'}
    """
    name = name_of("start", start, exact=False)
    if name is None:
        raise ValueError(f"the start {type(start).__name__} has no name: add a file of it to conf/start")
    return {"name": name} | describe(start, "mel")


def name_start(start: Start) -> str:
    """Name a start, the counts of one that goes from coarse to fine, and its time.

    >>> from audiodiff.models.starts import PureNoise
    >>> name_start(PureNoise())
    'noise, t = 1'
    """
    counts = f" {'/'.join(map(str, start.iterations))}" if isinstance(start, CoarseToFine) else ""
    return f"{describe_start(start)['name']}{counts}, t = {start.time:g}"


def build_start(described: dict[str, Any], mel: MelSpec) -> Start:
    """Build what `describe_start` wrote down; trust nothing in it.

    Raises:
        ValueError: The name is unknown, or a parameter is missing, unknown or out of range.
    """
    kind = _start_kind(described.get("name"))
    defaults, values = _parameters(kind), {name: value for name, value in described.items() if name != "name"}
    if values.keys() != defaults.keys():
        raise ValueError(f"start {described['name']}: it has the parameters {[*defaults]}, and {[*values]} are given")
    for name, value in values.items():
        whole = isinstance(defaults[name], int)
        if not (is_int(value) if whole else is_number(value)):
            raise ValueError(f"start: {name}={value!r} is no {'count' if whole else 'number'} in range")
    return kind(mel, **values) if values else kind()


def _start_kind(name: Any) -> Callable[..., Start]:
    if not isinstance(name, str):
        raise ValueError(f"unknown start {name!r}: choose one of {', '.join(choices('start'))}")
    return kind_of("start", name)


def _parameters(kind: type[Start]) -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(kind).parameters.items() if name != "mel"}
