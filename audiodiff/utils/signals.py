"""Stopping by SIGINT and SIGTERM: an exception, so that open files are closed and temporary ones are removed."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any


class Stopped(KeyboardInterrupt):
    """Raised where a process was when a signal stopped it.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__()
        self.number = number

    @property
    def status(self) -> int:
        """Return the exit status that a shell reports: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


@contextlib.contextmanager
def stoppable() -> Generator[None]:
    """Raise `Stopped` in the main thread on the first SIGINT or SIGTERM; ignore later SIGTERMs.

    A later SIGINT raises KeyboardInterrupt, so that a second Ctrl-C ends a stop that takes too long. Does nothing in
    other threads, which Python gives no signals. A `Stopped` that is lost, as in a callback of libsndfile's or in
    `__del__`, is raised again.
    """
    with handlers_kept():
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _stop)
        before, sys.unraisablehook = sys.unraisablehook, _raise_again
        try:
            yield
        finally:
            sys.unraisablehook = before


def _raise_again(lost: Any) -> None:
    """Send a signal once more whose exception went where no exception can go."""
    if not isinstance(lost.exc_value, Stopped):
        sys.__unraisablehook__(lost)
        return
    number = lost.exc_value.number
    signal.signal(number, _stop)
    again = threading.Timer(0.02, os.kill, [os.getpid(), number])
    again.daemon = True
    again.start()


@contextlib.contextmanager
def handlers_kept() -> Generator[None]:
    """Put the handlers of SIGINT and SIGTERM back at the end, whatever a library has set meanwhile."""
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in previous.items():
                signal.signal(number, handler)


def as_stopped(error: BaseException) -> Stopped:
    """Return the `Stopped` behind an exception that a library raised in its place, or a new one for SIGINT."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Stopped):
            return cause
        cause = cause.__cause__ or cause.__context__
    return Stopped()


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise Stopped(number)
