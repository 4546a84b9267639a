"""Fetches listed recordings from public repositories into a folder with manifests.

A recording is fetched, decoded, mixed to mono, converted, compared with the list and stored as 16-bit FLAC, complete or
not at all; a second run fetches what is missing. The manifests are written last. What a list holds, and how a copy is
recognised, is the collection's.
"""

import argparse
import csv
import dataclasses
import hashlib
import io
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parent))
from manifests import write_manifest

BASE = "https://raw.githubusercontent.com"
SPLITS = ("train", "valid", "test")
TIMEOUT = 60.0  # seconds without a byte
MOST_BYTES = 64 * 2**20  # of one recording
LOWEST_RATE = 8000
SEGMENTS = 16  # of an envelope


@dataclasses.dataclass(frozen=True)
class Place:
    """Describe one recording: where it is public, and what its samples are.

    Args:
        file: Path within the prepared folder.
        split: train, valid or test.
        repository, commit, path: Where it is public.
        sample_rate, n_samples: As it is stored.
        sha256: Of the stored samples as little-endian int16.
        levels: Levels of `SEGMENTS` equal parts in dB, which survive another decoder or resampler.
        about: The other columns, for the manifest.
    """

    file: str
    split: str
    repository: str
    commit: str
    path: str
    sample_rate: int
    n_samples: int
    sha256: str
    levels: str
    about: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Collection:
    """What differs from collection to collection.

    Args:
        what: One line of help.
        places: The list, a CSV file.
        convert: Maps a recording, its mono waveform, [T], and Hz to samples, [T] int16 at the recording's sample_rate;
            raises ValueError if the waveform is another recording.
        about: What the manifest says of a recording.
        table: Sums up the lines of the manifests by split.
    """

    what: str
    places: Path
    convert: Callable[[Place, np.ndarray, int], np.ndarray]
    about: Callable[[Place], dict]
    table: Callable[[dict[str, list[dict]]], str]


def read_places(path: Path) -> list[Place]:
    """Read a list of places.

    Raises:
        ValueError: It is no such list, or a file leads out of the folder.
    """
    kinds = {field.name: field.type for field in dataclasses.fields(Place) if field.name != "about"}
    places = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                fields = {name: kind(row.pop(name)) for name, kind in kinds.items()}
            except (KeyError, ValueError, TypeError) as error:
                raise ValueError(f"{path}: is no list of recordings ({error!r})") from None
            if fields["split"] not in SPLITS or Path(fields["file"]).is_absolute() or ".." in fields["file"]:
                raise ValueError(f"{path}: {fields['file']}, {fields['split']}: no file of this folder and its split")
            places.append(Place(**fields, about=row))
    return places


def url_of(place: Place, base: str) -> str:
    """Compose the address of a recording; a commit is part of it, so what lies there cannot change."""
    return f"{base.rstrip('/')}/{place.repository}/{place.commit}/{quote(place.path)}"


def sample_hash(samples: np.ndarray) -> str:
    """Hash samples, [T] int16."""
    return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()


def envelope(waveform: np.ndarray) -> np.ndarray:
    """Measure the levels of `SEGMENTS` equal parts of a waveform, [T] in [-1, 1], in dB of full scale."""
    parts = np.array_split(np.asarray(waveform, np.float64), SEGMENTS)
    return np.array([10 * np.log10(np.mean(part**2) + 1e-10) for part in parts])


