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
    from matplotlib.ticker import MaxNLocator

    columns = min(columns, len(sounds))
    rows = -(-len(sounds) // columns)
    width, height = 1.8 * columns + 1.5, 2.4 * rows + 0.3
    figure = Figure(figsize=(width, height))  # a layout that is solved would draw everything twice
    FigureCanvasAgg(figure)
    sides = {"left": 0.6 / width, "right": 1 - 0.9 / width, "bottom": 0, "top": 1 - 0.3 / height}
    grid = figure.add_gridspec(3 * rows, columns, height_ratios=[1, 2, 0.6] * rows, hspace=0.1, wspace=0.08, **sides)
    longest = max(len(sound) for sound in sounds.values()) / sample_rate
    seconds = [t for t in MaxNLocator(4).tick_values(0, longest) if t < 0.9 * longest]  # the last would meet the next 0
    for i, (name, sound) in enumerate(sounds.items()):
        above, below = (figure.add_subplot(grid[3 * (i // columns) + k, i % columns]) for k in (0, 1))
        above.plot(np.arange(len(sound)) / sample_rate, sound.numpy(), linewidth=0.4)
        above.set(ylim=(-1, 1), yticks=[-1, 0, 1])
        above.set_title(name, fontsize=8, pad=3)
        image = _log_frequency(below, sound, sample_rate)
        for axis in (above, below):
            axis.set(xlim=(0, longest), xticks=seconds)
            axis.tick_params(labelsize=6, labelleft=i % columns == 0, labelbottom=axis is below)
        if i % columns == 0:
            above.set_ylabel("amplitude", fontsize=7)
            below.set_ylabel("Hz", fontsize=7)
        if i >= len(sounds) - columns:
            below.set_xlabel("s", fontsize=7)
    bar = figure.colorbar(image, cax=figure.add_axes((1 - 0.75 / width, 0.4 / height, 0.1 / width, 1 - 0.7 / height)))
    bar.set_label("dB", fontsize=7)
    bar.ax.tick_params(labelsize=6)
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=100)


def _log_frequency(axis: Any, sound: Tensor, sample_rate: int, lowest: float = 40.0, height: int = 256) -> Any:
    """Draw a spectrogram over octaves above `lowest` Hz, and write hertz beside them; return the image."""
    levels = spectrogram_db(sound, n_fft=2048)
    octaves = np.log2(sample_rate / 2 / lowest)
    hertz = lowest * 2 ** (np.arange(height) / height * octaves)
    first = np.rint(hertz / (sample_rate / 2) * (len(levels) - 1)).astype(int)
    rows = np.maximum.reduceat(levels, first)  # the loudest bin of those that share a row, or no tone above would stay
    extent = (0, len(sound) / sample_rate, 0, octaves)
    image = axis.imshow(rows, extent=extent, interpolation="nearest", **SPECTROGRAM)
    ticks = [f for decade in (10, 100, 1000, 10000) for f in (decade, 2 * decade, 5 * decade)]
    ticks = [f for f in ticks if lowest < f < sample_rate / 2]
    axis.set_yticks([np.log2(f / lowest) for f in ticks], [f"{f // 1000}k" if f >= 1000 else str(f) for f in ticks])
    return image


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
