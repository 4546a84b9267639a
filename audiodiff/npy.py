"""Reads and writes mel spectrograms as .npy files, without running code that a file brings along."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiodiff.audio import atomic_file

__all__ = ["read_mel", "write_mel"]


def read_mel(path: str | Path) -> Tensor:
    """Reads a log-mel spectrogram.

    Args:
        path: A .npy file of floats: [M, F], or [C, M, F] with one mel per channel.

    Returns:
        [C, M, F], float32.

    Raises:
        ValueError: The file is missing, is no .npy file, or holds anything but such floats.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give a mel spectrogram as a .npy file")
    try:
        with open(path, "rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: cannot be read as .npy ({reason}); save floats with numpy.save") from None
    if array.dtype.kind != "f" or array.ndim not in (2, 3):
        raise ValueError(
            f"{path}: holds {array.dtype} values, shape {list(array.shape)}; "
            "a log-mel spectrogram is wanted: floats, [bands, frames]"
        )
    mel = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    return mel if mel.ndim == 3 else mel[None]


def write_mel(path: str | Path, mel: Tensor) -> None:
    """Writes [C, M, F] as float32, complete or not at all; a single channel as [M, F].

    Raises:
        ValueError: The file cannot be written.
    """
    array = mel.detach().cpu().float().numpy()
    with atomic_file(path) as file:
        np.lib.format.write_array(file, array[0] if len(array) == 1 else array, allow_pickle=False)
