"""Do one job of a batch, unless its output is whole: what every process of a pool and every task of a cluster does."""

import argparse
import contextlib
import dataclasses
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiodiff.cli import progress
from audiodiff.cli.jobs import Job
from audiodiff.utils import remote
from audiodiff.utils.config import allow_plugin

if TYPE_CHECKING:
    from audiodiff.pipelines.vocoding import VocodeRecipe

Prepare = Callable[[argparse.Namespace], tuple[Callable[[Job], progress.JobResult], "VocodeRecipe"]]
Result = dict[str, Any]
# As `atomic_file` names them.
TEMPORARY = re.compile(r"\.(?P<name>.+?\.(wav|flac|mp3))(\.json)?\.[a-z0-9_]{8}", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Run:
    """What a worker needs besides its jobs.

    Args:
        prepare: A function of a module, which loads the model and returns what does a job, and its recipe.
        options: Of the command.
        folder: Working directory of the command, for relative paths.
        key: Tells the runs of a long-lived process apart.
    """

    prepare: Prepare
    options: argparse.Namespace
    folder: str = dataclasses.field(default_factory=os.getcwd)
    key: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)


def do_job(run: Run, job: Job) -> Result:
    """Do a job in this process, unless its output is whole; the first job of a run loads the model.

    Raises:
        ValueError: The model cannot be loaded, or the output exists and was made by another recipe.
    """
    if run.key not in _loaded:
        import torch

        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)
        with contextlib.suppress(OSError):  # another machine needs the folder for relative paths alone
            os.chdir(run.folder)
        for module in run.options.plugin:
            allow_plugin(module)
        _loaded.clear()
        _loaded[run.key] = run.prepare(run.options)
    work, recipe = _loaded[run.key]
    if is_whole(job, recipe):
        return {"input": str(job.input), "output": str(job.output), "skipped": True}
    if not run.options.force and remote.exists(job.output) and not _is_cut_off(job.output):
        raise ValueError(f"{job.output}: exists, and was made otherwise; give -f to overwrite, or another folder")
    return progress.try_job(work, job, go_on=True)


_loaded: dict[str, tuple[Callable[[Job], progress.JobResult], "VocodeRecipe"]] = {}


def is_whole(job: Job, recipe: "VocodeRecipe") -> bool:
    """Return whether a job's output is there, made with this recipe from this input."""
    from audiodiff.pipelines.sidecar import Sidecar, file_hash

    beside = remote.location(f"{job.output}.json")
    if not (remote.exists(job.output) and remote.exists(beside)):
        return False
    try:
        with remote.local_copy(beside) as path:
            note = Sidecar.read(path)
        with remote.local_copy(job.input, (".json",)) as path:
            recorded = dataclasses.replace(note.recipe, model=recipe.model)  # paths differ by machine, hashes do not
            return recorded == recipe.for_input(path) and note.input_sha256 == file_hash(path)
    except (ValueError, OSError):
        return False


def _is_cut_off(output: remote.Location) -> bool:
    """Return whether a process died between putting a sound and its sidecar in place: its temporary file is left."""
    if isinstance(output, str) or Path(f"{output}.json").exists():
        return False
    return any(path.name.startswith(f".{output.name}.json.") for path in temporary_files(output.parent))


def temporary_files(folder: Path) -> list[Path]:
    """List the temporary files in a folder that `atomic_file` names."""
    return [path for path in folder.iterdir() if TEMPORARY.fullmatch(path.name)] if folder.is_dir() else []
