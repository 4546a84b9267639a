"""Threads that work on one sound together: each calls the same compiled function for its part, and they meet within.

They are torch's own threads, those of its OpenMP: behind each of torch's operations these look out for more work for
some milliseconds, and any others would have to share the cores with them (rounds of a clip of 4 s on two cores: 10 ms
a second of sound with two threads beside torch's, 9 with one). Who waits in compiled code looks at a counter again and
again, and after a while lets other threads go first.
"""

import ctypes
import functools
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import int32, int64, types
from numba.extending import intrinsic

from audiodiff.griffin_lim.kernels.fft import compiled

__all__ = ["crew_size", "meet", "work_together"]

PATIENCE = 4096  # looks at the counter, some microseconds
MEMBER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
log = logging.getLogger(__name__)


@intrinsic
def add_atomically(typing: Any, counter: Any, amount: Any) -> Any:
    """Adds to counter[0], behind all that was written before."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.atomic_rmw("add", array.data, arguments[1], "seq_cst")

    return int64(counter, amount), code


@intrinsic
def read_atomically(typing: Any, counter: Any) -> Any:
    """Returns counter[0], before all that is read later."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.load_atomic(array.data, "seq_cst", 8, typ=context.get_value_type(int64))

    return int64(counter), code


if os.name == "posix":
    sched_yield = types.ExternalFunction("sched_yield", int32())

    @compiled()
    def give_way() -> None:
        """Lets another thread of this core go first."""
        sched_yield()

else:

    @compiled()
    def give_way() -> None:
        """Does nothing."""


@compiled(int64[::1], int64)
def meet(counter: np.ndarray, goal: int) -> None:
    """Says that one more is here, and waits until the counter, which began at 0, has come to the goal."""
    add_atomically(counter, 1)
    looks = 0
    while read_atomically(counter) < goal:
        looks += 1
        if looks > PATIENCE:
            give_way()


@functools.cache
def _openmp() -> Any:
    """Finds the OpenMP that torch itself is linked with; None where it is not GCC's or does not speak like it."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        openmp = ctypes.CDLL(str(library))  # is there already: this only opens it again
        if all((openmp.GOMP_parallel, openmp.omp_get_level, openmp.omp_get_dynamic, openmp.omp_get_thread_limit)):
            return openmp
    except (OSError, AttributeError) as error:
        log.info("one thread does the rounds of a sound: %s", error)
    return None


def crew_size(most: int) -> int:
    """Returns how many threads may work together: `most`, torch's number of threads, or the cores of this process."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(most, torch.get_num_threads(), cores)) if _openmp() else 1


def work_together(function: Callable[..., None], parts: Sequence[Sequence[Any]], idle: Sequence[Any]) -> bool:
    """Calls a function once for each part, all at the same time, or not at all; returns whether it did.

    No line of Python runs in a member: an interrupt that was raised there would leave the others waiting. It is raised
    when all are done. Numba looks up a new kind of argument in Python, so the caller shows them to it before.

    Args:
        function: A compiled one; it releases the interpreter, and meets the others as often as they do.
        parts: Its arguments.
        idle: Arguments of the same kinds, with which it meets nobody.
    """
    if len(parts) == 1:
        function(*parts[0])
        return True
    openmp = _openmp()
    if openmp.omp_get_level() or openmp.omp_get_dynamic() or openmp.omp_get_thread_limit() < len(parts):
        return False  # within another team, for one, there are no more threads
    function(*idle)
    shares = itertools.starmap(function, parts)
    openmp.GOMP_parallel(MEMBER(functools.partial(next, shares)), None, len(parts), 0)
    return True
