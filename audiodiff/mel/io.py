"""Read mel spectrograms from .npy, .pt and .safetensors, and write .npy; never run code that a file brings along.

Beside an array that was written here lies a note, x.npy.json: the convention of the mel, and the hash of the file. So a
mel is vocoded as what it is, by whatever model.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiodiff import __version__
from audiodiff.mel.spec import MelSpec, preset_of
from audiodiff.utils.arrays import read_npy
from audiodiff.utils.files import atomic_file, check_readable
from audiodiff.utils.lazy import lazy_module

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor
else:
    np, torch = lazy_module("numpy"), lazy_module("torch")

MEL_SUFFIXES = {".npy", ".pt", ".safetensors"}
KEY = "mel"  # the tensor that is taken where a file holds several
LARGEST_NOTE = 100_000  # bytes; a note has about one thousand


def read_mel(path: str | Path, n_mels: int | None = None) -> Tensor:
    """Read a log-mel spectrogram.

    Args:
        path: A file with floats: [M, F] or [F, M], or [C, M, F] or [C, F, M] with one mel per channel. A .pt or
            .safetensors file holds one tensor, or several of which one is called "mel".
        n_mels: Bands that are wanted, by which the axes are told apart; without it the bands come first.

    Returns:
        [C, M, F], float32.

    Raises:
        ValueError: The file is missing, is none of the three kinds, or holds anything but such floats.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give a mel spectrogram as a .npy file, .pt or .safetensors")
    check_readable(path)
    suffix = path.suffix.lower()
    reader = {".pt": _read_pt, ".safetensors": _read_safetensors}.get(suffix, _read_npy)
    try:
        tensor = _only(reader(path))
        return oriented(tensor, n_mels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def oriented(mel: Tensor, n_mels: int | None = None) -> Tensor:
    """Put the axes of a log-mel in order: [M, F], [F, M], [C, M, F] or [C, F, M] to [C, M, F], float32.

    Where both axes are n_mels long, the bands are taken to come first.

    Raises:
        ValueError: It holds no floats, has other axes, or no axis of n_mels.
    """
    if not mel.dtype.is_floating_point or mel.ndim not in (2, 3):
        kind = str(mel.dtype).removeprefix("torch.")
        raise ValueError(
            f"holds {kind} values, shape {list(mel.shape)}; a log-mel spectrogram is wanted: floats, [bands, frames]"
        )
    mel = (mel if mel.ndim == 3 else mel[None]).float()
    if n_mels is None or mel.shape[1] == n_mels:
        return mel
    if mel.shape[2] == n_mels:
        return mel.mT.contiguous()
    raise ValueError(
        f"the mel is {list(mel.shape[1:])}, and [{n_mels} bands, frames] are wanted: compute it with this model's mel, "
        "or say what it is by --mel-preset"
    )


def write_mel(path: str | Path, mel: Tensor, spec: MelSpec | None = None) -> None:
    """Write a log-mel, [C, M, F], as float32 .npy, complete or not at all; a single channel as [M, F].

    Args:
        path: Of the array.
        mel: The log-mel.
        spec: Its convention, written into the note beside the array; without it there is no note.

    Raises:
        ValueError: A file cannot be written.
    """
    array = mel.detach().cpu().float().numpy()
    encoded = io.BytesIO()
    np.lib.format.write_array(encoded, array[0] if len(array) == 1 else array, allow_pickle=False)
    if spec is None:
        with atomic_file(path) as file:
            file.write(encoded.getbuffer())
        return
    note = {
        "preset": preset_of(spec),
        "mel": spec.to_dict(),
        "sample_rate": spec.sample_rate,
        "sha256": hashlib.sha256(encoded.getbuffer()).hexdigest(),
        "audiodiff": __version__,
    }
    with atomic_file(note_path(path)) as beside:
        beside.write((json.dumps(note, indent=2) + "\n").encode())
        beside.flush()  # a full disk must show before the mel is in place
        with atomic_file(path) as file:
            file.write(encoded.getbuffer())


def note_path(path: str | Path) -> Path:
    """Return where the note of a mel is.

    >>> note_path("a/x.npy").name
    'x.npy.json'
    """
    return Path(f"{path}.json")


def read_spec(path: str | Path) -> MelSpec | None:
    """Read from the note beside a mel what the mel is; None if there is no note.

    Raises:
        ValueError: The note describes no mel, or another array than the one that is there.
    """
    note = note_path(path)
    if not note.is_file():
        return None
    remedy = "remove it and say what the mel is by --mel-preset"
    try:
        fields = json.loads(note.read_text(encoding="utf-8")) if note.stat().st_size <= LARGEST_NOTE else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or "mel" not in fields:
        raise ValueError(f"{note}: describes no mel; {remedy}")
    try:
        spec = MelSpec.from_dict(fields["mel"])
    except ValueError as error:
        raise ValueError(f"{note}: {error}; {remedy}") from None
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != fields.get("sha256"):
            raise ValueError(f"{note}: describes another array, {path} has changed since; {remedy}")
    return spec


def _read_npy(path: Path) -> Tensor:
    array = read_npy(path)
    try:
        return torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))
    except TypeError:
        raise ValueError(f"holds {array.dtype} values, and floats are wanted") from None


def _read_pt(path: Path) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):  # an odd pickle is refused below, in one line
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # pickle raises anything; whatever it is, the file is refused
        raise ValueError("is refused: damaged, or more than tensors; save a tensor with torch.save") from None


def _read_safetensors(path: Path) -> Any:
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"cannot be read as .safetensors ({str(error)[:200]})") from None


def _only(content: Any) -> Tensor:
    """Pick the mel out of what a file holds."""
    if isinstance(content, dict):
        tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
        content = tensors.get(KEY) if KEY in tensors else next(iter(tensors.values())) if len(tensors) == 1 else None
        if content is None:
            raise ValueError(
                f"holds {len(tensors)} tensors, none called {KEY!r}; save the mel alone, or under that name"
            )
    if not isinstance(content, torch.Tensor):
        raise ValueError(f"holds a {type(content).__name__}; a tensor is wanted")
    return content
