"""Check tensors, and read arrays of NumPy's format, .npy, from files that a stranger may have written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiodiff.utils.lazy import lazy_module

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np, torch = lazy_module("numpy"), lazy_module("torch")


def check_tensor(value: Any, name: str) -> None:
    """Check that a value is a tensor.

    Raises:
        TypeError: It is something else, such as an array.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} is a {type(value).__name__}: give a tensor, as by torch.from_numpy")


def check_floats(value: Any, name: str) -> None:
    """Check that a value is a tensor of real floats.

    Raises:
        TypeError: It is no tensor.
        ValueError: It holds whole or complex numbers.
    """
    check_tensor(value, name)
    if not value.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
        raise ValueError(f"{name} holds {kind} values, and floats are wanted; of 16-bit samples: samples / 32768")


def check_recording(value: Any, name: str) -> None:
    """Check that a value is a tensor of real floats, [channels, samples].

    Raises:
        TypeError: It is no tensor.
        ValueError: It has another shape, or holds whole or complex numbers.
    """
    check_floats(value, name)
    if value.ndim != 2:
        raise ValueError(f"{name} is {list(value.shape)}; [channels, samples] is wanted: add an axis in front")


def read_npy(path: str | Path) -> np.ndarray:
    """Read an array; nothing in the file is unpickled.

    Raises:
        ValueError: The file cannot be read, or is none of this format.
    """
    try:
        with open(path, "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # NumPy evaluates the header as Python's text, which may fail in any way
        reason = str(error).partition("\n")[0][:120] or type(error).__name__
        raise ValueError(f"cannot be read as .npy ({reason}); save floats with numpy.save") from None
