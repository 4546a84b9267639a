"""Which output belongs to which input: one file to one file, or several files and folders into a folder."""

import dataclasses
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Job:
    """Pairs an input with its output."""

    input: Path
    output: Path


@dataclasses.dataclass(frozen=True)
class Plan:
    """Holds the jobs of a run.

    Args:
        jobs: What to do.
        folder: Where all outputs go; None for a single file.
        many: Whether several files, or a folder, were given.
    """

    jobs: list[Job]
    folder: Path | None
    many: bool


@dataclasses.dataclass(frozen=True)
class Kinds:
    """Says which files a command reads and which it writes.

    Args:
        read: Suffixes of inputs, for folders; in small letters.
        written: Suffix of the output.
        beside: Further suffixes, appended to the output's name, of files that are written along with it.
    """

    read: Collection[str]
    written: str
    beside: tuple[str, ...] = ()


def plan(inputs: Sequence[str], out: str, kinds: Kinds, force: bool) -> Plan:
    """Pairs inputs and outputs, and refuses before any work what cannot end well.

    Raises:
        ValueError: An input is missing, two inputs share an output, an output exists and may not be overwritten, or
            the place for it is missing or cannot be written.
    """
    paths, target = [Path(name) for name in inputs], Path(out)
    many = len(paths) > 1 or paths[0].is_dir()
    if not many and not paths[0].is_file():
        raise ValueError(f"{paths[0]}: no such file; give a file, several files or a folder")
    folder = target if many or target.is_dir() else None
    if folder is None:
        if target.suffix.lower() != kinds.written:
            raise ValueError(f"{target}: a {kinds.written} file is written; give a name that ends in {kinds.written}")
        jobs = [Job(paths[0], target)]
    else:
        _check_folder(folder, kinds.written)
        jobs = [job for path in dict.fromkeys(paths) for job in _into_folder(path, folder, kinds)]
    _check_place(target)
    _check_jobs(jobs, kinds, force)
    return Plan(jobs, folder, many)


def _into_folder(path: Path, folder: Path, kinds: Kinds) -> Iterable[Job]:
    """Mirrors a folder's tree, or puts a single file at the top."""
    from audiodiff.data.manifest import audio_files

    if not path.is_dir():
        return [Job(path, folder / f"{path.stem}{kinds.written}")]
    found = [file for file in audio_files(path, kinds.read) if not _is_output(file, path, folder)]
    if not found:
        raise ValueError(f"{path}: the folder holds none of the files that are read ({', '.join(sorted(kinds.read))})")
    return [Job(file, folder / file.relative_to(path).with_suffix(kinds.written)) for file in found]


def _is_output(file: Path, root: Path, folder: Path) -> bool:
    """Tell whether a file of an input folder was made by an earlier run, into a folder within it."""
    return folder.resolve() != root.resolve() and file.resolve().is_relative_to(folder.resolve())


def _check_folder(folder: Path, suffix: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file; several inputs, or a folder, need a folder for the output")
    if not folder.exists() and folder.suffix.lower() == suffix:
        raise ValueError(f"{folder}: looks like a file; several inputs, or a folder, need a folder for the output")


def _check_place(target: Path) -> None:
    place = target if target.is_dir() else target.parent
    if not place.is_dir():
        raise ValueError(f"{target}: the folder {place} does not exist; create it first")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"{target}: the folder {place} cannot be written; choose another place")


def _check_jobs(jobs: list[Job], kinds: Kinds, force: bool) -> None:
    inputs, taken = {job.input.resolve() for job in jobs}, dict[Path, Path]()
    for job in jobs:
        if (other := taken.setdefault(job.output, job.input)) != job.input:
            raise ValueError(f"{other} and {job.input} would both become {job.output}; rename one of them")
        if job.output.resolve() in inputs:
            raise ValueError(f"{job.output}: is an input as well; choose another output")
    written = [Path(f"{job.output}{suffix}") for job in jobs for suffix in ("", *kinds.beside)]
    existing = [path for path in written if path.exists()]
    if existing and not force:
        others = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise ValueError(f"{existing[0]}{others}: exists; give -f to overwrite, or another name")
