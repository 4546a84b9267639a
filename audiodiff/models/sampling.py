"""Sampling settings."""

import dataclasses
from numbers import Integral
from typing import TypedDict

from torch import Tensor

from audiodiff.diffusion.noise import NoiseField
from audiodiff.diffusion.solvers import Solver
from audiodiff.diffusion.solvers.base import Callback
from audiodiff.models.starts import Start


@dataclasses.dataclass(frozen=True)
class SamplingConfig:
    """Sampling settings.

    Args:
        start: Gives the state at the first time.
        solver: Takes the steps.
        times: Timesteps from the start's time to 0, [steps + 1], float64 on the CPU.
        seed: Of the noise; clip i of a batch has seed + i.
        callback: Called after each step with its index and the diffused signal.

    Raises:
        ValueError: The seed is no whole number, or out of range.
    """

    start: Start
    solver: Solver
    times: Tensor
    seed: int = 0
    callback: Callback | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.seed, Integral) or not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed!r}: a whole number from 0 to 2^63 - 1 is wanted")

    def noise(self, batch: int, begin: int = 0) -> NoiseField:
        """Return the noise of a batch from a sample on."""
        return NoiseField(range(self.seed, self.seed + batch), begin)


class SamplingOptions(TypedDict, total=False):
    """Describe the sampling options of a call; what is left out is the model's own.

    Attributes:
        steps: Solver steps.
        solver: Takes the steps.
        times: Timesteps from the start's time to 0, [steps + 1]; by default the model's grid for so many steps.
        start: Gives the state at the first time; by default the model's own for so many steps.
        seed: Seed of the noise; clip i of a batch has seed + i. 0 by default.
        callback: Called after each step with its index and the diffused signal; of a chunk, if there are chunks.
    """

    steps: int | None
    solver: Solver | None
    times: Tensor | None
    start: Start | None
    seed: int
    callback: Callback | None
