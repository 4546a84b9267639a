"""Folders of recordings: which audio files are in them, and which of these can be used."""

import logging
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from audiodiff import audio
from audiodiff.data.manifest import Recording

log = logging.getLogger(__name__)


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
    path = folder_at(path)
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


def folder_at(path: str | Path) -> Path:
    """Return the path of a folder; raise ValueError if there is none."""
    if not Path(path).is_dir():
        raise ValueError(f"{path}: no such folder; give data.path=FOLDER with audio files")
    return Path(path)


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
    if isinstance(error, FileNotFoundError):
        return  # removed since it was listed, as in a folder that is watched
    raise ValueError(f"{error.filename}: cannot be read ({error.strerror}); its recordings would be missing") from None


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
