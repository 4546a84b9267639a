"""Stop a run at a step boundary on SIGTERM or Ctrl-C, with its state saved."""

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from audiodiff.utils import signals

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(signals.Stopped):
    """Report that a signal stopped a run, with its state saved.

    Args:
        number: The signal.
        step: The step of the run.
    """

    def __init__(self, number: int, step: int) -> None:
        super().__init__(number)
        self.args = (f"stopped at step {step}; run the same command to go on",)


class StopOnSignal(Callback):
    """Stop the trainer after the current step on SIGTERM or Ctrl-C; a second signal interrupts at once.

    Attributes:
        number: The signal that arrived, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Generator[None]:
        """Handle the signals inside a `with` block and restore their handlers after it; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Replace Lightning's handlers, which end the run without saving."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._handle)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Stop if a signal has arrived, in this process or in another of the same run."""
        stop = trainer.strategy.reduce_boolean_decision(self.number is not None, all=False)
        trainer.should_stop = trainer.should_stop or stop
        if stop:
            trainer.limit_val_batches = 0  # whoever sent the signal may not wait for a validation

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            raise KeyboardInterrupt
        self.number = number
