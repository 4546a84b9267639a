"""Sampling settings."""

import dataclasses

from torch import Tensor

from audiodiff.diffusion.noise import NoiseField
from audiodiff.diffusion.solvers import Solver
from audiodiff.diffusion.solvers.base import Callback
from audiodiff.models.starts import Start

__all__ = ["SamplingConfig"]


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """Sampling settings.

    Args:
        start: Gives the state at the first time.
        solver: Takes the steps.
        times: Timesteps from the start's time to 0, [steps + 1], float64 on the CPU.
        seed: Of the noise; clip i of a batch has seed + i.
        callback: Called after each step with its index and the diffused signal.
    """

    start: Start
    solver: Solver
    times: Tensor
    seed: int = 0
    callback: Callback | None = None

    def noise(self, batch: int, begin: int = 0) -> NoiseField:
        """Return the noise of a batch from a sample on."""
        return NoiseField(range(self.seed, self.seed + batch), begin)
