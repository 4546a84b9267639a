"""Works through the jobs of a run: progress, the bad ones listed, one line about the time that it took.

The time is that of reading, making and writing; the loading of the model is not counted.
"""

import dataclasses
import errno
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiodiff.cli.common import say
from audiodiff.cli.jobs import Job, Plan
from audiodiff.utils.remote import UploadError

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
        lowered: dB by which the sound was lowered, so that its peaks fit.
    """

    seconds: float
    network_calls: int = 0
    clipped: int = 0
    lowered: float = 0.0


def work(plan: Plan, do: Callable[[Job], Made], device: "torch.device", as_json: bool) -> int:
    """Does the jobs, tells how it went, and returns the exit status.

    A single file that fails ends the run with its error. Of several, the others are finished first.

    Args:
        plan: The jobs.
        do: Does one.
        device: Whose memory is watched.
        as_json: Whether to print the results on standard output too.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from audiodiff.utils import devices

    if isinstance(plan.folder, Path):
        create(plan.folder)
    with logging_redirect_tqdm():  # disable=None: no bar in a pipe
        jobs = tqdm(plan.jobs, unit="file", disable=None if plan.many else True)
        results = [attempt(do, job, plan.many) for job in jobs]
    memory = devices.peak_memory_mib(device)
    failed = _tell(results, memory)
    if as_json:
        told = [r if "error" in r else r | {"peak_memory_mib": memory} for r in results]
        print(json.dumps(told if plan.many else told[0], indent=2))
    return SOME_FAILED if failed else 0


def summary(results: list[dict[str, Any]], memory: float | None) -> str:
    """Says in one line how long it took.

    >>> summary([{"seconds": 3.0, "elapsed_seconds": 1.5, "network_calls": 2}], 100.0)
    '3.00 s of audio in 1.50 s, 2.0 × real time, peak memory 100 MiB, 2 network calls per channel'
    """
    seconds, elapsed = (sum(r[key] for r in results) for key in ("seconds", "elapsed_seconds"))
    calls = sorted({r["network_calls"] for r in results})
    return (
        f"{f'{len(results)} files, ' if len(results) > 1 else ''}{seconds:.2f} s of audio in {elapsed:.2f} s, "
        f"{seconds / elapsed:.1f} × real time, peak memory {'unknown' if memory is None else f'{memory:.0f} MiB'}, "
        f"{calls[0] if len(calls) == 1 else f'{calls[0]} to {calls[-1]}'} network calls per channel"
    )


def create(folder: Path) -> None:
    """Makes the folder of outputs, if it is missing."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be created ({error.strerror}); choose another place") from None


def attempt(do: Callable[[Job], Made], job: Job, go_on: bool) -> dict[str, Any]:
    """Does a job and times it; keeps its error if others shall follow."""
    paths = {"input": str(job.input), "output": str(job.output)}
    begun = time.perf_counter()
    try:
        made = do(job)
    except (ValueError, OSError) as error:
        message = " ".join(str(error).splitlines())
        if not message.startswith((f"{job.input}: ", str(job.output))):
            message = f"{job.input}: {message}"
        if not go_on or isinstance(error, UploadError) or _disk_is_full(error):
            raise ValueError(message) from None
        return paths | {"error": message}
    elapsed = time.perf_counter() - begun
    return paths | {
        "seconds": made.seconds,
        "elapsed_seconds": elapsed,
        "times_real_time": made.seconds / elapsed,
        "network_calls": made.network_calls,
        "clipped_samples": made.clipped,
        "lowered_db": made.lowered,
    }


def _tell(results: list[dict[str, Any]], memory: float | None) -> int:
    """Prints the errors and the line about the rest; returns the number of errors."""
    good, bad = [r for r in results if "error" not in r], [r for r in results if "error" in r]
    for result in bad:
        say(result["error"])
    if bad:
        say(f"{len(bad)} of {len(results)} files failed")
    if down := [r["lowered_db"] for r in good if r["lowered_db"]]:
        many = f"{len(down)} of {len(good)} sounds were " if len(good) > 1 else ""
        say(f"{many}lowered by {'up to ' if len(down) > 1 else ''}{max(down):.1f} dB, so that all peaks fit")
    if good:
        print(summary(good, memory), file=sys.stderr)
    return len(bad)


def _disk_is_full(error: Exception) -> bool:
    cause = error if isinstance(error, OSError) else error.__context__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
