"""Send nine artificial sounds through every shipped model, and measure what comes back.

    python demos/experiments/probes/run.py                  # writes results.csv
    python demos/experiments/probes/run.py --models drums   # these models' rows alone; the others stay

A vocoder makes each sound of its mel, as it does by default. A generator varies it from t = 0.5, and makes a sound of
each of its classes without it.
"""

import argparse
import csv
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from audiodiff.evaluation.metrics import tonal_excess_db
from audiodiff.models import registry
from audiodiff.models.base import Model
from audiodiff.models.generator import Generator
from audiodiff.models.starts import Variation

RESULTS = Path(__file__).with_name("results.csv")
SECONDS, SEED, STRENGTH = 1.5, 0, 0.5
FRAME, NEAR = 0.01, 5  # seconds of a frame in which a burst is looked for; frames around it that may hold as much
LOWEST, HEARD = -100.0, -80.0  # dB of full scale, as which quieter sounds count, and quieter frames


def probes(rate: int, samples: int) -> dict[str, Tensor]:
    """Make the sounds, [samples] each, full scale = 1."""
    time = torch.arange(samples, dtype=torch.float64) / rate
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(SEED), dtype=torch.float64)
    seconds = samples / rate
    tone = sine(1000.0, time)
    impulse = torch.zeros_like(time)
    impulse[samples // 2] = 1.0
    sweep = torch.sin(2 * math.pi * 50 * seconds / math.log(150) * (150 ** (time / seconds) - 1))  # 50 Hz to 7.5 kHz
    sounds = {
        "silence": torch.zeros_like(time),
        "noise at -60 dB": 1e-3 * noise,
        "sweep": 0.5 * sweep,
        "impulse": impulse,
        "offset of 0.5": torch.full_like(time, 0.5),
        "square at 0 dB": sine(200.0, time).sign(),
        "vowel": vowel(time, rate),
        "chord": sum(sine(pitch, time) for pitch in (220.0, 277.18, 329.63, 440.0)) / 8,
        "1 kHz at 0 dB": tone,
    }
    return {name: sound.float() for name, sound in sounds.items()}


def sine(frequency: float, time: Tensor) -> Tensor:
    """Make a sine of amplitude 1."""
    return torch.sin(2 * math.pi * frequency * time)


def vowel(time: Tensor, rate: int) -> Tensor:
    """Make a held vowel: harmonics of 120 Hz under three formants, peak 0.3."""
    harmonics = [120.0 * k for k in range(1, int(rate / 2 / 120))]
    gains = [sum(g / (1 + ((h - f) / w) ** 2) for f, w, g in FORMANTS) for h in harmonics]
    sound = sum(gain * sine(h, time) for h, gain in zip(harmonics, gains, strict=True))
    return 0.3 * sound / sound.abs().max()


FORMANTS = (700.0, 90.0, 1.0), (1220.0, 120.0, 0.5), (2600.0, 200.0, 0.25)  # Hz, Hz, gain


def frames_db(sound: Tensor, rate: int) -> Tensor:
    """Measure the level of frames of 10 ms, dB of full scale."""
    size = round(FRAME * rate)
    power = sound[: len(sound) // size * size].double().view(-1, size).square().mean(1)
    return 10 * power.clamp(min=10 ** (HEARD / 10)).log10()


def burst_db(sound: Tensor, reference: Tensor, rate: int) -> float:
    """Measure by how many dB the loudest outbreak stands above all that the reference has within 50 ms of it."""
    ours, theirs = frames_db(sound, rate), frames_db(reference, rate)
    around = torch.nn.functional.max_pool1d(theirs[None, None], 2 * NEAR + 1, 1, NEAR)[0, 0]
    return float((ours - around).max())


def level_db(sound: Tensor) -> float:
    """Measure the root mean square, dB of full scale."""
    return max(LOWEST, 10 * math.log10(max(1e-30, float(sound.double().square().mean()))))


def row(model: Model, name: str, probe: str, sound: Tensor, reference: Tensor) -> dict[str, str]:
    """Measure one sound, [T], beside its reference."""
    hop = getattr(model.denoiser.network, "hop_length", model.hop_length)
    numbers = {
        "level_in_db": level_db(reference),
        "level_out_db": level_db(sound),
        "peak_out": float(sound.abs().max()),
        "burst_db": burst_db(sound, reference, model.sample_rate),
        "tones_db": tonal_excess_db(reference, sound, model.sample_rate, hop),
    }
    finite = bool(torch.isfinite(sound).all())
    return {
        "model": name,
        "hash": model.fingerprint(),
        "probe": probe,
        "finite": str(finite),
        **{key: f"{value:.3f}" for key, value in numbers.items()},
    }


def vocoded(vocoder: Model, sound: Tensor) -> Tensor:
    """Make a sound, [T], of the mel of another."""
    return vocoder.generate(vocoder.spectrogram(sound[None, None]), seed=SEED)[0, 0, : len(sound)]


def varied(generator: Generator, sound: Tensor) -> Tensor:
    """Make a variation of a sound, [T]."""
    return generator.generate(len(sound), start=Variation(sound[None, None], STRENGTH), seed=SEED)[0, 0]


def measured(name: str) -> list[dict[str, str]]:
    """Measure all probes through a model."""
    model = Model.load(name)
    way: Callable[[Model, Tensor], Tensor] = varied if isinstance(model, Generator) else vocoded
    samples = int(SECONDS * model.sample_rate) // model.hop_length * model.hop_length
    sounds = probes(model.sample_rate, samples)
    rows = [row(model, name, probe, way(model, sound), sound) for probe, sound in sounds.items()]
    if isinstance(model, Generator):
        for label in model.labels or [None]:
            sound = model.generate(label=label, seed=SEED)[0, 0]
            rows.append(row(model, name, f"class {label}", sound, sound))
    return rows


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=registry.shipped(), help="default: all that ship")
    options = parser.parse_args()
    torch.set_num_threads(1)
    kept = []
    if RESULTS.is_file():
        with RESULTS.open(encoding="utf-8", newline="") as file:
            kept = [r for r in csv.DictReader(file) if r["model"] in set(registry.shipped()) - set(options.models)]
    rows = sorted(kept + [r for name in options.models for r in measured(name)], key=lambda r: r["model"])
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for r in rows:
        print("| " + " | ".join(r.values()) + " |")


if __name__ == "__main__":
    main()
