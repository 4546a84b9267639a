"""Baselines of mel inversion: without learning (floor), and with the true phase (ceiling).

floor      magnitudes by non-negative least squares, phases by librosa's fast Griffin-Lim
ceiling    magnitudes by the pseudo-inverse of the mel filters, phases of the recording itself
"""

import numpy as np
import torch
from torch import Tensor

from audiodiff.griffin_lim.projection import with_phase
from audiodiff.mel import MelSpec
from audiodiff.mel.filterbank import mel_filters
from audiodiff.utils.numba_cache import librosa


def griffin_lim_nnls(spec: MelSpec, mel: Tensor, n_iter: int = 32, momentum: float = 0.99) -> Tensor:
    """Invert a log-mel, [1, M, F], to [1, 1, F hop] by non-negative least squares and Griffin-Lim.

    The least squares are solved by 60 multiplicative updates, S ← S (Wᵀ m) / (Wᵀ W S), from the bands spread out; they
    keep spectra smooth, where librosa's solver leaves single bins.
    References: Lee & Seung, 2001; Griffin & Lim, 1984; Perraudin et al., 2013 (momentum). librosa's
    frames are centred, so the waveform is shifted to this mel's framing and padded with silence.
    """
    filters = mel_filters(spec, torch.empty(0, dtype=torch.float64)).numpy()
    bands = spec.expand(mel[0].T.double().cpu()).T.numpy() ** spec.power
    values = filters @ bands + 1e-12
    for _ in range(60):
        values *= filters @ bands / (filters @ (filters.T @ values) + 1e-12)
    magnitudes = values ** (1 / spec.power)
    waveform = librosa().griffinlim(
        magnitudes,
        n_iter=n_iter,
        hop_length=spec.hop_length,
        win_length=spec.win_length,
        n_fft=spec.n_fft,
        momentum=momentum,
        random_state=0,
    )
    delay = spec.n_fft // 2 - spec.padding[0]  # of a frame's centre behind librosa's, in samples
    length = mel.shape[-1] * spec.hop_length
    shifted = np.pad(waveform, (delay, length))[:length]
    return torch.from_numpy(shifted).to(mel)[None, None]


def pseudo_inverse_true_phase(spec: MelSpec, mel: Tensor, waveform: Tensor) -> Tensor:
    """Give the magnitudes of a log-mel, [1, M, F], the phases of the recording, [1, 1, F hop]: [1, 1, F hop]."""
    filters = mel_filters(spec, mel)
    bands = spec.expand(mel.transpose(1, 2)) ** spec.power
    magnitudes = (bands @ torch.linalg.pinv(filters)).clamp(min=0) ** (1 / spec.power)
    spectrum = spec.stft(waveform[:, 0].to(mel))[:, : mel.shape[-1]]
    return spec.istft(with_phase(magnitudes, spectrum))[:, None]
