"""Saves and loads models without ever running code that a file brings along.

A model is two files: NAME.safetensors (tensors; the averaged weights, and the last ones under `raw.`) and NAME.json
(the configuration from which the model is rebuilt, and facts: licence, data, level). The trainer's own .ckpt is read
with `weights_only`, and holds the same.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from audiodiff.mel import MelSpec
from audiodiff.models.base import Model
from audiodiff.models.quantization import packed, unpacked
from audiodiff.nn.lora import merged
from audiodiff.utils import devices
from audiodiff.utils.config import build
from audiodiff.utils.files import atomic_file

__all__ = ["DEFAULT_MODEL", "export", "load", "locate", "model_hash", "save", "shipped", "shipped_mels", "store_times"]

DEFAULT_MODEL = "speech-16k"
RAW = "raw."
NUMBERS = re.compile(r"\[[\s\d.,e+-]+\]")


def shipped() -> list[str]:
    """Lists the models inside the package."""
    if not _weights().is_dir():
        return []
    return sorted(p.name[: -len(".safetensors")] for p in _weights().iterdir() if p.name.endswith(".safetensors"))


def shipped_mels() -> dict[str, MelSpec]:
    """Reads the mels of the vocoders inside the package, without loading them."""
    found = {}
    for name in shipped():
        config = json.loads((_weights() / f"{name}.json").read_text(encoding="utf-8"))["config"]
        if "mel" in config:
            found[name] = MelSpec.from_dict({key: value for key, value in config["mel"].items() if key != "_target_"})
    return found


def locate(model: str | Path) -> Path:
    """Finds the file of a shipped name, a file, a run's folder, or hf://owner/name on the hub.

    Raises:
        ValueError: There is none.
    """
    path = Path(model)
    if path.is_dir():
        for name in ("model.safetensors", "last.ckpt"):
            if (path / name).is_file():
                return path / name
        raise ValueError(
            f"{path}: holds neither model.safetensors nor last.ckpt; give a run's folder or a model's file"
        )
    if path.is_file():
        return path
    if str(model).startswith("hf://"):
        from audiodiff.models import hub

        return hub.fetch(str(model))
    if str(model) in shipped():
        return Path(str(_weights())) / f"{model}.safetensors"
    raise ValueError(f"{model}: no such model; give a file, a run's folder or a shipped name ({', '.join(shipped())})")


def load(model: str | Path, device: str | torch.device = "cpu", weights: str = "ema") -> Model:
    """Rebuilds a model.

    Args:
        model: Shipped name, .safetensors, run folder, .ckpt, or hf://owner/name.
        device: Where to put it; any choice of `devices.resolve`.
        weights: "ema" for the averaged weights, "raw" for the last ones.

    Raises:
        ValueError: The file is missing, of another kind, damaged, unsafe, or lacks these weights; or the device is not
            there.
    """
    path = locate(model)
    if weights not in ("ema", "raw"):
        raise ValueError(f"weights={weights!r}: choose ema or raw")
    header, state = _read_ckpt(path, weights) if path.suffix == ".ckpt" else _read_safetensors(path, weights)
    if not isinstance(header, dict) or "config" not in header:
        raise ValueError(f"{path}: its description lacks a configuration; give a model that audiodiff saved")
    built = _rebuild(path, header["config"])
    try:
        built.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except (RuntimeError, AttributeError) as error:
        raise ValueError(
            f"{path}: tensors and configuration disagree ({str(error).splitlines()[-1].strip()}); "
            "give the pair of files that was saved together"
        ) from None
    info = header.get("info")
    built.config, built.info = header["config"], info if isinstance(info, dict) else {}
    return built.eval().requires_grad_(False).to(devices.resolve(device))


def save(
    model: Model, path: str | Path, raw: dict[str, Tensor] | None = None, dtype: torch.dtype = torch.float32
) -> None:
    """Writes PATH.safetensors and PATH.json, each complete or not at all.

    Args:
        model: Its state is saved as the averaged weights.
        path: With or without the suffix.
        raw: The last weights, if they are to be kept too.
        dtype: Of storage; int8 keeps large tensors in eight bits, row by row.
    """
    path = Path(path).with_suffix(".safetensors")
    named = model.state_dict() | {RAW + name: t for name, t in (raw or {}).items()}
    tensors = {name: t.detach().cpu().contiguous() for name, t in named.items()}
    tensors = packed(tensors) if dtype == torch.int8 else {name: t.to(dtype) for name, t in tensors.items()}
    header = {"format": "audiodiff", "info": model.info, "config": model.config}
    with atomic_file(path) as file:
        file.write(safetensors.torch.save(tensors))
    _write_header(path, header)


def export(ckpt: str | Path, path: str | Path, dtype: torch.dtype = torch.float32, keep_raw: bool = True) -> None:
    """Turns a trainer's checkpoint into PATH.safetensors and PATH.json."""
    model = load(ckpt)
    raw = _read_ckpt(Path(ckpt), "raw")[1] if keep_raw else None
    save(model, path, raw, dtype)


