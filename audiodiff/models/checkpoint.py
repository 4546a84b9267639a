"""Read and write models as (configuration, facts, tensors), without ever running code that a file brings along.

A model is two files: NAME.safetensors (tensors; the averaged weights, and the last ones under `raw.`) and NAME.json
(the configuration from which the model is rebuilt, and facts: licence, data, level). The trainer's own .ckpt is read
with `weights_only`, and holds the same. `models.base.Model.load` builds the model; nothing here knows of it.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from audiodiff.models import registry
from audiodiff.models.header import checked_header, paired, read_header, with_suffix, write_header
from audiodiff.models.quantization import packed, unpacked
from audiodiff.nn.lora import merged
from audiodiff.utils.files import atomic_file, check_readable
from audiodiff.utils.validation import fits

RAW = "raw."


def read(path: Path, weights: str = "ema") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a model's file.

    Args:
        path: .safetensors with its .json beside it, or a .ckpt of the trainer.
        weights: "ema" for the averaged weights, "raw" for the last ones.

    Returns:
        A header with "config" and "info", and the tensors by name.

    Raises:
        ValueError: The file is of another kind, damaged or unsafe, or lacks these weights.
    """
    if weights not in ("ema", "raw"):
        raise ValueError(f"weights={weights!r}: choose ema or raw")
    header, state = _read_ckpt(path, weights) if path.suffix == ".ckpt" else _read_safetensors(path, weights)
    return checked_header(path, header), state


def write(
    path: str | Path,
    header: Mapping[str, Any],
    state: Mapping[str, Tensor],
    raw: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write PATH.safetensors and PATH.json, each complete or not at all.

    The first holds the description too: whoever is killed between the two leaves the pair of the new model.

    Args:
        path: With or without the suffix .safetensors; dots elsewhere in the name belong to it.
        header: "config" and "info".
        state: The averaged weights.
        raw: The last weights, if they are to be kept too.
        dtype: Of storage; int8 keeps large tensors in eight bits, row by row.
    """
    path = with_suffix(path, ".safetensors")
    named = dict(state) | {RAW + name: t for name, t in (raw or {}).items()}
    tensors = {name: t.detach().cpu().contiguous() for name, t in named.items()}
    tensors = packed(tensors) if dtype == torch.int8 else {name: t.to(dtype) for name, t in tensors.items()}
    description = {"format": "audiodiff", "info": header["info"], "config": header["config"]}
    with atomic_file(path) as file:
        content, inside = paired(description, safetensors.torch.save(tensors))
        file.write(safetensors.torch.save(tensors, inside))
    write_header(path, content)


def export(ckpt: str | Path, path: str | Path, dtype: torch.dtype = torch.float32, keep_raw: bool = True) -> None:
    """Turn a trainer's checkpoint into PATH.safetensors and PATH.json."""
    header, state = read(Path(ckpt))
    raw = read(Path(ckpt), "raw")[1] if keep_raw else None
    write(path, header, {name: tensor.float() for name, tensor in state.items()}, raw, dtype)


def save_timesteps(model: str | Path, grids: Sequence[Sequence[float]], out: str | Path | None = None) -> Path:
    """Add searched timesteps to a model's description, replacing those with as many steps from the same start.

    Args:
        model: File or run folder; a shipped name if `out` is given.
        grids: Each falls from the time at which sampling starts to 0.
        out: Write a copy of the model there instead.

    Returns:
        The model's .safetensors.

    Raises:
        ValueError: The model is a checkpoint of the trainer or cannot be read.
    """
    path = registry.locate(model)
    if path.suffix == ".ckpt":
        raise ValueError(
            f"{path}: times are stored beside .safetensors; give the run's folder once it has exported one"
        )
    header, _ = _read_safetensors(path, "ema")
    new = [[float(t) for t in grid] for grid in grids]
    kept = [old for old in header["config"].get("times") or [] if not any(_replaces(grid, old) for grid in new)]
    header["config"]["times"] = sorted(kept + new, key=len)
    if out is not None:
        source, path = path, with_suffix(out, ".safetensors")
        with atomic_file(path) as file:
            file.write(source.read_bytes())
    write_header(path, header)
    return path


def _replaces(new: Sequence[float], old: Sequence[float]) -> bool:
    return (len(new), new[0]) == (len(old), old[0])


def _read_safetensors(path: Path, weights: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    check_readable(path)
    try:
        tensors = unpacked(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: is no safetensors file ({str(error)[:200]}); give a model that audiodiff saved"
        ) from None
    header = read_header(path)
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
    prefix, stored = "model.", checkpoint[key]
    if not fits(stored, dict[str, Tensor]):
        raise ValueError(f"{path}: its {key} holds other things than tensors; give a last.ckpt of audiodiff's trainer")
    try:
        state = merged({name[len(prefix) :]: t for name, t in stored.items() if name.startswith(prefix)})
    except (TypeError, RuntimeError):
        raise ValueError(f"{path}: its adapters do not fit its weights; give the last.ckpt of a run") from None
    return checkpoint["audiodiff"], state
