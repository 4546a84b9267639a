"""Mel projection: move a waveform towards the signals whose mel spectrogram equals a given one.

One multiplicative step moves magnitudes towards a mel, by the ratio of the wanted band values to those that they have:

    S[f] ← S[f] exp(relaxation sum_m w[m, f] clamp(log(wanted[m] / has[m]), -limit, limit)),     sum_m w[m, f] = 1

It keeps magnitudes positive and the fine structure within a band, and needs far fewer iterations than the
multiplicative updates of non-negative matrix factorisation. Applied to an estimate of the waveform it restores the
energy that few-step estimates lose, without training.
Reference: SMART (Byrne, 1993, IEEE Trans. Image Processing 2), relaxed.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from audiodiff.audio.chunks import Context
from audiodiff.griffin_lim.kernels import dispatch
from audiodiff.griffin_lim.subband import SubbandSTFT
from audiodiff.mel import MelSpec

MOMENTUM = 0.99

Pair = tuple[Tensor, Tensor]


class MelProjection:
    """Move a waveform towards those that have a given mel, by accelerated alternating projections.

        C ← STFT(iSTFT(fit(|C|) phase(u_n - momentum / (1 + momentum) u_{n-1}))),    u_n = C / |C| in iteration n

    Fast Griffin-Lim, but with magnitudes that are refitted to the mel in each iteration, since the mel fixes bands and
    not bins; and with extrapolation of phases alone. A few iterations on a denoiser's estimate keep its phases and
    correct its levels.
    References: Perraudin et al., 2013 (the acceleration); Masuyama et al., 2023, arXiv:2307.12232 (magnitudes as
    unknowns). On a CPU, without gradients, `kernels` does the same, compiled.

    Args:
        spec: Mel parameters.
        mel: The given log-mel, [B, M, F].
        n_iter: Iterations of two short-time Fourier transforms each.
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
    analyse: Callable[[Tensor], Pair],
    gains: Callable[[Tensor], Tensor],
    synthesise: Callable[[Pair], Tensor],
    signal: Tensor,
    previous: Pair | None,
    extrapolation: float,
) -> tuple[Tensor, Pair | None]:
    """Do one iteration of `MelProjection` in real numbers, which serve gradients, any device and exported graphs.

    Pairs stay apart, since runtimes of exported graphs would copy what is stacked and split.

    Args:
        analyse: Map a signal to frames, [B, F, K], as a pair: real and imaginary parts.
        gains: Map magnitudes, [B, F, K], to factors that move them towards the mel.
        synthesise: Invert `analyse`.
        signal: Initial signal.
        previous: Phases of the iteration before, as frames; zeros or None in the first.
        extrapolation: Weight of these phases; with 0 no phase is computed.

    Returns:
        The signal and the phases of its frames.
    """
    real, imaginary = analyse(signal)
    power = pair_power(real, imaginary)
    magnitudes = power.sqrt()
    factor = gains(magnitudes)
    if extrapolation:
        phase = real / magnitudes, imaginary / magnitudes
        real, imaginary = phase
        if previous is not None:
            real, imaginary = (
                torch.sub(new, old, alpha=extrapolation) for new, old in zip(phase, previous, strict=True)
            )
            magnitudes = magnitudes / pair_power(real, imaginary).sqrt()
        factor, previous = factor * magnitudes, phase
    return synthesise((real * factor, imaginary * factor)), previous


def pair_power(real: Tensor, imaginary: Tensor) -> Tensor:
    """Return the squared magnitudes of frames, at least 1e-24."""
    return (real * real + imaginary * imaginary).clamp(min=1e-24)


def projection_context(spec: MelSpec, n_iter: int) -> Context:
    """Return the context of `n_iter` iterations: the windows over a sample reach one window to each side."""
    return Context(n_iter * spec.win_length, n_iter * spec.win_length)


def fit_magnitudes(spec: MelSpec, magnitudes: Tensor, mel: Tensor, n_iter: int) -> Tensor:
    """Move STFT magnitudes, [B, F, n_fft // 2 + 1], towards those whose mel is the given one, [B, M, F]."""
    whole = SubbandSTFT(spec, mel)
    for _ in range(n_iter):
        magnitudes = magnitudes * whole.gains(magnitudes)
    return magnitudes


def with_phase(magnitudes: Tensor, spectrum: Tensor) -> Tensor:
    """Give magnitudes the phases of a spectrum."""
    return spectrum * (magnitudes / magnitudes_of(spectrum))


def magnitudes_of(spectrum: Tensor) -> Tensor:
    """Return |spectrum|, at least 1e-12."""
    return power_of(spectrum).sqrt()


def power_of(spectrum: Tensor) -> Tensor:
    """Return |spectrum|², at least 1e-24; several times as fast as the absolute value of complex numbers."""
    squares = torch.view_as_real(spectrum).square()
    return (squares[..., 0] + squares[..., 1]).clamp(min=1e-24)
