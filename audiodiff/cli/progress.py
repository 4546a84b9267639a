"""Do the jobs of a batch one after the other, and report: a progress bar, the errors, and a line about time and memory.

Times include reading and writing, but not the loading of the model.
"""

import dataclasses
import errno
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiodiff.cli.jobs import Batch, Job
from audiodiff.cli.messages import out_of_memory, say
from audiodiff.utils.files import refusal
from audiodiff.utils.remote import UploadError

if TYPE_CHECKING:
    import torch

SOME_FAILED = 1
SHOWN_ERRORS = 100


@dataclasses.dataclass(frozen=True)
class JobResult:
    """What a job reports.

    Args:
        seconds: Of audio.
        network_calls: Per channel.
        clipped: Number of samples that were clamped.
        lowered: Attenuation in dB that was needed to fit the peaks.
    """

    seconds: float
    network_calls: int = 0
    clipped: int = 0
    lowered: float = 0.0


def run_jobs(batch: Batch, do: Callable[[Job], JobResult], device: "torch.device", as_json: bool) -> int:
    """Do the jobs of a batch, report the results, and return the exit status.

    The error of a single file ends the run. Of several files, the others are done first.

    Args:
        batch: The jobs.
        do: Does one of them.
        device: Whose peak memory is reported.
        as_json: Print the results on standard output as well.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from audiodiff.utils import devices

    if isinstance(batch.folder, Path):
        create_folder(batch.folder)
    with logging_redirect_tqdm():  # disable=None: no bar in a pipe
        jobs = tqdm(batch.jobs, unit="file", disable=None if batch.many else True)
        results = [try_job(do, job, batch.many) for job in jobs]
    memory = devices.peak_memory_mib(device)
    failed = _report(results, memory)
    if as_json:
        shown = [r if "error" in r else r | {"peak_memory_mib": memory} for r in results]
        print(json.dumps(shown if batch.many else shown[0], indent=2))
    return SOME_FAILED if failed else 0


def create_folder(folder: Path) -> None:
    """Create the folder of outputs if it is missing."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be created ({error.strerror}); choose another place") from None


def try_job(do: Callable[[Job], JobResult], job: Job, go_on: bool) -> dict[str, Any]:
    """Do a job and time it.

    Args:
        do: Does the job.
        job: The job.
        go_on: Return an error instead of raising it, unless no later output could be written either.

    Raises:
        ValueError: The job failed.
    """
    places = {"input": str(job.input), "output": str(job.output)}
    begun = time.perf_counter()
    try:
        result = do(job)
    except (MemoryError, RuntimeError) as error:
        if not go_on or not out_of_memory(error):
            raise
        return places | {"error": f"{job.input}: out of memory; give it --chunk-seconds 10"}
    except (ValueError, OSError) as error:
        message = " ".join((refusal(error) if isinstance(error, OSError) else str(error)).splitlines())
        if not message.startswith((f"{job.input}: ", str(job.output))):
            message = f"{job.input}: {message}"
        if not go_on or isinstance(error, UploadError) or _disk_is_full(error):
            raise ValueError(message) from None
        return places | {"error": message}
    elapsed = time.perf_counter() - begun
    return places | {
        "seconds": result.seconds,
        "elapsed_seconds": elapsed,
        "times_real_time": result.seconds / elapsed,
        "network_calls": result.network_calls,
        "clipped_samples": result.clipped,
        "lowered_db": result.lowered,
    }


def print_errors(results: list[dict[str, Any]], total: int) -> int:
    """Print the errors among the results of `total` jobs, and return their number."""
    errors = [result["error"] for result in results if "error" in result]
    for error in errors[:SHOWN_ERRORS]:
        say(error)
    if errors:
        more = f"; {len(errors) - SHOWN_ERRORS} of them are not listed" if len(errors) > SHOWN_ERRORS else ""
        say(f"{len(errors)} of {total} files failed{more}")
    return len(errors)


def summary(results: list[dict[str, Any]], memory: float | None) -> str:
    """Return a line about time and memory.

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


def _report(results: list[dict[str, Any]], memory: float | None) -> int:
    """Print the errors and a summary of the rest; return the number of errors."""
    failed = print_errors(results, len(results))
    good = [result for result in results if "error" not in result]
    if gains := [r["lowered_db"] for r in good if r["lowered_db"]]:
        many = f"{len(gains)} of {len(good)} sounds were " if len(good) > 1 else ""
        say(f"{many}lowered by {'up to ' if len(gains) > 1 else ''}{max(gains):.1f} dB, so that all peaks fit")
    if good:
        print(summary(good, memory), file=sys.stderr)
    return failed


def _disk_is_full(error: Exception) -> bool:
    cause = error if isinstance(error, OSError) else error.__context__
    return isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
