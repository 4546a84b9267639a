"""A study: which configurations are tried, on a storage of Optuna's that any number of processes share."""

import json
import logging
import math
import random
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock

from audiodiff.tuning.search.storage import database_errors, open_storage
from audiodiff.utils.extras import requires_extra
from audiodiff.utils.signals import as_stopped

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, Trial

log = logging.getLogger(__name__)
POLL_SECONDS = 0.5  # between looks at the trials of others, when none is left to begin
PRUNERS = ("median", "hyperband", "none")
Objective = Callable[["Trial", dict[str, Any], Path], float]


class Study:
    """Suggest, run and store trials; resume those whose process died.

    In a database, Optuna's heartbeat finds dead trials. A journal file has no heartbeat: there each process holds a
    lock on its trial's folder, which the system releases when the process dies. Either way the trial is marked as
    failed, and its values are queued again, with the same folder, where its last checkpoint lies.

    Exactly `n_trials` end. A process begins a trial only if those that have ended and those that run leave room; where
    two processes see the same room, the trial with the higher number is dropped before it runs.

    Args:
        folder: Of the study; holds `journal.log`, and a folder for each trial.
        name: Of the study in its storage.
        space: Range or choices for each override: `low`, `high`, `log`, `step`, or `choices`.
        pruner: One of PRUNERS.
        startup_trials: Number of trials that are drawn at random and never pruned.
        seed: Of the suggestions, which depend on the seed, the trial's number and the trials that have ended.
        stale_seconds: Time without a sign of life after which a trial is taken for dead.
        retries: How often the trial of a dead process is run again.
        storage: URL of a database; a journal file in the folder by default.

    Raises:
        ValueError: Optuna is missing, the space or the pruner is invalid, or the database cannot be used.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str,
        space: Mapping[str, Mapping[str, Any]],
        pruner: str = "median",
        startup_trials: int = 8,
        seed: int = 0,
        stale_seconds: float = 120.0,
        retries: int = 1,
        storage: str | None = None,
    ) -> None:
        requires_extra("tune", "optuna", purpose="a search")
        import optuna

        check_space(space)
        self.folder, self.space = Path(folder), {key: dict(value) for key, value in space.items()}
        self.seed, self.startup_trials, self.stale_seconds = seed, startup_trials, stale_seconds
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.retry = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=retries)
        self.in_database = storage is not None
        self.study = optuna.create_study(
            study_name=name,
            storage=open_storage(storage, self.folder, stale_seconds, self.retry),
            pruner=_pruner(pruner, startup_trials),
            load_if_exists=True,
        )

    def ended(self) -> int:
        """Count the trials that came to an end: complete, pruned, or failed with an error of their own."""
        return self._count()

    def failures(self) -> list[str]:
        """Return the errors of the trials that could not be trained; those of dead processes are not among them."""
        return [trial.user_attrs["error"] for trial in self.trials("FAIL") if "error" in trial.user_attrs]

    def trials(self, *states: str) -> list["FrozenTrial"]:
        """Return the trials in some states, all of them by default."""
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=tuple(TrialState[state] for state in states) or None)

    def run(self, objective: Objective, n_trials: int, question: Mapping[str, Any] | None = None) -> None:
        """Run trials until `n_trials` have ended in all processes together; wait for those of others, which may die.

        Args:
            objective: Maps a trial (to report to), its values and its folder to what is minimised.
            n_trials: Of the whole study.
            question: What all trials share; must be the same each time that the study is resumed.

        Raises:
            ValueError: The question has changed, or none of the first trials could be trained.
            Stopped: A signal stopped a trial, which is queued again.
        """
        with database_errors(self.in_database):
            self._check_question({"search_space": self.space} | dict(question or {}))
            while self.ended() < n_trials:
                self._fail_abandoned()
                if self._count("RUNNING") >= n_trials:
                    time.sleep(POLL_SECONDS)
                    continue
                self._run_one(objective, n_trials)
                if len(self.failures()) >= min(3, n_trials) and not self.trials("COMPLETE", "PRUNED"):
                    raise ValueError(f"the first trials could not be trained: {self.failures()[-1]}")

    def _run_one(self, objective: Objective, n_trials: int) -> None:
        running: list[Trial] = []

        def attempt(trial: "Trial") -> float:
            if self._count("RUNNING", "WAITING", before=trial.number) >= n_trials:
                raise _Dropped
            running.append(trial)
            return self._attempt(objective, trial)

        try:
            self.study.optimize(attempt, n_trials=1, catch=(ValueError, RuntimeError, _Dropped))
        except KeyboardInterrupt:
            for trial in running:
                folder = trial.user_attrs.get("folder", str(trial.number))
                self.study.enqueue_trial(trial.params, user_attrs={"folder": folder})
            raise
        except ValueError as error:  # the objective's own are caught above
            log.warning("another process has taken a trial of this one for dead: %s", error)

    def _attempt(self, objective: Objective, trial: "Trial") -> float:
        """Run a trial in its folder; a loss that is not finite counts as pruned: the worst result, not a failure."""
        import optuna

        folder = self.folder / "trials" / str(trial.user_attrs.get("folder", trial.number))
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            trial.set_user_attr("folder", folder.name)
            trial.set_user_attr("began", trial.number)
            self.study.sampler = self._sampler(trial.number)
            values = {name: rounded(_suggest(trial, name, entry)) for name, entry in self.space.items()}
            try:
                value = objective(trial, values, folder)
            except (ValueError, RuntimeError) as error:  # an invalid model, or one too large for the memory
                trial.set_user_attr("error", (str(error).strip() or type(error).__name__).splitlines()[0])
                raise
            except (KeyboardInterrupt, SystemExit) as error:  # Lightning turns the first into the second
                raise as_stopped(error) from None
        if self.trials()[trial.number].state.is_finished():
            raise _Dropped
        if not math.isfinite(value):
            raise optuna.TrialPruned
        return value

    def _count(self, *open_states: str, before: float = math.inf) -> int:
        """Count the trials that have ended, and those in `open_states` with a number below `before`."""
        trials = self.trials()  # read once: between two looks a trial could move from one state to the other
        ended = sum(t.state.name in ("COMPLETE", "PRUNED") or _failed_by_itself(t) for t in trials)
        return ended + sum(t.state.name in open_states and t.number < before for t in trials)

    def _fail_abandoned(self) -> None:
        """Mark the trials of dead processes as failed, and queue them again."""
        import optuna

        optuna.storages.fail_stale_trials(self.study)
        for trial in self.trials("RUNNING"):
            if self._is_abandoned(trial):
                try:
                    self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                except (ValueError, RuntimeError):  # another process was faster
                    continue
                self.retry(self.study, trial)

    def _is_abandoned(self, trial: "FrozenTrial") -> bool:
        """Detect the trials of dead processes that Optuna's heartbeat does not: all of a journal, and those that died
        before their first heartbeat."""
        if time.time() - trial.datetime_start.timestamp() < self.stale_seconds:
            return False  # its process may not have had the time to take the lock
        if trial.user_attrs.get("began") != trial.number:
            return True
        folder = self.folder / "trials" / trial.user_attrs["folder"]
        return not self.in_database and folder.is_dir() and not _is_locked(folder)

    def _check_question(self, question: dict[str, Any]) -> None:
        stored = self.study.user_attrs.get("question")
        if stored is None:
            self.study.set_user_attr("question", question)
            return
        for name, value in question.items():
            if stored.get(name) != json.loads(json.dumps(value)):
                raise ValueError(
                    f"{self.folder} holds a study with {name}={stored.get(name)}: results of another {name} cannot be "
                    "compared with its; give another study=NAME"
                )

    def _sampler(self, number: int) -> "BaseSampler":
        """Build the sampler of a trial, seeded by its number: processes that share a study draw different values."""
        from optuna.samplers import TPESampler

        seed = random.Random(f"{self.seed}/{number}").getrandbits(32)
        return TPESampler(seed=seed, n_startup_trials=self.startup_trials, constant_liar=True)


class _Dropped(Exception):
    """Raised in a trial whose place is taken, or that another process has taken for dead."""


def check_space(space: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError if a space is empty, or an entry is neither a range nor choices."""
    if not space:
        raise ValueError("the search space is empty: give search_space=optimizer, or ranges and choices of overrides")
    for name, entry in space.items():
        ranged = isinstance(entry, Mapping) and {"low", "high"} <= entry.keys() and entry["low"] < entry["high"]
        chosen = isinstance(entry, Mapping) and len(entry.get("choices") or []) > 0
        if ranged == chosen:
            raise ValueError(f"search_space: {name} is {entry}; give low and high (and log: true), or choices")
        if ranged and entry.get("log") and entry["low"] <= 0:
            raise ValueError(f"search_space: {name} is {entry}; a logarithmic range begins above 0")


