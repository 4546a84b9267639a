"""Find the file of a model: shipped inside the package, on disk, in a run's folder, or on the hub. Knows paths only."""

import functools
import json
import logging
from importlib import resources
from pathlib import Path
from typing import Any

from audiodiff.mel import MelSpec
from audiodiff.models import hub

DEFAULT_MODEL = "speech-24k"
LIVE_MODEL = "speech-24k-live"  # of the same mel, for streams
log = logging.getLogger(__name__)


def shipped() -> list[str]:
    """List the names of the models inside the package."""
    if not _weights().is_dir():
        return []
    return sorted(p.name[: -len(".safetensors")] for p in _weights().iterdir() if p.name.endswith(".safetensors"))


def shipped_mels() -> dict[str, MelSpec]:
    """Read the mel parameters of the shipped vocoders, without loading weights."""
    mels = {}
    for name in shipped():
        config = json.loads((_weights() / f"{name}.json").read_text(encoding="utf-8"))["config"]
        if "mel" in config:
            mels[name] = MelSpec.from_dict({key: value for key, value in config["mel"].items() if key != "_target_"})
    return mels


@functools.cache
def say_once(message: str, *arguments: str) -> None:
    """Warn, the first time that a message is given."""
    log.warning(message, *arguments)


def locate(model: str | Path) -> Path:
    """Find the file of a shipped name, a file with or without its .safetensors, a run's folder, or hf://owner/name.

    A shipped name is the shipped model, whatever lies in the working directory; ./NAME is what lies there.

    Raises:
        ValueError: There is no such model.
    """
    path = Path(model)
    inside = Path(str(_weights())) / f"{model}.safetensors"
    if isinstance(model, str) and model in shipped() and inside.is_file():
        if path.exists():
            say_once("%s: the shipped model is taken; give ./%s for what lies here", model, model)
        return inside
    if path.is_dir():
        for name in ("model.safetensors", "last.ckpt"):
            if (path / name).is_file():
                return path / name
        raise ValueError(
            f"{path}: holds neither model.safetensors nor last.ckpt; give a run's folder or a model's file"
        )
    if path.is_file():
        return path
    if str(model).startswith(hub.PREFIX):
        return hub.fetch(str(model))
    if path.name and (saved := path.with_name(f"{path.name}.safetensors")).is_file():
        return saved
    raise ValueError(f"{model}: no such model; give a file, a run's folder or a shipped name ({', '.join(shipped())})")


def _weights() -> Any:
    return resources.files("audiodiff") / "weights"
