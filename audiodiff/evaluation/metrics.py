"""Measures of a test signal against a reference; some need the `eval` extra.

Every measure takes two waveforms of equal length, [T], float32, and the sample rate.
"""

import functools
import importlib.util
import math
import warnings
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from audiodiff.audio import resample
from audiodiff.audio.stft import hann, stft
from audiodiff.evaluation.dnsmos import predict_opinion
from audiodiff.evaluation.periodicity import periodicity_rmse, voicing_f1
from audiodiff.evaluation.word_error_rate import word_error_rate
from audiodiff.mel import LogMel, MelSpec
from audiodiff.utils import devices
from audiodiff.utils.arrays import check_floats

Measure = Callable[[Tensor, Tensor, int], float]

SILENCE_DB = -120.0


def checked(measure: Measure) -> Measure:
    """Make a measure raise ValueError unless both waveforms are [T], and work in float32 without gradients."""

    @functools.wraps(measure)
    @devices.default_dtype(torch.float32)
    def wrapped(reference: Tensor, test: Tensor, sample_rate: int, *options: int) -> float:
        _check(reference, test)
        if len(reference) != len(test):
            raise ValueError(f"{len(reference)} against {len(test)} samples: cut the longer waveform")
        return measure(reference.detach().float(), test.detach().float(), sample_rate, *options)

    return wrapped


@checked
def log_mel_l1(reference: Tensor, test: Tensor, sample_rate: int) -> float:
    """Return the mean absolute difference of log-mels in nepers: 80 bands to 8 kHz, 1024 / 256, floor 1e-5."""
    n_fft = 1024 if sample_rate <= 32000 else 2048
    spec = MelSpec(
        sample_rate, n_fft=n_fft, win_length=n_fft, hop_length=n_fft // 4, f_max=min(8000.0, sample_rate / 2)
    )
    mels = [LogMel(spec)(_at_least(w, n_fft)[None, None]) for w in (reference, test)]
    return float((mels[0] - mels[1]).abs().mean())


