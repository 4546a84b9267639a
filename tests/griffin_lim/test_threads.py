"""Threads that work together: all at once, each once, or not at all."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from support.threads import IDLE, leave_and_look

from audiodiff.griffin_lim.kernels import threads


@pytest.fixture
def openmp():
    if threads._openmp() is None:
        pytest.skip("this torch has no OpenMP of GCC's kind")
    before = torch.get_num_threads()
    yield threads._openmp()
    torch.set_num_threads(before)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_members_see_what_the_others_wrote_before_they_met(size, openmp):
    seen, counter = np.zeros(3 * size, np.int64), np.zeros(1, np.int64)
    assert threads.work_together(leave_and_look, [(seen, counter, part, size) for part in range(size)], IDLE)
    wanted = sum(n + other for n in range(1000) for other in range(size))
    assert (seen[2 * size :] == wanted).all()
    assert counter[0] == 1000 * size


def test_a_crew_is_no_larger_than_torch_may_be_or_than_there_are_cores(openmp, monkeypatch):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda process: range(8), raising=False)
    torch.set_num_threads(3)
    assert [threads.crew_size(most) for most in (0, 1, 2, 9)] == [1, 1, 2, 3]
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda process: range(2))
    assert threads.crew_size(9) == 2
    monkeypatch.setattr(threads, "_openmp", lambda: None)
    assert threads.crew_size(9) == 1


def test_a_crew_that_is_not_whole_does_nothing(openmp):
    calls = []
    assert threads.work_together(calls.append, [(0,), (1,)], (9,)) and sorted(calls) == [0, 1, 9]
    results = []

    def outer(_):
        results.append(threads.work_together(calls.append, [(2,), (3,)], (9,)))

    levels = openmp.omp_get_max_active_levels()
    openmp.omp_set_max_active_levels(1)
    openmp.GOMP_parallel(threads.MEMBER(outer), None, 2, 0)
    openmp.omp_set_max_active_levels(levels)
    assert results == [False, False] and sorted(calls) == [0, 1, 9]


def test_crews_of_several_python_threads_do_not_wait_for_each_other(openmp):
    def work(_):
        seen, counter = np.zeros(6, np.int64), np.zeros(1, np.int64)
        whole = threads.work_together(leave_and_look, [(seen, counter, part, 2) for part in range(2)], IDLE)
        return whole and int(seen[4]) == int(seen[5]) == sum(2 * n + 1 for n in range(1000))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(work, range(12), timeout=60))


def test_interrupts_at_any_moment_reach_the_caller_and_nobody_waits():
    program = Path(__file__).parents[1] / "support" / "interrupted.py"
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20 and "ignored" not in done.stderr
