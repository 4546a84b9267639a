"""UniPC: a multistep predictor whose every step is corrected by the estimate that the next step makes anyway."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from audiodiff.diffusion.denoiser import Denoise
from audiodiff.diffusion.solvers.base import NoiseSource, PathPoint, Solver, SolverState, endpoints
from audiodiff.diffusion.solvers.dpm_solver import exponential_step


class Past(NamedTuple):
    """Remember the corrected signal, where it was, and the estimates from there back: (lam, x̂), newest first."""

    x: Tensor
    point: PathPoint
    estimates: tuple[tuple[float, Tensor], ...]


class UniPC(Solver):
    """Order `steps_back` + 1 from one call a step: the call that predicts the next step also corrects the last one.

    Args:
        steps_back: Estimates on which the predictor rests, 1 to 3.
        variant: 1 or 2, the paper's B(h) = h or e^h - 1.

    Raises:
        ValueError: An argument is none of these.
    """

    calls_per_step = 1
    grid = "even-log-snr"  # it extrapolates in log-SNR; the last of even times is a jump

    def __init__(self, steps_back: int = 2, variant: int = 2) -> None:
        if steps_back not in (1, 2, 3) or variant not in (1, 2):
            raise ValueError(f"steps_back={steps_back}, variant={variant}: choose 1, 2 or 3, and 1 or 2")
        self.steps_back = steps_back
        self.variant = variant
        self.order = steps_back + 1

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Tensor,
        s: Tensor,
        memory: SolverState = None,
        generator: NoiseSource = None,
    ) -> tuple[Tensor, SolverState]:
        """Correct x_t by what the denoiser says there, then predicts x_s.

        Reference: Zhao et al., 2023, arXiv:2302.04867, algorithms 5 and 6 (data prediction).
        """
        x, now, then = denoise(x_t, t).x, *endpoints(denoise.schedule, t, s)
        estimates = ((now.lam, x),)
        if memory is not None:
            x_t = self._move(memory, now, x)
            estimates += memory.estimates[: self.steps_back - 1]
        past = Past(x_t, now, estimates)
        return self._move(past, then), None if math.isinf(now.lam) else past

    def _move(self, past: Past, then: PathPoint, arrived: Tensor | None = None) -> Tensor:
        """Move from past.point to `then`; with the estimate made on arrival this is the corrector."""
        (lam, x), *older = past.estimates
        h = then.lam - lam
        nodes = [((lam_i - lam) / h, x_i) for lam_i, x_i in older] + ([(1.0, arrived)] if arrived is not None else [])
        base = exponential_step(past.x, x, past.point, then)
        if not nodes:
            return base
        scale = -h if self.variant == 1 else math.expm1(-h)
        weights = self._weights([r for r, _ in nodes], h, scale)
        return base - then.alpha * scale * sum(w * (x_i - x) / r for w, (r, x_i) in zip(weights, nodes, strict=True))

    def _weights(self, nodes: list[float], h: float, scale: float) -> list[float]:
        """Solve sum_m w_m r_m^(k-1) = k! phi_k / B for k = 1 to the number of nodes.

        phi_0 = e^{-h} - 1,   phi_k = phi_{k-1} / (-h) - 1 / k!
        """
        if len(nodes) == 1:
            return [0.5]  # exact to second order for either B
        r = torch.tensor(nodes, dtype=torch.float64)
        powers = torch.stack([r**k for k in range(len(nodes))])
        phi, right = math.expm1(-h) / -h - 1, []
        for k in range(1, len(nodes) + 1):
            right.append(phi * math.factorial(k) / scale)
            phi = phi / -h - 1 / math.factorial(k + 1)
        return torch.linalg.solve(powers, torch.tensor(right, dtype=torch.float64)).tolist()
