"""Checks of single arguments, made while they are parsed: what is misspelt is told before torch is imported.

Each is the `type` of an argument. The library checks again what comes to it by other ways.
"""

import argparse
import math
import os
from collections.abc import Callable
from typing import Any

from audiodiff.audio.decoding import check_is_there
from audiodiff.data.recordings import check_recordings
from audiodiff.export.host_names import check_host
from audiodiff.models import hub, registry
from audiodiff.models.header import number_of, read_header
from audiodiff.utils.config import check_choice
from audiodiff.utils.validation import LARGEST_COUNT, is_falling_grid, is_int, nearest

LONGEST_CHUNK = 86_400  # seconds
KINDS = {f"audiodiff.models.{kind}": kind for kind in ("Vocoder", "Generator")}  # other classes may be of either kind

Check = Callable[[str], Any]


def _told(check: Check) -> Check:
    """Let a check's ValueError be told in its own words."""

    def of(text: str) -> Any:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    of.__doc__ = check.__doc__
    return of


def known_model(name: str, kind: str | None = None) -> str:
    """Return the name of a model if it is a shipped one or lies there; what is on the hub is not asked for yet.

    Args:
        name: Of the model.
        kind: Vocoder or Generator, as which it is wanted; either by default.

    Raises:
        ValueError: There is no such model, or it is of the other kind.
    """
    if name.startswith(hub.PREFIX):
        hub.check_name(name)
        return name
    registry.locate(name)
    if kind is not None and (actual := kind_of(name)) not in (kind, None):
        raise ValueError(f"{name}: holds a {actual}, and a {kind} is wanted")
    return name


def kind_of(name: str) -> str | None:
    """Return Vocoder or Generator; None where the model's description does not tell, or does not lie here."""
    if name.startswith(hub.PREFIX) or (path := registry.locate(name)).suffix != ".safetensors":
        return None
    config = read_header(path)["config"]
    return KINDS.get(str(config.get("_target_"))) if isinstance(config, dict) else None


def known_label(name: str, label: str | None) -> None:
    """Check that a model, if it lies here, has a class of that name; None is any.

    Raises:
        ValueError: It has none.
    """
    if label is None or name.startswith(hub.PREFIX):
        return
    path = registry.locate(name)
    if path.suffix == ".safetensors" and isinstance(labels := read_header(path)["config"].get("labels"), list):
        number_of(label, labels)


@_told
def array(text: str) -> str:
    """Take the name of an array's file that is there."""
    if not os.path.isfile(text):
        raise ValueError(f"{text}: no such file; give a .npy file, as numpy.save writes it")
    return text


model = _told(known_model)
vocoder = _told(lambda name: known_model(name, "Vocoder"))
generator = _told(lambda name: known_model(name, "Generator"))
audio_file = _told(check_is_there)
host = _told(check_host)
hub_name = _told(lambda name: (hub.check_name(name), name)[1])
recordings = _told(check_recordings)


@_told
def solver(text: str) -> str:
    """Take the name of a solver."""
    return check_choice("solver", text)


@_told
def start(text: str) -> str:
    """Take the name of a start, alone or with counts; how many there are depends on the start."""
    name, equals, counts = text.partition("=")
    check_choice("start", name)
    if equals and not all(count.isdecimal() and is_int(int(count)) for count in counts.split("/")):
        raise ValueError(f"start {text}: whole numbers up to {LARGEST_COUNT} are wanted behind =, with / between")
    return text


@_told
def mel_preset(text: str) -> str:
    """Take the name of a convention, or of an acoustic model that speaks it."""
    from audiodiff.mel.spec import systems

    return text if text in systems() else check_choice("mel", text)


@_told
def mel_spec(text: str) -> str:
    """Take the name of a file that is there; what it holds is read later."""
    if not os.path.isfile(text):
        raise ValueError(f"{text}: no such file; give the fields of a mel as `audiodiff info --json` prints them")
    return text


@_told
def times(text: str) -> str:
    """Take the name of a grid of times, or numbers that fall to 0."""
    from audiodiff.diffusion.timesteps import TIMESTEP_GRIDS

    if text in TIMESTEP_GRIDS:
        return text
    choice = f"choose one of {', '.join(TIMESTEP_GRIDS)}, or give numbers such as 1,0.5,0"
    try:
        grid = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"times {text!r}{nearest(text, TIMESTEP_GRIDS)}: {choice}") from None
    if not is_falling_grid(grid):
        raise ValueError(f"times {text!r}: they fall strictly from at most 1 to 0, in at least one step; {choice}")
    return text


def steps_and_times(steps: int | None, times: str | None) -> None:
    """Check that so many steps are taken between times, where these are numbers.

    Raises:
        ValueError: They contradict each other.
    """
    count = times.count(",") if times and times[0].isdecimal() else None
    if None not in (steps, count) and steps != count:
        raise ValueError(f"--times {times} makes {count} steps, and --steps {steps} are asked for: leave one out")


@_told
def device(text: str) -> str:
    """Take the kind of a device, or its kind and number."""
    from audiodiff.utils.devices import check_name

    check_name(text)
    return text


@_told
def precisions(text: str) -> str:
    """Take names of precisions with commas between."""
    from audiodiff.utils.devices import PRECISIONS

    for part in text.split(","):
        one_of(*PRECISIONS)(part)
    return text


@_told
def counts(text: str) -> list[int]:
    """Take whole numbers with commas between."""
    numbers = [int(part) if part.isdecimal() else 0 for part in text.split(",")]
    if min(numbers) < 1:
        raise ValueError(f"{text}: whole numbers from 1 on are wanted, such as 1,2,4")
    return numbers


def number(low: float, high: float = math.inf, above: bool = False) -> Check:
    """Take a finite number from `low`, or from above it, up to `high`."""

    @_told
    def of(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (low <= value <= high and math.isfinite(value)) or (above and value == low):
            begin, to = (f"above {low:g}", "and up to") if above else (f"from {low:g}", "to")
            end = f" {to} {high:g}" if high < math.inf else " on"
            raise ValueError(f"{text}: a number {begin}{'' if above and high == math.inf else end} is wanted")
        return value

    return of


def whole(low: int, high: int = LARGEST_COUNT) -> Check:
    """Take a whole number from `low` to `high`."""

    @_told
    def of(text: str) -> int:
        value = int(text) if text.lstrip("-").isdecimal() else None
        if value is None or not is_int(value, low, high):
            raise ValueError(f"{text}: a whole number from {low} to {high} is wanted")
        return value

    return of


chunk_seconds = number(0, LONGEST_CHUNK, above=True)
steps = whole(1)
seed = whole(0, 2**63 - 1)


def one_of(*names: str) -> Check:
    """Take one of a few names."""

    @_told
    def of(text: str) -> str:
        if text not in names:
            raise ValueError(f"{text!r}{nearest(text, names)}: choose one of {', '.join(names)}")
        return text

    return of
