"""The command `python -m audiodiff.train`: check names and places before torch is imported, then train."""

import io
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from audiodiff.data.recordings import check_source
from audiodiff.models import hub, registry
from audiodiff.training.hydra_config import check_overrides, jobs_of, plain
from audiodiff.training.settings import check_settings
from audiodiff.utils.config import conf_dir
from audiodiff.utils.files import refusal
from audiodiff.utils.signals import Stopped, stoppable

SWEEPS = {"-m", "--multirun", "hydra.mode=MULTIRUN"}


def message_of(error: ValueError | OSError) -> str:
    """Return an error's message; of one from a loader's process, the last line, without its traceback."""
    text = str(error).strip()
    if "in DataLoader worker process" in text:
        return text.splitlines()[-1].partition(": ")[2]
    return refusal(error) if isinstance(error, OSError) else text


def _job_folder(cfg: DictConfig, job: Any) -> str:
    """Return the run's folder of a job of a sweep; in a common one, each would resume the one before it."""
    overrides = [o for o in job.overrides.task if o.startswith("run_dir=")]
    if overrides and "$" not in overrides[0]:
        raise ValueError(f"{overrides[0]} is one folder for all jobs: say hydra.sweep.dir=FOLDER for one each in it")
    return cfg.run_dir if overrides else job.runtime.output_dir


def remove_if_empty(run_dir: Path) -> None:
    """Remove the folder of a run that failed before it wrote anything but its configuration."""
    entries = {path.name for path in run_dir.iterdir()} if run_dir.is_dir() else {"none"}
    if entries <= {"hydra", "config.yaml"}:
        shutil.rmtree(run_dir)


def check_places(cfg: DictConfig) -> None:
    """Check that the recordings and the model of `init_from` exist, as far as names show, and the settings.

    Raises:
        ValueError: One is missing, or a setting is wrong.
    """
    check_source(plain(cfg.data))
    check_settings(cfg)
    if cfg.init_from and not str(cfg.init_from).startswith(hub.PREFIX):
        registry.locate(cfg.init_from)


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
def main(cfg: DictConfig) -> None:
    """Run `train` on the configuration that Hydra composes."""
    try:
        with stoppable():
            _train(cfg)
    except Stopped as stopped:
        remove_if_empty(Path(cfg.run_dir))
        print(f"audiodiff.train: {str(stopped) or 'stopped; run the same command again'}", file=sys.stderr)
        sys.exit(stopped.status)


def _train(cfg: DictConfig) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    from audiodiff.training.run import train
    from audiodiff.training.sweep import write_result

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # advertisements and repeated advice
    # The sampler starts where the run stopped, which Lightning cannot know.
    warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
    warnings.filterwarnings("ignore", category=FutureWarning)
    job = HydraConfig.get()
    sweeps = job.mode == RunMode.MULTIRUN
    try:
        if sweeps:
            cfg.run_dir = _job_folder(cfg, job)
        metrics = train(cfg)
    except (ValueError, OSError) as error:
        if sweeps:
            write_result(job.runtime.output_dir, job.overrides.task, {}, message_of(error))
        else:
            remove_if_empty(Path(cfg.run_dir))
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        if sweeps:  # Hydra goes on with the other jobs, and ends with this line
            raise CompactHydraException(message_of(error)) from None
        print(f"audiodiff.train: {message_of(error)}", file=sys.stderr)
        sys.exit(2)
    if sweeps and rank_zero_only.rank == 0:
        print(write_result(job.runtime.output_dir, job.overrides.task, metrics), file=sys.stderr)
    if rank_zero_only.rank == 0:
        print(json.dumps({name: round(value, 5) for name, value in sorted(metrics.items())}))


def check_arguments(arguments: Sequence[str]) -> None:
    """Check what a command line asks for, each value of a sweep, and create the folder of a run.

    Raises:
        ValueError: There is no such setting, choice, file or folder, or a value cannot be.
    """
    options = {argument for argument in arguments if argument.startswith(("-", "hydra.mode="))}
    for overrides in jobs_of(arguments) if options and options <= SWEEPS else []:
        cfg = check_overrides(overrides)
        cfg.resume = cfg.resume and "auto"  # the folders of jobs are not known yet
        check_places(cfg)
    if not options:
        cfg = check_overrides(arguments)
        check_places(cfg)
        create_folder("run_dir", cfg.run_dir)


def create_folder(name: str, folder: str) -> None:
    """Create the folder that a setting names, and the one in it for what Hydra writes.

    Raises:
        ValueError: The system refuses.
    """
    try:
        Path(folder, "hydra").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{name}={folder}: cannot be created ({error.strerror}); choose another place") from None


def checked_main() -> None:
    """Check the command line, then run `main`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        check_arguments(sys.argv[1:])
    except (ValueError, OSError) as error:
        print(f"audiodiff.train: {message_of(error)}", file=sys.stderr)
        sys.exit(2)
    main()
