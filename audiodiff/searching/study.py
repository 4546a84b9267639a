"""A study in a folder: what is tried next, by whom, and what becomes of a trial whose process died."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Study"]

BEAT = 5.0  # seconds between signs of life
PRUNERS = ("median", "hyperband", "none")


class Study:
    """Suggests, runs and keeps trials, in a journal that any number of processes append to.

    A process shows that it lives by the time of a file beside its trial. A trial whose process is gone is marked as
    failed; its values are queued anew and go on in its folder, where its checkpoint lies. (Optuna's own heartbeat is
    for databases only.)

    Args:
        folder: Of the study.
        name: Of the study.
        space: Values by name of an override: `low`, `high`, `log`, `step`, or `choices`.
        pruner: One of PRUNERS.
        startup_trials: Drawn at random and never pruned.
        seed: Of the suggestions; each process adds its own number.
        stale_seconds: Without a sign of life after which a trial is dead.
        retries: How often a trial is done again.

    Raises:
        ValueError: Optuna is missing, or the space or the pruner makes no sense.
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
    ) -> None:
        try:
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend
        except ImportError:
            raise ValueError("searching needs Optuna: pip install 'audiodiff[tune]'") from None
        checked(space)
        self.folder, self.space = Path(folder), {key: dict(value) for key, value in space.items()}
        self.stale_seconds, self.retries = stale_seconds, retries
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            study_name=name,
            storage=JournalStorage(JournalFileBackend(str(self.folder / "journal.log"))),
            sampler=optuna.samplers.TPESampler(
                seed=seed + os.getpid(), n_startup_trials=startup_trials, constant_liar=True
            ),
            pruner=_pruner(pruner, startup_trials),
            load_if_exists=True,
        )

    def ended(self) -> int:
        """Counts the trials that came to an end, pruned ones too."""
        from optuna.trial import TrialState

        return len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))

    def run(self, objective: Callable[[Any, dict[str, Any], Path], float], n_trials: int) -> None:
        """Works on trials until so many have ended, whoever ended them.

        Args:
            objective: Maps a trial (to report to), its values and its folder to what is minimised.
            n_trials: Of the whole study.
        """
        import optuna

        while self.ended() < n_trials:
            self.revive()
            trial = self.study.ask()
            values = self._suggested(trial)
            folder = self.folder / "trials" / str(trial.user_attrs.get("goes_on", trial.number))
            folder.mkdir(parents=True, exist_ok=True)
            with _Alive(folder, trial.number):
                try:
                    self.study.tell(trial, objective(trial, values, folder))
                except optuna.TrialPruned:
                    self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                except ValueError as error:  # a configuration that cannot be is a result
                    trial.set_user_attr("error", str(error))
                    self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
                    self._give_up_if_all_fail()

    def revive(self) -> list[int]:
        """Marks trials whose process is gone as failed, and queues their values anew; returns their numbers."""
        from optuna.trial import TrialState

        dead = []
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            place = trial.user_attrs.get("goes_on", trial.number)
            if not self._is_dead(self.folder / "trials" / str(place), trial):
                continue
            try:
                self.study.tell(trial.number, state=TrialState.FAIL)
            except (ValueError, RuntimeError):  # another process was quicker
                continue
            dead.append(trial.number)
            times = trial.user_attrs.get("again", 0)
            if times < self.retries and trial.params:
                self.study.enqueue_trial(trial.params, user_attrs={"goes_on": place, "again": times + 1})
        return dead

    def _is_dead(self, folder: Path, trial: Any) -> bool:
        try:
            told = json.loads((folder / "alive.json").read_text(encoding="utf-8"))
            silent = time.time() - (folder / "alive.json").stat().st_mtime
        except (OSError, ValueError):
            begun = trial.datetime_start.timestamp() if trial.datetime_start else 0
            return time.time() - begun > self.stale_seconds
        if told.get("trial") != trial.number:
            return silent > self.stale_seconds
        here = told["host"] == socket.gethostname()
        return silent > self.stale_seconds or (here and not _exists(told["pid"]))

    def _suggested(self, trial: Any) -> dict[str, Any]:
        return {name: _suggest(trial, name, space) for name, space in self.space.items()}

    def _give_up_if_all_fail(self) -> None:
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False)
        failed = [t for t in trials if t.state == TrialState.FAIL and "error" in t.user_attrs]
        if len(failed) >= 3 and not self.ended():
            raise ValueError(f"the first {len(failed)} trials could not be trained: {failed[-1].user_attrs['error']}")


def checked(space: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ValueError if a space is empty, or an entry is neither a range nor choices."""
    if not space:
        raise ValueError("the space is empty: give space=optimiser, or ranges and choices of overrides")
    for name, entry in space.items():
        ranged = isinstance(entry, Mapping) and {"low", "high"} <= entry.keys() and entry["low"] < entry["high"]
        chosen = isinstance(entry, Mapping) and len(entry.get("choices") or []) > 0
        if ranged == chosen:
            raise ValueError(f"space: {name} is {entry}; give low and high (and log: true), or choices")
        if ranged and entry.get("log") and entry["low"] <= 0:
            raise ValueError(f"space: {name} runs over {entry['low']}: a range with log: true is positive")


def _suggest(trial: Any, name: str, entry: Mapping[str, Any]) -> Any:
    if "choices" in entry:
        return trial.suggest_categorical(name, list(entry["choices"]))
    given = {"log": bool(entry.get("log", False))} | ({"step": entry["step"]} if "step" in entry else {})
    whole = isinstance(entry["low"], int) and isinstance(entry["high"], int)
    return (trial.suggest_int if whole else trial.suggest_float)(name, entry["low"], entry["high"], **given)


def _pruner(name: str, startup_trials: int) -> Any:
    from optuna import pruners

    if name not in PRUNERS:
        raise ValueError(f"pruner={name}: choose one of {', '.join(PRUNERS)}")
    if name == "none":
        return pruners.NopPruner()
    return pruners.HyperbandPruner() if name == "hyperband" else pruners.MedianPruner(n_startup_trials=startup_trials)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _Alive:
    """Gives signs of life beside a trial for as long as the context lasts."""

    def __init__(self, folder: Path, number: int) -> None:
        self.path, self.number, self.over = folder / "alive.json", number, threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        told = {"trial": self.number, "host": socket.gethostname(), "pid": os.getpid()}
        self.path.write_text(json.dumps(told), encoding="utf-8")
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _beat(self) -> None:
        while not self.over.wait(BEAT):
            os.utime(self.path)
