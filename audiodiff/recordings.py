"""Lists of audio files: a manifest (JSON lines) or a folder that is scanned.

A manifest's lines hold `path` (relative to the manifest), `n_samples`, `sample_rate`, and whatever else is known.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from audiodiff import audio

__all__ = ["Recording", "measure_level", "read_manifest", "recordings_of", "scan_folder"]

log = logging.getLogger(__name__)


class Recording(NamedTuple):
    """Names an audio file, its length in samples, its sample rate and, if it has one, its class."""

    path: Path
    n_samples: int
    sample_rate: int
    label: str | None = None


def read_manifest(path: str | Path) -> list[Recording]:
    """Reads a JSONL manifest.

    Raises:
        ValueError: It is missing, empty, or a line lacks a field.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(
            f"{path}: no such manifest; run the data set's prepare.py, or use data=folder data.path=FOLDER"
        )
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            length, rate = int(entry["n_samples"]), int(entry["sample_rate"])
            label = None if entry.get("label") is None else str(entry["label"])
            found.append(Recording(path.parent / entry["path"], length, rate, label))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: {error!r}; each line is a JSON object with path, n_samples, sample_rate"
            ) from None
    if not found:
        raise ValueError(f"{path}: the manifest is empty")
    return found


def scan_folder(path: str | Path) -> list[Recording]:
    """Finds the audio files below a folder, sorted by name; unreadable ones are named in the log and left out.

    The name of the sub-folder in which a file lies, at whatever depth, is its class.

    Raises:
        ValueError: The folder is missing or holds no readable audio.
    """
    import soundfile

    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path}: no such folder; give data.path=FOLDER with audio files")
    found = []
    for file in sorted(p for p in path.rglob("*") if p.suffix.lower() in audio.AUDIO_SUFFIXES):
        try:
            info = soundfile.info(file)
        except (RuntimeError, OSError):
            log.warning("%s: left out, it cannot be read as audio", file)
            continue
        if info.frames:
            label = file.relative_to(path).parts[0] if file.parent != path else None
            found.append(Recording(file, info.frames, info.samplerate, label))
    if not found:
        raise ValueError(f"{path}: holds no readable audio ({', '.join(sorted(audio.AUDIO_SUFFIXES))})")
    return found


def recordings_of(source: str | Path, at_least: float = 0.0, count: int | None = None) -> list[Recording]:
    """Takes recordings evenly from a manifest or a folder.

    Args:
        source: Manifest or folder.
        at_least: Shortest that counts, in seconds.
        count: How many at most; None for all.

    Raises:
        ValueError: There is no such source, or nothing long enough in it.
    """
    source = Path(source)
    everything = scan_folder(source) if source.is_dir() else read_manifest(source)
    chosen = [r for r in everything if r.n_samples >= at_least * r.sample_rate]
    if not chosen:
        raise ValueError(f"{source}: no recording is {at_least:g} s long; lower --seconds")
    return chosen if count is None else chosen[:: max(1, len(chosen) // count)][:count]


def measure_level(recordings: Sequence[Recording], limit: int = 100) -> dict[str, float]:
    """Measures rms and peak of at most `limit` recordings, evenly taken from the list; full scale = 1."""
    chosen = recordings[:: max(1, len(recordings) // limit)]
    waveforms = [audio.read(r.path)[0] for r in chosen]
    energy = sum(float((w**2).sum()) for w in waveforms) / sum(w.numel() for w in waveforms)
    return {"rms": round(energy**0.5, 5), "peak": round(max(float(w.abs().max()) for w in waveforms), 5)}
