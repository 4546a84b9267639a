"""Prints how well damage is mended: beside the damaged recording, and by the same method without the network.

    python demos/experiments/restoration/run.py data/debian_speech/valid.jsonl --clips 5

Every recording loses 20, 80 or 160 ms in each half second, is clipped at the level that 10 or 3 % of its samples
exceed, or is low-passed at 2 or 4 kHz. SDR is that of all samples, for gaps of the lost ones.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from scipy import signal
from torch import Tensor

from audiodiff import audio
from audiodiff.audio.linear_prediction import declipped, filled
from audiodiff.data.recordings import recordings_of
from audiodiff.evaluation import metrics
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines import restoration

COLUMNS = ("pesq_wb", "log_mel_l1", "lsd_db", "sdr_db")


def main() -> int:
    """Damage, mend, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="manifest or folder of recordings")
    parser.add_argument("--model", default="speech-16k")
    parser.add_argument("--clips", type=int, default=5)
    parser.add_argument(
        "--table", type=Path, default=Path(__file__).with_name("results.csv"), help="CSV (default: beside this script)"
    )
    options = parser.parse_args()
    vocoder = Vocoder.load(options.model)
    found: dict[tuple[str, str], list[list[float]]] = {}
    for recording in recordings_of(options.data, 2.0, options.clips):
        x = audio.read(recording.path, vocoder.sample_rate)[0][:1]
        for damage, lost, ways in cases(vocoder, x):
            for way, y in ways:
                found.setdefault((damage, way), []).append(measured(x, y, lost, vocoder.sample_rate))
    table = [["damage", "method", *COLUMNS]]
    for (damage, way), rows in found.items():
        table.append([damage, way, *(f"{value:.3g}" for value in torch.tensor(rows).mean(0).tolist())])
        print("| " + " | ".join(table[-1]) + " |")
    with options.table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    return 0


def cases(vocoder: Vocoder, x: Tensor) -> Iterator[tuple[str, Tensor, list[tuple[str, Tensor]]]]:
    """Yield the damage's name, where samples are lost, and each way with what comes out."""
    rate = vocoder.sample_rate
    for ms in (20, 80, 160):
        length = ms * rate // 1000
        damaged, predicted, mended = x.clone(), x.clone(), x.clone()
        lost = torch.zeros_like(x, dtype=torch.bool)
        gaps = [(a, a + length) for a in range(rate // 3, x.shape[-1] - rate // 3, rate // 2)]
        for a, b in gaps:
            damaged[:, a:b], lost[:, a:b] = 0, True
        for a, b in gaps:
            low = max(0, a - rate // 2)  # half a second to each side is enough to go by
            part = damaged[:, low : b + rate // 3].clone()
            gap = [(a - low) / rate, (b - low) / rate]
            predicted[0, a:b] = torch.from_numpy(filled(part[0].double().numpy(), a - low, b - low)).float()
            how = restoration.RestoreRecipe.from_options(vocoder, "speech-16k", part, "gap", gap=gap)
            mended[:, a:b] = restoration.mend(vocoder, part, how)[:, a - low : b - low]
        yield f"gaps of {ms} ms", lost, [("damaged", damaged), ("linear prediction", predicted), ("restore", mended)]
    everything = torch.ones_like(x, dtype=torch.bool)
    for share in (0.1, 0.03):
        limit = float(x.abs().flatten().quantile(1 - share))
        damaged = x.clamp(-limit, limit)
        how = restoration.RestoreRecipe.from_options(vocoder, "speech-16k", damaged, "declip")
        predicted = torch.from_numpy(declipped(damaged[0].double().numpy(), how.limit or limit)).float()[None]
        ways = [("damaged", damaged), ("linear prediction", predicted)]
        yield f"{100 * share:.0f} % clipped", everything, [*ways, ("restore", restoration.mend(vocoder, damaged, how))]
    for cutoff in (2000, 4000):
        sections = signal.butter(12, cutoff, fs=rate, output="sos")
        damaged = torch.from_numpy(signal.sosfiltfilt(sections, x[0].numpy()).copy()).float()[None]
        how = restoration.RestoreRecipe.from_options(vocoder, "speech-16k", damaged, "bandwidth", cutoff=float(cutoff))
        ways = [("damaged", damaged), ("restore", restoration.mend(vocoder, damaged, how))]
        yield f"low-passed at {cutoff} Hz", everything, ways


def measured(x: Tensor, y: Tensor, lost: Tensor, rate: int) -> list[float]:
    """Return the columns."""
    distances = [metrics.log_mel_l1(x[0], y[0], rate), metrics.log_spectral_distance_db(x[0], y[0], rate)]
    error = (x - y)[lost].square().sum().clamp(min=1e-12)
    sdr = 10 * float((x[lost].square().sum() / error).log10())
    return [metrics.pesq_wb(x[0], y[0], rate), *distances, sdr]


if __name__ == "__main__":
    sys.exit(main())
