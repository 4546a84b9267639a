"""What decides the samples that come out, besides the input: written down as plain values, and followed.

The command line and `audiodiff regenerate` both call `make` with a `VocodeRecipe`, so a sound can be made again. The number
of threads belongs to it, since sums are taken in another order when it changes.
"""

import dataclasses
import inspect
import itertools
from pathlib import Path
from typing import Any

from torch import Tensor

from audiodiff import audio
from audiodiff.diffusion.solvers import Solver, name_of, solver_named
from audiodiff.diffusion.timesteps import TIMESTEP_GRIDS, check_timesteps
from audiodiff.mel import MelSpec
from audiodiff.mel import io as mel_io
from audiodiff.mel.detection import presets_with
from audiodiff.models.starts import CoarseToFine, GriffinLim, MelNoise, PureNoise, Start
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.recipe import LARGEST_COUNT, OWN, RecipeBase, is_int, is_number, recipe_fields
from audiodiff.pipelines.resynthesis import Resynthesis, resynthesise, vocode

__all__ = ["STARTS", "VocodeRecipe", "build_start", "describe_start", "make", "name_start", "named_start", "recipe"]

STARTS: dict[str, type[Start]] = {
    "noise": PureNoise,
    "mel": MelNoise,
    "griffin-lim": GriffinLim,
    "coarse-to-fine": CoarseToFine,
}
"""The names by which recipes and the command line know the starts."""


@dataclasses.dataclass(frozen=True)
class VocodeRecipe(RecipeBase):
    """Holds what decides the samples of a vocoder, as values that JSON can hold.

    Args:
        command: "resynth" for audio as input, "vocode" for mels; the next six are those of `RecipeBase`.
        solver: Its name, or "own" for one that the model has and no name is known of.
        times: The grid of times, one more than steps, from the start's time to 0.
        start: `name`, one of STARTS, and the start's parameters.
        chunk_frames: Mel frames that are worked on at once; None for 20 to 40 s of what lasts more than 60 s, else all.
        mel: Fields of the convention of the mels that are given; None for the model's own.

    Raises:
        ValueError: A field has the wrong type or lies outside its range.
    """

    COMMANDS = ("resynth", "vocode")

    solver: str
    times: list[float]
    start: dict[str, Any]
    chunk_frames: int | None
    mel: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solver != OWN:
            solver_named(self.solver)
        if self.mel is not None:
            MelSpec.from_dict(self.mel)

    def rules(self) -> dict[str, tuple[bool, str]]:
        """Says for each field whether it is in order, and what is wanted."""
        frames = self.chunk_frames
        return super().rules() | {
            "solver": (isinstance(self.solver, str), "a solver's name"),
            "times": (is_grid(self.times), "a list of numbers that fall from at most 1 to 0"),
            "start": (isinstance(self.start, dict), "a name with parameters"),
            "chunk_frames": (frames is None or is_int(frames, 1, 2**31), "a whole number of at least 1, or none"),
        }


def recipe(
    command: str,
    vocoder: Vocoder,
    model: str | Path,
    *,
    weights: str = "ema",
    seed: int = 0,
    solver: str | None = None,
    steps: int | None = None,
    times: str | None = None,
    start: str | None = None,
    chunk_frames: int | None = None,
    mel: MelSpec | None = None,
) -> VocodeRecipe:
    """Fills in, from the model and the machine, what is left open.

    Args:
        command: As in `VocodeRecipe`.
        vocoder: The loaded model.
        model: From where it was loaded.
        weights, seed, chunk_frames: As in `VocodeRecipe`.
        solver: A name; the model's own by default.
        steps: Solver steps; the model's own by default.
        times: One of `schedules.GRIDS`, or numbers with commas between; the model's own grid by default.
        start: One of STARTS; the model's own for so many steps by default.
        mel: The convention of the mels that are given; the model's own by default.

    Raises:
        ValueError: A value lies outside its range.
    """
    named = None if start is None else named_start(start, vocoder)
    stepper = solver_named(solver) if solver and solver != OWN else vocoder.solver
    grid = _grid(vocoder, times, steps, (named or vocoder.start).time, stepper)
    return VocodeRecipe(
        **recipe_fields(command, vocoder, model, weights, seed),
        solver=solver or name_of(vocoder.solver) or OWN,
        times=grid.tolist(),
        start=describe_start(named or vocoder.start_for(len(grid) - 1)),
        chunk_frames=chunk_frames,
        mel=None if mel is None else dataclasses.asdict(mel),
    )


def make(vocoder: Vocoder, recipe: VocodeRecipe, path: str | Path) -> Resynthesis:
    """Follows a recipe: reads a recording or a mel and makes its sound.

    Raises:
        ValueError: The input cannot be read, or does not suit the model.
    """
    start, path = build_start(recipe.start, vocoder.mel), Path(path)
    settings = {
        "times": check_timesteps(recipe.times),
        "solver": None if recipe.solver == OWN else solver_named(recipe.solver),
        "start": start,
        "seed": recipe.seed,
        "chunk_frames": recipe.chunk_frames,
    }
    with recipe.arithmetic(vocoder):
        if recipe.command == "resynth":
            return resynthesise(vocoder, audio.read(path, vocoder.sample_rate)[0], **settings)
        convention = vocoder.mel if recipe.mel is None else MelSpec.from_dict(recipe.mel)
        return vocode(vocoder, _read_mel(path, convention), convention=convention, **settings)


