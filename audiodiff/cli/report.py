"""Works through the jobs of a run: progress, the bad ones listed, one line about the time that it took."""

import argparse
import dataclasses
import errno
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiodiff.cli.common import say
from audiodiff.cli.paths import Job, Plan

if TYPE_CHECKING:
    import torch

SOME_FAILED = 1


@dataclasses.dataclass(frozen=True)
class Made:
    """Holds what a job has to tell.

    Args:
        seconds: Of audio.
        network_calls: Per channel.
        clipped: Samples that were clamped.
    """

    seconds: float
    network_calls: int = 0
    clipped: int = 0


class Run:
    """Follows a run from its start, so that the time for loading the model is told apart.

    Args:
        plan: What to do.
        options: Of the command; `json` counts.
        device: Whose memory is watched.
    """

    def __init__(self, plan: Plan, options: argparse.Namespace, device: "torch.device") -> None:
        self.plan = plan
        self.json = options.json
        self.device = device

    def work(self, do: Callable[[Job], Made]) -> int:
        """Does the jobs; returns the exit status.

        One file that fails ends the run with its error. Of several, the others are finished first.
        """
        from tqdm import tqdm
        from tqdm.contrib.logging import logging_redirect_tqdm

        if self.plan.folder is not None:
            self.plan.folder.mkdir(exist_ok=True)
        results: list[dict[str, Any]] = []
        jobs = tqdm(self.plan.jobs, unit="file", disable=None if self.plan.many else True)  # None: not in a pipe
        with logging_redirect_tqdm():
            for job in jobs:
                results.append(self._attempt(do, job))
        return self._tell(results)

    def _attempt(self, do: Callable[[Job], Made], job: Job) -> dict[str, Any]:
        paths = {"input": str(job.input), "output": str(job.output)}
        begun = time.perf_counter()
        try:
            job.output.parent.mkdir(parents=True, exist_ok=True)
            made = do(job)
        except (ValueError, OSError) as error:
            if not self.plan.many or _disk_is_full(error):
                raise
            return paths | {"error": _with_path(job.input, error)}
        elapsed = time.perf_counter() - begun
        return paths | {
            "seconds": made.seconds,
            "elapsed_seconds": elapsed,
            "times_real_time": made.seconds / elapsed,
            "network_calls": made.network_calls,
            "clipped_samples": made.clipped,
        }

    def _tell(self, results: list[dict[str, Any]]) -> int:
        from audiodiff import devices

        good, bad = [r for r in results if "error" not in r], [r for r in results if "error" in r]
        memory = devices.peak_memory_mib(self.device)
        for result in bad:
            say(result["error"])
        if bad:
            say(f"{len(bad)} of {len(results)} files failed")
        if good:
            print(summary(good, memory), file=sys.stderr)
        if self.json:
            told = [r | {"peak_memory_mib": memory} if "error" not in r else r for r in results]
            print(json.dumps(told if self.plan.many else told[0], indent=2))
        return SOME_FAILED if bad else 0


def summary(results: list[dict[str, Any]], memory: float | None) -> str:
    """Says in one line how long it took.

    >>> summary([{"seconds": 3.0, "elapsed_seconds": 1.5, "network_calls": 2}], 100.0)
    '3.00 s of audio in 1.50 s, 2.0 × real time, peak memory 100 MiB, 2 network calls'
    """
    seconds, elapsed = (sum(r[key] for r in results) for key in ("seconds", "elapsed_seconds"))
    calls = sorted({r["network_calls"] for r in results})
    many = "" if len(results) == 1 else f"{len(results)} files, "
    return (
        f"{many}{seconds:.2f} s of audio in {elapsed:.2f} s, {seconds / elapsed:.1f} × real time, "
        f"peak memory {'unknown' if memory is None else f'{memory:.0f} MiB'}, "
        f"{calls[0] if len(calls) == 1 else f'{calls[0]} to {calls[-1]}'} network calls{' per file' if many else ''}"
    )


def _with_path(path: Path, error: Exception) -> str:
    message = " ".join(str(error).splitlines())
    return message if str(path) in message else f"{path}: {message}"


def _disk_is_full(error: Exception) -> bool:
    cause = error if isinstance(error, OSError) else error.__context__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
