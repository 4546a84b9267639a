"""Estimate a waveform from a mel alone: fitted magnitudes, random phases, Griffin-Lim from coarse to fine."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from audiodiff.griffin_lim.projection import MelProjection, fit_magnitudes, with_phase
from audiodiff.griffin_lim.subband import SubbandSTFT, lowest_octave
from audiodiff.mel import MelSpec
from audiodiff.mel.filterbank import band_weights
from audiodiff.mel.magnitudes import mean_magnitudes


def random_phase_spectrum(spec: MelSpec, mel: Tensor, noise: Tensor, n_iter: int = 10) -> Tensor:
    """Combine the magnitudes of a mel with the phases of noise.

    Griffin-Lim iterations that follow fit magnitudes themselves, so `n_iter` may be 0 before them.

    Args:
        spec: Mel parameters.
        mel: Log-mel spectrogram, [B, M, F].
        noise: White noise, [B, 1, F hop].
        n_iter: Iterations of the magnitude fit.

    Returns:
        Complex spectrum, [B, F, n_fft // 2 + 1].
    """
    return with_phase(band_magnitudes(spec, mel, n_iter), spec.stft(noise[:, 0])[:, : mel.shape[-1]])


def band_magnitudes(spec: MelSpec, mel: Tensor, n_iter: int = 10) -> Tensor:
    """Fit STFT magnitudes, [B, F, n_fft // 2 + 1], to a mel, beginning with its bands spread over the bins."""
    spread = band_weights(spec, spec.n_fft // 2 + 1, spec.sample_rate / spec.n_fft, 0.0, mel)
    return fit_magnitudes(spec, mean_magnitudes(spec, mel) @ spread, mel, n_iter)


class Octave(NamedTuple):
    """Hold the transforms and the projection of the lowest bins, for `climb`.

    Spectra have their bins last; what lies before (complex numbers, or pairs of real ones) is the transforms' affair.
    """

    rate: int
    n_bins: int
    analyse: Callable[[Tensor], Tensor]
    synthesise: Callable[[Tensor], Tensor]
    project: Callable[[Tensor], Tensor]


def coarse_to_fine(spec: MelSpec, mel: Tensor, spectrum: Tensor, n_iter: Sequence[int], momentum: float) -> Tensor:
    """Find a waveform, [B, 1, F hop], that has a mel, beginning with the lowest octave of a first spectrum.

    Harmonics and most of the energy of speech lie in the lowest bins, where an iteration costs a fraction; the result
    of an octave is the first estimate of the next one.

    Args:
        spec: Mel parameters.
        mel: Log-mel spectrogram, [B, M, F].
        spectrum: First estimate, complex, [B, F, n_fft // 2 + 1].
        n_iter: Iterations on all bins, on the lower half, on the lowest quarter, and so on.
        momentum: As for `MelProjection`.
    """

    def octave_of(octave: int, n_iter: int) -> Octave:
        project = MelProjection(spec, mel, n_iter, momentum, octave)
        part = project.octave
        return Octave(part.rate, part.n_bins, part.stft, part.istft, lambda signal: project(signal[:, None])[:, 0])

    octaves = (octave_of(*counts) for counts in iterations_by_octave(spec, n_iter))
    return climb(octaves, spectrum, SubbandSTFT(spec, mel).istft)[:, None]


def iterations_by_octave(spec: MelSpec, n_iter: Sequence[int]) -> list[tuple[int, int]]:
    """Return (octave, iterations), lowest octave first; where frames do not divide, the octave above does the work."""
    lowest = lowest_octave(spec)
    counts = [*n_iter[:lowest], sum(n_iter[lowest:])]
    return [(octave, count) for octave, count in reversed(list(enumerate(counts))) if count]


def climb(octaves: Iterable[Octave], spectrum: Tensor, synthesise: Callable[[Tensor], Tensor]) -> Tensor:
    """Project octave by octave, in whatever numbers the transforms compute.

    Args:
        octaves: Lowest first.
        spectrum: First estimate of all bins.
        synthesise: Maps a spectrum of all bins to a signal.
    """
    for octave in octaves:
        first = spectrum[..., : octave.n_bins]
        signal = octave.project(octave.synthesise(first if octave.rate == 1 else first / octave.rate))
        if octave.rate == 1:
            return signal
        kept = octave.n_bins - 1  # the last bin of an octave holds what is aliased: it stays as it was
        spectrum = torch.cat([octave.rate * octave.analyse(signal)[..., :kept], spectrum[..., kept:]], dim=-1)
    return synthesise(spectrum)
