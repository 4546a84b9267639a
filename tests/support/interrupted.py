"""Interrupts threads that meet, at random moments, for two seconds; prints how often. A deadlock would not end."""

import random
import signal
import time

import numpy as np
import torch
from support.threads import IDLE, leave_and_look

from audiodiff.griffin_lim.kernels import threads


def interrupt(*_):
    raise KeyboardInterrupt


def caught_in(seconds):
    """Returns how many interrupts came through."""
    torch.set_num_threads(2)
    signal.signal(signal.SIGALRM, interrupt)
    end, caught = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 5e-3))
            while True:
                seen, counter = np.zeros(6, np.int64), np.zeros(1, np.int64)
                threads.work_together(leave_and_look, [(seen, counter, part, 2) for part in range(2)], IDLE)
        except KeyboardInterrupt:
            caught += 1
    return caught


if __name__ == "__main__":
    print(caught_in(2))
