"""A study in a folder: what is tried next, by whom, and what becomes of a trial whose process died."""

import json
import math
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from audiodiff.utils.extras import install_command

__all__ = ["Study"]

BEAT = 5.0  # seconds between signs of life
PAUSE = 0.5  # seconds between looks at trials of others, when none is left to begin
PRUNERS = ("median", "hyperband", "none")


class Study:
    """Suggests, runs and keeps trials, in a journal that any number of processes append to.

    A process shows that it lives by the time of a file beside its trial. A trial whose process is gone is marked as
    failed; its values are queued anew and go on in its folder, where its checkpoint lies. (Optuna's own heartbeat is
    for databases only.)

    As many trials end as are wanted, however many processes share them: one is begun only where those that have ended
    and those that run leave room. Where two processes see the same room, both begin a trial, and the journal says which
    has the lower number; the other one is marked as failed before it runs.

    Args:
        folder: Of the study.
        name: Of the study.
        space: Values by name of an override: `low`, `high`, `log`, `step`, or `choices`.
        pruner: One of PRUNERS.
        startup_trials: Drawn at random and never pruned.
        seed: Of the suggestions: those of trial n are a function of seed, n and what has ended by then.
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
            raise ValueError(f"searching needs Optuna: {install_command('tune')}") from None
        checked(space)
        self.folder, self.space = Path(folder), {key: dict(value) for key, value in space.items()}
        self.stale_seconds, self.retries = stale_seconds, retries
        (self.folder / "trials").mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            study_name=name,
            storage=JournalStorage(JournalFileBackend(str(self.folder / "journal.log"))),
            sampler=_sampler(seed, startup_trials),
            pruner=_pruner(pruner, startup_trials),
            load_if_exists=True,
        )

    def ended(self) -> int:
        """Counts the trials that came to an end: pruned ones, too, and those that could not be trained."""
        return self._taken()

    def _taken(self, *open_states: str, before: float = math.inf) -> int:
        """Counts the trials that came to an end, and those in other states whose number is below one."""
        trials = self.study.get_trials(deepcopy=False)  # at once: between two looks one could move from here to there
        ended = sum(t.state.name in ("COMPLETE", "PRUNED") or _could_not(t) for t in trials)
        return ended + sum(t.state.name in open_states and t.number < before for t in trials)

    def failures(self) -> list[str]:
        """Says why trials could not be trained; those of dead processes, which are done again, are not among them."""
        return [t.user_attrs["error"] for t in self._trials("FAIL") if _could_not(t)]

    def run(
        self,
        objective: Callable[[Any, dict[str, Any], Path], float],
        n_trials: int,
        question: Mapping[str, Any] | None = None,
    ) -> None:
        """Works on trials until so many have ended, whoever ended them; waits for those of others, who may die.

        Args:
            objective: Maps a trial (to report to), its values and its folder to what is minimised.
            n_trials: Of the whole study.
            question: What all trials share; a study that was asked another does not go on.

        Raises:
            ValueError: The study was asked another question, or the first trials all could not be trained.
        """
        self._ask_the_same({"space": self.space} | dict(question or {}))
        while self.ended() < n_trials:
            self.revive()
            trial = self._begun(n_trials)
            if trial is None:
                time.sleep(PAUSE)
                continue
            values = self._suggested(trial)
            folder = self.folder / "trials" / str(trial.user_attrs.get("goes_on", trial.number))
            folder.mkdir(parents=True, exist_ok=True)
            with _Alive(folder, trial.number):
                self._try(objective, trial, values, folder)
            if len(self.failures()) >= min(3, n_trials) and not self._trials("COMPLETE", "PRUNED"):
                raise ValueError(f"the first trials could not be trained: {self.failures()[-1]}")

    def _begun(self, n_trials: int) -> Any:
        """Begins a trial if there is room for one; None if those that run will do."""
        from optuna.trial import TrialState

        if self._taken("RUNNING") >= n_trials:
            return None
        trial = self.study.ask()
        if self._taken("RUNNING", "WAITING", before=trial.number) < n_trials:
            return trial
        self.study.tell(trial, state=TrialState.FAIL)  # another process saw the same room
        return None

    def _try(
        self, objective: Callable[[Any, dict[str, Any], Path], float], trial: Any, values: dict[str, Any], folder: Path
    ) -> None:
        import optuna

        try:
            value = objective(trial, values, folder)
        except optuna.TrialPruned:
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        except (ValueError, RuntimeError) as error:  # what cannot be, or does not fit into memory, is a result
            trial.set_user_attr("error", (str(error).strip() or type(error).__name__).splitlines()[0])
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            lost = not math.isfinite(value)  # the worst result, which suggestions learn from; a failure teaches nothing
            self.study.tell(trial, **({"state": optuna.trial.TrialState.PRUNED} if lost else {"values": value}))

    def _ask_the_same(self, question: dict[str, Any]) -> None:
        asked = self.study.user_attrs.get("question")
        if asked is None:
            self.study.set_user_attr("question", question)
        for name in question if asked is not None else ():
            if asked.get(name) != json.loads(json.dumps(question[name])):
                raise ValueError(
                    f"{self.folder} holds a study with {name}={asked.get(name)}: results of another {name} cannot be "
                    "compared with its; give another study=NAME"
                )

    def _trials(self, *states: str) -> list[Any]:
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=tuple(TrialState[state] for state in states))

    def revive(self) -> list[int]:
        """Marks trials whose process is gone as failed, and queues their values anew; returns their numbers."""
        from optuna.trial import TrialState

        dead = []
        for trial in self._trials("RUNNING"):
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
            told = {}
        if told.get("trial") != trial.number:  # it has not shown itself yet; what lies there is of a trial before it
            begun = trial.datetime_start.timestamp() if trial.datetime_start else 0
            return time.time() - begun > self.stale_seconds
        here = told["host"] == socket.gethostname()
        return silent > self.stale_seconds or (here and not _exists(told["pid"]))

    def _suggested(self, trial: Any) -> dict[str, Any]:
        return {name: rounded(_suggest(trial, name, space)) for name, space in self.space.items()}


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


def rounded(value: Any) -> Any:
    """Rounds what is not a whole number to six digits, so that it is the same in a command, a file and a table.

    >>> rounded(0.00123456789), rounded("early"), rounded(64)
    (0.00123457, 'early', 64)
    """
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _suggest(trial: Any, name: str, entry: Mapping[str, Any]) -> Any:
    if "choices" in entry:
        return trial.suggest_categorical(name, list(entry["choices"]))
    given = {"log": bool(entry.get("log", False))} | ({"step": entry["step"]} if "step" in entry else {})
    whole = isinstance(entry["low"], int) and isinstance(entry["high"], int)
    return (trial.suggest_int if whole else trial.suggest_float)(name, entry["low"], entry["high"], **given)


def _sampler(seed: int, startup_trials: int) -> Any:
    """Makes a sampler whose suggestions for a trial depend on its number and what has ended, not on who asks."""
    from optuna.samplers import BaseSampler, TPESampler

    def tpe(*key: Any) -> TPESampler:
        own = random.Random("/".join(map(str, (seed, *key)))).getrandbits(32)
        return TPESampler(seed=own, n_startup_trials=startup_trials, constant_liar=True)

    class Numbered(BaseSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return tpe().infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
            return tpe(trial.number).sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return tpe(trial.number, param_name).sample_independent(study, trial, param_name, param_distribution)

    return Numbered()


def _pruner(name: str, startup_trials: int) -> Any:
    from optuna import pruners

    if name not in PRUNERS:
        raise ValueError(f"pruner={name}: choose one of {', '.join(PRUNERS)}")
    if name == "none":
        return pruners.NopPruner()
    return pruners.HyperbandPruner() if name == "hyperband" else pruners.MedianPruner(n_startup_trials=startup_trials)


def _could_not(trial: Any) -> bool:
    """Says whether a trial could not be trained; one that failed without an error was left behind or not needed."""
    return trial.state.name == "FAIL" and "error" in trial.user_attrs


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
