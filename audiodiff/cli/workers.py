"""Run a batch in parallel, by processes of this machine or by a Ray cluster; skip the outputs that are whole.

An output is whole if the sound and its sidecar are there, and the sidecar has this run's recipe and the input's hash.
So the same command, run again after any interruption, goes on where it was. Each worker loads the model once and uses
one CPU thread unless OMP_NUM_THREADS says otherwise; every file takes its noise from the recipe's seed. Outputs are
therefore the same bytes for any number of workers.
"""

import argparse
import concurrent.futures
import contextlib
import itertools
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from audiodiff.cli import progress
from audiodiff.cli.jobs import Batch, Job
from audiodiff.cli.messages import say
from audiodiff.cli.worker import TEMPORARY, Prepare, Result, Run, do_job, temporary_files
from audiodiff.utils.signals import Stopped


def run_parallel(batch: Batch, prepare: Prepare, options: argparse.Namespace) -> int:
    """Do the jobs of a batch in parallel, report the results, and return the exit status.

    Raises:
        ValueError: The outputs have no folder, an output was made by another recipe, there is no cluster, or a worker
            died.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    if batch.folder is None:
        raise ValueError("--workers and --ray fill a folder: give a folder for OUT, and several files or a folder")
    if isinstance(batch.folder, Path):
        progress.create_folder(batch.folder)
    begun, results = time.time(), list[Result]()
    end: Stopped | ValueError | None = None
    source = _results(Run(prepare, options), batch.jobs)
    with (
        logging_redirect_tqdm(),
        contextlib.closing(source),
        tqdm(total=len(batch.jobs), unit="file", disable=None) as bar,
    ):
        try:
            for result in source:
                results.append(result)
                bar.update()
        except (Stopped, ValueError) as error:
            end = error
    if isinstance(end, ValueError) and not results:
        raise end
    status = _report(results, len(batch.jobs), time.time() - begun, options.json)
    if isinstance(end, ValueError):
        raise end
    if end is not None:
        say(f"stopped after {len(results)} of {len(batch.jobs)} files; run the same command again to go on")
        return end.status
    _remove_leftovers(batch.jobs, begun)
    return status


def _results(run: Run, jobs: list[Job]) -> Iterator[Result]:
    """Yield the result of each job, in the order in which they end."""
    if run.options.ray is not None:
        from audiodiff.cli.cluster import cluster_results

        return cluster_results(run, jobs, run.options.ray)
    if run.options.workers == 1:
        return (do_job(run, job) for job in jobs)
    return _pool_results(run, jobs, run.options.workers)


def _pool_results(run: Run, jobs: list[Job], workers: int) -> Iterator[Result]:
    """Share jobs out to processes; on a stop, let them finish what they work on."""
    context, waiting = multiprocessing.get_context("spawn"), iter(jobs)
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker, (context.Value("i", 0),))
    try:
        running = {pool.submit(do_job, run, job) for job in itertools.islice(waiting, workers)}
        while running:
            done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            running |= {pool.submit(do_job, run, job) for job in itertools.islice(waiting, len(done))}
            yield from (future.result() for future in done)
    except BrokenProcessPool:
        remedy = "run the same command again to go on, with fewer --workers if memory is short"
        raise ValueError(f"a worker died, as when the system runs out of memory; {remedy}") from None
    finally:
        try:
            pool.shutdown(cancel_futures=True)
        except KeyboardInterrupt:  # the second Ctrl-C
            for process in multiprocessing.active_children():
                process.kill()
            raise


def _start_worker(started: "Synchronized[int]") -> None:
    """Prepare a process of the pool: leave signals to its parent, end with it, and take a GPU in turn."""
    from audiodiff.utils import devices

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(format="audiodiff: %(message)s", level=logging.WARNING)
    with started.get_lock():
        rank, started.value = started.value, started.value + 1
    devices.take_turn(rank)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _report(results: list[Result], total: int, elapsed: float, as_json: bool) -> int:
    """Print the errors and a line about the rest; return the exit status."""
    failed = progress.print_errors(results, total)
    finished = [result for result in results if "seconds" in result]
    skipped = len(results) - failed - len(finished)
    rate = f", {len(finished) / elapsed:.2f} files a second" if finished else ""
    there = f"; {skipped} were there" if skipped else ""
    seconds = sum(result["seconds"] for result in finished)
    print(f"{len(finished)} files, {seconds:.2f} s of audio in {elapsed:.2f} s{rate}{there}", file=sys.stderr)
    if as_json:
        print(json.dumps([result for result in results if "skipped" not in result], indent=2))
    return progress.SOME_FAILED if failed else 0


def _remove_leftovers(jobs: list[Job], begun: float) -> None:
    """Remove the temporary files that killed processes left of these outputs, before this run began."""
    outputs = {job.output for job in jobs if isinstance(job.output, Path)}
    for folder in {output.parent for output in outputs}:
        for path in temporary_files(folder):
            if folder / TEMPORARY.fullmatch(path.name)["name"] in outputs and path.stat().st_mtime < begun:
                path.unlink(missing_ok=True)
