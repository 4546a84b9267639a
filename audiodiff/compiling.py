"""Compiled code on disk, which one process at a time may make.

Numba keeps what it compiled beside the sources. Two processes that compile a generalised ufunc at once leave files that
call functions of each other's; from then on every process that uses them dies of a segmentation fault (its issues 4807
and 10128). librosa compiles such functions when it is first imported: two first commands at once are enough.
"""

import contextlib
import functools
import importlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from filelock import FileLock

__all__ = ["librosa", "one_process_at_a_time"]

SECONDS = 600  # for which another process is waited for
COMPILED = ("util.utils", "core.audio", "core.pitch")  # parts of librosa that compile when imported, save `beat`


@contextlib.contextmanager
def one_process_at_a_time() -> Iterator[None]:
    """Holds off the user's other processes that ask for the same; where no file can be locked it holds off nobody."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    lock = FileLock(Path(tempfile.gettempdir()) / f"audiodiff-{user}.lock", timeout=SECONDS)
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):  # a time-out is one
            held.enter_context(lock)
        yield


@functools.cache
def librosa() -> ModuleType:
    """Imports librosa with all that it compiles, which happens once on a machine and takes a second afterwards."""
    with one_process_at_a_time():
        for part in COMPILED:
            importlib.import_module(f"librosa.{part}")
        return importlib.import_module("librosa")
