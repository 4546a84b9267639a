"""Measure a vocoder that sounds above the rate of its mel, beside what resampling its mel's sound gives.

    python demos/experiments/output_rate/run.py data/open_speech/test.jsonl runs/speech-16k-to-24k

One recording a speaker, cut to five seconds. DNSMOS and DistillMOS (if `distillmos` is installed) hear 16 kHz alone, so
they say whether the lower half is as good as before; what was made up above the mel is judged by its spectrum, its
distance from the recording's and its level.
"""

import argparse
import csv
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.audio.stft import hann, stft
from audiodiff.data.manifest import read_manifest
from audiodiff.evaluation.metrics import score
from audiodiff.mel import LogMel
from audiodiff.models.vocoder import Vocoder

sys.path.insert(0, str(Path(__file__).parents[1] / "published_audio"))
from measures import distill_mos

SECONDS, SHORTEST = 5.0, 2.0
N_FFT, FLOOR = 1024, 1e-5  # the floor is -100 dB of full scale
TABLE = Path(__file__).with_name("results.csv")


def clips(manifest: Path, rate: int) -> list[Tensor]:
    """Read the first recording of each speaker that has sound above its lower half, [T] each."""
    chosen = {}
    for recording in read_manifest(manifest):
        if recording.n_samples >= SHORTEST * recording.sample_rate and recording.sample_rate >= rate:
            chosen.setdefault((recording.about or {}).get("speaker"), recording)
    return [audio.read(r.path, rate)[0][0, : int(SECONDS * rate)] for r in chosen.values()]


def upper(waveform: Tensor, rate: int, above: float) -> Tensor:
    """Return the levels in dB of full scale of the bins above a frequency, [frames, bins]."""
    window = hann(N_FFT, N_FFT, 1.0, waveform.dtype, waveform.device)
    magnitudes = stft(waveform[None], window, N_FFT // 4, (N_FFT // 2, N_FFT // 2), "constant")[0].abs() * 4 / N_FFT
    return 20 * (magnitudes[:, round(above * N_FFT / rate) :] + FLOOR).log10()


def measure(reference: Tensor, test: Tensor, rate: int, above: float) -> dict[str, float]:
    """Score a waveform, [T], against its recording."""
    length = min(len(reference), len(test))
    reference, test = reference[:length], test[:length]
    ours, theirs = upper(reference, rate, above), upper(test, rate, above)
    found = score(reference, test, rate, ["dnsmos_p808", "pesq_wb"])
    if importlib.util.find_spec("distillmos"):
        found["distill_mos"] = distill_mos(test, rate)
    return {
        "lsd_above_db": float((ours - theirs).pow(2).mean(-1).sqrt().mean()),
        "level_above_db": float(theirs.mean() - ours.mean()),
        **found,
    }


def systems(vocoder: Vocoder, plain: Vocoder) -> dict[str, Callable[[Tensor], Tensor]]:
    """Name what is compared: functions of a waveform, [T], at the vocoder's rate."""
    rate, low = vocoder.sample_rate, plain.sample_rate

    def resampled(waveform: Tensor) -> Tensor:
        return audio.resample(audio.resample(waveform[None], rate, low), low, rate)[0]

    def of_mel(waveform: Tensor) -> Tensor:
        """Compute the mel at its own rate, where its sound has nothing above."""
        return LogMel(plain.mel)(audio.resample(waveform[None], rate, low)[None])

    def start(waveform: Tensor) -> Tensor:
        mel = of_mel(waveform)
        noise = torch.randn(1, 1, mel.shape[-1] * vocoder.hop_length, generator=torch.Generator().manual_seed(0))
        return vocoder.start_for(1).waveform(mel, noise)[0, 0]

    return {
        "the recording": lambda w: w,
        f"the recording at {low} Hz, resampled": resampled,
        "speech-16k, one call, resampled": lambda w: audio.resample(plain.generate(of_mel(w), steps=1)[0], low, rate)[
            0
        ],
        "the start alone": start,
        "one call": lambda w: vocoder.generate(of_mel(w), steps=1)[0, 0],
    }


def main() -> int:
    """Measure all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("model")
    parser.add_argument("--table", type=Path, default=TABLE, metavar="CSV", help="where it is written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    vocoder, plain = Vocoder.load(options.model), Vocoder.load("speech-16k")
    references = clips(options.manifest, vocoder.sample_rate)
    with options.table.open("w", newline="", encoding="utf-8") as file:
        table = None
        for name, system in systems(vocoder, plain).items():
            rows = [measure(w, system(w), vocoder.sample_rate, plain.sample_rate / 2) for w in references]
            row = {"sound": name, "clips": len(rows)}
            row |= {key: round(sum(r[key] for r in rows) / len(rows), 3) for key in rows[0]}
            if table is None:
                table = csv.DictWriter(file, row, lineterminator="\n")
                table.writeheader()
            table.writerow(row)
            print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