def resampled(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Change the rate of a waveform, [T]."""
    return waveform if rate == wanted else soxr.resample(waveform, rate, wanted, quality="VHQ")


def fetched(place: Place, base: str, collection: Collection) -> np.ndarray:
    """Fetch and convert one recording.

    Raises:
        ValueError: It is not there, is no audio, or is another recording than was listed.
    """
    url = url_of(place, base)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            content = answer.read(MOST_BYTES)
        waveform, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
        return collection.convert(place, waveform.mean(axis=1), rate)
    except soundfile.LibsndfileError:
        raise ValueError(f"{url}: is no audio") from None
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise ValueError(f"{url}: {error}") from None


def copied(place: Place, folder: Path) -> np.ndarray:
    """Read one recording from a folder of prepared files.

    Raises:
        ValueError: It is missing or its samples are not those of the list.
    """
    path = folder / place.file
    try:
        samples, _ = soundfile.read(path, dtype="int16")
    except (soundfile.LibsndfileError, OSError):
        raise ValueError(f"{path}: is missing, or no audio") from None
    if sample_hash(samples) != place.sha256:
        raise ValueError(f"{path}: its samples are not those of the list")
    return samples


def stored(place: Place, target: Path, rate: int, fetch: Callable[[Place], np.ndarray]) -> dict | str:
    """Bring one recording into the folder, unless it is there; return what the file is, or what went wrong."""
    if (facts := existing(place, target, rate)) is not None:
        return facts
    try:
        samples = fetch(place)
    except ValueError as error:
        return str(error)
    if rate != place.sample_rate:
        waveform = resampled(samples.astype(np.float32), place.sample_rate, rate)
        samples = np.clip(np.round(waveform), -(2**15), 2**15 - 1).astype(np.int16)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    try:
        soundfile.write(temporary, samples, rate, format="FLAC", subtype="PCM_16")
        os.replace(temporary, target)
    except (soundfile.LibsndfileError, OSError) as error:
        temporary.unlink(missing_ok=True)
        return f"{target}: cannot be written ({error}); make room on the disk"
    return existing(place, target, rate) or f"{target}: was written, and cannot be read"


def existing(place: Place, target: Path, rate: int) -> dict | None:
    """Describe a recording that an earlier run has stored; None if it has not, or at another rate or length."""
    try:
        info = soundfile.info(target)
    except (soundfile.LibsndfileError, OSError):
        return None
    if info.samplerate != rate or abs(info.frames - place.n_samples * rate / place.sample_rate) > rate / 50:
        return None
    return {"path": place.file, "n_samples": info.frames, "sample_rate": rate}


def write_manifests(out: Path, parts: dict[str, list[dict]]) -> None:
    """Write a manifest for each split, the one for training last.

    Raises:
        ValueError: A split is empty.
    """
    if empty := [split for split, part in parts.items() if not part]:
        raise ValueError(f"there is nothing for {empty[0]}.jsonl: the manifests are left as they were")
    for split in reversed(SPLITS):
        write_manifest(out / f"{split}.jsonl", parts[split])


def gather(collection: Collection, arguments: Sequence[str] | None = None) -> int:
    """Fetch what is missing and write the manifests; return 0, 1 if recordings are missing, or 2 after one line."""
    parser = argparse.ArgumentParser(prog="prepare.py", description=collection.what)
    parser.add_argument("out", type=Path, help="folder for recordings and manifests")
    parser.add_argument("--from", dest="source", type=Path, metavar="FOLDER", help="copy prepared files, fetch nothing")
    parser.add_argument("--sample-rate", type=int, metavar="HZ", help="above which nothing is stored (as listed)")
    parser.add_argument("--base", default=BASE, help=f"address of the repositories' files ({BASE})")
    parser.add_argument("--places", type=Path, default=collection.places, help="the list of recordings")
    parser.add_argument("--jobs", type=int, default=8, help="fetched at once (8)")
    options = parser.parse_args(arguments)
    highest, problems = options.sample_rate, []

    def line_of(place: Place) -> dict | str:
        rate = place.sample_rate if highest is None else min(place.sample_rate, highest)
        line = stored(place, options.out / place.file, rate, fetch)
        return line if isinstance(line, str) else line | collection.about(place)

    def fetch(place: Place) -> np.ndarray:
        return copied(place, options.source) if options.source else fetched(place, options.base, collection)

    try:
        if highest is not None and highest < LOWEST_RATE:
            raise ValueError(f"--sample-rate {highest}: at least {LOWEST_RATE} Hz are wanted")
        places = read_places(options.places)
        options.out.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(max(1, options.jobs)) as pool:
            lines = list(pool.map(line_of, places))
        problems = [line for line in lines if isinstance(line, str)]
        parts = {split: [] for split in SPLITS}
        for place, line in zip(places, lines, strict=True):
            if isinstance(line, dict):
                parts[place.split].append(line)
        write_manifests(options.out, parts)
        print(collection.table(parts))
    except (ValueError, OSError) as error:
        print("\n".join([*problems[:3], f"prepare.py: error: {error}"]), file=sys.stderr)
        return 2
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"prepare.py: {len(problems)} of {len(places)} are missing; run again for these", file=sys.stderr)
    return 1 if problems else 0
