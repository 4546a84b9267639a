"""Searches training configurations: `python -m audiodiff.tune study=mine n_trials=20 data.path=recordings`.

What conf/tune.yaml does not know is an override of training, which all trials share. Any number of processes may run
the same command; they share the study, and what one of them leaves when it is killed is taken up by the others. A grid
needs no study: `python -m audiodiff.train --multirun optim.optimizer.lr=1e-3,3e-3`.
"""

import logging
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
import lightning
from hydra.core.global_hydra import GlobalHydra
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from audiodiff.training.hydra_config import check_overrides, composed, plain
from audiodiff.training.run import train
from audiodiff.tuning.search import Study, write_report
from audiodiff.utils.config import conf_dir
from audiodiff.utils.signals import Stopped, stoppable

__all__ = ["tune"]

log = logging.getLogger(__name__)
LOSS = frozenset(
    ["distance", "loss", "mel", "prediction", "whitening", "schedule", "stage", "start", "terms", "times", "weighting"]
)


class Pruning(Callback):
    """Tells a trial the metric after each validation, and ends it if others were better by then.

    Args:
        trial: Optuna's.
        metric: Name in the trainer's metrics.
    """

    def __init__(self, trial: Any, metric: str) -> None:
        self.trial, self.metric = trial, metric

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Reports, and raises `optuna.TrialPruned` if it looks bad."""
        import optuna

        if self.metric in trainer.callback_metrics:
            self.trial.report(float(trainer.callback_metrics[self.metric]), trainer.global_step)
            if self.trial.should_prune():
                raise optuna.TrialPruned


def tune(cfg: DictConfig) -> Path | None:
    """Works on a study until as many trials as are wanted have ended; returns the best configuration's file.

    Raises:
        ValueError: The configuration makes no sense, or nothing in it can be trained.
    """
    given = plain(cfg)
    study = open_study(cfg)
    _comparable(given["metric"], given["space"])
    first = [f"{name}={(entry.get('choices') or [entry['low']])[0]}" for name, entry in given["space"].items()]
    check_overrides([*given["base"], *first])

    def objective(trial: Any, values: dict[str, Any], folder: Path) -> float:
        overrides = [f"{name}={value}" for name, value in values.items()]
        log.info("trial %d: %s", trial.number, " ".join(overrides))
        heard = f"verdict={str(given['metric'].startswith('lsd/')).lower()}"
        run = composed([*given["base"], *overrides, f"run_dir={folder}", heard, "resume=auto"])
        metrics = train(run, callbacks=[Pruning(trial, given["metric"])])
        if given["metric"] not in metrics:
            raise LookupError(f"metric={given['metric']}: training gives {', '.join(sorted(metrics))}")
        return metrics[given["metric"]]

    try:
        study.run(objective, given["n_trials"], {"base": given["base"], "metric": given["metric"]})
    except LookupError as error:  # no result of a trial: all would end so
        raise ValueError(str(error)) from None
    return write_report(study, given["base"], given["metric"])


def open_study(cfg: DictConfig) -> Study:
    """Open the study of a configuration, and create it if it is missing."""
    config = plain(cfg)
    named = ("pruner", "startup_trials", "seed", "stale_seconds", "retries")
    return Study(
        config["folder"],
        config["study"]["name"],
        config["space"],
        storage=config["study"]["storage"],
        **{name: config[name] for name in named},
    )


def _comparable(metric: str, space: Mapping[str, Any]) -> None:
    """Raises ValueError if what is searched changes what a loss means: then the least loss is not the best sound."""
    changing = [name for name in space if not LOSS.isdisjoint(name.split("."))]
    if metric.startswith(("valid/", "train/")) and changing:
        raise ValueError(
            f"metric={metric} means something else for every {changing[0]}: compare what is heard, metric=lsd/model"
        )


def _helpers(count: int, arguments: Sequence[str]) -> list[subprocess.Popen[bytes]]:
    """Starts the other processes of this machine."""
    own = [argument for argument in arguments if not argument.startswith("workers=")]
    return [subprocess.Popen([sys.executable, "-m", "audiodiff.tune", *own, "workers=1"]) for _ in range(count)]


def shared(arguments: Sequence[str]) -> list[str]:
    """Gathers the overrides of training among arguments into one of `base`.

    >>> shared(["study=mine", "optim=lion", "seed=3", "freeze=[a,b]", "--cfg", "job"])
    ['study.name=mine', 'seed=3', '--cfg', 'job', 'base=["optim=lion", "freeze=[a,b]"]']
    """
    import yaml

    known = {"hydra", "space", *yaml.safe_load((conf_dir() / "tune.yaml").read_text(encoding="utf-8"))}

    def trains(argument: str) -> bool:
        name, given, _ = argument.lstrip("+~").partition("=")
        return bool(given) and not argument.startswith("-") and name.partition(".")[0] not in known

    theirs = [argument for argument in arguments if trains(argument)]
    own = [argument for argument in arguments if not trains(argument)]
    own = [a.replace("study=", "study.name=", 1) if a.startswith("study=") else a for a in own]
    quoted = ['"' + argument.replace('"', '\\"').replace("${", "\\${") + '"' for argument in theirs]
    return [*own, f"base=[{', '.join(quoted)}]"] if theirs else own


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="tune")
def main(cfg: DictConfig) -> None:
    """Runs `tune` on the configuration that Hydra composes, with helpers if there are to be several."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore")
    GlobalHydra.instance().clear()  # has done its part: trials compose their own
    helpers: list[subprocess.Popen[bytes]] = []
    try:
        with stoppable():
            if cfg.workers > 1:
                open_study(cfg)  # before others look for it
                helpers = _helpers(cfg.workers - 1, sys.argv[1:])
            best = tune(cfg)
    except ValueError as error:
        print(f"audiodiff.tune: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped as stop:
        for helper in helpers:
            helper.terminate()
        print("audiodiff.tune: stopped; run the same command again to go on from the last checkpoint", file=sys.stderr)
        sys.exit(stop.status)
    finally:
        for helper in helpers:
            helper.wait()
    print(best or "no trial is complete: all were pruned or could not be trained")


if __name__ == "__main__":
    sys.argv[1:] = shared(sys.argv[1:])
    main()
