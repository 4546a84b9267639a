"""Predictor–corrector: Langevin steps bring the signal to where the time says it should be, then it moves on."""

import math

from torch import Tensor

from audiodiff.diffusion.denoiser import Denoise
from audiodiff.diffusion.solvers.base import NoiseSource, Solver, SolverState, path_point, white_noise
from audiodiff.diffusion.solvers.ddim import DDIM


class PredictorCorrector(Solver):
    """First order (weakly): Langevin corrections at t, then an ancestral step to s.

    Args:
        corrections: Langevin steps before each step; each is a call.
        snr: Their size: the ratio of what the score moves to the noise that is added.

    Raises:
        ValueError: An argument is out of range.
    """

    order = 1
    stochastic = True

    def __init__(self, corrections: int = 1, snr: float = 0.1) -> None:
        if not (corrections >= 1 and 0 < snr < 0.7):
            raise ValueError(f"corrections={corrections}, snr={snr}: need corrections >= 1 and snr in (0, 0.7)")
        self.corrections = corrections
        self.snr = snr
        self.calls_per_step = 1 + corrections
        self._predictor = DDIM(eta=1.0)

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: SolverState = None,
        generator: NoiseSource = None,
    ) -> tuple[Tensor, SolverState]:
        """Correct x_t, then move it to x_s; the score is -ε̂ / sigma_t, and a = 2 snr².

            x_t ← x_t - a sigma_t ε̂ + sigma_t sqrt(2 a - a²) z

        Song's step size has ‖z‖ / ‖ε̂‖ in place of 1, which would tie clips and chunks together; and 2 a in place of
        2 a - a², which keeps the variance of pure noise only in the limit.
        Reference: Song et al., 2020, arXiv:2011.13456, algorithms 3 and 5.
        """
        size, sigma = 2 * self.snr**2, path_point(denoise.schedule, t).sigma
        for _ in range(self.corrections):
            drawn = white_noise(x_t, generator)
            x_t = x_t - size * sigma * denoise(x_t, t).eps + sigma * math.sqrt(2 * size - size**2) * drawn
        return self._predictor.step(denoise, x_t, t, s, None, generator)
