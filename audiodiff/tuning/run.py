"""Search training configurations: `python -m audiodiff.tune study=mine n_trials=20 data.path=recordings`.

A setting that conf/tune.yaml does not have is an override of training, which all trials share. Any number of processes
may run the same command: they share the study, and resume the trials of those that are killed. A grid needs no study:
`python -m audiodiff.train --multirun optimizer.lr=1e-3,3e-3`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from audiodiff.training.hydra_config import check_overrides, composed, plain
from audiodiff.training.run import train
from audiodiff.tuning.search import Study, write_report

if TYPE_CHECKING:
    from optuna.trial import Trial

log = logging.getLogger(__name__)
LOSS_GROUPS = frozenset(
    [
        *("auxiliary", "distance", "loss", "mel", "objective", "prediction", "schedule", "start", "time_sampling"),
        *("weighting", "whitening"),
    ]
)


class Pruning(Callback):
    """Report a metric to a trial after each validation, and end the trial if others were better by then.

    Args:
        trial: Optuna's.
        metric: Name in the trainer's metrics.
    """

    def __init__(self, trial: "Trial", metric: str) -> None:
        self.trial, self.metric = trial, metric

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report the metric; raise `optuna.TrialPruned` if the trial looks bad."""
        import optuna

        if self.metric in trainer.callback_metrics:
            self.trial.report(float(trainer.callback_metrics[self.metric]), trainer.global_step)
            if self.trial.should_prune():
                raise optuna.TrialPruned


def tune(cfg: DictConfig) -> Path | None:
    """Run trials until `n_trials` of the study have ended; return the file of the best configuration.

    Raises:
        ValueError: The configuration is invalid, or nothing in it can be trained.
    """
    config = plain(cfg)
    study, base, metric = open_study(cfg), config["base"], config["metric"]
    _check_comparable(metric, config["search_space"])
    first = [f"{name}={(entry.get('choices') or [entry['low']])[0]}" for name, entry in config["search_space"].items()]
    check_overrides([*base, *first])

    def objective(trial: "Trial", values: dict[str, Any], folder: Path) -> float:
        overrides = [f"{name}={value}" for name, value in values.items()]
        log.info("trial %d: %s", trial.number, " ".join(overrides))
        judged = f"sanity_check={str(metric.startswith('lsd/')).lower()}"
        run = composed([*base, *overrides, f"run_dir={folder}", judged, "resume=auto"])
        metrics = train(run, callbacks=[Pruning(trial, metric)])
        if metric not in metrics:
            raise LookupError(f"metric={metric}: training gives {', '.join(sorted(metrics))}")
        return metrics[metric]

    try:
        study.run(objective, config["n_trials"], {"base": base, "metric": metric})
    except LookupError as error:  # no failure of one trial: all would end like it
        raise ValueError(str(error)) from None
    return write_report(study, base, metric)


def open_study(cfg: DictConfig) -> Study:
    """Open the study of a configuration, and create it if it is missing."""
    config = plain(cfg)
    named = ("pruner", "startup_trials", "seed", "stale_seconds", "retries")
    return Study(
        config["folder"],
        config["study"]["name"],
        config["search_space"],
        storage=config["study"]["storage"],
        **{name: config[name] for name in named},
    )


def _check_comparable(metric: str, space: Mapping[str, Any]) -> None:
    """Raise ValueError if the space changes the meaning of the loss: the least loss is then not the best sound."""
    changing = [name for name in space if not LOSS_GROUPS.isdisjoint(name.split("."))]
    if metric.startswith(("valid/", "train/")) and changing:
        raise ValueError(
            f"metric={metric} means something else for every {changing[0]}: compare what is heard, metric=lsd/model"
        )
