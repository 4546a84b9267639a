"""Put what generators are asked for beside what they reach; demos/docs/results.py writes the table into the page.

    python demos/experiments/generation/goals.py

Measures come from the evaluations of the shipped weights, `audiodiff/weights/NAME.eval.json`, of three seeds each,
times from start_up.csv. A ratio has the interval of its numerator. `which is` says which of the two bounds the mean
keeps, and whether the whole interval does.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path

from audiodiff.evaluation.generator_table import HELD_OUT, REAL, SPECTROGRAM
from audiodiff.utils.config import shipped_path

Number = tuple[float, float]  # mean, half of the interval
Table = dict[str, dict[str, Number]]  # of rows and measures
MODEL = "the model"


def evaluation(name: str) -> Table:
    """Read the evaluation of shipped weights."""
    rows = json.loads(shipped_path(f"audiodiff/weights/{name}.eval.json").read_text(encoding="utf-8"))["rows"]
    return {row["name"]: {key: tuple(value) for key, value in row.items() if key != "name"} for row in rows}


def share(measure: str, of: str) -> Callable[[Table], Number]:
    """Return what divides a measure by that of another row."""

    def ratio(table: Table) -> Number:
        (mean, half), (whole, _) = table[MODEL][measure], table[of][measure]
        return mean / whole, half / whole

    return ratio


def frechet_excess(table: Table) -> Number:
    """Return by how much the Fréchet distance exceeds that of real sounds, as a share of that of shaped noise."""
    (mean, half), (real, _), (noise, _) = (table[name]["fad"] for name in (MODEL, REAL, SPECTROGRAM))
    return (mean - real) / (noise - real), half / (noise - real)


def copies(table: Table) -> Number:
    """Return the share of copies less that among held-out recordings, which is chance."""
    (mean, half), (chance, _) = table[MODEL]["copies"], table[HELD_OUT]["copies"]
    return mean - chance, half


def start_up(path: Path) -> dict[str, Number]:
    """Read seconds by model beyond those of torch's import, and half of the span from the fastest to the slowest."""
    with path.open(encoding="utf-8", newline="") as file:
        imported, *rows = csv.DictReader(file)
    return {
        row["name"]: (
            float(row["seconds"]) - float(imported["seconds"]),
            (float(row["slowest"]) - float(row["fastest"])) / 2,
        )
        for row in rows
    }


GOALS = {  # of each pair of models: what, must, goal, whether more is better, how
    ("drums", "drums-4"): (
        ("diversity / held-out recordings'", 0.6, 0.9, True, share("diversity", HELD_OUT)),
        ("coverage / other real sounds'", 0.6, 0.9, True, share("coverage", REAL)),
        ("coverage / held-out kits' of themselves", 0.6, 0.9, True, share("coverage", HELD_OUT)),
        ("accuracy / held-out recordings'", 0.9, 1.0, True, share("accuracy", HELD_OUT)),
        ("Fréchet excess / shaped noise's", 0.25, 0.1, False, frechet_excess),
        ("copies beyond held-out recordings'", 0.0, 0.0, False, copies),
    ),
    ("commands", "commands-4"): (
        ("accuracy / held-out speakers'", 0.8, 0.95, True, share("accuracy", HELD_OUT)),
        ("copies beyond held-out speakers'", 0.0, 0.0, False, copies),
    ),
}
SECONDS = ("eight sounds of a second, beyond `import torch`, s", 1.5, 0.5)


def verdict(number: Number, must: float, goal: float, more: bool) -> str:
    """Say which bound a number keeps: by its mean alone, or by its whole interval."""
    mean, half = number
    for bound, name in ((goal, "goal"), (must, "must")):
        gap = mean - bound if more else bound - mean
        if gap >= 0:
            return name if gap >= half else f"{name}, by the mean"
    return "missed" if gap + half < 0 else "missed, by the mean"


def line_of(what: str, name: str, must: float, goal: float, more: bool, number: Number) -> list[str]:
    """Write a line of the table."""
    value = f"{number[0]:.3g} ± {number[1]:.2g}"
    return [what, name, f"{must:g}", f"{goal:g}", value, verdict(number, must, goal, more)]


def lines_of(folder: Path) -> list[list[str]]:
    """Fill in the table: a line for each number and model."""
    lines = []
    for models, goals in GOALS.items():
        evaluations = {name: evaluation(name) for name in models}
        for what, must, goal, more, how in goals:
            lines += [line_of(what, name, must, goal, more, how(table)) for name, table in evaluations.items()]
    what, must, goal = SECONDS
    times = start_up(folder / "start_up.csv")
    return lines + [line_of(what, name, must, goal, False, number) for name, number in times.items()]


def tables(path: Path) -> str:
    """Lay out the table in Markdown, from the evaluations and start_up.csv beside a path."""
    head = ["number", "model", "must", "goal", "reached", "which is"]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *lines_of(path.parent)])


if __name__ == "__main__":
    print(tables(Path(__file__)))
