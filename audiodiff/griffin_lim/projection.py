"""The mel is known, so whatever sounds must have it: magnitudes with a given mel, and the projection onto them.

One multiplicative step moves magnitudes towards a mel, by the ratio of the wanted band values to those that they have:

    S[f] ← S[f] exp(relaxation sum_m w[m, f] clamp(log(wanted[m] / has[m]), -limit, limit)),     sum_m w[m, f] = 1

It keeps magnitudes positive and the fine structure within a band, and needs a handful of iterations where the
multiplicative updates of non-negative matrix factorisation need a hundred. Applied to an estimate of the waveform it
gives back the energy that few-step estimates lose where they are unsure; that needs no training.
Reference: SMART (Byrne, 1993, IEEE Trans. Image Processing 2), relaxed.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from audiodiff.audio.chunks import Context
from audiodiff.griffin_lim.kernels import dispatch
from audiodiff.griffin_lim.subband import LIMIT, RELAXATION, SubbandSTFT
from audiodiff.mel import MelSpec

__all__ = [
    "LIMIT",
    "MOMENTUM",
    "RELAXATION",
    "MelProjection",
    "fit_magnitudes",
    "iterate",
    "magnitudes_of",
    "pair_power",
    "projection_context",
    "with_phase",
]

MOMENTUM = 0.99


def fit_magnitudes(spec: MelSpec, magnitudes: Tensor, mel: Tensor, n_iter: int) -> Tensor:
    """Move STFT magnitudes, [B, F, n_fft // 2 + 1], towards those whose mel is the given one, [B, M, F]."""
    whole = SubbandSTFT(spec, mel)
    for _ in range(n_iter):
        magnitudes = magnitudes * whole.gains(magnitudes)
    return magnitudes


class MelProjection:
    """Move a waveform towards those that have a given mel, by accelerated alternating projections.

        C ← STFT(iSTFT(fit(|C|) phase(u_n - momentum / (1 + momentum) u_{n-1}))),    u_n = C / |C| in round n

    Fast Griffin-Lim, but with magnitudes that are fitted anew in each round to what the overlap-add left of them, since
    the mel fixes bands, not bins; and extrapolated in phase alone, so that a wrong level cannot turn a phase round.
    On 16 clips of an unseen speaker PESQ from random phases was 2.5 / 2.8 / 3.0 after 8 / 16 / 32 rounds, and 2.2 /
    2.3 / 2.5 with fixed magnitudes (measured once, when this was written). A few rounds applied to a denoiser's
    estimate keep its phases and mend its levels.
    References: Perraudin et al., 2013 (the acceleration); Masuyama et al., 2023, arXiv:2307.12232 (magnitudes as
    unknowns). On a CPU, without gradients, `kernels` does the same, compiled.

    Args:
        spec: The mel's contract.
        mel: What the waveform must have, [B, M, F].
        n_iter: Rounds; each costs two short-time Fourier transforms.
        momentum: Weight of the extrapolation, in [0, 1).
        octave: n projects the lowest 1 / 2^n of the bins alone, of a signal at as much lower a rate.

    Raises:
        ValueError: n_iter is negative or momentum not in [0, 1).
    """

    def __init__(
        self, spec: MelSpec, mel: Tensor, n_iter: int = 8, momentum: float = MOMENTUM, octave: int = 0
    ) -> None:
        if n_iter < 0 or not 0 <= momentum < 1:
            raise ValueError(f"n_iter={n_iter}, momentum={momentum}: need n_iter >= 0 and momentum in [0, 1)")
        self.octave = SubbandSTFT(spec, mel, octave)
        self.n_iter = n_iter
        self.extrapolation = momentum / (1 + momentum)

    def __call__(self, waveform: Tensor) -> Tensor:
        """Map [B, 1, T] to [B, 1, T]; without momentum no phase is divided by, and gradients stay bounded."""
        octave, signal, previous = self.octave, waveform[:, 0], None
        if self.n_iter and dispatch.can_project(octave, signal):
            return dispatch.project(octave, signal, self.n_iter, self.extrapolation)[:, None]
        extrapolation = self.extrapolation if self.n_iter > 1 else 0.0
        for _ in range(self.n_iter):
            signal, previous = iterate(octave.analyse, octave.gains, octave.synthesise, signal, previous, extrapolation)
        return signal[:, None]


def iterate(
    analyse: Callable[[Tensor], Tensor],
    gains: Callable[[Tensor], Tensor],
    synthesise: Callable[[Tensor], Tensor],
    signal: Tensor,
    previous: Tensor | None,
    extrapolation: float,
) -> tuple[Tensor, Tensor | None]:
    """Do one iteration of `MelProjection` in real numbers, which serve gradients, any device and exported graphs.

    Args:
        analyse: Map a signal to frames, [B, F, 2, K]: real parts, then imaginary ones.
        gains: Map magnitudes, [B, F, K], to factors that move them towards the mel.
        synthesise: Invert `analyse`.
        signal: Where the iteration begins.
        previous: Phases of the iteration before, as frames; zeros or None in the first.
        extrapolation: Weight of these phases; with 0 no phase is computed.

    Returns:
        The signal and the phases of its frames.
    """
    frames = analyse(signal)
    power = pair_power(frames)
    magnitudes = power.sqrt()
    factor = gains(magnitudes)
    if extrapolation:
        phase = frames * power.rsqrt().unsqueeze(-2)
        if previous is not None:
            frames = torch.sub(phase, previous, alpha=extrapolation)
            factor = factor * magnitudes * pair_power(frames).rsqrt()
        previous = phase
    return synthesise(frames * factor.unsqueeze(-2)), previous


def pair_power(frames: Tensor) -> Tensor:
    """Return the squared magnitudes, [B, F, K], of frames in real numbers, [B, F, 2, K], at least 1e-24."""
    return frames.square().sum(-2).clamp(min=1e-24)


def projection_context(spec: MelSpec, n_iter: int) -> Context:
    """Return how far so many rounds look: a sample is under frames that begin a window earlier and end one later."""
    return Context(n_iter * spec.win_length, n_iter * spec.win_length)


def magnitudes_of(spectrum: Tensor) -> Tensor:
    """Return |spectrum|, at least 1e-12."""
    return power_of(spectrum).sqrt()


def power_of(spectrum: Tensor) -> Tensor:
    """Return |spectrum|², at least 1e-24; several times as fast as the absolute value of complex numbers."""
    squares = torch.view_as_real(spectrum).square()
    return (squares[..., 0] + squares[..., 1]).clamp(min=1e-24)


def with_phase(magnitudes: Tensor, spectrum: Tensor) -> Tensor:
    """Give magnitudes the phases of a spectrum."""
    return spectrum * (magnitudes / magnitudes_of(spectrum))