def rounded(value: Any) -> Any:
    """Round a float to six digits, as it is written in an override.

    >>> rounded(0.00123456789), rounded("early"), rounded(64)
    (0.00123457, 'early', 64)
    """
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _suggest(trial: "Trial", name: str, entry: Mapping[str, Any]) -> Any:
    if "choices" in entry:
        return trial.suggest_categorical(name, list(entry["choices"]))
    options = {"log": bool(entry.get("log", False))} | ({"step": entry["step"]} if "step" in entry else {})
    whole = isinstance(entry["low"], int) and isinstance(entry["high"], int)
    return (trial.suggest_int if whole else trial.suggest_float)(name, entry["low"], entry["high"], **options)


def _pruner(name: str, startup_trials: int) -> "BasePruner":
    from optuna import pruners

    if name not in PRUNERS:
        raise ValueError(f"pruner={name}: choose one of {', '.join(PRUNERS)}")
    if name == "none":
        return pruners.NopPruner()
    return pruners.HyperbandPruner() if name == "hyperband" else pruners.MedianPruner(n_startup_trials=startup_trials)


def _failed_by_itself(trial: "FrozenTrial") -> bool:
    """Distinguish a trial that could not be trained from one that was dropped, stopped, or left by a dead process."""
    return trial.state.name == "FAIL" and "error" in trial.user_attrs


def _lock(folder: Path) -> filelock.BaseFileLock:
    return filelock.FileLock(folder / ".lock", is_singleton=False)


def _is_locked(folder: Path) -> bool:
    try:
        with _lock(folder).acquire(blocking=False):
            return False
    except filelock.Timeout:
        return True
