"""Errors of periodicity and voicing, by the probabilistic YIN tracker.

They show a hoarse or buzzing voice, whose magnitudes are right. References: the two
measures, Morrison et al., 2022, arXiv:2110.10139 (there with CREPE); the tracker, Mauch & Dixon, 2014, by librosa.
"""

import functools

import numpy as np
import torch
from torch import Tensor

from audiodiff.audio import resample
from audiodiff.utils.numba_cache import librosa

RATE, FRAME, HOP = 16000, 1024, 256
F_MIN, F_MAX = 60.0, 500.0  # Hz; voices


def periodicity_rmse(reference: Tensor, test: Tensor, sample_rate: int) -> float:
    """Return the root mean square difference of the probability that a frame is voiced, 0 to 1."""
    (_, a), (_, b) = _track(reference, sample_rate), _track(test, sample_rate)
    return float(np.sqrt(np.mean((a - b) ** 2)))


def voicing_f1(reference: Tensor, test: Tensor, sample_rate: int) -> float:
    """Return the F1 score of voiced frames, 0 to 1; nan where neither has any."""
    (a, _), (b, _) = _track(reference, sample_rate), _track(test, sample_rate)
    return float(2 * (a & b).sum() / (a.sum() + b.sum())) if a.any() or b.any() else float("nan")


def _track(waveform: Tensor, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    resampled = resample(waveform[None], sample_rate, RATE)[0]
    return _voiced(resampled.to(torch.float32).numpy().tobytes())


@functools.lru_cache(maxsize=8)  # two measures and every row of a table track the same recording
def _voiced(samples: bytes) -> tuple[np.ndarray, np.ndarray]:
    waveform = np.frombuffer(samples, np.float32).astype(np.float64)
    pyin = librosa().pyin
    _, voiced, probability = pyin(waveform, fmin=F_MIN, fmax=F_MAX, sr=RATE, frame_length=FRAME, hop_length=HOP)
    return voiced, probability
