"""Gathers short sounds, as a list says where they are and what they are.

A list (`fetching.Place`) also has what the manifest is to say of a recording: label, kit, licence and so on. A
recording is fetched, resampled and cut to the part that the list describes.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import fetching
from fetching import Place, envelope, resampled, sample_hash
from manifests import table_of_labels

TOLERANCE_DB = 1.5  # by which a segment's level may differ after another decoder or resampler
QUIET_DB = -30.0  # below the loudest segment: not compared
STEP = 0.002  # seconds between the beginnings that are tried
PEAK = 10 ** (-1 / 20)


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


def main(what: str, places: Path, arguments: Sequence[str] | None = None) -> int:
    """Fetch what is missing and write the manifests; return 0, 1 if recordings are missing, or 2 after one line."""
    collection = fetching.Collection(what, places, converted, lambda place: place.about, table_of_labels)
    return fetching.gather(collection, arguments)
