"""Measure the real-time start alone: sound against look-ahead and iterations, and what a frame costs.

    python demos/experiments/real_time_start/run.py data/open_speech/valid.jsonl --clips 12

Recordings of a folder or a manifest, cut to five seconds, are turned into mels and back. `ms_per_frame` is the time of
the process for a frame of one stream, pushed one at a time, the least of three runs over two seconds. The last row is
the offline start.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.data.recordings import recordings_of
from audiodiff.diffusion.noise import NoiseField
from audiodiff.evaluation.metrics import MEASURES
from audiodiff.griffin_lim.real_time import RealTimeInversion
from audiodiff.mel import LogMel, MelSpec
from audiodiff.models.starts import CoarseToFine, RealTimeGriffinLim, Start

SHOWN = ("pesq_wb", "stoi", "dnsmos_p808")
SECONDS = 5.0
GRID = (*((look_ahead, 16) for look_ahead in range(1, 9)), (3, 8), (3, 32))  # look-ahead, iterations


def scores(start: Start, spec: MelSpec, waveforms: list[Tensor]) -> dict[str, float]:
    """Average the measures of a start's waveforms."""
    rows = []
    for n, waveform in enumerate(waveforms):
        mel = LogMel(spec)(waveform[None])[..., : waveform.shape[-1] // spec.hop_length]
        estimate = start.waveform(mel, NoiseField([n]).draw(waveform[None]))[0, 0]
        rows.append({name: MEASURES[name][0](waveform[0], estimate, spec.sample_rate) for name in SHOWN})
    return {name: round(statistics.fmean(row[name] for row in rows), 3) for name in SHOWN}


def frame_cost(spec: MelSpec, waveform: Tensor, look_ahead: int, n_iter: int) -> float:
    """Time one frame of one stream, in milliseconds of the process."""
    mel = LogMel(spec)(waveform[None])[..., : round(2 * spec.sample_rate / spec.hop_length)]
    noise, times = torch.zeros(1, 1, spec.hop_length), []
    for _ in range(3):
        inversion, began = RealTimeInversion(spec, look_ahead, n_iter), time.process_time()
        for frame in mel.split(1, -1):
            inversion.push(frame, noise)
        times.append(time.process_time() - began)
    return round(1000 * min(times) / mel.shape[-1], 3)


def main() -> None:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--clips", type=int, help="of the recordings, at even distances (default: all)")
    parser.add_argument("--table", type=Path, default=Path(__file__).with_name("results.csv"), help="CSV")
    parser.add_argument("--mel", default="vocos-24k-100")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec, waveforms, lines = MelSpec.preset(options.mel), [], []
    for recording in recordings_of(options.recordings, 2.0, options.clips):
        waveform = audio.read(recording.path, spec.sample_rate)[0][:1, : round(SECONDS * spec.sample_rate)]
        waveforms.append(waveform[:, : waveform.shape[-1] // spec.hop_length * spec.hop_length])
    for look_ahead, n_iter in (*GRID, (0, 0)):
        start = RealTimeGriffinLim(spec, 0.2, look_ahead, n_iter) if n_iter else CoarseToFine(spec, 0.2, 4, 16, 48, 96)
        delay = 1000 * start.context.future / spec.sample_rate
        name = f"real-time={look_ahead}/{n_iter}" if n_iter else "coarse-to-fine=4/16/48/96"
        line = {"start": name, "look_ahead_ms": round(delay)} | scores(start, spec, waveforms)
        line["ms_per_frame"] = frame_cost(spec, waveforms[0], look_ahead, n_iter) if n_iter else ""
        lines.append(line)
        print(*line.values(), sep=" | ", flush=True)
        with options.table.open("w", newline="") as file:
            writer = csv.DictWriter(file, lines[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)


if __name__ == "__main__":
    main()
