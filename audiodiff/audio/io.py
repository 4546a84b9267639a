"""Read, resample and write audio files; one place decides what a float becomes as PCM."""

from __future__ import annotations

import io
import logging
import math
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiodiff.audio.decoding import HIGHEST_RATE, opened
from audiodiff.utils.arrays import check_floats, check_recording, check_tensor
from audiodiff.utils.files import atomic_file
from audiodiff.utils.lazy import lazy_module

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np = lazy_module("numpy")
    torch = lazy_module("torch")

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf"})
WRITTEN = {".wav": "PCM_16", ".flac": "PCM_16", ".mp3": "MPEG_LAYER_III"}  # and how
MOST_CHANNELS = 1024  # of a WAV file, as libsndfile writes it
CANCELLED = 0.01  # share of the channels' energy below which their mean has lost the sound
FULL = 0.99  # of full scale, to which louder peaks are lowered
log = logging.getLogger(__name__)


def read(
    path: str | Path, sample_rate: int | None = None, *, start: int = 0, frames: int = -1, seconds: float | None = None
) -> tuple[Tensor, int]:
    """Read an audio file.

    Args:
        path: Any file that libsndfile reads (WAV, FLAC, Ogg, Opus, MP3, AIFF, …).
        sample_rate: Rate to resample to, in Hz; None keeps the file's own.
        start: First sample to read, at the file's own rate.
        frames: Samples to read, at the file's own rate; -1 reads to the end.
        seconds: Length to read, in place of `frames`.

    Returns:
        Waveform, [C, T], float32, full scale = 1, and its sample rate in Hz.

    Raises:
        ValueError: The file is missing, empty, not audio, or holds values that are not finite; or what is asked for
            lies outside of any file.
    """
    if seconds is not None and not (isinstance(seconds, Real) and 0 < seconds < math.inf):
        raise ValueError(f"seconds={seconds!r}: a number above 0 is wanted")
    if not (isinstance(start, Integral) and isinstance(frames, Integral) and start >= 0 and frames >= -1):
        raise ValueError(
            f"start={start!r}, frames={frames!r}: whole numbers from 0 on are wanted, or frames=-1 for all"
        )
    if sample_rate is not None and not _is_rate(sample_rate):
        raise ValueError(f"sample_rate={sample_rate!r}: a number of Hz from 1 to {HIGHEST_RATE} is wanted")
    with opened(path) as file:
        if seconds is not None:
            frames = int(seconds * file.sample_rate)
        waveform, rate = file.read(start, frames), file.sample_rate
        if frames < 0 and file.cut_short:
            raise ValueError(f"{path}: the file ends before the audio that its header announces; copy it again")
    return (waveform, rate) if sample_rate is None else (resample(waveform, rate, sample_rate), sample_rate)


def resample(waveform: Tensor, rate: float, new_rate: float) -> Tensor:
    """Resample by soxr's very high quality filter.

    Args:
        waveform: [C, T], any floating dtype and device; no gradient passes.

    Returns:
        [C, round(T new_rate / rate)], of the dtype and on the device of the input.

    Raises:
        ValueError: It has another shape or holds no floats, or a rate is not positive.
    """
    check_tensor(waveform, "the waveform")
    if waveform.ndim != 2 or not len(waveform) or not waveform.is_floating_point():
        kind = str(waveform.dtype).removeprefix("torch.")
        raise ValueError(f"the waveform is {list(waveform.shape)} of {kind}; [channels, samples] of floats is wanted")
    if not (_is_rate(rate) and _is_rate(new_rate)):
        raise ValueError(f"resampling from {rate!r} to {new_rate!r} Hz: numbers from 1 to {HIGHEST_RATE} are wanted")
    if rate == new_rate or not waveform.shape[1]:
        return waveform
    import soxr

    samples = waveform.detach().cpu()
    samples = samples if samples.dtype in (torch.float32, torch.float64) else samples.float()
    resampled = soxr.resample(samples.numpy().T, rate, new_rate, quality="VHQ").T.copy()
    return torch.from_numpy(resampled).to(waveform)


