"""Gathers recordings one by one from public repositories, as a list says where they are and what they are.

A list is a CSV file with a row for each recording: `file`, `split`, `repository`, `commit`, `path`, `sample_rate`,
`n_samples`, `sha256` and `levels`, and what the manifest is to say of it: label, kit, licence and so on. A recording is
fetched, decoded, mixed to mono, resampled, cut to the part that the list describes, and stored as 16-bit FLAC, complete
or not at all; a second run fetches what is missing. The manifests are written last.
"""

import argparse
import csv
import dataclasses
import hashlib
import io
import json
import os
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import numpy as np
import soundfile
import soxr

__all__ = ["Place", "envelope", "main", "read_places", "sample_hash", "url_of"]

BASE = "https://raw.githubusercontent.com"
SPLITS = ("train", "valid", "test")
TIMEOUT = 60.0  # seconds without a byte
MOST_BYTES = 64 * 2**20  # of one recording
SEGMENTS = 16  # of an envelope
TOLERANCE_DB = 1.5  # by which a segment's level may differ after another decoder or resampler
QUIET_DB = -30.0  # below the loudest segment: not compared
STEP = 0.002  # seconds between the beginnings that are tried
PEAK = 10 ** (-1 / 20)

Fetch = Callable[["Place"], np.ndarray]
"""Gets the samples of a place, [T] int16 at `Place.sample_rate`."""


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
    """Compose the address of a recording; a commit is part of it, so what lies there cannot change.

    >>> place = Place("a.flac", "train", "owner/name", "0" * 4, "b c#.wav", 24000, 1, "", "", {})
    >>> url_of(place, "https://host/")
    'https://host/owner/name/0000/b%20c%23.wav'
    """
    return f"{base.rstrip('/')}/{place.repository}/{place.commit}/{quote(place.path)}"


def sample_hash(samples: np.ndarray) -> str:
    """Hash samples, [T] int16."""
    return hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()


def envelope(waveform: np.ndarray) -> np.ndarray:
    """Measure the levels of `SEGMENTS` equal parts of a waveform, [T] in [-1, 1], in dB of full scale."""
    parts = np.array_split(np.asarray(waveform, np.float64), SEGMENTS)
    return np.array([10 * np.log10(np.mean(part**2) + 1e-10) for part in parts])


def cut_out(place: Place, waveform: np.ndarray) -> np.ndarray:
    """Find the part of a waveform, [T] at `Place.sample_rate`, that the list describes: [n_samples] int16.

    The list's copies begin at their onset, at a level of their own. The beginning is the one whose envelope is nearest,
    gain aside, and the gain is the mean difference.

    Raises:
        ValueError: No part has that envelope.
    """
    wanted, length, step = np.array(place.levels.split(), float), place.n_samples, max(1, int(STEP * place.sample_rate))
    heard = wanted > wanted.max() + QUIET_DB
    padded = np.pad(waveform, (0, max(0, length - len(waveform))))
    last = len(padded) - length

    def compared(begin: int) -> tuple[float, int, float, float]:
        difference = (wanted - envelope(padded[begin : begin + length]))[heard]
        gain = float(difference.mean())
        return float(np.square(difference - gain).sum()), begin, gain, float(np.abs(difference - gain).max())

    _, near, *_ = min(map(compared, range(0, last + 1, step)))
    fine = range(max(0, near - step), min(last, near + step) + 1)  # the envelope is smooth between two steps
    _, begin, gain, apart = min(map(compared, fine))
    if apart > TOLERANCE_DB:
        raise ValueError(f"is another recording than the list has (an envelope {apart:.1f} dB away)")
    return as_pcm(padded[begin : begin + length] * 10 ** (gain / 20))


def fetched(place: Place, base: str) -> np.ndarray:
    """Fetch, convert and cut one recording.

    Raises:
        ValueError: It is not there, is no audio, or is another recording than was listed.
    """
    url = url_of(place, base)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            content = answer.read(MOST_BYTES)
    except (urllib.error.URLError, OSError) as error:
        raise ValueError(f"{url}: {error}") from None
    try:
        waveform, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        raise ValueError(f"{url}: is no audio") from None
    mono = waveform.mean(axis=1)
    mono = mono if rate == place.sample_rate else soxr.resample(mono, rate, place.sample_rate, quality="VHQ")
    if len(mono) == place.n_samples and sample_hash(as_pcm(mono)) == place.sha256:
        return as_pcm(mono)
    try:
        return cut_out(place, mono)
    except ValueError as error:
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


