"""The recipe of a vocoder's sound: every value, besides the input, that decides its samples.

`audiodiff resynth` and `vocode` build one from the options and run it; `regenerate` reads it from the sidecar and runs
it again. The number of threads is part of it, since it changes the order in which sums are taken.
"""

import dataclasses
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from audiodiff import audio
from audiodiff.mel import MelSpec
from audiodiff.mel import io as mel_io
from audiodiff.mel.detection import UNLIKELY, presets_with, rank_conventions
from audiodiff.mel.spec import preset_of
from audiodiff.models import registry
from audiodiff.models.named_starts import build_start, describe_start, named_start
from audiodiff.models.vocoder import Vocoder
from audiodiff.pipelines.recipe import SamplingRecipe, recipe_fields, sampler_fields
from audiodiff.pipelines.resynthesis import Resynthesis, resynthesise, shipped_for, vocode
from audiodiff.utils.validation import is_int

ALIKE = 4.0  # log-odds by which a convention may be less likely than the likeliest, and still be named


@dataclasses.dataclass(frozen=True)
class VocodeRecipe(SamplingRecipe):
    """Hold what decides the samples of a vocoder, as values that JSON can hold.

    Args:
        command: "resynth" for audio as input, "vocode" for mels; further fields are those of `SamplingRecipe`.
        start: `name`, a file of conf/start, and the start's parameters.
        chunk_frames: Mel frames of a chunk; None for the default of `Vocoder.generate`.
        mel: Fields of the convention of the input mels; None for the model's own.

    Raises:
        ValueError: A field has the wrong type or lies outside its range.
    """

    COMMANDS = ("resynth", "vocode")
    MODEL = Vocoder

    start: dict[str, Any]
    chunk_frames: int | None
    mel: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mel is not None:
            MelSpec.from_dict(self.mel)

    def rules(self) -> dict[str, tuple[bool, str]]:
        """Map fields whose type does not say all to whether they are valid, and to what is wanted."""
        whole = self.chunk_frames is None or is_int(self.chunk_frames, 1, 2**31)
        return super().rules() | {"chunk_frames": (whole, "a whole number of at least 1, or none")}

    @classmethod
    def from_options(
        cls,
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
    ) -> Self:
        """Build a recipe from user options; unset options come from the model and the machine.

        Args:
            command: As in `VocodeRecipe`.
            vocoder: The loaded model.
            model: From where it was loaded.
            weights, seed, chunk_frames: As in `VocodeRecipe`.
            solver: A name; the model's own by default.
            steps: Solver steps; the model's own by default.
            times: One of `TIMESTEP_GRIDS`, or numbers with commas between; the model's own grid by default.
            start: A file of conf/start; the model's own for so many steps by default.
            mel: The convention of the mels that are given; the model's own by default.

        Raises:
            ValueError: A value lies outside its range.
        """
        named = None if start is None else named_start(start, vocoder)
        sampler = sampler_fields(vocoder, solver, times, steps, (named or vocoder.start).time)
        return cls(
            **recipe_fields(command, vocoder, model, weights, seed),
            **sampler,
            start=describe_start(named or vocoder.start_for(len(sampler["times"]) - 1)),
            chunk_frames=chunk_frames,
            mel=None if mel is None else mel.to_dict(),
        )

    def run(self, model: Vocoder, path: str | Path | None = None) -> Resynthesis:
        """Read a recording or a mel and make its sound.

        Raises:
            ValueError: The input cannot be read, or does not suit the model.
        """
        start, path = build_start(self.start, model.mel), Path(path or "")
        settings = {**self.sampler(), "start": start, "chunk_frames": self.chunk_frames}
        with self.arithmetic(model):
            if self.command == "resynth":
                return resynthesise(model, audio.read(path, model.sample_rate)[0], **settings)
            convention = model.mel if self.mel is None else MelSpec.from_dict(self.mel)
            return vocode(model, _read_mel(path, convention), convention=convention, **settings)

    def for_input(self, path: str | Path) -> Self:
        """Fill in the convention of a mel from the note beside it, if there is one.

        Raises:
            ValueError: The note is damaged or describes another array, or the recipe says another convention.
        """
        spec = mel_io.read_spec(path) if self.command == "vocode" else None
        if spec is None:
            return self
        if self.mel is not None and MelSpec.from_dict(self.mel) != spec:
            name = preset_of(spec) or "a convention of its own"
            raise ValueError(
                f"{mel_io.note_path(path)}: says that the mel is in {name}, and another is asked for: leave out "
                "--mel-preset and --mel-spec, or remove the note"
            )
        return dataclasses.replace(self, mel=spec.to_dict())


def _read_mel(path: Path, convention: MelSpec) -> Tensor:
    """Read a mel with the bands of a convention; for another number, name what it looks like, or who has as many."""
    try:
        return mel_io.read_mel(path, convention.n_mels)
    except ValueError as error:
        mel = mel_io.read_mel(path)[0]  # says itself what else is wrong
        names = [name for count in mel.shape for name in presets_with(count)]
        hint = f" ({', '.join(names)} have as many)" if names else ""
        raise ValueError(f"{error}{_likeness(mel) or hint}") from None


def _likeness(mel: Tensor) -> str | None:
    """Say which shipped vocoders' mel a log-mel, [M, F] or [F, M], looks like; None if it is like none of them."""
    for reading in (mel, mel.mT):
        ranked = rank_conventions(reading, *registry.shipped_mels().values())
        likely = [candidate.spec for candidate in ranked if candidate.odds > max(UNLIKELY, ranked[0].odds - ALIKE)]
        if names := list(dict.fromkeys(name for spec in likely for name in shipped_for(spec))):
            return f"; it looks like that of {' or '.join(names)}: try --model {names[0]}"
    return None
