"""Scores runs on voices that were held out: the start alone, and one call or more of each run's network.

    python demos/experiments/flagship/judge.py data/open_speech/valid.jsonl table.csv runs/a runs/b --calls 1 4

At most two clips a speaker, cut to five seconds. The waveforms of the start are kept in FOLDER/starts, since every
contestant has the same.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "published_audio"))
from measures import MEASURES, intervals, measure

from audiodiff import audio
from audiodiff.data.manifest import read_manifest
from audiodiff.models import checkpoint
from audiodiff.models.starts import CoarseToFine, Variation

ROUNDS = (16, 64, 128, 256)
SECONDS = 5.0


def clips_of(manifest: Path, each: int, sample_rate: int, hop: int) -> list[tuple[str, torch.Tensor]]:
    """Take the first recordings of each speaker, cut to `SECONDS` and to whole hops: name and [1, T]."""
    chosen: dict[str, list] = {}
    for recording in read_manifest(manifest):
        if recording.n_samples >= 2 * recording.sample_rate:
            chosen.setdefault(recording.speaker, []).append(recording)
    clips = []
    for speaker, recordings in sorted(chosen.items()):
        for number, recording in enumerate(recordings[:each]):
            waveform = audio.read(recording.path, sample_rate)[0][:1, : int(SECONDS * sample_rate)]
            clips.append((f"{speaker}-{number}".replace(":", "_"), waveform[:, : waveform.shape[-1] // hop * hop]))
    return clips


def start_of(vocoder, mel, cache: Path, name: str) -> torch.Tensor:
    """Compute the start's waveform, or read it: [1, 1, T]."""
    path = cache / f"{vocoder.mel.fingerprint}-{name}.pt"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        start = CoarseToFine(vocoder.mel, 0.1, *ROUNDS)
        waveform = start.waveform(
            mel, torch.randn(1, 1, mel.shape[-1] * vocoder.hop_length, generator=torch.Generator().manual_seed(0))
        )
        torch.save(waveform.half(), path)
    return torch.load(path, weights_only=True).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("runs", nargs="*", help="run folders; none scores the start alone and the recordings")
    parser.add_argument("--calls", type=int, nargs="+", default=[1])
    parser.add_argument("--each", type=int, default=2, help="clips a speaker (2)")
    parser.add_argument("--weights", default="ema")
    parser.add_argument("--base", help="model whose mel the start alone is scored on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for run in options.runs or [None]:
        vocoder = checkpoint.load(run or options.base, weights=options.weights)
        cache = options.table.parent / "starts"
        jobs = [("recording", -1), ("start", 0)] if run is None else [(run, n) for n in options.calls]
        for name, calls in jobs:
            rows = []
            for clip, waveform in clips_of(options.manifest, options.each, vocoder.sample_rate, vocoder.hop_length):
                mel = vocoder.spectrogram(waveform[None])[..., : waveform.shape[-1] // vocoder.hop_length]
                first = start_of(vocoder, mel, cache, clip)
                if calls > 0:
                    out = vocoder.generate(mel, steps=calls, start=Variation(first, vocoder.start.time))
                else:
                    out = waveform[None] if calls else first
                rows.append(measure(waveform[0], out[0, 0], vocoder.sample_rate))
            means = intervals(rows, MEASURES)
            row = {
                "run": str(name),
                "calls": calls,
                "weights": options.weights,
                "steps": (vocoder.info or {}).get("steps"),
                "clips": len(rows),
            }
            row |= {m: round(v, 4) for m, (v, _) in means.items()} | {
                f"{m} ±": round(h, 4) for m, (_, h) in means.items()
            }
            fresh = not options.table.exists()
            with options.table.open("a", newline="") as file:
                writer = csv.DictWriter(file, row)
                if fresh:
                    writer.writeheader()
                writer.writerow(row)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
