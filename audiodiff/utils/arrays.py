"""Read arrays of NumPy's format, .npy, from files that a stranger may have written."""

from pathlib import Path

import numpy as np

__all__ = ["read_npy"]


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
