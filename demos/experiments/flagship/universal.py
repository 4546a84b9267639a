"""Scores a model beside its start on what it was not trained for: singing, music, several voices, noise, a whisper.

    python demos/experiments/flagship/universal.py data/open_speech/valid.jsonl universal.csv speech-24k

Every sound is made of held-out speech or synthesised here, so that anyone has the same. A network must not make any of
them worse than the start by more than .05 of PESQ, change the level, burst, or buzz at multiples of its frame rate.
"""

import argparse
import math
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent))
from judge import append

from audiodiff import audio
from audiodiff.data.manifest import read_manifest
from audiodiff.evaluation.metrics import multi_resolution_stft, pesq_wb, tonal_excess_db
from audiodiff.models.base import Model
from audiodiff.models.starts import Variation

SECONDS = 4.0
LEVEL = 0.08  # RMS of every sound but the quiet one


def speech(manifest: Path, sample_rate: int, voices: int) -> list[Tensor]:
    """Read the beginnings of recordings of as many speakers, [T] each."""
    chosen = {}
    for recording in read_manifest(manifest):
        if recording.n_samples >= SECONDS * recording.sample_rate:
            chosen.setdefault((recording.about or {}).get("speaker"), recording)
    length = int(SECONDS * sample_rate)
    return [audio.read(r.path, sample_rate)[0][0, :length] for r in list(chosen.values())[:voices]]


def sung(sample_rate: int) -> Tensor:
    """Sing four notes on a vowel: harmonics with vibrato under three formants."""
    t = torch.arange(int(SECONDS * sample_rate), dtype=torch.float64) / sample_rate
    note = torch.tensor([220.0, 277.2, 329.6, 440.0], dtype=torch.float64)[(t / SECONDS * 4).long()]
    pitch = note * 2 ** (0.3 / 12 * torch.sin(2 * math.pi * 5.5 * t))
    phase = 2 * math.pi * pitch.cumsum(0) / sample_rate
    voice = torch.zeros_like(t)
    for k in range(1, 50):
        frequency = k * pitch
        formants = sum(
            g / (1 + ((frequency - f) / b) ** 2) for f, b, g in ((700, 90, 1), (1150, 110, 0.5), (2900, 200, 0.3))
        )
        voice += torch.where(frequency < sample_rate / 2, (formants + 0.02) / k**0.5, 0) * torch.sin(k * phase)
    return voice.float()


def plucked(sample_rate: int) -> Tensor:
    """Play three chords on strings, with a beat of noise: decaying, slightly inharmonic partials."""
    generator = torch.Generator().manual_seed(1)
    t = torch.arange(int(SECONDS * sample_rate), dtype=torch.float64) / sample_rate
    music = torch.zeros_like(t)
    for bar, chord in enumerate([(110, 220, 277.2, 329.6), (146.8, 293.7, 370, 440), (164.8, 329.6, 415.3, 493.9)]):
        since = (t - bar * SECONDS / 3).clamp(min=0)
        for pitch in chord:
            for k in range(1, 25):
                frequency = k * pitch * (1 + 3e-5 * k**2)
                if frequency < sample_rate / 2:
                    music += torch.sin(2 * math.pi * frequency * since) * torch.exp(-since * (1.5 + 0.4 * k)) / k
    beats = torch.exp(-60 * (t % (SECONDS / 8)))
    return (music + 0.5 * beats * torch.randn(len(t), generator=generator, dtype=torch.float64)).float()


def coloured(sample_rate: int) -> Tensor:
    """Draw pink noise."""
    spectrum = torch.fft.rfft(torch.randn(int(SECONDS * sample_rate), generator=torch.Generator().manual_seed(2)))
    return torch.fft.irfft(spectrum / torch.arange(1, len(spectrum) + 1).sqrt())


def whispered(voice: Tensor) -> Tensor:
    """Replace the excitation of a voice, [T], by noise under the same smooth spectrum."""
    window = torch.hann_window(1024)
    arguments = {"n_fft": 1024, "hop_length": 256, "window": window, "return_complex": True}
    log_magnitude = torch.stft(voice, **arguments).abs().clamp(min=1e-5).log()
    cepstrum = torch.fft.irfft(log_magnitude, dim=0)
    cepstrum[40:-39] = 0
    envelope = torch.fft.rfft(cepstrum, dim=0).real.exp()
    noise = torch.stft(torch.randn(len(voice), generator=torch.Generator().manual_seed(3)), **arguments)
    return torch.istft(noise * envelope, 1024, 256, window=window, length=len(voice))


def sounds(manifest: Path, sample_rate: int) -> dict[str, Tensor]:
    """Make every sound, [T], at `LEVEL`."""
    voices = speech(manifest, sample_rate, 8)
    first, noise = voices[0], coloured(sample_rate)
    made = {
        "speech": first,
        "child (faster speech)": audio.resample(first[None], 1.35 * sample_rate, sample_rate)[0],
        "whisper": whispered(first),
        "four voices": sum(v / v.std() for v in voices[:4]),
        "speech in noise": first / first.std() + 0.5 * noise / noise.std(),
        "pink noise": noise,
        "singing": sung(sample_rate),
        "music": plucked(sample_rate),
        "sweep": torch.sin(
            2 * math.pi * 5000 * (torch.arange(int(SECONDS * sample_rate)) / sample_rate) ** 2 / SECONDS
        ),
    }
    made = {name: LEVEL * wave / wave.std() for name, wave in made.items()}
    return made | {
        "speech at -60 dB": first * 0.001 / first.std(),
        "speech, clipped": (6 * made["speech"]).clamp(-0.3, 0.3),
    }


def compared(vocoder: Model, waveform: Tensor) -> dict[str, float]:
    """Score what the start makes of a sound, [T], and what one call makes of it."""
    hop, rate = vocoder.hop_length, vocoder.sample_rate
    waveform = waveform[: len(waveform) // hop * hop][None, None]
    mel = vocoder.spectrogram(waveform)[..., : waveform.shape[-1] // hop]
    noise = torch.randn(waveform.shape, generator=torch.Generator().manual_seed(0))
    first = vocoder.start_for(1).waveform(mel, noise)
    refined = vocoder.generate(mel, steps=1, start=Variation(first, vocoder.start.time))
    row = {}
    for name, out in (("start", first), ("network", refined)):
        reference, test = waveform[0, 0], out[0, 0]
        row |= {
            f"pesq {name}": pesq_wb(reference, test, rate),
            f"mr_stft {name}": multi_resolution_stft(reference, test, rate),
            f"level {name}, dB": float(20 * (test.std() / reference.std()).log10()),
            f"peak {name}": float(test.abs().max() / reference.abs().max()),
            f"tonal {name}, dB": tonal_excess_db(reference, test, rate),
        }
    return {name: round(value, 3) for name, value in row.items()}


def main() -> None:
    """Append a row for each model and sound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path, help="held-out speech")
    parser.add_argument("table", type=Path, help="CSV, which is continued")
    parser.add_argument("models", nargs="+")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for model in options.models:
        vocoder = Model.load(model)
        for name, waveform in sounds(options.manifest, vocoder.sample_rate).items():
            append(options.table, {"model": model, "sound": name, **compared(vocoder, waveform)})


if __name__ == "__main__":
    main()
