"""Compiled code on disk, which one process at a time may make; who waits for it is told.

Numba keeps what it compiled beside the sources. Two processes that compile a generalised ufunc at once leave files that
call functions of each other's; from then on every process that uses them dies of a segmentation fault (its issues 4807
and 10128). librosa compiles such functions when it is first imported: two first commands at once are enough.
"""

import contextlib
import functools
import importlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from filelock import FileLock

__all__ = ["librosa", "one_process_at_a_time"]

SECONDS = 600  # for which another process is waited for
PATIENCE = 4.0  # seconds after which it is said what takes so long; what is compiled already takes one or two
log = logging.getLogger(__name__)
COMPILED = ("util.utils", "core.audio", "core.pitch")  # parts of librosa that compile when imported, save `beat`


@contextlib.contextmanager
def told_if_slow(message: str) -> Iterator[None]:
    """Logs a warning when a `with` block takes longer than a moment."""
    timer = threading.Timer(PATIENCE, log.warning, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def one_process_at_a_time() -> Iterator[None]:
    """Holds off the user's other processes that ask for the same; where no file can be locked it holds off nobody."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    lock = FileLock(Path(tempfile.gettempdir()) / f"audiodiff-{user}.lock", timeout=SECONDS)
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError), told_if_slow("waiting for another process, which compiles"):
            held.enter_context(lock)  # a time-out is an OSError
        with told_if_slow("compiling for this machine, once: it takes up to a minute"):
            yield


@functools.cache
def librosa() -> ModuleType:
    """Imports librosa with all that it compiles, which happens once on a machine and takes a second afterwards."""
    with one_process_at_a_time():
        for part in COMPILED:
            importlib.import_module(f"librosa.{part}")
        return importlib.import_module("librosa")