def _read_mel(path: Path, convention: MelSpec) -> Tensor:
    """Reads a mel with the bands of a convention; for another number, names the conventions that have it."""
    try:
        return mel_io.read_mel(path, convention.n_mels)
    except ValueError as error:
        found = mel_io.read_mel(path)  # says itself what else is wrong
        names = [name for count in found.shape[1:] for name in presets_with(count)]
        hint = f" ({', '.join(names)} have as many)" if names else ""
        raise ValueError(f"{error}{hint}") from None


def _grid(vocoder: Vocoder, times: str | None, steps: int | None, start: float, solver: Solver) -> Tensor:
    """Reads what was said about times."""
    if steps is not None and not is_int(steps, 1):
        raise ValueError(f"steps={steps}: a whole number from 1 to {LARGEST_COUNT} is wanted")
    if times is None:
        return vocoder.grid(steps, start, solver)
    if times in TIMESTEP_GRIDS:
        return TIMESTEP_GRIDS[times](vocoder.denoiser.schedule, vocoder.steps if steps is None else steps, start)
    try:
        grid = check_timesteps([float(part) for part in times.split(",")])
    except ValueError as error:
        hint = f"choose one of {', '.join(TIMESTEP_GRIDS)}, or give numbers such as {start:g},{start / 2:g},0"
        raise ValueError(f"times {times!r}: {hint} ({error})") from None
    if steps is not None and len(grid) != steps + 1:
        raise ValueError(f"{len(grid)} times make {len(grid) - 1} steps, and {steps} are asked for: leave one out")
    return grid


def named_start(name: str, vocoder: Vocoder) -> Start:
    """Returns the start of a name: the model's own where it is of this kind, else with default parameters.

    A name may go on with rounds, as in coarse-to-fine=1/2/4/8 or griffin-lim=32: those and the model's time are taken.

    Raises:
        ValueError: No start is called so, or it does not take so many numbers.
    """
    name, _, rounds = name.partition("=")
    kind = _start_kind(name)
    if rounds:
        return _with_rounds(name, kind, rounds, vocoder)
    if type(vocoder.start) is kind:
        return vocoder.start
    return build_start({"name": name, **_parameters(kind)}, vocoder.mel)


def _with_rounds(name: str, kind: type[Start], rounds: str, vocoder: Vocoder) -> Start:
    counted = [key for key, default in _parameters(kind).items() if isinstance(default, int)]
    given = rounds.split("/")
    if not counted or len(given) != len(counted) or not all(g.isdecimal() and is_int(int(g)) for g in given):
        takes = f"{name}={'/'.join(counted)}, whole numbers up to {LARGEST_COUNT}" if counted else f"{name} alone"
        raise ValueError(f"start {name}={rounds}: it takes {takes}")
    described = {"name": name, **_parameters(kind), **dict(zip(counted, map(int, given), strict=True))}
    return build_start(described | {"time": vocoder.start.time}, vocoder.mel)


def describe_start(start: Start) -> dict[str, Any]:
    """Writes a start down as its name and parameters.

    >>> describe_start(PureNoise())
    {'name': 'noise'}
    """
    names = {kind: name for name, kind in STARTS.items()}
    if type(start) not in names:
        raise ValueError(f"the start {type(start).__name__} has no name; add it to audiodiff.pipelines.vocoding.STARTS")
    return {"name": names[type(start)]} | {name: getattr(start, name) for name in _parameters(type(start))}


def name_start(start: Start) -> str:
    """Names a start, the rounds of one that goes from coarse to fine, and its time.

    >>> name_start(PureNoise())
    'noise, t = 1'
    """
    rounds = f" {'/'.join(map(str, start.rounds))}" if isinstance(start, CoarseToFine) else ""
    return f"{describe_start(start)['name']}{rounds}, t = {start.time:g}"


def build_start(described: dict[str, Any], mel: MelSpec) -> Start:
    """Builds what `describe_start` wrote down; trusts nothing in it.

    Raises:
        ValueError: The name is unknown, or a parameter is missing, unknown or out of range.
    """
    kind = _start_kind(described.get("name"))
    defaults, given = _parameters(kind), {name: value for name, value in described.items() if name != "name"}
    if given.keys() != defaults.keys():
        raise ValueError(f"start {described['name']}: it has the parameters {[*defaults]}, and {[*given]} are given")
    for name, value in given.items():
        whole = isinstance(defaults[name], int)
        if not (is_int(value) if whole else is_number(value)):
            raise ValueError(f"start: {name}={value!r} is no {'count' if whole else 'number'} in range")
    return kind(mel, **given) if given else kind()


def _start_kind(name: Any) -> type[Start]:
    if not isinstance(name, str) or name not in STARTS:
        raise ValueError(f"unknown start {name!r}: choose one of {', '.join(STARTS)}")
    return STARTS[name]


def _parameters(kind: type[Start]) -> dict[str, Any]:
    return {name: p.default for name, p in inspect.signature(kind).parameters.items() if name != "mel"}


def is_grid(times: Any) -> bool:
    if not (isinstance(times, list) and 2 <= len(times) <= LARGEST_COUNT + 1 and all(is_number(t) for t in times)):
        return False
    return times[0] <= 1 and times[-1] == 0 and all(a > b for a, b in itertools.pairwise(times))
