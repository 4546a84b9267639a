"""The base of the three kinds of recipe: command, model, machine and seed; solver and timesteps."""

import abc
import contextlib
import dataclasses
import typing
from collections.abc import Generator
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from audiodiff.diffusion.solvers import Solver
from audiodiff.diffusion.timesteps import TIMESTEP_GRIDS, check_timesteps
from audiodiff.models import registry
from audiodiff.models.base import Model
from audiodiff.pipelines.resynthesis import Resynthesis
from audiodiff.utils import devices
from audiodiff.utils.config import choose, name_of
from audiodiff.utils.validation import LARGEST_COUNT, fits, is_falling_grid, is_int, wanted

OWN = "own"  # a model's solver without a name


@dataclasses.dataclass(frozen=True)
class RecipeBase(abc.ABC):
    """Hold the origin of a sound, as values that JSON can hold.

    Args:
        command: One of COMMANDS.
        model: Shipped name, or absolute path.
        model_hash: Hash of configuration and weights.
        weights: "ema" or "raw".
        device: Type of the device on which the model runs.
        threads: CPU threads that share the arithmetic.
        precision: "float32" or "bfloat16", in which the network multiplies.
        seed: Seed of the noise.

    Raises:
        ValueError: A field has the wrong type or lies outside its range.
    """

    COMMANDS: ClassVar[tuple[str, ...]] = ()
    MODEL: ClassVar[type[Model]] = Model  # the kind of model that follows it
    LOWERED: ClassVar[bool] = False  # whether a sound above full scale is lowered, where others are clamped

    command: str
    model: str
    model_hash: str
    weights: str
    device: str
    threads: int
    precision: str
    seed: int

    def __post_init__(self) -> None:
        types, values = typing.get_type_hints(type(self)), vars(self)
        for name, value in values.items():
            if not fits(value, types[name]):
                raise ValueError(f"{name}={value!r}: {wanted(types[name])} is wanted")
        for name, (kept, words) in self.rules().items():
            if not kept:
                raise ValueError(f"{name}={values[name]!r}: {words} is wanted")

    def rules(self) -> dict[str, tuple[bool, str]]:
        """Map fields whose type does not say all to whether they are valid, and to what is wanted."""
        return {
            "command": (self.command in self.COMMANDS, " or ".join(self.COMMANDS)),
            "weights": (self.weights in ("ema", "raw"), "ema or raw"),
            "threads": (is_int(self.threads, 1), f"a whole number from 1 to {LARGEST_COUNT}"),
            "precision": (self.precision in ("float32", "bfloat16"), "float32 or bfloat16"),
            "seed": (is_int(self.seed, 0, 2**63 - 1), "a whole number from 0 to 2^63 - 1"),
        }

    @classmethod
    @abc.abstractmethod
    def from_options(cls, *args: Any, **options: Any) -> Self:
        """Build a recipe from user options; unset options come from the model and the machine."""

    @abc.abstractmethod
    def run(self, model: Any, path: str | Path | None = None) -> Resynthesis:
        """Make the sound.

        Args:
            model: The loaded model, of the class MODEL.
            path: The input file, if the recipe needs one.
        """

    def for_input(self, path: str | Path) -> Self:
        """Complete the recipe by files beside the input, such as a mel's note; by default there are none."""
        return self

    @property
    def needs_input(self) -> bool:
        """Whether an input file belongs to it."""
        return True

    @contextlib.contextmanager
    def arithmetic(self, built: Model) -> Generator[None]:
        """Set the recipe's precision and threads inside a `with` block."""
        before, built.precision = built.precision, self.precision
        try:
            with devices.cpu_threads(self.threads):
                yield
        finally:
            built.precision = before


@dataclasses.dataclass(frozen=True)
class SamplingRecipe(RecipeBase):
    """Hold a solver and its timesteps, beside the fields of `RecipeBase`.

    Args:
        solver: Name of the solver, or "own" for a model's solver without a name.
        times: Timesteps from the start's time to 0, one more than steps.

    Raises:
        ValueError: A field has the wrong type or lies outside its range.
    """

    solver: str
    times: list[float]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solver != OWN:
            choose("solver", self.solver)

    def rules(self) -> dict[str, tuple[bool, str]]:
        """Map fields whose type does not say all to whether they are valid, and to what is wanted."""
        falls = is_falling_grid(self.times)
        return super().rules() | {"times": (falls, "a list of numbers that fall from at most 1 to 0")}

    def sampler(self) -> dict[str, Any]:
        """Return the arguments `times`, `solver` and `seed` of `generate`."""
        solver = None if self.solver == OWN else choose("solver", self.solver)
        return {"times": check_timesteps(self.times), "solver": solver, "seed": self.seed}


def sampler_fields(
    model: Model, solver: str | None, times: str | None, steps: int | None, start: float
) -> dict[str, Any]:
    """Resolve the fields of a `SamplingRecipe` from user options; unset options come from the model.

    Args:
        model: The loaded model.
        solver: Name of a solver.
        times: One of `TIMESTEP_GRIDS`, or numbers with commas between.
        steps: Solver steps.
        start: Time at which sampling starts.

    Raises:
        ValueError: An option is unknown or out of range, or steps and times contradict each other.
    """
    stepper = choose("solver", solver) if solver and solver != OWN else model.solver
    grid = _grid(model, times, steps, start, stepper)
    return {"solver": solver or name_of("solver", model.solver) or OWN, "times": grid.tolist()}


def _grid(model: Model, times: str | None, steps: int | None, start: float, solver: Solver) -> Tensor:
    if steps is not None and not is_int(steps, 1):
        raise ValueError(f"steps={steps}: a whole number from 1 to {LARGEST_COUNT} is wanted")
    if times is None:
        return model.grid(steps, start, solver)
    if times in TIMESTEP_GRIDS:
        return TIMESTEP_GRIDS[times](model.denoiser.schedule, model.steps if steps is None else steps, start)
    try:
        grid = check_timesteps([float(part) for part in times.split(",")])
    except ValueError as error:
        hint = f"choose one of {', '.join(TIMESTEP_GRIDS)}, or give numbers such as {start:g},{start / 2:g},0"
        raise ValueError(f"times {times!r}: {hint} ({error})") from None
    if steps is not None and len(grid) != steps + 1:
        raise ValueError(f"{len(grid)} times make {len(grid) - 1} steps, and {steps} are asked for: leave one out")
    return grid


def recipe_fields(command: str, built: Model, model: str | Path, weights: str, seed: int) -> dict[str, Any]:
    """Fill in the fields of a `RecipeBase` from a loaded model and the machine."""
    shipped = isinstance(model, str) and model in registry.shipped()
    return {
        "command": command,
        "model": str(model) if shipped else str(registry.locate(model).resolve()),
        "model_hash": built.fingerprint(),
        "weights": weights,
        "device": built.device.type,
        "threads": torch.get_num_threads(),
        "precision": built.precision,
        "seed": seed,
    }
