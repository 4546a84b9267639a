"""Speaks a text: a speech synthesiser gives the voice, its mel goes through the vocoder in every convention.

    python demos/experiments/mel_conversion/run.py "The quick brown fox jumps over the lazy dog." spoken

Needs espeak-ng or flite on the path (apt install espeak-ng). What an acoustic model such as FastSpeech or Matcha would
predict is here computed from the synthesiser's sound, so that the result can be compared with it. Writes the
synthesiser's own sound and one file for each preset, and prints what each conversion costs.
"""

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torch import Tensor

import audiodiff
from audiodiff.audio import resample
from audiodiff.evaluation.metrics import log_mel_l1
from audiodiff.griffin_lim.mel_conversion import Conversion
from audiodiff.mel import MelSpec
from audiodiff.mel.detection import presets
from audiodiff.mel.spectrogram import mel_of
from audiodiff.pipelines.resynthesis import vocode

ENGINES = {
    "espeak-ng": lambda text, out: ["espeak-ng", "-w", out, "--stdin"],
    "flite": lambda text, out: ["flite", "-t", text, "-o", out],
}
LONGEST = 2000  # characters


def main() -> int:
    """Speaks, converts, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", help="what is said")
    parser.add_argument("out", type=Path, help="folder for the sounds")
    parser.add_argument("--engine", choices=ENGINES, help="default: the first that is installed")
    parser.add_argument("--model", default="speech-16k", help="vocoder (default: speech-16k)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    parser.add_argument("--table", type=Path, help="CSV for the numbers (default: OUT/results.csv)")
    options = parser.parse_args()
    try:
        waveform, rate = speak(options.text, options.engine)
        vocoder = audiodiff.Vocoder.load(options.model)
    except ValueError as error:
        print(f"tts: {error}", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    audiodiff.write(options.out / "synthesiser.wav", waveform, rate)
    reference = resample(waveform, rate, vocoder.sample_rate)
    table = [["mel", "conversion", "log_mel_l1", "x_real_time"]]
    for name in ("own", *presets()):
        spec = vocoder.mel if name == "own" else MelSpec.preset(name)
        mel = mel_of(spec, resample(waveform, rate, spec.sample_rate))
        begun = time.perf_counter()
        try:
            conversion = Conversion(spec, vocoder.mel)
            sound = vocode(vocoder, mel, convention=spec, seed=options.seed).waveform
        except ValueError as error:
            print(f"| {name} | refused: {error} | | |")
            continue
        speed = sound.shape[-1] / vocoder.sample_rate / (time.perf_counter() - begun)
        audiodiff.write(options.out / f"{name}.wav", sound, vocoder.sample_rate)
        kind = "none" if spec == vocoder.mel else "exact" if conversion.exact else "by way of a waveform"
        table.append([name, kind, f"{distance(reference, sound, vocoder.sample_rate):.3f}", f"{speed:.1f}"])
        print("| " + " | ".join(table[-1]) + " |", flush=True)
    with (options.table or options.out / "results.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(table)
    return 0


def speak(text: str, engine: str | None) -> tuple[Tensor, int]:
    """Let a synthesiser say a text; returns [1, T] and Hz.

    Raises:
        ValueError: There is no text, or no synthesiser.
    """
    installed = [name for name in ENGINES if shutil.which(name)]
    if not text.strip() or len(text) > LONGEST:
        raise ValueError(f"the text has {len(text)} characters; 1 to {LONGEST} are spoken")
    if not installed or (engine and engine not in installed):
        raise ValueError(f"{engine or 'a speech synthesiser'} is not installed: apt install {engine or 'espeak-ng'}")
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "speech.wav")
        command = ENGINES[engine or installed[0]](text, out)
        subprocess.run(command, input=text, text=True, check=True, timeout=120, capture_output=True)
        return audiodiff.read(out)


def distance(reference: Tensor, sound: Tensor, sample_rate: int) -> float:
    """Log-mel distance over what both have."""
    length = min(reference.shape[-1], sound.shape[-1])
    return log_mel_l1(reference[0, :length], sound[0, :length], sample_rate)


if __name__ == "__main__":
    sys.exit(main())
