"""Gathers speech of free licence from public repositories: eleven languages and more, 256 speakers, 97 minutes.

    python datasets/open_speech/prepare.py data/open_speech                     fetches (about 300 MB)
    python datasets/open_speech/prepare.py data/open_speech --from FOLDER       from a copy of the prepared files
    python datasets/open_speech/prepare.py data/open_speech_22k --sample-rate 22050

`places.csv` names every file: repository, path, commit, licence, speaker, split, hash of the samples. A file is
resampled to 24 kHz if its own rate is higher, and stored if it is the one of the list. Splits share no speaker.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import fetching
from fetching import SPLITS, Place, envelope, resampled, sample_hash

TOLERANCE_DB = 1.0  # by which a segment's level may differ after another decoder or resampler
QUIET_DB = -30.0  # below the loudest segment: not compared


def converted(place: Place, mono: np.ndarray, rate: int) -> np.ndarray:
    """Resample a waveform, [T], to int16 samples; raise ValueError if it is another recording than was listed."""
    samples = as_pcm(resampled(mono, rate, place.sample_rate))
    if not fits(place, samples):
        raise ValueError("is another recording than the list has")
    return samples


def fits(place: Place, samples: np.ndarray) -> bool:
    """Decide whether samples, [T] int16, are the recording: the same ones, or equal in length and levels.

    Resamplers and decoders differ in the last bits, so a copy that was converted here cannot always have the hash.
    """
    if sample_hash(samples) == place.sha256:
        return True
    if abs(len(samples) - place.n_samples) > max(64, place.sample_rate // 100):
        return False
    ours, theirs = np.round(envelope(samples / 2**15)), np.array(place.levels.split(), dtype=float)
    heard = np.maximum(ours, theirs) > max(ours.max(), theirs.max()) + QUIET_DB
    return bool(np.all(np.abs(ours - theirs)[heard] <= TOLERANCE_DB))


def as_pcm(waveform: np.ndarray) -> np.ndarray:
    """Round a waveform, [T] in [-1, 1], to int16."""
    return np.clip(np.round(waveform * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def about(place: Place) -> dict[str, str]:
    """Return what the manifest says of a recording."""
    return {name: place.about[name] for name in ("speaker", "corpus", "licence")}


def table(parts: dict[str, list[dict]]) -> str:
    """Count recordings, minutes and speakers by split."""
    rows = ["| split | recordings | minutes | speakers |", "|---|---|---|---|"]
    for split in SPLITS:
        part = parts[split]
        minutes = sum(line["n_samples"] / line["sample_rate"] for line in part) / 60
        rows.append(f"| {split} | {len(part)} | {minutes:.1f} | {len({line['speaker'] for line in part})} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch what is missing and write the manifests; return 0, 1 if recordings are missing, or 2 after one line."""
    what = __doc__.splitlines()[0]
    collection = fetching.Collection(what, HERE / "places.csv", converted, about, table)
    return fetching.gather(collection, arguments)


if __name__ == "__main__":
    sys.exit(main())
