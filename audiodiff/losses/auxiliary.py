"""Auxiliary losses: distances of decoded waveforms, per clip, beside the squared error in the diffused space."""

import abc
from collections.abc import Sequence

import torch
from torch import Tensor

from audiodiff.audio.stft import hann, stft
from audiodiff.mel import LogMel, MelSpec


class AuxiliaryLoss(abc.ABC):
    """Compare waveforms.

    Args:
        weight: Factor of this loss in the total.
    """

    def __init__(self, weight: float) -> None:
        if not weight > 0:
            raise ValueError(f"weight={weight} must be positive: leave a loss out of the config to switch it off")
        self.weight = weight

    @abc.abstractmethod
    def __call__(self, test: Tensor, reference: Tensor) -> Tensor:
        """Return a distance per clip, [B], of waveforms [B, 1, T]."""


class LogSpectral(AuxiliaryLoss):
    """Measure the mean absolute difference of log STFT magnitudes in nepers; the hop is a quarter of a frame.

    Args:
        weight: Factor of this loss in the total.
        n_fft: Samples per frame.
        floor: Magnitudes are compared as sqrt(|X|² + floor²), full scale = 1.
    """

    def __init__(self, weight: float = 0.05, n_fft: int = 512, floor: float = 1e-3) -> None:
        super().__init__(weight)
        self.n_fft = n_fft
        self.floor = _positive(floor)

    def __call__(self, test: Tensor, reference: Tensor) -> Tensor:
        """Return the mean of |log|X̂| - log|X||."""
        # |X|² + floor² under the root keeps the gradient of the magnitude finite at 0.
        test, reference = (
            ((s.real**2 + s.imag**2) + self.floor**2).log() / 2 for s in _spectra(self.n_fft, test, reference)
        )
        return (test - reference).abs().mean((1, 2))


class MultiResolutionSTFT(AuxiliaryLoss):
    """Measure auraloss' multi-resolution STFT distance: spectral convergence plus log-magnitude L1, mean of three.

    Reference: Yamamoto et al., 2020, arXiv:1910.11480; Steinmetz & Reiss, 2020 (auraloss).
    """

    def __init__(self, weight: float = 0.02) -> None:
        import auraloss

        super().__init__(weight)
        self._distance = auraloss.freq.MultiResolutionSTFTLoss()

    def __call__(self, test: Tensor, reference: Tensor) -> Tensor:
        """Return the distance of each clip; auraloss averages over a batch, so it gets one clip at a time."""
        return torch.stack([self._distance(t[None], r[None]) for t, r in zip(test, reference, strict=True)])


class MelL1(AuxiliaryLoss):
    """Measure the mean absolute difference of log-mel spectrograms in nepers of magnitude, in any mel's unit.

    Args:
        weight: Factor of this loss in the total.
        mel: Mel parameters.
    """

    def __init__(self, mel: MelSpec, weight: float = 0.05) -> None:
        super().__init__(weight)
        self._log_mel = LogMel(mel)

    def __call__(self, test: Tensor, reference: Tensor) -> Tensor:
        """Return the mean of |mel(ŷ) - mel(y)|."""
        test, reference = self._log_mel(test), self._log_mel(reference)
        return self._log_mel.spec.log_ratio(test, reference).abs().mean((1, 2))


class MultiScaleMel(AuxiliaryLoss):
    """Measure the mean of log-mel distances at several frame lengths, each with a hop of a quarter of a frame.

    Reference: Kumar et al., 2023, arXiv:2306.06546.

    Args:
        sample_rate: Hz.
        weight: Factor of this loss in the total.
        scales: Samples per frame and bands, of each.
        floor: Smallest band value before the logarithm, full scale = 1.
    """

    def __init__(
        self,
        sample_rate: int,
        weight: float = 1.0,
        scales: Sequence[tuple[int, int]] = ((256, 20), (512, 40), (1024, 80), (2048, 120)),
        floor: float = 1e-4,
    ) -> None:
        super().__init__(weight)
        shared = {"sample_rate": sample_rate, "f_max": sample_rate / 2, "floor": _positive(floor)}
        specs = [MelSpec(n_fft=n, win_length=n, hop_length=n // 4, n_mels=m, **shared) for n, m in scales]
        self._distances = [MelL1(spec) for spec in specs]

    def __call__(self, test: Tensor, reference: Tensor) -> Tensor:
        """Return the mean of the scales' distances, in nepers."""
        return sum(distance(test, reference) for distance in self._distances) / len(self._distances)


class Phase(AuxiliaryLoss):
    """Compare phases, and their steps along frequency and time, where the reference has energy.

        mean over three of  sum w (1 - cos(d)) / sum w,     d = difference of phase, group delay, phase advance

    w is |X| for the phase, and the product of both bins' |X| for a step. 1 - cos is smooth where an angle wraps; below
    the floor it counts as 1, as of unrelated phases. Reference for the three: Ai & Ling, 2023, arXiv:2211.15974.

    Args:
        weight: Factor of this loss in the total.
        n_fft: Samples per frame; the hop is a quarter of it.
        floor: Added under the root of magnitudes, full scale = 1.
    """

    def __init__(self, weight: float = 0.05, n_fft: int = 512, floor: float = 1e-3) -> None:
        super().__init__(weight)
        self.n_fft = n_fft
        self.floor = _positive(floor)

    def __call__(self, test: Tensor, reference: Tensor) -> Tensor:
        """Return the energy-weighted mean of 1 - cos, in [0, 2]."""
        test, reference = _spectra(self.n_fft, test, reference)
        weight = (reference.real**2 + reference.imag**2 + self.floor**2).sqrt()
        turn = _unit(test, self.floor) * _unit(reference, self.floor).conj()  # e^(i (phî - phi))
        steps = (
            (turn, weight),
            (turn[:, 1:] * turn[:, :-1].conj(), weight[:, 1:] * weight[:, :-1]),
            (turn[:, :, 1:] * turn[:, :, :-1].conj(), weight[:, :, 1:] * weight[:, :, :-1]),
        )
        return sum(((1 - d.real) * w).sum((1, 2)) / w.sum((1, 2)) for d, w in steps) / 3


def _positive(floor: float) -> float:
    if not floor > 0:
        raise ValueError(f"floor={floor} must be positive: silence would have no gradient")
    return floor


def _unit(spectrum: Tensor, floor: float) -> Tensor:
    return spectrum / (spectrum.real**2 + spectrum.imag**2 + floor**2).sqrt()


def _spectra(n_fft: int, *waveforms: Tensor) -> list[Tensor]:
    window = hann(n_fft, n_fft, 1.0, waveforms[0].dtype, waveforms[0].device)
    half = n_fft // 2
    return [stft(w[:, 0], window, n_fft // 4, (half, half), "constant") for w in waveforms]
