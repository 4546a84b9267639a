"""What every model is: a denoiser, a whitening, where and how to sample, and how to be saved and loaded."""

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from audiodiff.diffusion.denoiser import Conditioned, Denoiser
from audiodiff.diffusion.solvers import DDIM, Solver
from audiodiff.diffusion.timesteps import TIMESTEP_GRIDS, check_timesteps, linear_timesteps
from audiodiff.models.starts import Start
from audiodiff.models.whitening import Whitening

__all__ = ["MOST_STEPS", "Model"]

ROUNDING = 1e-6  # of times that come in float32
MOST_STEPS = 10_000  # more is a typing error, or an attempt to keep the machine busy


class Model(nn.Module):
    """Holds what a vocoder and a generator share: a denoiser, where and how to sample, and how to be saved.

    Args:
        denoiser: Network, prediction and schedule.
        whitening: What is diffused.
        sample_rate: Hz.
        hop_length: Signals are a multiple of this long.
        start: Where sampling starts unless told otherwise.
        steps: Solver steps unless told otherwise.
        solver: How to step unless told otherwise.
        times: Grids of times that were searched for this model (`audiodiff tune-times`); the one that has as many steps
            as are asked for, and begins where sampling starts, is used unless told otherwise.
    """

    config: dict[str, Any]  # the section from which this object was built; `files.save` writes it
    precision: str  # in which the network multiplies while it makes sound: "float32", or "bfloat16" for speed
    info: dict[str, Any]  # licence, data, level, training: what `audiodiff info` prints

    def __init__(
        self,
        denoiser: Denoiser,
        whitening: Whitening,
        sample_rate: int,
        hop_length: int,
        start: Start,
        steps: int,
        solver: Solver | None = None,
        times: Sequence[Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.whitening = whitening
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.start = start
        self.steps = steps
        self.solver = solver or DDIM()
        self.times = [check_timesteps(grid) for grid in times or []]
        self.precision = "float32"
        self.config = {}
        self.info = {}

    def conditioned(self, condition: Any) -> Conditioned:
        """Binds what the network's `encode` returned, or None, to the denoiser."""
        return Conditioned(self.denoiser, condition, self.precision)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def save(self, path: Any) -> None:
        """Writes PATH.safetensors and PATH.json; see `audiodiff.models.checkpoint.save`."""
        from audiodiff.models import checkpoint

        checkpoint.save(self, path)

    @classmethod
    def load(cls, path: Any, device: str | torch.device = "cpu", weights: str = "ema") -> Self:
        """Reads a shipped name, a .safetensors file, a run folder or a .ckpt; see `audiodiff.models.checkpoint.load`."""
        from audiodiff.models import checkpoint

        model = checkpoint.load(path, device, weights)
        if not isinstance(model, cls):
            raise ValueError(f"{path}: holds a {type(model).__name__}, and a {cls.__name__} is wanted")
        return model

    @classmethod
    def from_pretrained(
        cls, name: Any, revision: str | None = None, device: str | torch.device = "cpu", weights: str = "ema"
    ) -> Self:
        """Loads a file, a run's folder or a shipped name, and owner/name from the hub if there is none of these.

        Raises:
            ValueError: There is no such model, or it is of another kind.
        """
        from audiodiff.models import checkpoint, hub

        try:
            path = checkpoint.locate(name)
        except ValueError:
            if not hub.NAME.fullmatch(str(name)):
                raise
            path = hub.fetch(str(name), revision)
        return cls.load(path, device, weights)

    def push_to_hub(self, name: str, private: bool = False) -> str:
        """Puts the model on the hub as owner/name; see `audiodiff.models.hub.push`."""
        from audiodiff.models import hub

        return hub.push(self, name, private)

    def resolve_timesteps(self, steps: int | None, solver: Solver | None, times: Tensor | None, start: Start) -> Tensor:
        """Returns the times that are walked: those that are given, or `grid`'s.

        Raises:
            TypeError: The solver or the start is something else, such as a name.
            ValueError: Steps or times make no grid, or it begins elsewhere than the start.
        """
        for kind, given, example in ((Solver, solver, "solver_named('ddim')"), (Start, start, "PureNoise()")):
            if not isinstance(given, kind | None):
                raise TypeError(f"{given!r} is no {kind.__name__}: give one, such as {example}")
        times = None if times is None else check_timesteps(times).clone()
        asked = steps if times is None else len(times) - 1
        if asked is not None and asked > MOST_STEPS:
            raise ValueError(f"steps={asked}: a whole number from 1 to {MOST_STEPS} is wanted")
        if times is None:
            return check_timesteps(self.grid(steps, start.time, solver))
        if abs(float(times[0]) - start.time) > ROUNDING:
            raise ValueError(f"times begin at {float(times[0]):g}, the start at {start.time:g}: make them equal")
        times[0] = start.time
        return times

    def grid(self, steps: int | None = None, start: float = 1.0, solver: Solver | None = None) -> Tensor:
        """Returns the times that `generate` walks by default, [steps + 1]: searched ones, else the solver's."""
        steps, schedule = self.steps if steps is None else steps, self.denoiser.schedule
        for times in self.times:
            if len(times) == steps + 1 and float(times[0]) == start:
                return times
        if math.isinf(float(schedule.log_snr(torch.tensor(start, dtype=torch.float64)))):
            return linear_timesteps(steps, start)  # nothing is even in log-SNR from zero SNR on
        return TIMESTEP_GRIDS[(solver or self.solver).grid](schedule, steps, start)