def store_times(model: str | Path, grids: Sequence[Sequence[float]], out: str | Path | None = None) -> Path:
    """Adds searched grids of times to a model's description, in the place of those with as many steps from there.

    Args:
        model: File or run folder; a shipped name if `out` is given.
        grids: Each falls from the time at which sampling starts to 0.
        out: Write a copy of the model there instead.

    Returns:
        The model's .safetensors.

    Raises:
        ValueError: The model is a checkpoint of the trainer or cannot be read.
    """
    path = locate(model)
    if path.suffix == ".ckpt":
        raise ValueError(
            f"{path}: times are stored beside .safetensors; give the run's folder once it has exported one"
        )
    header, _ = _read_safetensors(path, "ema")
    new = [[float(t) for t in grid] for grid in grids]
    kept = [old for old in header["config"].get("times") or [] if not any(_replaces(grid, old) for grid in new)]
    header["config"]["times"] = sorted(kept + new, key=len)
    if out is not None:
        source, path = path, Path(out).with_suffix(".safetensors")
        with atomic_file(path) as file:
            file.write(source.read_bytes())
    _write_header(path, header)
    return path


def _write_header(path: Path, header: dict[str, Any]) -> None:
    text = json.dumps(header, indent=2, ensure_ascii=False)
    text = NUMBERS.sub(lambda found: " ".join(found[0].split()), text)  # each list of numbers on one line
    with atomic_file(path.with_suffix(".json")) as file:
        file.write((text + "\n").encode())


def _replaces(new: Sequence[float], old: Sequence[float]) -> bool:
    return (len(new), new[0]) == (len(old), old[0])


def model_hash(model: Model) -> str:
    """Returns a SHA-256 over configuration and weights, 16 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(model.config, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _rebuild(path: Path, config: Any) -> Model:
    """Builds the model of a configuration, which a stranger may have written: any error in it becomes one sentence."""
    try:
        built = build(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except Exception as error:
        raise ValueError(f"{path}: its configuration builds no model ({_first_line(error)})") from None
    if not isinstance(built, Model):
        raise ValueError(f"{path}: its configuration builds a {type(built).__name__}, and no model")
    return built


def _read_safetensors(path: Path, weights: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file() and (path.parent / "config.json").is_file():
        sidecar = path.parent / "config.json"  # as the hub calls it
    try:
        tensors = unpacked(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{path}: is no safetensors file ({error}); give a model that audiodiff saved") from None
    if not sidecar.is_file():
        raise ValueError(f"{sidecar}: is missing; keep it beside {path.name}, it says how the model is built")
    try:
        header = json.loads(sidecar.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{sidecar}: is no JSON ({error}); give the one that audiodiff saved") from None
    averaged = {name: t for name, t in tensors.items() if not name.startswith(RAW)}
    raw = {name[len(RAW) :]: t for name, t in tensors.items() if name.startswith(RAW)}
    if weights == "raw" and not raw:
        raise ValueError(f"{path}: holds only averaged weights; leave out --weights raw, or give the run's last.ckpt")
    return header, raw if weights == "raw" else averaged


def _read_ckpt(path: Path, weights: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with warnings.catch_warnings(action="ignore"):  # an odd pickle is refused below, in one line
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # pickle raises anything; whatever it is, the file is refused
        raise ValueError(
            f"{path}: refused as a checkpoint, since it is damaged or would run code; give one of audiodiff's trainer"
        ) from None
    if not isinstance(checkpoint, dict) or not {"audiodiff", "state_dict"} <= checkpoint.keys():
        raise ValueError(f"{path}: is no checkpoint of audiodiff's trainer; give its last.ckpt")
    key = "state_dict"
    if weights == "raw":
        key = "current_model_state"
        if key not in checkpoint:
            raise ValueError(f"{path}: holds one set of weights; leave out --weights raw")
    prefix = "model."
    state = {name[len(prefix) :]: t for name, t in checkpoint[key].items() if name.startswith(prefix)}
    return checkpoint["audiodiff"], merged(state)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _weights() -> Any:
    return resources.files("audiodiff") / "weights"