def as_pcm(waveform: np.ndarray) -> np.ndarray:
    """Round a waveform, [T] in [-1, 1], to int16; one that is louder than full scale is lowered."""
    loudest = max(1.0, float(np.abs(waveform).max(initial=0.0)) / PEAK) if np.abs(waveform).max(initial=0) > 1 else 1.0
    return np.round(waveform / loudest * (2**15 - 1)).astype(np.int16)


def stored(place: Place, out: Path, fetch: Fetch) -> dict | str:
    """Bring one recording into the folder, unless it is there; return its line of the manifest, or what went wrong."""
    target = out / place.file
    if (line := existing(place, target)) is not None:
        return line
    try:
        samples = fetch(place)
    except ValueError as error:
        return str(error)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    try:
        soundfile.write(temporary, samples, place.sample_rate, format="FLAC", subtype="PCM_16")
        os.replace(temporary, target)
    except (soundfile.LibsndfileError, OSError) as error:
        temporary.unlink(missing_ok=True)
        return f"{target}: cannot be written ({error}); make room on the disk"
    return existing(place, target) or f"{target}: was written, and cannot be read"


def existing(place: Place, target: Path) -> dict | None:
    """Describe a recording that an earlier run has stored; None if there is none of this length and rate."""
    try:
        info = soundfile.info(target)
    except (soundfile.LibsndfileError, OSError):
        return None
    if (info.samplerate, info.frames) != (place.sample_rate, place.n_samples):
        return None
    return {"path": place.file, "n_samples": info.frames, "sample_rate": info.samplerate, **place.about}


def write_manifests(out: Path, places: Sequence[Place], lines: Sequence[dict | str]) -> str:
    """Write a manifest for each split, the one for training last; return a table of labels by splits.

    Raises:
        ValueError: A split is empty.
    """
    parts = {split: [] for split in SPLITS}
    for place, line in zip(places, lines, strict=True):
        if isinstance(line, dict):
            parts[place.split].append(line)
    if empty := [split for split, part in parts.items() if not part]:
        raise ValueError(f"there is nothing for {empty[0]}.jsonl: the manifests are left as they were")
    for split in reversed(SPLITS):
        temporary = out / f"{split}.jsonl.tmp"
        temporary.write_text("".join(json.dumps(line) + "\n" for line in parts[split]), encoding="utf-8")
        os.replace(temporary, out / f"{split}.jsonl")
    counts = {split: Counter(line["label"] for line in part) for split, part in parts.items()}
    labels = sorted(set().union(*counts.values()))
    rows = [f"| {label} | " + " | ".join(str(counts[split][label]) for split in SPLITS) + " |" for label in labels]
    return "\n".join([f"| label | {' | '.join(SPLITS)} |", "|---" * (len(SPLITS) + 1) + "|", *rows])


def main(what: str, places: Path, arguments: Sequence[str] | None = None) -> int:
    """Fetch what is missing and write the manifests; return 0, 1 if recordings are missing, or 2 after one line."""
    parser = argparse.ArgumentParser(prog="prepare.py", description=what)
    parser.add_argument("out", type=Path, help="folder for recordings and manifests")
    parser.add_argument("--from", dest="source", type=Path, metavar="FOLDER", help="copy prepared files, fetch nothing")
    parser.add_argument("--base", default=BASE, help=f"address of the repositories' files ({BASE})")
    parser.add_argument("--places", type=Path, default=places, help="the list of recordings")
    parser.add_argument("--jobs", type=int, default=8, help="fetched at once (8)")
    options = parser.parse_args(arguments)

    def fetch(place: Place) -> np.ndarray:
        return copied(place, options.source) if options.source else fetched(place, options.base)

    lines: list[dict | str] = []
    try:
        listed = read_places(options.places)
        options.out.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(max(1, options.jobs)) as pool:
            lines = list(pool.map(lambda place: stored(place, options.out, fetch), listed))
        print(write_manifests(options.out, listed, lines))
    except (ValueError, OSError) as error:
        for line in [line for line in lines if isinstance(line, str)][:3]:
            print(line, file=sys.stderr)
        print(f"prepare.py: error: {error}", file=sys.stderr)
        return 2
    problems = [line for line in lines if isinstance(line, str)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(f"prepare.py: {len(problems)} of {len(listed)} are missing; run again for these", file=sys.stderr)
    return 1 if problems else 0
