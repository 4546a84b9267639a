"""Makes the sounds of a folder by several workers: processes of this machine, and whatever else shares the folder.

Every worker goes through the same list and does what is neither done nor claimed (`audiodiff.cli.locks`), so that
those which `--workers N` starts, those of torchrun or SLURM, and one begun by hand in another shell are all the same.
What is whole is skipped: the sound and its sidecar are there, the sidecar tells of the recipe now asked for, and of the
input as it is. Each worker has one thread of the CPU, unless OMP_NUM_THREADS says otherwise, so bytes do not depend on
how many there are; every file has the seed of the recipe, as always.
"""

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiodiff.cli import progress
from audiodiff.cli.common import say
from audiodiff.cli.jobs import Job, Plan
from audiodiff.cli.locks import Claims, leftovers, shared, sweep

if TYPE_CHECKING:
    from audiodiff.pipelines.vocoding import VocodeRecipe

Prepare = Callable[[argparse.Namespace], tuple[Callable[[Job], progress.Made], "VocodeRecipe"]]
Result = dict[str, Any] | None
MOST = 1024


def make_by_workers(jobs: Plan, prepare: Prepare, options: argparse.Namespace) -> int:
    """Does the jobs by `options.workers` workers, tells how it went, and returns the exit status.

    Args:
        jobs: All of them.
        prepare: A function of a module, which loads the model and returns what does a job, and its recipe.
        options: Of the command.

    Raises:
        ValueError: The number is out of range, there is no folder, an output was made otherwise, or workers died.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    if not 1 <= options.workers <= MOST:
        raise ValueError(f"--workers {options.workers}: a whole number from 1 to {MOST} is wanted")
    if jobs.folder is None:
        raise ValueError("--workers share a folder of outputs: give a folder for OUT, and several files or a folder")
    progress.create(jobs.folder)
    begun, results = time.perf_counter(), dict[str, dict[str, Any]]()
    told = _one(jobs, prepare, options) if options.workers == 1 else _several(jobs, prepare, options)
    with (
        logging_redirect_tqdm(),
        contextlib.closing(told),
        tqdm(total=len(jobs.jobs), unit="file", disable=None) as bar,
    ):
        for result in told:
            if result is not None:
                results[result["output"]] = result
            bar.update(min(1, len(jobs.jobs) - bar.n))
    return _told(list(results.values()), len(jobs.jobs), time.perf_counter() - begun, options.json)


def _told(results: list[dict[str, Any]], total: int, elapsed: float, as_json: bool) -> int:
    """Tells what was made, what others had made, and what failed."""
    bad = [r for r in results if "error" in r]
    for result in bad:
        say(result["error"])
    if bad:
        say(f"{len(bad)} of {total} files failed")
    made, seconds = len(results) - len(bad), sum(r.get("seconds", 0.0) for r in results)
    there = f"; {total - len(results)} were there or made by others" if total > len(results) else ""
    rate = f", {made / elapsed:.2f} files a second" if made else ""
    print(f"{made} files, {seconds:.2f} s of audio in {elapsed:.2f} s{rate}{there}", file=sys.stderr)
    if as_json:
        print(json.dumps(results, indent=2))
    return progress.SOME_FAILED if bad else 0


def _one(jobs: Plan, prepare: Prepare, options: argparse.Namespace) -> Iterator[Result]:
    """Works in this process until all is done, by itself or by others."""
    import torch

    from audiodiff.utils import devices

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)
    devices.take_turn(int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0))))
    make, recipe = prepare(options)
    with Claims(jobs.folder) as claims:
        if not options.force:
            _check(jobs.jobs, claims, recipe)

        def do(job: Job) -> dict[str, Any]:
            return progress.attempt(make, job, go_on=True)

        yield from shared(jobs.jobs, claims, lambda job: fits(job, recipe), do)
        sweep(jobs.jobs, claims)


def fits(job: Job, recipe: "VocodeRecipe") -> bool:
    """Says whether a job's sound is there, made by this recipe of this input."""
    from audiodiff.pipelines.sidecar import Sidecar, file_hash, sidecar_path

    beside = sidecar_path(job.output)
    if not (job.output.is_file() and beside.is_file()):
        return False
    try:
        note = Sidecar.read(beside)
        if dataclasses.replace(note.recipe, model=recipe.model) != recipe:  # it has the hash; paths differ by machine
            return False
        same = job.input.stat().st_mtime <= beside.stat().st_mtime
        return same or note.input_sha256 == file_hash(job.input)
    except (ValueError, OSError):
        return False


def _check(jobs: list[Job], claims: Claims, recipe: "VocodeRecipe") -> None:
    """Refuses to work where something lies that was made otherwise; what is being made, or was cut off, does not count.

    Raises:
        ValueError: There is such a file.
    """
    existing = [job for job in jobs if job.output.exists() and not fits(job, recipe)]
    for job in existing:
        if not claims.take(job.output):
            continue
        cut_off = not Path(f"{job.output}.json").exists() and job.output in leftovers([job])
        alien = job.output.exists() and not cut_off and not fits(job, recipe)
        claims.drop(job.output)
        if alien:
            raise ValueError(f"{job.output}: exists, and was made otherwise; give -f to overwrite, or another folder")


def _several(jobs: Plan, prepare: Prepare, options: argparse.Namespace) -> Iterator[Result]:
    """Starts workers, passes on what they tell, once for each job, and bears the death of all but the last of them."""
    import torch.multiprocessing

    context = torch.multiprocessing.get_context("spawn")
    pairs = [context.Pipe(duplex=False) for _ in range(options.workers)]
    single = argparse.Namespace(**vars(options) | {"workers": 1})
    crew = [
        context.Process(target=_serve, args=(end, rank, jobs, prepare, single)) for rank, (_, end) in enumerate(pairs)
    ]
    try:
        for process, (_, end) in zip(crew, pairs, strict=True):
            process.start()
            end.close()  # the worker has its own: its death is then the end of what is read
        yield from _heard([reader for reader, _ in pairs], len(jobs.jobs))
        for process in crew:
            process.join()
    finally:
        for process in crew:
            if process.is_alive():
                process.terminate()
    dead = sum(process.exitcode != 0 for process in crew)
    if dead == len(crew):
        raise ValueError("all workers died before the end: run the same command again, it goes on from what is whole")
    if dead:
        say(f"{dead} of {len(crew)} workers died; the others did their work")


def _heard(readers: list[Connection], total: int) -> Iterator[Result]:
    """Yields what workers made, then, when all have ended, None for what was there; raises what ends the run."""
    seen = 0
    failed = set[str]()
    while readers:
        for reader in wait(readers):
            try:
                result = reader.recv()
            except (EOFError, OSError):
                readers.remove(reader)
                continue
            if "fatal" in result:
                raise ValueError(result["fatal"])
            if result["output"] not in failed:  # a bad file is tried by each worker
                seen += 1
                failed.update([result["output"]] if "error" in result else [])
                yield result
    yield from [None] * (total - seen)


def _serve(end: Connection, rank: int, jobs: Plan, prepare: Prepare, options: argparse.Namespace) -> None:
    """Is a worker: sends what it makes, or what ends the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who started it is interrupted, and ends it
    logging.basicConfig(format="audiodiff: %(message)s", level=logging.WARNING)
    os.environ["LOCAL_RANK"] = str(rank)
    try:
        for result in _one(jobs, prepare, options):
            if result is not None:
                end.send(result)
    except BrokenPipeError:
        pass  # nobody listens any more
    except (ValueError, OSError) as error:
        with contextlib.suppress(BrokenPipeError):
            end.send({"fatal": " ".join(str(error).splitlines())})
