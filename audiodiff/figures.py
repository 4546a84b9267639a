"""Pictures of sound."""

import numpy as np
import torch
from torch import Tensor

from audiodiff.stft import hann, stft

__all__ = ["spectrogram_db", "spectrogram_image"]


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
