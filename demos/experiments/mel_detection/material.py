"""Readings to learn from: speech of many voices and levels, in many conventions, read rightly and wrongly."""

import csv
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiodiff import audio
from audiodiff.mel import LogMel, MelSpec
from audiodiff.mel.features import features
from audiodiff.utils.config import choices, choose

CONVENTIONS = {name: choose("mel", name) for name in choices("mel")}
PER_CLIP, OTHERS_PER_CLIP = 7, 3
HARD, EASY = 3, 2  # wrong readings of a mel that differ in time or frequency only, and in values
EQUAL = 0.03  # relative difference in time or frequency up to which two conventions count as one
NEAR = 0.12  # relative difference in time or frequency below which two conventions are too alike to learn from
VALUES = ("n_mels", "scale", "norm", "power", "log", "mean", "std", "normalized", "dynamic_range")


def recordings(folder: Path, split: str, per_speaker: int = 4) -> list[dict[str, str]]:
    """Read the index of a folder: the recordings of a split, at most so many of a speaker."""
    with open(folder / "index.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    kept, seen = [], dict[str, int]()
    for row in rows:
        seen[row["speaker_key"]] = seen.get(row["speaker_key"], 0) + 1
        if seen[row["speaker_key"]] <= per_speaker:
            kept.append(row)
    return kept


def apart(a: MelSpec, b: MelSpec) -> float:
    """Measure how much two conventions differ: infinite if in their values, else in time or frequency, relatively."""
    if any(getattr(a, name) != getattr(b, name) for name in VALUES):
        return math.inf
    ratios = [
        a.f_max / b.f_max,
        *(
            (x * b.sample_rate) / (y * a.sample_rate)
            for x, y in ((a.hop_length, b.hop_length), (a.win_length, b.win_length))
        ),
    ]
    return max(abs(math.log(r)) for r in ratios) + abs(a.f_min - b.f_min) / 1000


def readings(waveform: Tensor, rate: int, draw: np.random.Generator) -> Iterator[tuple[Tensor, bool]]:
    """Yield descriptions of mels of one recording, [1, T] at a rate, and whether each is read as what it is."""
    chosen = [CONVENTIONS[name] for name in draw.choice(sorted(CONVENTIONS), PER_CLIP, replace=False)]
    at = {}
    for spec in [*chosen, *(random_spec(draw) for _ in range(OTHERS_PER_CLIP))]:
        if spec.sample_rate not in at:
            at[spec.sample_rate] = audio.resample(waveform, rate, spec.sample_rate)
        resampled = at[spec.sample_rate]
        if resampled.shape[-1] < spec.min_samples + 4 * spec.hop_length:
            continue
        mel = LogMel(spec)(resampled[None])[0]
        yield features(mel, spec), True
        equals = [c for c in CONVENTIONS.values() if c != spec and apart(spec, c) < EQUAL]
        if equals:
            yield features(mel, equals[draw.integers(len(equals))]), True
        for other in wrong_readings(spec, draw):
            yield features(mel, other), False
        if draw.random() < 0.6:
            yield features(spoilt(mel, spec, draw), spec), False


def wrong_readings(spec: MelSpec, draw: np.random.Generator) -> list[MelSpec]:
    """Draw conventions in which a mel is not: others with as many bands, and its own with a field or two changed."""
    others = [(apart(spec, c), c) for c in CONVENTIONS.values() if c.n_mels == spec.n_mels]
    hard = [c for distance, c in others if NEAR < distance < math.inf]
    easy = [c for distance, c in others if distance == math.inf]
    picked = [hard[i] for i in draw.permutation(len(hard))[:HARD]] + [
        easy[i] for i in draw.permutation(len(easy))[:EASY]
    ]
    for _ in range(1 + HARD - min(HARD, len(hard))):
        changed = changed_spec(spec, draw)
        if changed is not None and apart(spec, changed) > NEAR:
            picked.append(changed)
    return picked


def random_spec(draw: np.random.Generator) -> MelSpec:
    """Draw a convention such as somebody may have thought of."""
    while True:
        rate = int(draw.choice([16000, 22050, 24000, 32000, 44100, 48000]))
        hop = round(rate * draw.choice([0.008, 0.01, 0.0116, 0.0125, 0.016, 0.02]))
        win = round(hop * draw.choice([2.5, 3, 4, 4, 4]))
        n_fft = int(draw.choice([win + win % 2, 2 ** math.ceil(math.log2(win))]))
        high = float(draw.choice([rate / 2, min(rate / 2, draw.choice([7600, 8000, 11025, 12000, 16000]))]))
        scale, norm = (("slaney", "slaney"), ("htk", "none"), ("htk", "slaney"), ("slaney", "none"))[
            draw.choice(4, p=[0.6, 0.24, 0.08, 0.08])
        ]
        affine = (0.0, 1.0) if draw.random() < 0.75 else (float(draw.uniform(-6, -3)), float(draw.uniform(1.5, 4)))
        bands = int(draw.choice([64, 80, 80, 100, 128]))
        if bands <= n_fft // 4:
            return MelSpec(
                rate, n_fft, win, hop, bands, float(draw.choice([0, 0, 20, 40, 55, 80])), high, scale, norm,
                power=float(draw.choice([1, 1, 1, 1, 2])), center=bool(draw.random() < 0.4),
                log=str(draw.choice(["ln", "ln", "log10"])), floor=float(draw.choice([1e-5, 1e-5, 1e-7, 1e-10])),
                mean=affine[0], std=affine[1],
            )  # fmt: skip


def changed_spec(spec: MelSpec, draw: np.random.Generator) -> MelSpec | None:
    """Change what tends to be mistaken."""
    plain = isinstance(spec.mean, float)
    kinds = [
        {"log": "ln" if spec.log == "log10" else "log10"},
        {"log": "ln" if spec.log == "log10" else "log10"},
        {"power": 3.0 - spec.power} if spec.power in (1.0, 2.0) else {},
        {"scale": "htk" if spec.scale == "slaney" else "slaney"},
        {"norm": "none" if spec.norm == "slaney" else "slaney"},
        {"scale": "htk", "norm": "none"} if spec.norm == "slaney" else {"scale": "slaney", "norm": "slaney"},
        {"mean": float(draw.uniform(-6, -3)), "std": float(draw.uniform(1.6, 4))} if spec.std == 1.0 else {},
        {"mean": 0.0, "std": 1.0} if plain and spec.std != 1.0 else {},
        *(
            {"sample_rate": rate, "f_max": min(spec.f_max, rate / 2) if keep else spec.f_max * rate / spec.sample_rate}
            for rate in (16000, 22050, 24000, 32000, 44100)
            if abs(math.log(rate / spec.sample_rate)) > NEAR
            for keep in (True, False)
        ),
        {"f_max": min(spec.sample_rate / 2, spec.f_max * float(draw.choice([0.6, 0.75, 1.35, 1.6])))},
    ]
    try:
        return dataclasses.replace(spec, **kinds[draw.integers(len(kinds))])
    except ValueError:
        return None


def spoilt(mel: Tensor, spec: MelSpec, draw: np.random.Generator) -> Tensor:
    """Bring a mel into a unit that no convention has."""
    unit = spec._log_unit if isinstance(spec.std, tuple) else spec._log_unit * spec.std
    square = mel[:, : len(mel)].mT if mel.shape[1] >= len(mel) else mel.flip(0)
    kinds = (
        square,
        square,
        mel * 20 / math.log(10),
        2 * mel,
        mel / 2,
        mel + math.log(32768) / unit,
        mel - math.log(32768) / unit,
        (mel - mel.amin()) / (mel.amax() - mel.amin()).clamp(min=1e-3),
        2 * (mel - mel.amin()) / (mel.amax() - mel.amin()).clamp(min=1e-3) - 1,
        (mel - mel.mean()) / mel.std().clamp(min=1e-3),
        mel.flip(0),
        mel.exp().clamp(max=1e4),
    )
    return kinds[draw.integers(len(kinds))]


def varied(waveform: Tensor, rate: int, draw: np.random.Generator) -> Tensor:
    """Cut a stretch of speech, [1, T], and change level, room, noise and bandwidth, as other recordings differ."""
    seconds = min(waveform.shape[-1] / rate, math.exp(draw.uniform(math.log(0.8), math.log(10))))
    size = int(seconds * rate)
    first = draw.integers(waveform.shape[-1] - size + 1)
    x = waveform[:, first : first + size].double().numpy()[0]
    x = x / max(1e-4, np.abs(x).max())
    spectrum, hz = np.fft.rfft(x), np.fft.rfftfreq(size, 1 / rate)
    if draw.random() < 0.4:  # a microphone's or a room's colour: up to 8 dB over the band, and a hump
        tilt, middle, hump = (
            draw.uniform(-8, 8),
            math.exp(draw.uniform(math.log(200), math.log(6000))),
            draw.uniform(-8, 8),
        )
        colour = tilt * np.log2((hz + 50) / 1000) / 5 + hump * np.exp(-(np.log2((hz + 50) / middle) ** 2))
        spectrum = spectrum * 10 ** (colour / 20)
    if draw.random() < 0.3:  # high-pass
        spectrum = spectrum / np.sqrt(1 + (draw.uniform(40, 250) / np.maximum(hz, 1)) ** 6)
    if draw.random() < 0.2:  # telephone, MP3, an old recording
        spectrum = spectrum / np.sqrt(1 + (hz / draw.uniform(3200, 10000)) ** 24)
    x = np.fft.irfft(spectrum, size)
    if draw.random() < 0.2:
        tail = draw.standard_normal(int(0.4 * rate)) * np.exp(
            -np.arange(int(0.4 * rate)) / (draw.uniform(0.02, 0.12) * rate)
        )
        x = (
            x
            + draw.uniform(0.02, 0.15)
            * np.fft.irfft(np.fft.rfft(x, 2 * size) * np.fft.rfft(tail, 2 * size), 2 * size)[:size]
        )
    if draw.random() < 0.4:
        x = x + np.sqrt((x**2).mean()) * 10 ** (-draw.uniform(8, 55) / 20) * coloured_noise(size, draw)
    if draw.random() < 0.25:  # digital silence
        a, b = sorted(draw.integers(size, size=2))
        if b - a < 0.6 * size:
            x[a:b] = 0
    level = 10 ** (-draw.choice([draw.uniform(0, 12), draw.uniform(0, 36)]) / 20)
    return torch.from_numpy(x / max(1e-4, np.abs(x).max()) * level).float()[None]


def coloured_noise(size: int, draw: np.random.Generator) -> np.ndarray:
    """Draw noise whose power falls with frequency as f^0 to f^-2, of unit power."""
    spectrum = np.fft.rfft(draw.standard_normal(size)) / np.maximum(1, np.arange(size // 2 + 1)) ** draw.uniform(0, 1)
    noise = np.fft.irfft(spectrum, size)
    return noise / max(1e-9, noise.std())


def other_sound(rate: int, draw: np.random.Generator) -> Tensor:
    """Make a sound that is no speech: tones, chords, noise, clicks, sweeps, drums, hum; [1, T]."""
    size = int(rate * math.exp(draw.uniform(math.log(0.6), math.log(8))))
    t = np.arange(size) / rate
    pitch = math.exp(draw.uniform(math.log(60), math.log(3000)))
    kind = draw.integers(8)
    if kind == 0:
        x = np.sin(2 * np.pi * pitch * t)
    elif kind == 1:  # notes of a chord, that die away
        x = sum(
            np.sin(2 * np.pi * pitch * 2 ** (draw.integers(24) / 12) * k * t) / k ** draw.uniform(0.7, 2)
            for k in range(1, 7)
            for _ in range(2)
        ) * np.exp(-((t * draw.uniform(0.5, 4)) % draw.uniform(0.3, 2)) * draw.uniform(0.5, 6))
    elif kind == 2:
        x = coloured_noise(size, draw)
    elif kind == 3:
        x = (np.diff(np.floor(pitch / 4 * t), prepend=0) > 0).astype(float)
    elif kind == 4:
        x = np.sin(2 * np.pi * (100 * t + (draw.uniform(2000, 11000) / (2 * t[-1])) * t**2))
    elif kind == 5:  # drums
        x = coloured_noise(size, draw) * np.exp(-(t % draw.uniform(0.15, 0.8)) * draw.uniform(5, 60))
    elif kind == 6:  # a saw that is modulated
        x = (2 * ((pitch * t) % 1) - 1) * (1 + 0.8 * np.sin(2 * np.pi * draw.uniform(0.5, 12) * t))
    else:
        x = np.sin(2 * np.pi * pitch * t) * (draw.random(size) < 0.5)
    x = x + 10 ** (-draw.uniform(20, 90) / 20) * coloured_noise(size, draw)
    return torch.from_numpy(x / max(1e-9, np.abs(x).max()) * 10 ** (-draw.uniform(0, 30) / 20)).float()[None]
