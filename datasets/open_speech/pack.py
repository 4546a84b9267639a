"""Makes a small copy of a prepared folder, for machines that are lent for a quarter of an hour: Opus, 24 kHz.

    python datasets/open_speech/pack.py data/open_speech data/open_speech_packed --megabytes 58

The bit rate follows from the size that is allowed. Recordings of the training split alone are compressed; those of the
validation split are copied as they are, so that they stay comparable, and counted first. Opus at 70 kb/s and more is
near to transparent for one voice, but evaluate on the originals.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import soundfile
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from manifests import write_manifest

RATE = 24000  # one of Opus'
LEAST, MOST = 6.0, 256.0  # kb/s of libsndfile's compression levels 1 and 0
LOWEST = 40.0  # kb/s below which this is no longer a corpus for a vocoder
OVERHEAD = 1.04  # of the container


def entries_of(manifest: Path) -> list[dict]:
    """Read the lines of a manifest."""
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


def compressed(source: Path, target: Path, level: float) -> int:
    """Write a recording as Opus, unless that is done; return its length in samples at `RATE`."""
    if not target.is_file():
        waveform, rate = soundfile.read(source, dtype="float32")
        waveform = waveform if rate == RATE else soxr.resample(waveform, rate, RATE, quality="VHQ")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".tmp")
        soundfile.write(temporary, waveform, RATE, format="OGG", subtype="OPUS", compression_level=level)
        os.replace(temporary, target)
    return soundfile.info(target).frames


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy the validation split, compress the training split into what is left; return 0, or 2 after one line."""
    parser = argparse.ArgumentParser(prog="pack.py", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what prepare.py has made")
    parser.add_argument("out", type=Path)
    parser.add_argument("--megabytes", type=float, default=58.0, help="of the whole copy (58)")
    options = parser.parse_args(arguments)
    try:
        training, validation = (entries_of(options.folder / f"{split}.jsonl") for split in ("train", "valid"))
    except OSError as error:
        print(f"pack.py: error: {error}: run prepare.py first", file=sys.stderr)
        return 2
    kept = sum((options.folder / entry["path"]).stat().st_size for entry in validation)
    seconds = sum(entry["n_samples"] / entry["sample_rate"] for entry in training)
    kilobits = (options.megabytes * 1e6 - kept) * 8 / seconds / 1000 / OVERHEAD
    if kilobits < LOWEST:
        print(f"pack.py: error: {options.megabytes:g} MB leave {kilobits:.0f} kb/s: allow more", file=sys.stderr)
        return 2
    level = min(1.0, max(0.0, (MOST - kilobits) / (MOST - LEAST)))
    for entry in training:
        name = str(Path(entry["path"]).with_suffix(".ogg"))
        entry["n_samples"] = compressed(options.folder / entry["path"], options.out / name, level)
        entry |= {"path": name, "sample_rate": RATE}
    for entry in validation:
        target = options.out / entry["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(options.folder / entry["path"], target)
    write_manifest(options.out / "valid.jsonl", validation)
    write_manifest(options.out / "train.jsonl", training)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{len(training)} recordings at {kilobits:.0f} kb/s and {len(validation)} as they are: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
