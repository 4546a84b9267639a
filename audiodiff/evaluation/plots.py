"""Pictures of sound."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiodiff.audio.stft import hann, stft
from audiodiff.utils.files import atomic_file

FLOOR_DB = -100
MAGMA = (
    "000004 0b0924 20114b 3b0f70 57157e 721f81 8c2981 a8327d c43c75 de4968 f1605d fa7f5e fe9f6d febf84 fddea0 fcfdbf"
)


def spectrogram_db(waveform: Tensor, n_fft: int = 1024, hop_length: int = 256) -> np.ndarray:
    """Return the magnitude spectrogram of a waveform, [T], in dB relative to a full-scale sine, [bins, frames]."""
    window = hann(n_fft, n_fft, 1.0, torch.float32, torch.device("cpu"))
    spectrum = stft(waveform.detach().cpu().float()[None], window, hop_length, (n_fft // 2, n_fft // 2), "constant")[0]
    return (20 * (spectrum.abs() * (2 / float(window.sum())) + 1e-6).log10()).T.numpy()


def spectrogram_image(waveform: Tensor) -> np.ndarray:
    """Draw the spectrogram of a waveform, [T], as an RGB image, uint8, [height, width, 3], low frequencies below."""
    return magma(spectrogram_db(waveform)[::-1] / -FLOOR_DB + 1)


def magma(levels: np.ndarray) -> np.ndarray:
    """Colour levels from 0 to 1, clipped there, as Matplotlib's map of that name: uint8, [..., 3]."""
    colours = np.array([list(bytes.fromhex(colour)) for colour in MAGMA.split()])
    places = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(levels, places, channel).round() for channel in colours.T], -1).astype(np.uint8)


def pareto(
    names: Sequence[str],
    speeds: Sequence[float],
    panels: Mapping[str, Sequence[tuple[float | None, bool]]],
    path: str | Path,
) -> None:
    """Draw quality against × real time, a panel for each measure; what nothing beats in both is joined.

    Args:
        names, speeds: Of the systems.
        panels: By measure, each system's quality, none where it was not judged, and whether nothing beats it.
        path: The picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.5 + 4.5 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axis, (measure, judged) in zip(axes, panels.items(), strict=True):
        best = sorted((s, q) for s, (q, front) in zip(speeds, judged, strict=True) if front)
        axis.plot([speed for speed, _ in best], [quality for _, quality in best], color="0.7", zorder=1)
        for number, (name, speed, (quality, front)) in enumerate(zip(names, speeds, judged, strict=True), 1):
            if quality is None:
                continue
            label = f"{number}  {name}" if axis is axes[0] else None
            axis.scatter(speed, quality, color="C0" if front else "0.6", zorder=2, label=label)
            above = 5 if number % 2 else -12  # neighbours on one height do not cover each other's numbers
            axis.annotate(str(number), (speed, quality), xytext=(2, above), textcoords="offset points", fontsize=8)
        axis.set(xscale="log", xlabel="× real time", ylabel=measure)
        axis.margins(x=0.1, y=0.1)
    figure.legend(loc="outside right upper", fontsize=7, handlelength=1)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=100)
