"""Recordings of a manifest or a folder: whether there are any, which are used, held out or read, and their level."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiodiff import audio
from audiodiff.data.folders import folder_at, scan_folder
from audiodiff.data.manifest import Recording, manifest_at, read_manifest

if TYPE_CHECKING:
    from torch import Tensor


def check_source(data: Mapping[str, Any]) -> None:
    """Check that the folder or manifests of a section `data` exist, without reading them.

    Raises:
        ValueError: None is named, or one is missing.
    """
    for name in ("manifest", "valid_manifest"):
        if data.get(name):
            manifest_at(data[name])
    if data.get("manifest") and not data.get("watch"):
        return
    if data.get("path") in (None, "", "???"):
        raise ValueError(
            "there is nothing to learn from: give data.path=FOLDER with audio files, or data.manifest=FILE"
        )
    if not data.get("shards"):  # which may be at an address
        folder_at(data["path"])


def check_recordings(source: str | Path) -> str | Path:
    """Return the name of a manifest or folder if it exists.

    Raises:
        ValueError: It is missing.
    """
    if not Path(source).exists():
        raise ValueError(f"{source}: no such folder or manifest; give one that holds recordings")
    return source


def recordings_of(source: str | Path, at_least: float = 0.0, count: int | None = None) -> list[Recording]:
    """Take recordings at even distances from a manifest or a folder.

    Args:
        source: Manifest or folder.
        at_least: Shortest length in seconds.
        count: Largest number; None for all.

    Raises:
        ValueError: The source is missing, or holds no recording of that length.
    """
    source = Path(check_recordings(source))
    recordings = scan_folder(source) if source.is_dir() else read_manifest(source)
    longest = [r for r in recordings if r.n_samples >= at_least * r.sample_rate]
    first = longest if count is None else longest[:: max(1, len(longest) // count)][:count]
    chosen = [r for r in first if _is_as_long(r, at_least)]
    if not chosen or len(chosen) < len(first):  # the manifest may be older than the files
        others = (r for r in recordings if r not in first and _is_as_long(r, at_least))
        chosen += itertools.islice(others, None if count is None else count - len(chosen))
    if not chosen:
        raise ValueError(f"{source}: no recording is {at_least:g} s long; lower --seconds")
    return chosen


def _is_as_long(recording: Recording, seconds: float) -> bool:
    """Tell whether a file itself, whatever its manifest says, is that long; one that cannot be opened says so later."""
    try:
        with audio.opened(recording.path) as file:
            return file.n_samples >= seconds * file.sample_rate
    except ValueError:
        return True


def held_out(recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """Split off the last 4 % for validation, more if none of these can be read; a single recording serves both.

    Raises:
        ValueError: None can be read.
    """
    last = usable(reversed(recordings), 1)
    if not last:
        raise ValueError(f"{recordings[0].path}: cannot be read, nor can any other; look at them with `audiodiff scan`")
    first = min(recordings.index(last[0]), len(recordings) - max(1, len(recordings) // 25))
    return list(recordings[:first]) or list(recordings), list(recordings[first:])


def usable(recordings: Iterable[Recording], count: int) -> list[Recording]:
    """Return the first recordings that can be read to their end, at most `count`."""

    def can_be_read(recording: Recording) -> bool:
        return _sums(recording) is not None

    return list(itertools.islice(filter(can_be_read, recordings), count))


def readable(
    recordings: Iterable[Recording], sample_rate: int | None = None, seconds: float | None = None
) -> Iterator[Tensor]:
    """Yield the waveforms of recordings, [C, T] each, or their first seconds; skip unreadable ones."""
    for recording in recordings:
        with contextlib.suppress(ValueError):  # the data set logs it
            yield audio.read(recording.path, sample_rate, seconds=seconds)[0]


def measure_level(recordings: Sequence[Recording], limit: int = 100) -> dict[str, float]:
    """Measure rms and peak of at most `limit` recordings at even distances in the list; full scale = 1.

    Raises:
        ValueError: None of them can be read.
    """
    sums = [s for r in recordings[:: max(1, len(recordings) // limit)] if (s := _sums(r)) is not None]
    if not sums:
        raise ValueError(f"{recordings[0].path}: cannot be read, nor can any other; look at them with `audiodiff scan`")
    energies, counts, peaks = zip(*sums, strict=True)
    return {"rms": round((sum(energies) / sum(counts)) ** 0.5, 5), "peak": round(max(peaks), 5)}


def _sums(recording: Recording) -> tuple[float, int, float] | None:
    """Sum the squares of a recording, count its samples and find its peak; None if it cannot be read to its end."""
    energy, count, peak = 0.0, 0, 0.0
    try:
        with audio.opened(recording.path) as file:
            for piece in file.pieces():
                energy += float(piece.double().square().sum())
                count, peak = count + piece.numel(), max(peak, float(piece.abs().max()))
            return None if file.cut_short else (energy, count, peak)
    except ValueError:
        return None
