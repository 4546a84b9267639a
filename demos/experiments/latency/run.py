"""Says what a stream loses when it may not look far ahead: fewer rounds of the start, a shorter look-ahead.

    python demos/experiments/latency/run.py speech-16k data/debian_speech/valid.jsonl

A row is a start and a number of calls; the look-ahead is by how much the sound of a stream lags behind its mel at most,
and is exact, so the sounds that are judged are those of whole mels. × real time is that of a stream in chunks as long
as the look-ahead, of the first recording.
"""

import argparse
import csv
import itertools
import statistics
import time
from pathlib import Path

import torch

from audiodiff import audio
from audiodiff.data.manifest import Recording
from audiodiff.data.recordings import recordings_of
from audiodiff.evaluation.metrics import MEASURES
from audiodiff.models.named_starts import name_start, named_start
from audiodiff.models.vocoder import Vocoder

SHOWN = ("pesq_wb", "stoi", "dnsmos_p808")
STARTS = (
    "mel",
    "coarse-to-fine=0/1/2/4",
    "coarse-to-fine=1/2/4/8",
    "coarse-to-fine=1/4/8/16",
    "coarse-to-fine=2/8/16/32",
)


def row(vocoder: Vocoder, name: str | None, calls: int, recordings: list[Recording]) -> list[str]:
    """Measure one start; its own for none."""
    start = named_start(name, vocoder) if name else vocoder.start_for(calls)
    how = {"steps": calls, "start": start}
    hop, ahead = vocoder.hop_length, vocoder.look_ahead(**how)
    found, speed = [], 0.0
    for recording in recordings:
        waveform = audio.read(recording.path, vocoder.sample_rate)[0].mean(0, keepdim=True)
        waveform = waveform[:, : waveform.shape[-1] // hop * hop]
        mel = vocoder.spectrogram(waveform[None])[..., : waveform.shape[-1] // hop]
        sound = vocoder.generate(mel, **how)[0, 0]
        found.append([MEASURES[m][0](waveform[0], sound, vocoder.sample_rate) for m in SHOWN])
        if not speed:
            began = time.perf_counter()
            for _ in vocoder.stream(mel.split(25, -1), chunk_frames=ahead, **how):
                pass
            speed = waveform.shape[-1] / vocoder.sample_rate / (time.perf_counter() - began)
    means = [f"{statistics.fmean(values):.3g}" for values in zip(*found, strict=True)]
    return [name_start(start), str(calls), f"{ahead * hop / vocoder.sample_rate:.2f}", *means, f"{speed:.3g}"]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument(
        "--table", type=Path, default=Path(__file__).with_name("results.csv"), help="CSV (default: beside this script)"
    )
    args = parser.parse_args()
    vocoder, recordings = Vocoder.load(args.model), recordings_of(args.manifest, 3.0, args.clips)
    table = [["start", "calls", "look_ahead_s", *SHOWN, "x_real_time"]]
    with torch.no_grad():
        for name, calls in itertools.product((*STARTS, None), (1, 2)):
            table.append(row(vocoder, name, calls, recordings))
            print("| " + " | ".join(table[-1]) + " |", flush=True)
    with args.table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(table)


if __name__ == "__main__":
    main()
