"""Write files whole or not at all."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def refusal(error: OSError) -> str:
    """Say in one line what the system refused.

    >>> refusal(FileNotFoundError(2, "No such file or directory", "a.wav"))
    'a.wav: No such file or directory'
    """
    return f"{error.filename or 'the system'}: {error.strerror or error}"


def check_readable(path: str | Path, name: str | None = None) -> None:
    """Read the first byte of a file: what reads the rest may be a library that hides why it could not.

    Raises:
        ValueError: The system refuses.
    """
    try:
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"{name or path}: cannot be read ({error.strerror})") from None


@contextmanager
def atomic_file(path: str | Path) -> Generator[BinaryIO]:
    """Open a temporary file beside `path` and renames it when the block ends well; remove it otherwise.

    Raises:
        ValueError: The folder is missing or cannot be written, or the disk is full.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"{path}: the folder {path.parent} does not exist; create it first")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give a file name")
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w+b") as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        raise ValueError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from None
    except BaseException:
        _remove(temporary)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write a file of UTF-8, whole or not at all; raise what `atomic_file` raises."""
    with atomic_file(path) as file:
        file.write(text.encode())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _remove(temporary: str | None) -> None:
    if temporary is not None and os.path.exists(temporary):
        os.remove(temporary)
