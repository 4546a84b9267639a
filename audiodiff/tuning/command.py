"""The command `python -m audiodiff.tune`: says what is misspelt before torch is imported, then searches."""

import logging
import subprocess
import sys
import warnings
from collections.abc import Sequence

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from audiodiff.training.command import check_places, create_folder, message_of
from audiodiff.training.hydra_config import check_overrides
from audiodiff.utils.config import conf_dir
from audiodiff.utils.signals import Stopped, stoppable
from audiodiff.utils.validation import is_int


def _start_workers(count: int, arguments: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    """Start the other processes of this machine."""
    own = [argument for argument in arguments if not argument.startswith("workers=")]
    return [subprocess.Popen([sys.executable, "-m", "audiodiff.tune", *own, "workers=1"]) for _ in range(count)]


def gather_base(arguments: Sequence[str]) -> list[str]:
    """Gather the overrides of training among the arguments into one of `base`; write study=NAME out.

    >>> gather_base(["study=mine", "optimizer=lion", "seed=3", "freeze=[a,b]", "--cfg", "job"])
    ['study.name=mine', 'seed=3', '--cfg', 'job', 'base=["optimizer=lion", "freeze=[a,b]"]']
    """
    import yaml

    known = {"hydra", "search_space", *yaml.safe_load((conf_dir() / "tune.yaml").read_text(encoding="utf-8"))}

    def is_of_training(argument: str) -> bool:
        name, equals, _ = argument.lstrip("+~").partition("=")
        return bool(equals) and not argument.startswith("-") and name.partition(".")[0] not in known

    base = [argument for argument in arguments if is_of_training(argument)]
    own = [argument for argument in arguments if not is_of_training(argument)]
    own = [a.replace("study=", "study.name=", 1) if a.startswith("study=") else a for a in own]
    quoted = ['"' + argument.replace('"', '\\"').replace("${", "\\${") + '"' for argument in base]
    return [*own, f"base=[{', '.join(quoted)}]"] if base else own


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="tune")
def _run(cfg: DictConfig) -> None:
    """Run `tune` on the configuration that Hydra composes, with further processes if there are to be several."""
    from audiodiff.tuning.run import open_study, tune

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    GlobalHydra.instance().clear()  # trials compose their own configurations
    workers: list[subprocess.Popen[bytes]] = []
    try:
        with stoppable():
            if cfg.workers > 1:
                open_study(cfg)  # before the others look for it
                workers = _start_workers(cfg.workers - 1, sys.argv[1:])
            best = tune(cfg)
    except (ValueError, OSError) as error:
        print(f"audiodiff.tune: {message_of(error)}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stop:
        for worker in workers:
            worker.terminate()
        print("audiodiff.tune: stopped; run the same command again to go on from the last checkpoint", file=sys.stderr)
        sys.exit(stop.status)
    finally:
        for worker in workers:
            worker.wait()
    print(best or "no trial is complete: all were pruned or could not be trained")


def main() -> None:
    """Run the command line, if it names settings that there are."""
    arguments = gather_base(sys.argv[1:])
    try:
        if not any(argument.startswith("-") for argument in arguments):
            search = check_overrides(arguments, "tune")
            for name in ("n_trials", "workers"):
                if not is_int(search[name], 1):
                    raise ValueError(f"{name}={search[name]}: a whole number of at least 1 is wanted")
            if own := [argument for argument in search.base if argument.startswith("run_dir=")]:
                raise ValueError(
                    f"{own[0]}: each trial has a folder of its own; say folder=FOLDER for that of the study"
                )
            check_places(check_overrides(search.base, also=list(search)))
            create_folder("folder", search.folder)
    except (ValueError, OSError) as error:
        print(f"audiodiff.tune: {message_of(error)}", file=sys.stderr)
        sys.exit(2)
    sys.argv[1:] = arguments
    _run()
