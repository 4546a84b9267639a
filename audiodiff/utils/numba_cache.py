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
from collections.abc import Generator
from pathlib import Path
from types import ModuleType

from filelock import FileLock

SECONDS = 600  # for which another process is waited for
PATIENCE = 4.0  # seconds after which it is said what is waited for
log = logging.getLogger(__name__)
COMPILED = ("util.utils", "core.audio", "core.pitch")  # parts of librosa that compile when imported, save `beat`


@contextlib.contextmanager
def one_process_at_a_time() -> Generator[None]:
    """Hold off the user's other processes that ask for the same; where no file can be locked, hold off nobody.

    Say once that Numba compiles, if it does: what it finds in its cache loads in silence.
    """
    from numba.core import event

    class Compiling(event.Listener):
        def on_start(self, event: event.Event) -> None:
            announce_compiling()

        def on_end(self, event: event.Event) -> None:
            pass

    user = os.getuid() if hasattr(os, "getuid") else "user"
    lock = FileLock(Path(tempfile.gettempdir()) / f"audiodiff-{user}.lock", timeout=SECONDS)
    waiting = threading.Timer(PATIENCE, log.warning, ["waiting for another process, which compiles"])
    waiting.daemon = True
    with contextlib.ExitStack() as stack:
        waiting.start()
        try:
            with contextlib.suppress(OSError):  # a time-out is an OSError
                stack.enter_context(lock)
        finally:
            waiting.cancel()
        with event.install_listener("numba:compile", Compiling()):
            yield


@functools.cache
def announce_compiling() -> None:
    """Log that Numba compiles, once in a process."""
    log.warning("compiling for this machine, once: it takes up to a minute")


@functools.cache
def librosa() -> ModuleType:
    """Import librosa with all that it compiles, which happens once on a machine and takes a second afterwards."""
    with one_process_at_a_time():
        for part in COMPILED:
            importlib.import_module(f"librosa.{part}")
        return importlib.import_module("librosa")
