"""Lets several processes, on one machine or on many that share a folder, do each job of a list once.

A job is claimed by a lock on one byte of the file `.audiodiff-claims` in the folder of outputs: byte h(output), where h
takes 62 bits of a SHA-256. The system gives a lock up when its owner dies, however it dies, so no claim is ever stale,
no clock is compared, nothing is cleaned up, and processes may come and go; a split by rank would leave a dead rank's
share undone. POSIX locks hold across machines on NFS, Lustre (mounted with `flock`) and the like. Where a mount keeps
them to one machine, work may be done twice, but never badly: bytes are the same, and files appear whole.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from audiodiff.cli.jobs import Job

NAME = ".audiodiff-claims"
WAIT = 0.2  # seconds between two looks at what others hold
TEMPORARY = re.compile(r"\.(?P<name>.+?\.wav)(\.json)?\.[a-z0-9_]{8}", re.DOTALL)  # as audio.atomic_file names them


class Claims:
    """Holds locks on jobs, at most as long as the process lives.

    Args:
        folder: Of the outputs, which all processes share.

    Raises:
        ValueError: The file of claims cannot be opened, or the system knows no such locks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            import fcntl
        except ImportError:  # Windows
            raise ValueError("--workers needs POSIX locks, which this system has not: leave it out") from None
        self._fcntl = fcntl
        try:
            self._file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise ValueError(f"{folder / NAME}: cannot be opened ({error.strerror}); choose another place") from None

    def __enter__(self) -> "Claims":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def take(self, output: Path) -> bool:
        """Claims an output; returns whether nobody else holds it.

        Raises:
            ValueError: The file system has no locks.
        """
        try:
            self._fcntl.lockf(self._file, self._fcntl.LOCK_EX | self._fcntl.LOCK_NB, 1, self._byte(output))
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            told = f"{self.folder}: locks do not work there ({error.strerror})"
            raise ValueError(f"{told}; choose a place on a file system that has them, or leave out --workers") from None
        return True

    def drop(self, output: Path) -> None:
        """Gives a claim up."""
        self._fcntl.lockf(self._file, self._fcntl.LOCK_UN, 1, self._byte(output))

    def _byte(self, output: Path) -> int:
        name = os.fsencode(output.relative_to(self.folder))
        return int.from_bytes(hashlib.sha256(name).digest()[:8], "big") >> 2


def shared(
    jobs: list[Job], claims: Claims, whole: Callable[[Job], bool], do: Callable[[Job], dict[str, Any]]
) -> Iterator[dict[str, Any] | None]:
    """Does the jobs that nobody else has done or does, and waits for the rest; what a dead one held is taken up.

    Args:
        jobs: All of them, the same for every process.
        whole: Says whether a job has its output.
        do: Does a job; returns what is to be told, errors included.

    Yields:
        For each job, once, what `do` told, or None where the output was there.
    """
    while jobs:
        held = []
        for job in jobs:
            if whole(job):
                yield None
            elif claims.take(job.output):
                try:
                    told = None if whole(job) else do(job)  # it may have been finished between look and lock
                finally:
                    claims.drop(job.output)
                yield told
            else:
                held.append(job)
        jobs = held
        time.sleep(WAIT if jobs else 0)


def leftovers(jobs: list[Job]) -> dict[Path, list[Path]]:
    """Finds the temporary files of killed or working processes, by the output that they were to become."""
    outputs, found = {job.output for job in jobs}, dict[Path, list[Path]]()
    for folder in {output.parent for output in outputs if output.parent.is_dir()}:
        for path in folder.iterdir():
            match = TEMPORARY.fullmatch(path.name)
            if match and folder / match["name"] in outputs:
                found.setdefault(folder / match["name"], []).append(path)
    return found


def sweep(jobs: list[Job], claims: Claims) -> None:
    """Removes the temporary files of processes that are dead, as the locks tell."""
    for output, paths in leftovers(jobs).items():
        if claims.take(output):
            for path in paths:
                path.unlink(missing_ok=True)
            claims.drop(output)
