"""Describes recordings and the places where they are public: what `places.csv` holds, and how a copy is recognised."""

import csv
import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from fetching import sample_hash

__all__ = ["SEGMENTS", "Place", "envelope", "fits", "read_places", "sample_hash"]

SEGMENTS = 16  # of an envelope
TOLERANCE_DB = 1.0  # by which a segment's level may differ after another decoder or resampler
QUIET_DB = -30.0  # below the loudest segment: not compared


@dataclasses.dataclass(frozen=True)
class Place:
    """Name one recording: where it is public, under which licence, who speaks, and what its samples are.

    Args:
        file: Path within the prepared folder.
        corpus, speaker: The speaker's name is unique over all corpora.
        split: train, valid or test; by speaker.
        licence: Of the recording.
        repository, commit, path: Where it is public.
        sample_rate, n_samples: As it is stored: at 24 kHz, or at its own rate if that is lower.
        sha256: Of the samples as little-endian int16.
        levels: Levels of `SEGMENTS` equal parts in dB, which survive another decoder or resampler.
    """

    file: str
    corpus: str
    speaker: str
    split: str
    licence: str
    repository: str
    commit: str
    path: str
    original_rate: int
    sample_rate: int
    n_samples: int
    sha256: str
    levels: str


def read_places(path: Path) -> list[Place]:
    """Read the list of places."""
    kinds = {field.name: field.type for field in dataclasses.fields(Place)}
    with path.open(newline="", encoding="utf-8") as file:
        return [Place(**{name: kinds[name](value) for name, value in row.items()}) for row in csv.DictReader(file)]


def envelope(samples: np.ndarray) -> str:
    """Measure the levels of `SEGMENTS` equal parts of samples, [T] int16, in whole dB of full scale."""
    parts = np.array_split(samples.astype(np.float64) / 2**15, SEGMENTS)
    return " ".join(str(round(10 * np.log10(np.mean(part**2) + 1e-10))) for part in parts)


def fits(place: Place, samples: np.ndarray) -> bool:
    """Decide whether samples, [T] int16, are the recording: the same ones, or equal in length and levels.

    Resamplers and decoders differ in the last bits, so a copy that was converted here cannot always have the hash.
    """
    if sample_hash(samples) == place.sha256:
        return True
    if abs(len(samples) - place.n_samples) > max(64, place.sample_rate // 100):
        return False
    ours, theirs = (np.array(levels.split(), dtype=float) for levels in (envelope(samples), place.levels))
    heard = np.maximum(ours, theirs) > max(ours.max(), theirs.max()) + QUIET_DB
    return bool(np.all(np.abs(ours - theirs)[heard] <= TOLERANCE_DB))
