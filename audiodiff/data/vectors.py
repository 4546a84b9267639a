"""Vectors that describe recordings: a field of the manifest, or a .npy file beside the recording."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiodiff.data.manifest import Recording
from audiodiff.utils.arrays import read_npy


def vectors_of(recordings: Sequence[Recording], size: int) -> dict[Path, Tensor]:
    """Return the vectors of recordings, [size] each, by path.

    Raises:
        ValueError: A recording has none, or one of another size or that is not finite.
    """
    return {recording.path: _checked(vector_of(recording), size, recording.path) for recording in recordings}


def vector_of(recording: Recording) -> Tensor:
    """Return the vector of a recording: its manifest's `vector`, numbers or a .npy file; else the .npy beside it.

    Raises:
        ValueError: There is none, or it cannot be read.
    """
    field = (recording.about or {}).get("vector")
    if isinstance(field, list):
        try:
            return torch.tensor([float(v) for v in field], dtype=torch.float32)
        except (TypeError, ValueError):
            raise ValueError(f"{recording.path}: its `vector` is no list of numbers") from None
    beside = recording.path.with_suffix(".npy") if field is None else recording.path.parent / str(field)
    if not beside.is_file():
        raise ValueError(f"{recording.path}: has no vector; give `vector` in the manifest, or a file {beside.name}")
    return read_vector(beside)


def read_vector(path: str | Path) -> Tensor:
    """Read a vector, [D], from a .npy file, without pickle.

    Raises:
        ValueError: The file is missing, or holds no vector of numbers.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file; give a .npy file that holds a vector")
    try:
        with np.errstate(all="ignore"):  # what is too large becomes infinite, and is refused as such
            vector = torch.from_numpy(np.asarray(read_npy(path), np.float32))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: holds no numbers that can be read ({str(error).splitlines()[0][:80]})") from None
    if vector.ndim != 1 or not len(vector):
        raise ValueError(f"{path}: is {list(vector.shape)}; a vector is wanted, as numpy.save writes it")
    return vector


def _checked(vector: Tensor, size: int, path: Path) -> Tensor:
    if vector.shape != (size,):
        raise ValueError(f"{path}: its vector has {len(vector)} numbers, {size} are wanted (data.vector_size)")
    if not bool(vector.isfinite().all()):
        raise ValueError(f"{path}: its vector is not finite")
    return vector
