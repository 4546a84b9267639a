"""Manifests: lists of recordings as JSON lines.

A line holds `path` (relative to the manifest), `n_samples`, `sample_rate`, and further fields.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from audiodiff import audio
from audiodiff.utils import remote
from audiodiff.utils.validation import is_int

LARGEST = 2**53  # samples
LONGEST_NAME = 255  # characters of a file or folder
FIELDS = ("path", "n_samples", "sample_rate", "label")


class Recording(NamedTuple):
    """Describe an audio file: path, length in samples, sample rate in Hz, class, and further fields of its manifest."""

    path: Path
    n_samples: int
    sample_rate: int
    label: str | None = None
    about: Mapping[str, Any] | None = None


def read_manifest(path: str | Path) -> list[Recording]:
    """Read a JSONL manifest in UTF-8, UTF-16 or UTF-32, with or without a byte order mark; skip blank lines.

    Raises:
        ValueError: The file is missing, empty or no text, or a line lacks a field.
    """
    path = manifest_at(path)
    if path.suffix.lower() in audio.AUDIO_SUFFIXES:
        raise ValueError(f"{path}: is a recording; give the folder that holds it, or a manifest")
    content = path.read_bytes()
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    rows = (line.strip().lstrip("\ufeff") for line in text.split("\n"))  # not at U+2028; joined files have marks inside
    lines = [(n, line) for n, line in enumerate(rows, start=1) if line.strip()]
    if not lines:
        raise ValueError(f"{path}: the manifest is empty; a line for each recording is wanted, as prepare.py writes it")
    return [_entry(path, number, line) for number, line in lines]


def manifest_at(path: str | Path) -> Path:
    """Return the path of a manifest; raise ValueError if there is none."""
    if not Path(path).is_file():
        raise ValueError(
            f"{path}: no such manifest; run the data set's prepare.py, or use data=folder data.path=FOLDER"
        )
    return Path(path)


def _entry(path: Path, number: int, line: str) -> Recording:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise ValueError(f"{path}, line {number}: a JSON object with path, n_samples and sample_rate is wanted")
    name, label = entry.get("path"), entry.get("label")
    place = remote.location(name) if name and isinstance(name, str) else None
    if not isinstance(place, Path) or any(len(part) > LONGEST_NAME for part in place.parts):
        raise ValueError(f"{path}, line {number}: path={name!r:.100}; the name of a file of this machine is wanted")
    length, rate = (_whole(entry.get(key), least) for key, least in (("n_samples", 0), ("sample_rate", 1)))
    if length is None or rate is None:
        numbers = f"n_samples={entry.get('n_samples')!r:.100}, sample_rate={entry.get('sample_rate')!r:.100}"
        raise ValueError(f"{path}, line {number}: {numbers}; whole numbers from 0 and from 1 on are wanted")
    about = {key: value for key, value in entry.items() if key not in FIELDS}
    return Recording(path.parent / place, length, rate, None if label is None else str(label), about or None)


def _whole(value: Any, least: int) -> int | None:
    """Return a whole number, also one that stands as a text or has a fraction of zero; None of anything else."""
    if (isinstance(value, str) and value.isdecimal()) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    return value if is_int(value, least, LARGEST) else None
