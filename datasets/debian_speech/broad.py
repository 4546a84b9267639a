"""Divides the recordings of `--all` into what `speech-16k-broad` trains on, and voices that no shipped weights heard.

    python datasets/debian_speech/prepare.py data/debian_speech_all --all
    python datasets/debian_speech/broad.py data/debian_speech_all
    audiodiff eval speech-16k data/debian_speech_all/unseen.jsonl --clips 24

`broad.jsonl`: what may be mixed and published under the GPL, version 3 (no GPL-2.0-only), without the voices of
`unseen.jsonl`, and without recordings of a constant offset, which no mel knows. `unseen.jsonl`: a few recordings each
of the GPL-2.0-only game, whose actors are never trained on, and of three voices of children's programs, in other
languages, rooms and microphones than the default set's.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import soundfile

from audiodiff.utils.files import write_text

NEVER = "GPL-2.0-only"
HELD_OUT = {"klettres-hu", "ktuberling-lt", "tuxpaint-fr"}
SHORTEST = 2.0  # seconds of a recording of unseen.jsonl
OFFSET = 0.05  # mean of a recording, of its standard deviation


def main() -> None:
    """Write FOLDER/broad.jsonl and FOLDER/unseen.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=4, help="recordings of each unseen voice (4)")
    parser.add_argument("--lowest-rate", type=int, default=0, help="leave out recordings of a lower rate of their own")
    options = parser.parse_args()
    lines = (options.folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    recordings = [r for r in map(json.loads, lines) if r["native_rate"] >= options.lowest_rate]
    broad = [r for r in recordings if not is_held_out(r) and not has_offset(options.folder / r["path"])]
    unseen = chosen([r for r in recordings if is_held_out(r)], options.each)
    for name, part in (("broad", broad), ("unseen", unseen)):
        write_text(options.folder / f"{name}.jsonl", "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in part))
        minutes = sum(r["n_samples"] / r["sample_rate"] for r in part) / 60
        print(
            f"{name}: {len(part)} recordings, {minutes:.1f} min, {len({r['speaker'] for r in part})} labels of speakers"
        )


def is_held_out(recording: dict) -> bool:
    """Say whether no weights may hear a recording."""
    return recording["licence"] == NEVER or recording["speaker"] in HELD_OUT


def has_offset(path: Path) -> bool:
    """Say whether a recording has a constant offset that counts."""
    samples, _ = soundfile.read(path)
    return bool(abs(samples.mean()) > OFFSET * samples.std())


def chosen(recordings: list[dict], each: int) -> list[dict]:
    """Take so many long enough recordings of each voice, spread over its list."""
    voices = defaultdict(list)
    for recording in recordings:
        if recording["n_samples"] >= SHORTEST * recording["sample_rate"]:
            voices[recording["speaker"]].append(recording)
    return [r for _, found in sorted(voices.items()) for r in found[:: max(1, len(found) // each)][:each]]


if __name__ == "__main__":
    main()
