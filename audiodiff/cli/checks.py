"""Checks of single arguments, made while they are parsed: what is misspelt is told before torch is imported.

Each is the `type` of an argument. The library checks again what comes to it by other ways.
"""

import argparse
import math
from collections.abc import Callable
from typing import Any

from audiodiff.audio.decoding import check_is_there
from audiodiff.data.manifest import check_recordings
from audiodiff.export.host_names import check_host
from audiodiff.models import hub, registry
from audiodiff.models.header import number_of, read_header
from audiodiff.utils.config import check_choice
from audiodiff.utils.validation import LARGEST_COUNT, is_int, nearest

__all__ = [
    "LONGEST_CHUNK",
    "audio_file",
    "chunk_seconds",
    "device",
    "host",
    "known_label",
    "known_model",
    "mel_preset",
    "model",
    "one_of",
    "recordings",
    "seed",
    "solver",
    "start",
    "steps",
    "times",
]

LONGEST_CHUNK = 86_400  # seconds

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


def known_model(name: str) -> str:
    """Return the name of a model if it is a shipped one or lies there; what is on the hub is not asked for yet.

    Raises:
        ValueError: There is no such model.
    """
    if not name.startswith(hub.PREFIX):
        registry.locate(name)
    return name


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


model = _told(known_model)
audio_file = _told(check_is_there)
host = _told(check_host)
recordings = _told(check_recordings)


@_told
def solver(text: str) -> str:
    """Take the name of a solver."""
    return check_choice("solver", text)


@_told
def start(text: str) -> str:
    """Take the name of a start; what may follow it depends on the start."""
    check_choice("start", text.partition("=")[0])
    return text


@_told
def mel_preset(text: str) -> str:
    """Take the name of a convention, or of an acoustic model that speaks it."""
    from audiodiff.mel.spec import systems

    return text if text in systems() else check_choice("mel", text)


@_told
def times(text: str) -> str:
    """Take the name of a grid of times, or numbers; whether these fall is seen later."""
    from audiodiff.diffusion.timesteps import TIMESTEP_GRIDS

    if text not in TIMESTEP_GRIDS:
        try:
            [float(part) for part in text.split(",")]
        except ValueError:
            near = nearest(text, TIMESTEP_GRIDS)
            raise ValueError(
                f"times {text!r}{near}: choose one of {', '.join(TIMESTEP_GRIDS)}, or give numbers such as 1,0.5,0"
            ) from None
    return text


@_told
def device(text: str) -> str:
    """Take the kind of a device, or its kind and number."""
    from audiodiff.utils.devices import check_name

    check_name(text)
    return text


@_told
def steps(text: str) -> int:
    """Take a number of steps."""
    return _whole("steps", text, 1, LARGEST_COUNT)


@_told
def seed(text: str) -> int:
    """Take a seed."""
    return _whole("seed", text, 0, 2**63 - 1)


@_told
def chunk_seconds(text: str) -> float:
    """Take a length in seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_CHUNK:
        raise ValueError(f"{text}: a number above 0 and up to {LONGEST_CHUNK} is wanted")
    return seconds


def _whole(name: str, text: str, low: int, high: int) -> int:
    number = int(text) if text.lstrip("-").isdecimal() else None
    if number is None or not is_int(number, low, high):
        raise ValueError(f"{name}={text}: a whole number from {low} to {high} is wanted")
    return number


def one_of(*names: str) -> Check:
    """Take one of a few names."""

    @_told
    def of(text: str) -> str:
        if text not in names:
            raise ValueError(f"{text!r}{nearest(text, names)}: choose one of {', '.join(names)}")
        return text

    return of
