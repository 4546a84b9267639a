"""Compares where sampling starts, and where the projection onto the mel stands, with one model.

    python demos/experiments/starts/run.py speech-16k data/debian_speech/valid.jsonl

Each row is a start, a number of calls, rounds of projection in every call and rounds after the last; it is scored on
the same recordings, with the median × real time. Rounds of Griffin-Lim are counted in what they cost: one on the lower
half of the bins counts one half.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import torch

from audiodiff import audio
from audiodiff.data.recordings import recordings_of
from audiodiff.evaluation.metrics import MEASURES
from audiodiff.models.starts import CoarseToFine, GriffinLim, MelNoise, PureNoise, Start
from audiodiff.models.vocoder import Vocoder

SHOWN = ("pesq_wb", "stoi", "log_mel_l1", "dnsmos_p808")


def rows(mel: object) -> list[tuple[str, Start, int, int, int]]:
    """List name, start, calls, rounds in every call, rounds after the last."""

    def fine(*rounds: int, time: float = 0.3) -> CoarseToFine:
        return CoarseToFine(mel, time, *rounds)

    few, some, many, most = (2, 8, 32, 64), (4, 16, 48, 96), (8, 32, 64, 128), (16, 64, 128, 256)
    return [
        ("Griffin-Lim 32", GriffinLim(mel, n_iter=32), 0, 0, 0),
        ("Griffin-Lim 64", GriffinLim(mel, n_iter=64), 0, 0, 0),
        ("coarse to fine 2, 4, 16, 32 (costs 12)", fine(2, 4, 16, 32), 0, 0, 0),
        ("coarse to fine 2, 8, 32, 64 (costs 22)", fine(*few), 0, 0, 0),
        ("coarse to fine 4, 16, 48, 96 (costs 36)", fine(*some), 0, 0, 0),
        ("coarse to fine 8, 32, 64, 128 (costs 56)", fine(*many), 0, 0, 0),
        ("coarse to fine 16, 64, 128, 256 (costs 112)", fine(*most), 0, 0, 0),
        ("noise", PureNoise(), 4, 0, 2),
        ("noise", PureNoise(), 4, 16, 0),
        ("mel", MelNoise(mel), 4, 0, 2),
        ("Griffin-Lim 32, t = 0.3", GriffinLim(mel, 0.3, 32), 1, 0, 2),
        ("coarse to fine 2, 8, 32, 64, t = 0.3", fine(*few), 1, 0, 2),
        ("coarse to fine 4, 16, 48, 96, t = 0.2", fine(*some, time=0.2), 1, 0, 2),
        ("coarse to fine 4, 16, 48, 96, t = 0.3", fine(*some), 1, 0, 0),
        ("coarse to fine 4, 16, 48, 96, t = 0.3", fine(*some), 1, 0, 2),
        ("coarse to fine 4, 16, 48, 96, t = 0.3", fine(*some), 1, 0, 8),
        ("coarse to fine 4, 16, 48, 96, t = 0.4", fine(*some, time=0.4), 1, 0, 2),
        ("coarse to fine 8, 32, 64, 128, t = 0.3", fine(*many), 1, 0, 2),
        ("coarse to fine 16, 64, 128, 256, t = 0.3", fine(*most), 1, 0, 2),
        ("coarse to fine 16, 64, 128, 256, t = 0.3", fine(*most), 4, 0, 2),
        ("coarse to fine 16, 64, 128, 256, t = 0.3", fine(*most), 4, 4, 2),
    ]


def main() -> None:
    """Write the CSV and print it as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument(
        "--table",
        type=Path,
        default=Path(__file__).with_name("results.csv"),
        help="CSV (default: results.csv, beside this script)",
    )
    parser.add_argument("--clips", type=int, default=8)
    options = parser.parse_args()
    vocoder = Vocoder.load(options.model)
    recordings = recordings_of(options.manifest, 2.0, options.clips)
    lines = []
    for name, start, calls, projection_iters, finish in rows(vocoder.mel):
        vocoder.projection_iters, vocoder.final_iters = projection_iters, finish
        scores, speeds = [], []
        for recording in recordings:
            waveform = audio.read(recording.path, vocoder.sample_rate)[0][:1]
            waveform = waveform[:, : waveform.shape[-1] // vocoder.hop_length * vocoder.hop_length]
            mel = vocoder.spectrogram(waveform[None])
            began = time.perf_counter()
            if calls:
                out = vocoder.generate(mel, steps=calls, start=start)
            else:
                noise = torch.randn(1, *waveform.shape, generator=torch.Generator().manual_seed(0))
                out = start.waveform(mel, noise)
            speeds.append(waveform.shape[-1] / vocoder.sample_rate / (time.perf_counter() - began))
            scores.append({key: MEASURES[key][0](waveform[0], out[0, 0], vocoder.sample_rate) for key in SHOWN})
        line = {"start": name, "calls": calls, "iterations per call": projection_iters, "final iterations": finish}
        line |= {key: round(statistics.mean(s[key] for s in scores), 3) for key in SHOWN}
        lines.append(line | {"x real time": round(statistics.median(speeds), 1)})
        print("| " + " | ".join(str(value) for value in lines[-1].values()) + " |", flush=True)
    with options.table.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
