"""Stopping by a signal: the exception arrives, also where a library swallows the first one."""

import os
import signal
import time

import pytest

from audiodiff.utils.signals import Stopped, stoppable


class Swallowing:
    """Is sent a signal while it is deleted, where an exception goes nowhere."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)


def test_signal_whose_exception_is_lost_is_raised_again():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped) as stopped, stoppable():
        Swallowing()
        time.sleep(5)
    assert stopped.value.status == 143
    assert signal.getsignal(signal.SIGTERM) is before
