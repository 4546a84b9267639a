"""Pair inputs and outputs: one file to one file, or several files and folders into a folder; paths or URLs."""

import dataclasses
import os
import shlex
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from audiodiff.utils import remote
from audiodiff.utils.remote import Location


@dataclasses.dataclass(frozen=True)
class Job:
    """An input and its output.

    Args:
        input: Path or URL.
        output: Path or URL.
    """

    input: Location
    output: Location


@dataclasses.dataclass(frozen=True)
class Batch:
    """The jobs of a run.

    Args:
        jobs: All of them.
        folder: Of all outputs; None for a single file.
        many: Whether several files, or a folder, were given.
    """

    jobs: list[Job]
    folder: Location | None
    many: bool


@dataclasses.dataclass(frozen=True)
class Kinds:
    """The files that a command reads and writes.

    Args:
        read: Suffixes of inputs in folders, in lower case.
        written: Suffixes of the output; in a folder it has the first.
        beside: Further suffixes, appended to the output's name, of files that are written along with it.
        workers: Whether the command has --workers, which makes of a batch what is missing.
    """

    read: Collection[str]
    written: tuple[str, ...]
    beside: tuple[str, ...] = ()
    workers: bool = False


def plan_batch(inputs: Sequence[str], out: str, kinds: Kinds, force: bool) -> Batch:
    """Pair inputs and outputs, and refuse before any work what cannot succeed.

    Raises:
        ValueError: An input is missing, two inputs share an output, an output exists and may not be overwritten, or
            its folder is missing or not writable.
    """
    places, target = [remote.location(name) for name in inputs], remote.location(out)
    many = len(places) > 1 or remote.is_folder(places[0])
    if not many and not remote.exists(places[0]):
        raise ValueError(f"{places[0]}: no such file; give a file, several files or a folder")
    if not many and kinds.read:
        _check_kind(places[0], kinds.read)
    folder = target if many or out.endswith("/") or remote.is_folder(target) else None
    if folder is None:
        if remote.name_of(target).suffix.lower() not in kinds.written:
            raise ValueError(f"{target}: give a name that ends in {' or '.join(kinds.written)}")
        jobs = [Job(places[0], target)]
    else:
        _check_folder(folder, kinds.written)
        jobs = [job for place in dict.fromkeys(places) for job in _into_folder(place, folder, kinds)]
    _check_writable(target)
    _check_jobs(jobs, kinds, force, "; --workers 1 makes only what is missing" if many and kinds.workers else "")
    return Batch(jobs, folder, many)


def _check_kind(place: Location, suffixes: Collection[str]) -> None:
    """Refuse a mel where recordings are read, and the reverse; a file with another suffix may be anything."""
    from audiodiff.audio import AUDIO_SUFFIXES
    from audiodiff.mel.io import MEL_SUFFIXES

    suffix = remote.name_of(place).suffix.lower()
    if suffix in (AUDIO_SUFFIXES | MEL_SUFFIXES) - set(suffixes):
        kind, remedy = ("a mel", "vocode") if suffix in MEL_SUFFIXES else ("a recording", "resynth, or mel,")
        raise ValueError(
            f"{place}: looks like {kind}, and one of {', '.join(sorted(suffixes))} is wanted; {remedy} takes it"
        )


def _into_folder(place: Location, folder: Location, kinds: Kinds) -> Iterable[Job]:
    """Mirror a folder's tree, or put a single file at the top."""
    if not remote.is_folder(place):
        return [Job(place, remote.join(folder, f"{remote.name_of(place).stem}{kinds.written[0]}"))]
    names = _remote_files(place, folder) if isinstance(place, str) else _local_files(place, folder, kinds.read)
    names = [name for name in names if name.suffix.lower() in kinds.read]
    if not names:
        raise ValueError(f"{place}: the folder holds none of the files that are read ({', '.join(sorted(kinds.read))})")
    return [Job(remote.join(place, name), remote.join(folder, name.with_suffix(kinds.written[0]))) for name in names]


def _local_files(root: Path, folder: Location, suffixes: Collection[str]) -> list[Path]:
    """List the files below a folder, without those of an earlier run."""
    from audiodiff.data.folders import audio_files

    own = folder.resolve() if isinstance(folder, Path) and folder.resolve() != root.resolve() else None
    paths = audio_files(root, suffixes)
    return [path.relative_to(root) for path in paths if not (own and path.resolve().is_relative_to(own))]


def _remote_files(root: str, folder: Location) -> list[Path]:
    """List the files below a URL, without hidden ones and those of an earlier run."""
    names = [Path(name) for name in remote.files_in(root)]
    names = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return [name for name in names if not f"{root}/{name}".startswith(f"{folder}/") or root == folder]


def _check_folder(folder: Location, suffixes: Collection[str]) -> None:
    if isinstance(folder, str):
        return
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file; several inputs, or a folder, need a folder for the output")
    if not folder.exists() and folder.suffix.lower() in suffixes:
        raise ValueError(f"{folder}: looks like a file; several inputs, or a folder, need a folder for the output")


def check_new_file(name: str | Path | None, force: bool, suffix: str) -> None:
    """Refuse before any work what could not be written after it; None is nothing to write.

    Raises:
        ValueError: The name has another suffix, the file exists and may not be overwritten, or its folder is missing or
            not writable.
    """
    if name is None:
        return
    path = Path(name)
    if path.suffix.lower() != suffix:
        raise ValueError(f"{path}: a name that ends in {suffix} is wanted")
    refuse_existing([path], force)
    _check_writable(path)


def refuse_existing(places: Iterable[Location], force: bool, remedy: str = "") -> None:
    """Refuse to overwrite files unless that is wanted; say a remedy beside the usual ones."""
    existing = [] if force else [place for place in places if _exists(place)]
    if existing:
        others = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise ValueError(f"{existing[0]}{others}: exists; give -f to overwrite, or another name{remedy}")


def _exists(place: Location) -> bool:
    return place.exists() if isinstance(place, Path) else remote.exists(place)


def _check_writable(target: Location) -> None:
    if isinstance(target, str):
        return
    place = target if target.is_dir() else target.parent
    if not place.is_dir():
        command = f"mkdir -p {shlex.quote(str(place))}"
        raise ValueError(f"{target}: the folder {place} does not exist; create it: {command}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"{target}: the folder {place} cannot be written; choose another place")


def _check_jobs(jobs: list[Job], kinds: Kinds, force: bool, remedy: str) -> None:
    inputs, taken = {_resolved(job.input) for job in jobs}, dict[Location, Location]()
    for job in jobs:
        if (other := taken.setdefault(job.output, job.input)) != job.input:
            raise ValueError(f"{other} and {job.input} would both become {job.output}; rename one of them")
        if _resolved(job.output) in inputs:
            raise ValueError(f"{job.output}: is an input as well; choose another output")
    written = (remote.location(f"{job.output}{suffix}") for job in jobs for suffix in ("", *kinds.beside))
    refuse_existing(written, force, remedy)


def _resolved(place: Location) -> Location:
    return place.resolve() if isinstance(place, Path) else place
