"""Pictures of sound."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiodiff.audio.stft import hann, stft
from audiodiff.utils.files import atomic_file

__all__ = ["contact_sheet", "pareto", "spectrogram_db", "spectrogram_image"]

SPECTROGRAM = {"origin": "lower", "aspect": "auto", "cmap": "magma", "vmin": -100, "vmax": 0}


def spectrogram_db(waveform: Tensor, n_fft: int = 1024, hop_length: int = 256) -> np.ndarray:
    """Return the magnitude spectrogram of a waveform, [T], in dB relative to a full-scale sine, [bins, frames]."""
    window = hann(n_fft, n_fft, 1.0, torch.float32, torch.device("cpu"))
    spectrum = stft(waveform.detach().cpu().float()[None], window, hop_length, (n_fft // 2, n_fft // 2), "constant")[0]
    return (20 * (spectrum.abs() * (2 / float(window.sum())) + 1e-6).log10()).T.numpy()


def spectrogram_image(waveform: Tensor, sample_rate: int, floor_db: float = -100.0) -> np.ndarray:
    """Draw the spectrogram of a waveform, [T], as an RGB image, uint8, [height, width, 3], low frequencies below."""
    import matplotlib

    level = np.clip((spectrogram_db(waveform)[::-1] - floor_db) / -floor_db, 0, 1)
    return (matplotlib.colormaps["magma"](level)[..., :3] * 255).astype(np.uint8)


def contact_sheet(sounds: Mapping[str, Tensor], sample_rate: int, path: str | Path, columns: int = 8) -> None:
    """Draw sounds, [T] each, as waveforms over spectrograms in rows of pictures, into a PNG.

    Time is in seconds, one scale for all; frequency is logarithmic, in hertz; the scale of levels is on the right.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, len(sounds))
    rows = -(-len(sounds) // columns)
    figure = Figure(figsize=(1.9 * columns + 1.4, 2.3 * rows + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1, 2] * rows)
    longest, used = max(len(sound) for sound in sounds.values()) / sample_rate, set()
    for i, (name, sound) in enumerate(sounds.items()):
        above, below = axes[2 * (i // columns)][i % columns], axes[2 * (i // columns) + 1][i % columns]
        used |= {above, below}
        above.plot(np.arange(len(sound)) / sample_rate, sound.numpy(), linewidth=0.4)
        above.set(ylim=(-1, 1), xlim=(0, longest))
        above.set_title(name, fontsize=8)
        mesh = _log_frequency(below, sound, sample_rate)
        below.set(xlim=(0, longest))
        for axis in (above, below):
            axis.tick_params(labelsize=6, labelleft=i % columns == 0, labelbottom=axis is below)
        if i % columns == 0:
            above.set_ylabel("amplitude", fontsize=7)
            below.set_ylabel("Hz", fontsize=7)
        if i >= len(sounds) - columns:
            below.set_xlabel("s", fontsize=7)
    for axis in axes.flat:
        if axis not in used:
            axis.set_axis_off()
    bar = figure.colorbar(mesh, ax=axes[:, -1], pad=0.02)
    bar.set_label("dB", fontsize=7)
    bar.ax.tick_params(labelsize=6)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=100)


def _log_frequency(axis: Any, sound: Tensor, sample_rate: int, lowest: float = 40.0) -> Any:
    """Draw a spectrogram over a logarithmic frequency axis from `lowest` Hz up; its levels are those of others."""
    levels = spectrogram_db(sound)
    frequencies = np.arange(len(levels)) * sample_rate / (2 * (len(levels) - 1))
    seconds = np.arange(levels.shape[1]) * 256 / sample_rate
    limits = {name: SPECTROGRAM[name] for name in ("cmap", "vmin", "vmax")}
    mesh = axis.pcolormesh(seconds, frequencies[1:], levels[1:], shading="nearest", rasterized=True, **limits)
    axis.set(yscale="log", ylim=(lowest, sample_rate / 2))
    return mesh


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.5 + 4.5 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
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
