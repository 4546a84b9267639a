"""Estimate a waveform from a mel alone: fitted magnitudes, random phases, Griffin-Lim from coarse to fine."""

from collections.abc import Sequence

from torch import Tensor

from audiodiff.griffin_lim.projection import MelProjection, fit_magnitudes, with_phase
from audiodiff.griffin_lim.subband import SubbandSTFT, lowest_octave
from audiodiff.mel import MelSpec
from audiodiff.mel.filterbank import band_weights, mean_magnitudes

__all__ = ["band_magnitudes", "coarse_to_fine", "random_phase_spectrum"]


def band_magnitudes(spec: MelSpec, mel: Tensor, n_iter: int = 10) -> Tensor:
    """Find STFT magnitudes, [B, F, n_fft // 2 + 1], whose mel is the given one, beginning with the bands spread out."""
    spread = band_weights(spec, spec.n_fft // 2 + 1, spec.sample_rate / spec.n_fft, 0.0, mel)
    return fit_magnitudes(spec, mean_magnitudes(spec, mel) @ spread, mel, n_iter)


def random_phase_spectrum(spec: MelSpec, mel: Tensor, noise: Tensor, n_iter: int = 10) -> Tensor:
    """Give the magnitudes of a mel the phases of noise.

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


def coarse_to_fine(spec: MelSpec, mel: Tensor, spectrum: Tensor, rounds: Sequence[int], momentum: float) -> Tensor:
    """Find a waveform, [B, 1, F hop], that has a mel, beginning with the lowest octave of a first spectrum.

    Harmonics and most of the energy of speech lie in the lowest bins, where a round costs a fraction; what is found
    there is the next octave's first estimate. Where the frames do not divide, rounds are done at the octave above.

    Args:
        spectrum: First estimate, [B, F, n_fft // 2 + 1]; its lower bins are overwritten.
        rounds: Of all bins, of the lower half, of the lowest quarter, and so on.
        momentum: As for `MelProjection`.
    """
    lowest = lowest_octave(spec)
    rounds = [*rounds[:lowest], sum(rounds[lowest:])]
    for octave in reversed(range(len(rounds))):
        if not rounds[octave]:
            continue
        project = MelProjection(spec, mel, rounds[octave], momentum, octave)
        part, rate = project.octave, project.octave.rate
        first = spectrum[..., : part.n_bins]
        low = project(part.istft(first / rate if octave else first)[:, None])
        if not octave:
            return low
        # The last bin of an octave holds what is aliased: it stays as it was.
        kept = part.n_bins - 1
        spectrum[..., :kept] = part.stft(low[:, 0])[..., :kept].mul_(rate)
    return SubbandSTFT(spec, mel).istft(spectrum)[:, None]
