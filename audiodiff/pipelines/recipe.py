"""What every recipe holds: the command, the model, where, with which seed. The base of the three kinds of recipe."""

import abc
import contextlib
import dataclasses
from collections.abc import Generator
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from audiodiff.models import registry
from audiodiff.models.base import Model
from audiodiff.pipelines.resynthesis import Resynthesis
from audiodiff.utils import devices
from audiodiff.utils.validation import LARGEST_COUNT, is_int

__all__ = ["OWN", "RecipeBase", "recipe_fields"]

OWN = "own"  # the solver that a model brings along and no name is known of


@dataclasses.dataclass(frozen=True)
class RecipeBase(abc.ABC):
    """Hold from what a sound came, as values that JSON can hold.

    Args:
        command: One of COMMANDS.
        model: Shipped name, or absolute path.
        model_hash: Of configuration and weights.
        weights: "ema" or "raw".
        device: Type of the device on which the model runs.
        threads: CPU threads that share the arithmetic.
        precision: "float32" or "bfloat16", in which the network multiplies.
        seed: Of the noise.

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
        for name, (kept, wanted) in self.rules().items():
            if not kept:
                raise ValueError(f"{name}={getattr(self, name)!r}: {wanted} is wanted")

    def rules(self) -> dict[str, tuple[bool, str]]:
        """Say for each field whether it is in order, and what is wanted."""
        return {
            "command": (self.command in self.COMMANDS, " or ".join(self.COMMANDS)),
            "model": (isinstance(self.model, str), "a name or a path"),
            "model_hash": (isinstance(self.model_hash, str), "a text of hexadecimal digits"),
            "weights": (self.weights in ("ema", "raw"), "ema or raw"),
            "device": (isinstance(self.device, str), "the name of a device"),
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
        """Complete the recipe by what lies beside the input file, such as a mel's note; by default nothing does."""
        return self

    @property
    def needs_input(self) -> bool:
        """Whether an input file belongs to it."""
        return True

    @contextlib.contextmanager
    def arithmetic(self, built: Model) -> Generator[None]:
        """Let a model calculate as is written here inside a `with` block."""
        before, built.precision = built.precision, self.precision
        try:
            with devices.cpu_threads(self.threads):
                yield
        finally:
            built.precision = before


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
