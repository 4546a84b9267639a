"""Report a study: a table of the best trials, the importance of each value, and the best configuration."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from audiodiff.tuning.search.study import Study, rounded
from audiodiff.utils import files

SHOWN = 15


def write_report(study: Study, base: Sequence[str], metric: str) -> Path | None:
    """Write report.md, importance.png and experiment/best.yaml into a study's folder.

    Args:
        study: The study.
        base: Overrides that all trials share.
        metric: Its name.

    Returns:
        The path of best.yaml; None as long as no trial is complete.
    """
    complete = sorted(study.trials("COMPLETE"), key=lambda trial: trial.value)
    if not complete:
        return None
    names = list(study.space)
    lines = [f"| trial | {metric} | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for trial in complete[:SHOWN]:
        values = " | ".join(_short(trial.params.get(name)) for name in names)
        lines.append(f"| {trial.number} | {trial.value:.5f} | {values} |")
    lines += ["", f"{len(complete)} trials are complete, {len(study.failures())} could not be trained."]
    lines += [f"- {error}" for error in sorted(set(study.failures()))]
    weights = _importances(study)
    lines += ["", "Importance (PED-ANOVA, Watanabe et al., 2023, arXiv:2304.10255), of the best against all:", ""]
    lines += [f"- {name}: {weight:.2f}" for name, weight in weights.items()] or ["- too few trials to tell"]
    place = study.folder / "experiment" / "best.yaml"
    lines += ["", f"To train the best: python -m audiodiff.train --config-dir {study.folder} experiment=best name=best"]
    files.write_text(study.folder / "report.md", "\n".join(lines) + "\n")
    if weights:
        _plot(weights, study.folder / "importance.png")
    place.parent.mkdir(exist_ok=True)
    files.write_text(place, experiment_of(base, {name: rounded(value) for name, value in complete[0].params.items()}))
    return place


def experiment_of(base: Sequence[str], values: dict[str, Any]) -> str:
    """Return overrides as the YAML of an experiment: choices of groups, then values.

    >>> print(experiment_of(["experiment=quickstart"], {"time_sampling": "early", "optimizer.lr": 0.001}))
    # @package _global_
    defaults:
    - quickstart
    - override /time_sampling: early
    - _self_
    optimizer:
      lr: 0.001
    <BLANKLINE>
    """
    from audiodiff.utils.config import conf_dir

    overrides = [override.lstrip("+").partition("=")[::2] for override in base] + list(values.items())
    defaults: list[Any] = [value for name, value in overrides if name == "experiment"]
    tree: dict[str, Any] = {}
    for name, value in overrides:
        if name == "experiment":
            continue
        if (conf_dir() / name).is_dir():
            defaults.append({f"override /{name}": _plain(value)})
            continue
        *path, leaf = name.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
        place[leaf] = _plain(value)
    text = yaml.safe_dump({"defaults": [*defaults, "_self_"]} | tree, sort_keys=False)
    return f"# @package _global_\n{text}"


def _plain(value: Any) -> Any:
    return yaml.safe_load(value) if isinstance(value, str) else value


def _importances(study: Study) -> dict[str, float]:
    import optuna

    try:
        with warnings.catch_warnings(action="ignore"):
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            return optuna.importance.get_param_importances(study.study, evaluator=evaluator)
    except (ValueError, RuntimeError):  # too few trials, or all alike
        return {}


def _plot(weights: dict[str, float], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.6 + 0.4 * len(weights)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(list(weights)[::-1], list(weights.values())[::-1], color="tab:blue")
    axes.set_xlabel("importance")
    axes.spines[["top", "right"]].set_visible(False)
    with files.atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