@checked
def log_spectral_distance_db(reference: Tensor, test: Tensor, sample_rate: int) -> float:
    """Return the log-spectral distance in dB: root mean square over bins, mean over frames; floor at -100 dBFS.

    Reference: Gray & Markel, 1976.
    """
    n_fft = 2048 if sample_rate > 32000 else 1024
    window = hann(n_fft, n_fft, 1.0, reference.dtype, reference.device)
    levels = [
        20 * (stft(w[None], window, n_fft // 4, (n_fft // 2, n_fft // 2), "constant").abs() * 4 / n_fft + 1e-5).log10()
        for w in (reference, test)
    ]
    return float((levels[0] - levels[1]).pow(2).mean(-1).sqrt().mean())


@checked
def multi_resolution_stft(reference: Tensor, test: Tensor, sample_rate: int) -> float:
    """Return auraloss' multi-resolution STFT distance: spectral convergence plus log-magnitude L1, mean of three."""
    import auraloss

    return float(auraloss.freq.MultiResolutionSTFTLoss()(test[None, None], reference[None, None]))


@checked
def mel_cepstral_distortion_db(reference: Tensor, test: Tensor, sample_rate: int) -> float:
    """Return the mel-cepstral distortion in dB: 13 coefficients without the level, frames as they stand.

        10 / ln 10 · mean over frames of sqrt(2 sum_d (c_d - c'_d)²),    c = orthonormal DCT of the log-mel, c_1 to c_13

    Implementations differ in bands and scale by factors: compare rows, not papers. Reference: Kubichek, 1993.
    """
    n = 80
    spec = MelSpec(
        sample_rate, n_fft=1024, win_length=1024, hop_length=256, n_mels=n, f_max=min(8000.0, sample_rate / 2)
    )
    bands, orders = torch.arange(n) + 0.5, torch.arange(1, 14)[:, None]
    dct = (2 / n) ** 0.5 * (torch.pi / n * orders * bands).cos()
    cepstra = [dct @ LogMel(spec)(_at_least(w, 1024)[None, None])[0] for w in (reference, test)]
    return float(10 / math.log(10) * (2 * (cepstra[0] - cepstra[1]).square().sum(0)).sqrt().mean())


@checked
def tonal_excess_db(reference: Tensor, test: Tensor, sample_rate: int, hop_length: int = 128) -> float:
    """Return the excess in dB of lines at multiples of sample_rate / hop in the test over those in the reference.

    Networks with frames of a hop tend to buzz at these frequencies. The level of a line is that of its bin over the
    median of 16 bins around it, in the mean spectrum over frames of 32 hops; levels are averaged over all lines.
    """
    n_fft = 32 * hop_length
    return _line_level(test, n_fft, 32) - _line_level(reference, n_fft, 32)


def _line_level(waveform: Tensor, n_fft: int, spacing: int) -> float:
    window = hann(n_fft, n_fft, 1.0, waveform.dtype, waveform.device)
    spectrum = stft(_at_least(waveform, n_fft)[None], window, n_fft // 4, (0, 0), "constant")[0]
    level = 10 * ((spectrum.real**2 + spectrum.imag**2).mean(0) + 1e-10).log10()
    lines = torch.arange(spacing, len(level) - spacing // 2, spacing)
    around = torch.stack([level[lines + d] for d in (*range(-10, -2), *range(3, 11))])
    return float((level[lines] - around.median(0).values).mean())


@checked
def silence_level_db(reference: Tensor, test: Tensor, sample_rate: int) -> float:
    """Return the test's level in dBFS where the reference is digital silence for 50 ms or more; nan if nowhere."""
    width = max(1, sample_rate // 20)
    quiet = torch.nn.functional.max_pool1d(reference.abs()[None, None], width, 1, 0)[0, 0] < 2**-15
    chosen = test[width // 2 :][: len(quiet)][quiet]
    return float("nan") if not len(chosen) else max(SILENCE_DB, float(20 * chosen.pow(2).mean().sqrt().log10()))


@checked
def pesq_wb(reference: Tensor, test: Tensor, sample_rate: int) -> float:
    """Return wideband PESQ (ITU-T P.862.2) at 16 kHz, 1.04 to 4.64; nan where it finds no speech."""
    import pesq

    reference, test = (resample(w[None], sample_rate, 16000)[0] for w in (reference, test))
    if not (bool(reference.any()) and bool(test.any())):  # the package divides by the level
        return math.nan
    try:
        return float(pesq.pesq(16000, reference.numpy(), test.numpy(), "wb"))
    except pesq.PesqError:
        return float("nan")


@checked
def stoi(reference: Tensor, test: Tensor, sample_rate: int) -> float:
    """Return short-time objective intelligibility (Taal et al., 2011), 0 to 1; nan where too little is no silence."""
    import pystoi

    with warnings.catch_warnings(action="error", category=RuntimeWarning):
        try:
            return float(pystoi.stoi(reference.numpy(), test.numpy(), sample_rate))
        except RuntimeWarning:  # fewer than 30 frames are left, or the level is divided by
            return math.nan


@checked
def dnsmos_p808(reference: Tensor, test: Tensor, sample_rate: int) -> float:
    """Return the opinion score that DNSMOS (Reddy et al., 2021, P.808 model) predicts for the test alone, 1 to 5."""
    return predict_opinion(test, sample_rate)


MEASURES: dict[str, tuple[Measure, str]] = {
    "log_mel_l1": (log_mel_l1, "torch"),
    "lsd_db": (log_spectral_distance_db, "torch"),
    "mr_stft": (multi_resolution_stft, "auraloss"),
    "mcd_db": (mel_cepstral_distortion_db, "torch"),
    "periodicity_rmse": (checked(periodicity_rmse), "librosa"),
    "voicing_f1": (checked(voicing_f1), "librosa"),
    "tonal_db": (tonal_excess_db, "torch"),
    "silence_dbfs": (silence_level_db, "torch"),
    "pesq_wb": (pesq_wb, "pesq"),
    "stoi": (stoi, "pystoi"),
    "dnsmos_p808": (dnsmos_p808, "speechmos"),
    "wer": (checked(word_error_rate), "pocketsphinx"),
}
"""Measures by name, with the package that each needs."""

UNITS = {
    "log_mel_l1": "nepers; equal: 0",
    "lsd_db": "dB; equal: 0",
    "mr_stft": "equal: 0",
    "mcd_db": "dB; equal: 0",
    "periodicity_rmse": "of 0 to 1; equal: 0",
    "voicing_f1": "of 0 to 1; equal: 1",
    "tonal_db": "dB of tones that were not there; equal: 0",
    "silence_dbfs": "dB of full scale, where the recording is silent",
    "pesq_wb": "of 1 to 4.64; equal: 4.64",
    "stoi": "of 0 to 1; equal: 1",
    "dnsmos_p808": "of 1 to 5, of the test alone; more is better",
    "wer": "share of words misheard; equal: 0",
}
"""Units of the measures, and their values for equal sounds."""


def score(reference: Tensor, test: Tensor, sample_rate: int, names: Collection[str] | None = None) -> dict[str, float]:
    """Apply every measure whose package is installed to two waveforms, [T], cut to the shorter length.

    Args:
        reference, test: The waveforms.
        sample_rate: Hz.
        names: Some of MEASURES; all by default.

    Raises:
        ValueError: The lengths differ by more than 50 ms or are below 50 ms, or a waveform is not [T].
    """
    _check(reference, test)
    length = min(len(reference), len(test))
    if abs(len(reference) - len(test)) > sample_rate // 20:
        raise ValueError(f"{len(reference)} against {len(test)} samples: the two must be of the same recording")
    if length < sample_rate // 20:
        raise ValueError(f"{length} samples are too short to be compared; at least {sample_rate // 20} are needed")
    reference, test = reference[:length].float(), test[:length].float()
    return {
        name: measure(reference, test, sample_rate)
        for name, (measure, package) in MEASURES.items()
        if (names is None or name in names) and importlib.util.find_spec(package)
    }


def _check(*waveforms: Tensor) -> None:
    for waveform in waveforms:
        check_floats(waveform, "a waveform")
        if waveform.ndim != 1:
            raise ValueError(f"a waveform is {list(waveform.shape)}; [samples] of one channel is wanted")


def _at_least(waveform: Tensor, n: int) -> Tensor:
    return torch.nn.functional.pad(waveform, (0, max(0, n - len(waveform))))
