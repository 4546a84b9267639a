"""Stop a run at a step boundary when the process is asked to end, so that nothing since the last save is lost."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

__all__ = ["StopOnSignal", "Stopped"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """Tells that a run was stopped by a signal, with its state saved.

    Attributes:
        status: The exit status that a shell expects: 143 for SIGTERM, 130 for Ctrl-C.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(f"stopped at step {step}; run the same command to go on")
        self.status = 128 + number


class StopOnSignal(Callback):
    """Ask the trainer to stop after the current step when SIGTERM or Ctrl-C arrives; a second one interrupts at once.

    Attributes:
        number: The signal that arrived, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside a `with` block; does nothing outside of the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Stop if a signal has arrived, in this process or in another of the same run."""
        stop = trainer.strategy.reduce_boolean_decision(self.number is not None, all=False)
        trainer.should_stop = trainer.should_stop or stop

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
