"""The note beside a sound, OUT.wav.json: its recipe, its input with a hash, and the versions that made it.

A sidecar may come from a stranger: every field is checked, and nothing in it can name code. To make a sound again:

    note = Sidecar.read("out.wav.json")
    note.check_input()
    sound = note.recipe.run(note.load(), note.input)
"""

import dataclasses
import hashlib
import json
import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch

from audiodiff import audio
from audiodiff._version import __version__
from audiodiff.models.base import Model
from audiodiff.models.named_starts import build_start
from audiodiff.pipelines.generation import GenerateRecipe
from audiodiff.pipelines.restoration import RestoreRecipe
from audiodiff.pipelines.resynthesis import Resynthesis
from audiodiff.pipelines.vocoding import VocodeRecipe
from audiodiff.utils import devices, remote
from audiodiff.utils import files as utils_files

KINDS: dict[str, type[GenerateRecipe | RestoreRecipe]] = {"generate": GenerateRecipe, "restore": RestoreRecipe}
LARGEST = 100_000  # bytes; a sidecar has about one thousand
log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """Hold what OUT.wav.json holds.

    Args:
        recipe: The sound's recipe.
        input: The file that it was made of, as an absolute path; None for a sound made of nothing.
        input_sha256: Of that file's bytes.
        versions: Of audiodiff, torch, numpy and Python.

    Raises:
        ValueError: A field has the wrong type.
    """

    recipe: VocodeRecipe | GenerateRecipe | RestoreRecipe
    input: str | None
    input_sha256: str | None
    versions: Mapping[str, str]

    def __post_init__(self) -> None:
        of_file = str if self.recipe.needs_input else type(None)
        for name, kind in {"input": of_file, "input_sha256": of_file, "versions": dict}.items():
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name}={getattr(self, name)!r} has the wrong type")

    @classmethod
    def read(cls, path: str | Path) -> "Sidecar":
        """Read a sidecar.

        Raises:
            ValueError: It is missing, is no sidecar, or has a field that is missing, unknown or out of range.
        """
        fields = _read_object(Path(path))
        kind = KINDS.get(str(fields.get("command")), VocodeRecipe)
        wanted = {f.name for f in (*dataclasses.fields(kind), *dataclasses.fields(cls))} - {"recipe"}
        if wrong := wanted ^ fields.keys():
            raise ValueError(
                f"{path}: is no sidecar of this version of audiodiff (missing or unknown: {', '.join(sorted(wrong))})"
            )
        own = {name: fields.pop(name) for name in ("input", "input_sha256", "versions")}
        try:
            return cls(kind(**fields), **own)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def text(self) -> str:
        """Return the JSON that `read` reads."""
        fields = {**dataclasses.asdict(self.recipe), **dataclasses.asdict(self)}
        del fields["recipe"]
        return json.dumps(fields, indent=2) + "\n"

    def check_input(self) -> None:
        """Check that the input is what it was.

        Raises:
            ValueError: It is missing or has changed.
        """
        if self.input is None:
            return
        place = remote.location(self.input)
        if not remote.exists(place):
            raise ValueError(f"{self.input}: the input of this sound is gone; put it back there")
        with remote.local_copy(place) as path:
            _same(f"the input {self.input}", self.input_sha256, file_hash(path))

    def load(self) -> Model:
        """Load the model, check that it is what it was, and warn of other versions.

        Raises:
            ValueError: The model is missing or has changed.
        """
        recipe = self.recipe
        model = recipe.MODEL.load(recipe.model, devices.resolve(recipe.device), recipe.weights)
        _same(f"the model {recipe.model}", recipe.model_hash, model.fingerprint())
        if isinstance(recipe, VocodeRecipe):
            build_start(recipe.start, model.mel)
        changed = [f"{name} {now}" for name, now in versions().items() if self.versions.get(name) != now]
        if changed:
            log.warning("the sound was made by other versions than %s: its bytes may differ", ", ".join(changed))
        return model


def sidecar_path(path: str | Path) -> Path:
    """Return where a sound's sidecar is.

    >>> sidecar_path("a/out.wav").name
    'out.wav.json'
    """
    return Path(f"{path}.json")


def write(
    path: str | Path,
    sound: Resynthesis,
    recipe: VocodeRecipe | GenerateRecipe | RestoreRecipe,
    source: str | Path | None,
    sample_rate: int,
    source_name: str | Path | None = None,
) -> int:
    """Write a sound as its name says, and its sidecar beside it; both or none.

    Args:
        path: Of the sound.
        sound: The sound.
        recipe: How.
        source: The file that it was made of, if there is one.
        sample_rate: Hz.
        source_name: A URL to write down instead, from which the file was fetched.

    Returns:
        The number of samples that were clamped.

    Raises:
        ValueError: A file cannot be written, or a sample is not finite.
    """
    name = source_name if isinstance(source_name, str) else source and str(Path(source).resolve())
    note = Sidecar(recipe, name, source and file_hash(source), versions())
    with utils_files.atomic_file(sidecar_path(path)) as file:
        file.write(note.text().encode())
        file.flush()  # a full disk must show before the sound is in place
        return audio.write(path, sound.waveform, sample_rate)


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Return the versions that a sound's bytes may depend on."""
    return {
        "audiodiff": __version__,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
    }


def _same(what: str, then: str, now: str) -> None:
    if then != now:
        raise ValueError(
            f"{what} has changed: its hash is {now[:16]}, and {then[:16]} is wanted; bring the old one back"
        )


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give the OUT.wav.json that lies beside a sound")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: is too large for a sidecar; give the OUT.wav.json that lies beside a sound")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: is no sidecar; give the OUT.wav.json that lies beside a sound")
    return fields
