"""Work behind a button of the page: begins, tells how far it is, can be stopped, ends with results or a message."""

import html
import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from audiodiff.utils import devices

QUEUE = {"concurrency_limit": 1, "concurrency_id": "models"}  # one at a time: network calls are counted, threads set


class Stopped(Exception):
    """A visitor pressed Stop."""


class Stops:
    """Know which visitors want their work stopped.

    A function that runs in a thread cannot be killed, so it asks after every solver step, by the callback of `watch`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: set[str] = set()
        self._over = False

    def begin(self, request: gr.Request | None) -> None:
        """Forget that a visitor wanted to stop."""
        with self._lock:
            self._wanted.discard(_visitor(request))

    def want(self, request: gr.Request) -> None:
        """Note that a visitor wants to stop, or has closed the page."""
        with self._lock:
            self._wanted.add(_visitor(request))

    def end(self) -> None:
        """Stop the work of everybody, for good: the page is closed."""
        self._over = True

    def watch(self, request: gr.Request | None, tell: Callable[[int], Any] | None = None) -> Callable[[int, Any], None]:
        """Return a solver's callback that raises `Stopped` if asked to, and else tells the number of steps done."""

        def after(step: int, _: Any) -> None:
            with self._lock:
                if self._over or _visitor(request) in self._wanted:
                    raise Stopped
            if tell is not None:
                tell(step + 1)

        return after


def _visitor(request: gr.Request | None) -> str:
    return str(getattr(request, "session_hash", None))


def run(
    button: gr.Button,
    stop: gr.Button,
    stops: Stops,
    function: Callable[..., Any],
    inputs: list[gr.components.Component],
    outputs: list[gr.components.Component],
    name: str,
    status: gr.Markdown,
    results: gr.Column,
) -> gr.events.Dependency:
    """Tie a function to its button, and Stop to both.

    From the click on `status` shows that work is done and how far it is; `results` are shown once there are some, and
    what failed leaves none on the page.
    """
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "queue": False}
    button.click(lambda: "", None, status, **quiet)
    event = button.click(function, inputs, outputs, api_name=name, show_progress_on=status, **QUEUE)
    blank = [None] * len(outputs)
    event.success(lambda: gr.update(visible=True), None, results, **quiet)
    event.failure(lambda: [*blank, gr.update(visible=False)], None, [*outputs, results], **quiet)
    stop.click(stops.want, None, None, cancels=[event], queue=False, api_visibility="private")
    return event


@contextmanager
def one_message(path: str | None = None) -> Generator[None]:
    """Turn a ValueError into a message on the page, with the file's name instead of its place on the server.

    Whatever happened, the memory that the work took is given back.
    """
    try:
        yield
    except Stopped:
        raise gr.Error("stopped", title="Stopped", print_exception=False) from None
    except ValueError as error:
        message = str(error)
        if path:
            message = message.replace(str(path), Path(path).name)
        raise gr.Error(html.escape(message), print_exception=False) from None
    finally:
        devices.release_memory()


@contextmanager
def warnings_of(logger: logging.Logger) -> Generator[list[str]]:
    """Collect the warnings of a logger, which belong on the page and not in the server's terminal."""
    collector, passed_on = _Collector(), logger.propagate
    logger.addHandler(collector)
    logger.propagate = False
    try:
        yield collector.messages
    finally:
        logger.removeHandler(collector)
        logger.propagate = passed_on


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
