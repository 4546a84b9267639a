"""librosa's own way back from a mel: non-negative least squares by scipy, then fast Griffin-Lim. Tested: 0.11.0."""

import numpy as np
import torch
from torch import Tensor

from audiodiff.evaluation.benchmark import System
from audiodiff.mel import MelSpec

REQUIRES, MODULES = "librosa", ("librosa",)


def systems() -> list[System]:
    """Build what is measured."""
    import librosa

    spec = MelSpec(16000, center=True, pad_mode="constant")

    def vocode(mel: Tensor) -> Tensor:
        bands = spec.expand(mel[0].T.double()).T.numpy()
        magnitudes = librosa.feature.inverse.mel_to_stft(bands, sr=16000, n_fft=1024, power=1.0, fmax=8000)
        return torch.from_numpy(librosa.griffinlim(magnitudes, hop_length=256, random_state=0).astype(np.float32))

    return [System("librosa, mel_to_stft and griffinlim", spec, vocode)]
