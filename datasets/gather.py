"""Gathers short sounds, as a list says where they are and what they are.

A list is a CSV file with a row for each recording: `file`, `split`, `repository`, `commit`, `path`, `sample_rate`,
`n_samples`, `sha256` and `levels`, and what the manifest is to say of it: label, kit, licence and so on. A recording is
fetched, resampled and cut to the part that the list describes (`fetching`).
"""

import csv
import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import fetching
from fetching import SPLITS, resampled, sample_hash

__all__ = ["Place", "envelope", "main", "read_places"]

SEGMENTS = 16  # of an envelope
TOLERANCE_DB = 1.5  # by which a segment's level may differ after another decoder or resampler
QUIET_DB = -30.0  # below the loudest segment: not compared
STEP = 0.002  # seconds between the beginnings that are tried
PEAK = 10 ** (-1 / 20)


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


def as_pcm(waveform: np.ndarray) -> np.ndarray:
    """Round a waveform, [T] in [-1, 1], to int16; one that is louder than full scale is lowered."""
    loudest = max(1.0, float(np.abs(waveform).max(initial=0.0)) / PEAK) if np.abs(waveform).max(initial=0) > 1 else 1.0
    return np.round(waveform / loudest * (2**15 - 1)).astype(np.int16)


def converted(place: Place, mono: np.ndarray, rate: int) -> np.ndarray:
    """Return the listed part of a waveform, [T] at a rate, as [n_samples] int16; raise ValueError if it has none."""
    mono = resampled(mono, rate, place.sample_rate)
    if len(mono) == place.n_samples and sample_hash(as_pcm(mono)) == place.sha256:
        return as_pcm(mono)
    return cut_out(place, mono)


def table(parts: dict[str, list[dict]]) -> str:
    """Count labels by split."""
    counts = {split: Counter(line["label"] for line in part) for split, part in parts.items()}
    labels = sorted(set().union(*counts.values()))
    rows = [f"| {label} | " + " | ".join(str(counts[split][label]) for split in SPLITS) + " |" for label in labels]
    return "\n".join([f"| label | {' | '.join(SPLITS)} |", "|---" * (len(SPLITS) + 1) + "|", *rows])


def main(what: str, places: Path, arguments: Sequence[str] | None = None) -> int:
    """Fetch what is missing and write the manifests; return 0, 1 if recordings are missing, or 2 after one line."""
    collection = fetching.Collection(what, places, read_places, converted, lambda place: place.about, table)
    return fetching.gather(collection, arguments)
