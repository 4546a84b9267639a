"""Gathers speech of free licence from public repositories: eleven languages and more, 256 speakers, 97 minutes.

    python datasets/open_speech/prepare.py data/open_speech                     fetches (about 300 MB)
    python datasets/open_speech/prepare.py data/open_speech --from FOLDER       from a copy of the prepared files
    python datasets/open_speech/prepare.py data/open_speech_22k --sample-rate 22050

`places.csv` names every file: repository, path, commit, licence, speaker, split, hash of the samples. A file is
fetched, decoded, mixed to mono, resampled to 24 kHz if its own rate is higher, compared with the list and stored as
16-bit FLAC, complete or not at all; a second run fetches what is missing. The manifests train.jsonl, valid.jsonl and
test.jsonl are written last. Splits share no speaker.
"""

import argparse
import io
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parent))
from places import Place, fits, read_places, sample_hash, url_of

HERE = Path(__file__).resolve().parent
BASE = "https://raw.githubusercontent.com"
RATE = 24000
SPLITS = ("train", "valid", "test")
TIMEOUT = 60.0  # seconds without a byte
MOST_BYTES = 64 * 2**20  # of one recording

Fetch = Callable[[Place], np.ndarray]
"""Gets the samples of a place, [T] int16 at `Place.sample_rate`."""


def fetched(place: Place, base: str) -> np.ndarray:
    """Fetch and convert one recording.

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
    samples = as_pcm(resampled(waveform.mean(axis=1), rate, place.sample_rate))
    if not fits(place, samples):
        raise ValueError(f"{url}: is another recording than the list has")
    return samples


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


def resampled(waveform: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """Change the rate of a waveform, [T]."""
    return waveform if rate == wanted else soxr.resample(waveform, rate, wanted, quality="VHQ")


def as_pcm(waveform: np.ndarray) -> np.ndarray:
    """Round a waveform, [T] in [-1, 1], to int16."""
    return np.clip(np.round(waveform * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def stored(place: Place, out: Path, sample_rate: int, fetch: Fetch) -> dict | str:
    """Bring one recording into the folder, unless it is there; return its line of the manifest, or what went wrong."""
    target, rate = out / place.file, min(place.sample_rate, sample_rate)
    if (line := existing(place, target, rate)) is not None:
        return line
    try:
        samples = fetch(place)
    except ValueError as error:
        return str(error)
    if rate != place.sample_rate:
        samples = as_pcm(resampled(samples.astype(np.float32) / 2**15, place.sample_rate, rate))
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
    """Describe a recording that an earlier run has stored; None if it has not, or at another rate."""
    try:
        info = soundfile.info(target)
    except (soundfile.LibsndfileError, OSError):
        return None
    if info.samplerate != rate or abs(info.frames - place.n_samples * rate / place.sample_rate) > rate / 50:
        return None
    facts = {name: getattr(place, name) for name in ("speaker", "corpus", "licence")}
    return {"path": place.file, "n_samples": info.frames, "sample_rate": rate, **facts}


def write_manifests(out: Path, places: Sequence[Place], lines: Sequence[dict | str]) -> str:
    """Write a manifest for each split, the one for training last; return a table of what they hold.

    Raises:
        ValueError: A split is empty.
    """
    table = ["| split | recordings | minutes | speakers |", "|---|---|---|---|"]
    for split in reversed(SPLITS):
        part = [
            line for place, line in zip(places, lines, strict=True) if place.split == split and isinstance(line, dict)
        ]
        if not part:
            raise ValueError(f"there is nothing for {split}.jsonl: the manifests are left as they were")
        temporary = out / f"{split}.jsonl.tmp"
        temporary.write_text("".join(json.dumps(line) + "\n" for line in part), encoding="utf-8")
        os.replace(temporary, out / f"{split}.jsonl")
        minutes = sum(line["n_samples"] / line["sample_rate"] for line in part) / 60
        table.insert(2, f"| {split} | {len(part)} | {minutes:.1f} | {len({line['speaker'] for line in part})} |")
    return "\n".join(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch what is missing and write the manifests; return 0, 1 if recordings are missing, or 2 after one line."""
    parser = argparse.ArgumentParser(prog="prepare.py", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for recordings and manifests")
    parser.add_argument("--from", dest="source", type=Path, metavar="FOLDER", help="copy prepared files, fetch nothing")
    parser.add_argument("--sample-rate", type=int, default=RATE, help=f"Hz above which nothing is stored ({RATE})")
    parser.add_argument("--base", default=BASE, help=f"address of the repositories' files ({BASE})")
    parser.add_argument("--places", type=Path, default=HERE / "places.csv", help="the list of recordings")
    parser.add_argument("--jobs", type=int, default=8, help="fetched at once (8)")
    options = parser.parse_args(arguments)
    if options.sample_rate < 8000:
        print(f"prepare.py: error: --sample-rate {options.sample_rate}: at least 8000 Hz are wanted", file=sys.stderr)
        return 2

    def fetch(place: Place) -> np.ndarray:
        return copied(place, options.source) if options.source else fetched(place, options.base)

    try:
        options.out.mkdir(parents=True, exist_ok=True)
        places = read_places(options.places)
        with ThreadPoolExecutor(max(1, options.jobs)) as pool:
            lines = list(pool.map(lambda place: stored(place, options.out, options.sample_rate, fetch), places))
        print(write_manifests(options.out, places, lines))
    except (ValueError, OSError) as error:
        problems = [line for line in locals().get("lines", []) if isinstance(line, str)]
        print("\n".join([*problems[:3], f"prepare.py: error: {error}"]), file=sys.stderr)
        return 2
    problems = [line for line in lines if isinstance(line, str)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        print(
            f"prepare.py: {len(problems)} of {len(places)} recordings are missing; run again for these", file=sys.stderr
        )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
