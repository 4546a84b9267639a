"""What a command says on standard error, and how it ends: whatever goes wrong is one line and an exit status."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Generator

from audiodiff.utils.files import refusal
from audiodiff.utils.signals import Stopped, stoppable

INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 + the number of the signal, as a shell reports it


def guarded(run: Callable[[], int]) -> int:
    """Run, and turn whatever goes wrong into one line and an exit status."""
    logging.basicConfig(format="audiodiff: %(message)s", level=logging.WARNING)
    try:
        with stoppable():
            status = _status(run)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except KeyboardInterrupt as stop:
        say("interrupted; what was not finished is not written")
        return stop.status if isinstance(stop, Stopped) else INTERRUPTED
    except OSError as error:
        say(refusal(error), trouble=True)
    except ValueError as error:
        say(str(error), trouble=True)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        say("out of memory; give a shorter recording, or --chunk-seconds 10", trouble=True)
    return 2


def _status(run: Callable[[], int]) -> int:
    try:
        return run()
    except SystemExit as stop:  # argparse has said what it had to say
        return stop.code if isinstance(stop.code, int) else 0


def _discard_output() -> None:
    """Point standard output at nothing, so that Python does not complain when it flushes it at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def out_of_memory(error: Exception) -> bool:
    """Return whether the memory of the host or of a device was exhausted."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error) or "out of memory" in str(error)


def say(message: str, trouble: bool = False) -> None:
    """Print one line on standard error; what a file's name must not do to a terminal is escaped."""
    line = " ".join(message.splitlines())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    print(signature(trouble), shown, file=sys.stderr)


def signature(trouble: bool = False) -> str:
    """Return the name before a line on standard error: red for trouble, on a terminal that wants colours."""
    plain = not sys.stderr.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return "\033[1;31maudiodiff:\033[0m" if trouble and not plain else "audiodiff:"


def lenient_output() -> None:
    """Write what standard output and error cannot encode as `?`, as on a terminal of cp1252 or koi8-r."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def stages() -> Generator[Callable[[str], None]]:
    """Show the name of a long command's present stage: one line, rewritten, on a terminal."""
    from tqdm import tqdm

    with tqdm(bar_format="{desc}", leave=False, disable=None) as bar:
        yield lambda stage: bar.set_description_str(f"audiodiff: {stage}")
