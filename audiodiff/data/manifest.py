"""Lists of recordings, from a manifest (JSON lines) or a folder.

A line of a manifest holds `path` (relative to the manifest), `n_samples`, `sample_rate`, and further fields.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from audiodiff import audio
from audiodiff.utils import remote
from audiodiff.utils.validation import is_int

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
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


class BadFiles:
    """Count and log unusable files, up to a share of all.

    Args:
        n_files: Number of all files.
        most: Largest share of bad files; a single one is always tolerated.
    """

    def __init__(self, n_files: int, most: float = 1.0) -> None:
        self.n_files, self.most = n_files, most
        self.paths: set[Path] = set()

    def add(self, path: Path, reason: str) -> None:
        """Log a file at its first occurrence.

        Raises:
            ValueError: Too many files are bad.
        """
        if path in self.paths:
            return
        self.paths.add(path)
        log.warning("left out, %d of %d files so far: %s", len(self.paths), self.n_files, reason)
        if len(self.paths) > max(1, self.most * self.n_files):
            raise ValueError(
                f"{len(self.paths)} of {self.n_files} files cannot be used, the last one is {path}: look at them with "
                f"`audiodiff scan`, or raise data.max_bad={self.most:g}"
            )


def readable(
    recordings: Iterable[Recording], sample_rate: int | None = None, seconds: float | None = None
) -> Iterator[Tensor]:
    """Yield the waveforms of recordings, [C, T] each, or their first seconds; skip unreadable ones."""
    for recording in recordings:
        with contextlib.suppress(ValueError):  # the data set logs it
            yield audio.read(recording.path, sample_rate, seconds=seconds)[0]


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


def check_source(data: Mapping[str, Any]) -> None:
    """Check that the folder or manifests of a section `data` exist, without reading them.

    Raises:
        ValueError: None is named, or one is missing.
    """
    for name in ("manifest", "valid_manifest"):
        if data.get(name):
            _manifest(data[name])
    if data.get("manifest") and not data.get("watch"):
        return
    if data.get("path") in (None, "", "???"):
        raise ValueError(
            "there is nothing to learn from: give data.path=FOLDER with audio files, or data.manifest=FILE"
        )
    if not data.get("shards"):  # which may be at an address
        _folder(data["path"])


def _manifest(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise ValueError(
            f"{path}: no such manifest; run the data set's prepare.py, or use data=folder data.path=FOLDER"
        )
    return Path(path)


def _folder(path: str | Path) -> Path:
    if not Path(path).is_dir():
        raise ValueError(f"{path}: no such folder; give data.path=FOLDER with audio files")
    return Path(path)


def read_manifest(path: str | Path) -> list[Recording]:
    """Read a JSONL manifest in UTF-8, UTF-16 or UTF-32, with or without a byte order mark; skip blank lines.

    Raises:
        ValueError: The file is missing, empty or no text, or a line lacks a field.
    """
    path = _manifest(path)
    if path.suffix.lower() in audio.AUDIO_SUFFIXES:
        raise ValueError(f"{path}: is a recording; give the folder that holds it, or a manifest")
    content = path.read_bytes()
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not text ({error.reason} at byte {error.start}); save it as UTF-8") from None
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]  # not at U+2028
    if not lines:
        raise ValueError(f"{path}: the manifest is empty; a line for each recording is wanted, as prepare.py writes it")
    return [_entry(path, number, line) for number, line in lines]


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


def scan_folder(path: str | Path, max_bad: float = 1.0) -> list[Recording]:
    """List the audio files below a folder, sorted by name; log unreadable ones and skip them.

    Hidden files and folders are skipped, linked folders are visited once. The class of a file is the name of the
    top-level sub-folder that holds it.

    Args:
        path: The folder.
        max_bad: Largest share of unreadable files.

    Raises:
        ValueError: The folder is missing or holds no readable audio, or too many files are unreadable.
    """
    path = _folder(path)
    recordings, files = [], list(audio_files(path))
    bad = BadFiles(len(files), max_bad)
    for file in files:
        try:
            with audio.opened(file) as sound:
                length, rate = sound.n_samples, sound.sample_rate
        except ValueError as error:
            bad.add(file, str(error))
            continue
        if not length:
            bad.add(file, f"{file} holds no samples")
            continue
        label = file.relative_to(path).parts[0] if file.parent != path else None
        recordings.append(Recording(file, length, rate, label))
    if not recordings:
        raise ValueError(f"{path}: holds no readable audio ({', '.join(sorted(audio.AUDIO_SUFFIXES))})")
    return recordings


def audio_files(folder: Path, suffixes: Collection[str] = audio.AUDIO_SUFFIXES) -> Iterator[Path]:
    """Yield the files below a folder with one of `suffixes`, sorted by name; no hidden ones, linked folders once."""
    pending, seen, paths = [folder], set[str](), list[Path]()
    while pending:  # links come last, so that files of the folder itself keep their own path
        for place, folders, files in os.walk(pending.pop(0), onerror=_refused):
            folders[:] = [name for name in sorted(folders) if not name.startswith(".")]
            if (real := os.path.realpath(place)) in seen:
                folders.clear()
            else:
                seen.add(real)
                pending += [Path(place, name) for name in folders if os.path.islink(os.path.join(place, name))]
                paths += [Path(place, name) for name in files if not name.startswith(".")]
    yield from sorted(path for path in paths if path.suffix.lower() in suffixes)


def _refused(error: OSError) -> None:
    raise ValueError(f"{error.filename}: cannot be read ({error.strerror}); its recordings would be missing") from None


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


def check_recordings(source: str | Path) -> str | Path:
    """Return the name of a manifest or folder if it exists.

    Raises:
        ValueError: It is missing.
    """
    if not Path(source).exists():
        raise ValueError(f"{source}: no such folder or manifest; give one that holds recordings")
    return source


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
