"""Pictures of sound."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiodiff.audio import atomic_file
from audiodiff.stft import hann, stft

__all__ = ["contact_sheet", "spectrogram_db", "spectrogram_image"]


def spectrogram_db(waveform: Tensor, n_fft: int = 1024, hop_length: int = 256) -> np.ndarray:
    """Returns the magnitude spectrogram of a waveform, [T], in dB relative to a full-scale sine, [bins, frames]."""
    window = hann(n_fft, n_fft, 1.0, torch.float32, torch.device("cpu"))
    spectrum = stft(waveform.detach().cpu().float()[None], window, hop_length, (n_fft // 2, n_fft // 2), "constant")[0]
    return (20 * (spectrum.abs() * (2 / float(window.sum())) + 1e-6).log10()).T.numpy()


def spectrogram_image(waveform: Tensor, sample_rate: int, floor_db: float = -100.0) -> np.ndarray:
    """Draws the spectrogram of a waveform, [T], as an RGB image, uint8, [height, width, 3], low frequencies below."""
    import matplotlib

    level = np.clip((spectrogram_db(waveform)[::-1] - floor_db) / -floor_db, 0, 1)
    return (matplotlib.colormaps["magma"](level)[..., :3] * 255).astype(np.uint8)


def contact_sheet(sounds: Mapping[str, Tensor], sample_rate: int, path: str | Path, columns: int = 8) -> None:
    """Draws sounds, [T] each, as waveforms over spectrograms in rows of pictures, into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(columns, len(sounds))
    rows = -(-len(sounds) // columns)
    figure = Figure(figsize=(1.9 * columns, 2.1 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[1, 2] * rows)
    for axis in axes.flat:
        axis.set_axis_off()
    for i, (name, sound) in enumerate(sounds.items()):
        above, below = axes[2 * (i // columns)][i % columns], axes[2 * (i // columns) + 1][i % columns]
        above.plot(sound.numpy(), linewidth=0.4)
        above.set(ylim=(-1, 1), xlim=(0, len(sound)))
        above.set_title(name, fontsize=8)
        below.imshow(spectrogram_image(sound, sample_rate), aspect="auto")
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=100)
