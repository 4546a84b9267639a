"""Asks how good a vocoder could be that knew more of the phases than a mel says: rounds of Griffin-Lim from true ones.

    python demos/experiments/phases/run.py data/debian_speech/valid.jsonl

Each row gives the same rounds, coarse to fine, other first phases: noise, the recording's own, the recording's a little
late, or with a wavering delay. How far a score falls with the delay says how exactly the times of pitch pulses would
have to be known; magnitudes of frames of 64 ms do not hold them.
"""

import argparse
import csv
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.data.recordings import recordings_of
from audiodiff.evaluation.metrics import MEASURES
from audiodiff.griffin_lim.estimate import band_magnitudes, coarse_to_fine
from audiodiff.griffin_lim.projection import with_phase
from audiodiff.mel import LogMel, MelSpec

SHOWN = ("pesq_wb", "stoi", "log_mel_l1", "mr_stft", "dnsmos_p808")
WAVERING = 1.3  # Hz


def noise(waveform: Tensor) -> Tensor:
    """Know nothing."""
    return torch.randn(waveform.shape, generator=torch.Generator().manual_seed(0))


def late(milliseconds: float, wavering: bool = False) -> Callable[[Tensor], Tensor]:
    """Know the recording, [1, T], but is late by as much, or by up to as much, early and late in turn."""

    def delayed(waveform: Tensor) -> Tensor:
        time = torch.arange(waveform.shape[-1], dtype=torch.float64)
        sway = torch.sin(2 * math.pi * WAVERING * time / SPEC.sample_rate) if wavering else 1.0
        at = (time - sway * milliseconds * SPEC.sample_rate / 1000).clamp(0, len(time) - 1)
        below = at.floor().long().clamp(max=len(time) - 2)
        part = (at - below).float()
        return (1 - part) * waveform[:, below] + part * waveform[:, below + 1]

    return delayed


def below(frequency: float) -> Callable[[Tensor], Tensor]:
    """Know the recording below a frequency in Hz, and nothing above."""

    def mixed(waveform: Tensor) -> Tensor:
        known, unknown = torch.fft.rfft(waveform), torch.fft.rfft(noise(waveform))
        cut = round(frequency * waveform.shape[-1] / SPEC.sample_rate)
        return torch.fft.irfft(torch.cat([known[:, :cut], unknown[:, cut:]], dim=-1), waveform.shape[-1])

    return mixed


SPEC = MelSpec(16000)
ROWS: dict[str, Callable[[Tensor], Tensor]] = {
    "noise": noise,
    "the recording's": late(0.0),
    "the recording's below 800 Hz": below(800.0),
    "the recording's, 1 ms late": late(1.0),
    "the recording's, 4 ms late": late(4.0),
    "the recording's, late and early by 0.5 ms": late(0.5, wavering=True),
    "the recording's, late and early by 2 ms": late(2.0, wavering=True),
    "the recording's, late and early by 8 ms": late(8.0, wavering=True),
}


def main() -> None:
    """Write the CSV and print it as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest")
    parser.add_argument(
        "--table",
        type=Path,
        default=Path(__file__).with_name("results.csv"),
        help="CSV (default: results.csv, beside this script)",
    )
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--rounds", default="16/64/128/256", help="of all bins, of the lower half, and so on")
    options = parser.parse_args()
    recordings = recordings_of(options.manifest, 2.0, options.clips)
    rounds, lines = [int(n) for n in options.rounds.split("/")], []
    for name, phases in ROWS.items():
        scores = []
        for recording in recordings:
            waveform = audio.read(recording.path, SPEC.sample_rate)[0][:1]
            waveform = waveform[:, : waveform.shape[-1] // SPEC.hop_length * SPEC.hop_length]
            mel = LogMel(SPEC)(waveform[None])
            first = with_phase(band_magnitudes(SPEC, mel, 0), SPEC.stft(phases(waveform))[:, : mel.shape[-1]])
            made = coarse_to_fine(SPEC, mel, first, rounds, 0.99)[0, 0]
            scores.append({key: MEASURES[key][0](waveform[0], made, SPEC.sample_rate) for key in SHOWN})
        lines.append({"first phases": name} | {k: round(statistics.mean(s[k] for s in scores), 3) for k in SHOWN})
        print("| " + " | ".join(str(value) for value in lines[-1].values()) + " |", flush=True)
    with options.table.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