def _is_rate(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 1 <= value <= HIGHEST_RATE


def mono(waveform: Tensor, name: str | Path = "the recording") -> Tensor:
    """Mix channels, [C, T], down to their mean, [1, T].

    Raises:
        TypeError: It is no tensor.
        ValueError: The channels cancel each other, as where one is upside down, or they are not [C, T] of floats.

    >>> mono(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist()
    [[0.5, 0.5]]
    """
    check_recording(waveform, str(name))
    if cancels(waveform):
        raise ValueError(f"{name}: its channels cancel each other; give one of them, or turn one upside down")
    return waveform.mean(0, keepdim=True)


def cancels(waveform: Tensor) -> bool:
    """Whether the mean of channels, [C, T], has less than a hundredth of their mean energy.

    >>> cancels(torch.tensor([[1.0, -0.5], [-1.0, 0.5]])), cancels(torch.zeros(2, 4))
    (True, False)
    """
    if len(waveform) < 2:
        return False
    exact = waveform.detach().double()
    return float(exact.mean(0).square().mean()) < CANCELLED * float(exact.square().mean())


def to_pcm(waveform: Tensor) -> tuple[np.ndarray, int]:
    """Turn floats into 16-bit samples: clamps to [-1, 1] and multiplies by 32767; never normalise.

    Args:
        waveform: [C, T], full scale = 1.

    Returns:
        int16 array, [T, C], and the number of samples that had to be clamped.

    Raises:
        TypeError: It is no tensor.
        ValueError: A value is not finite, or they are no floats: 16-bit samples would be clamped to full scale.

    >>> to_pcm(torch.tensor([[1.0, -1.0, 0.0, 1.5]]))[0].T.tolist(), to_pcm(torch.tensor([[1.5]]))[1]
    ([[32767, -32767, 0, 32767]], 1)
    """
    check_floats(waveform, "the waveform")
    samples = waveform.detach().cpu().float().numpy().T
    if not np.isfinite(samples).all():
        raise ValueError("the waveform holds values that are NaN or infinite; the model or its input is broken")
    clipped = int((samples > 1).sum() + (samples < -1).sum())
    scaled = np.clip(samples, -1, 1)  # one copy, and no further ones: a sound may last an hour
    scaled *= 32767
    return np.rint(scaled, out=scaled).astype(np.int16), clipped


def lowered(waveform: Tensor) -> tuple[Tensor, float]:
    """Lower a sound whose peaks lie above full scale, so that nothing is clipped, and say by how many dB.

    >>> lowered(torch.tensor([[0.5]]))[1], round(lowered(torch.tensor([[2.0]]))[1], 2)
    (0.0, 6.11)
    """
    check_floats(waveform, "the waveform")
    peak = float(waveform.detach().abs().max())
    if not FULL < peak < math.inf:
        return waveform, 0.0
    return waveform * (FULL / peak), 20 * math.log10(peak / FULL)


def write(path: str | Path, waveform: Tensor, sample_rate: int) -> int:
    """Write 16-bit samples as WAV or FLAC, or an MP3 file, as the name's suffix says; complete or not at all.

    Args:
        waveform: [C, T], full scale = 1.

    Returns:
        The number of samples that were clamped.

    Raises:
        TypeError: The waveform is no tensor.
        ValueError: A value is not finite or no float, the waveform is not [C, T], the sample rate is no whole number
            or not one of the format, the name ends otherwise, or the file cannot be written.
    """
    import soundfile

    suffix = Path(path).suffix.lower()
    if suffix not in WRITTEN:
        raise ValueError(f"{path}: give a name that ends in {' or '.join(WRITTEN)}")
    check_tensor(waveform, "the waveform")
    if waveform.ndim != 2 or not 1 <= len(waveform) <= MOST_CHANNELS:
        raise ValueError(f"the waveform is {list(waveform.shape)}: give [channels, samples], of 1 to {MOST_CHANNELS}")
    if not isinstance(sample_rate, Integral) or not 1 <= sample_rate < 2**31:
        raise ValueError(f"sample_rate={sample_rate}: a whole number of Hz is wanted")
    samples, clipped = to_pcm(waveform)
    encoded = io.BytesIO()  # libsndfile hides the cause when a disk is full; Python's own write tells it
    kind = {"format": suffix[1:].upper(), "subtype": WRITTEN[suffix]}
    try:
        soundfile.write(encoded, samples, int(sample_rate), **kind)
    except soundfile.SoundFileError:
        raise ValueError(
            f"{path}: {kind['format']} does not take {len(waveform)} channels at {sample_rate} Hz; write .wav"
        ) from None
    with atomic_file(path) as file:
        file.write(encoded.getbuffer())
    if clipped:
        log.warning("%s: %d samples were above full scale and were clamped; lower the input's level", path, clipped)
    return clipped
