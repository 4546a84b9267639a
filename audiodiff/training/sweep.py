"""Results of the jobs of a grid: one file a job, and a table of all."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiodiff.utils.files import write_text

METRIC = "valid/loss"


def write_result(folder: str | Path, overrides: Sequence[str], metrics: Mapping[str, float], error: str = "") -> Path:
    """Write result.json into a job's folder and summary.md, best first, beside it; return the latter.

    Args:
        folder: The job's folder; its neighbours are those of the other jobs.
        overrides: Overrides of the job.
        metrics: Metrics of the training; empty if it failed.
        error: Reason of a failure.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    own = {"overrides": list(overrides), "metrics": dict(metrics), "error": error}
    write_text(folder / "result.json", json.dumps(own, indent=2) + "\n")
    results = {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.parent.glob("*/result.json"))}
    place = folder.parent / "summary.md"
    write_text(place, _table(results))
    return place


def _table(results: Mapping[str, Mapping[str, object]]) -> str:
    """Build the table, with a column for each override in which the jobs differ."""
    values = {job: dict(o.partition("=")[::2] for o in result["overrides"]) for job, result in results.items()}
    names = list(dict.fromkeys(name for overrides in values.values() for name in overrides))
    names = [name for name in names if len({overrides.get(name) for overrides in values.values()}) > 1]
    lines = [" | ".join(["| job", *names, f"{METRIC} |"]), "|---" * (len(names) + 2) + "|"]
    for job in sorted(results, key=lambda job: results[job]["metrics"].get(METRIC, float("inf"))):
        metrics = results[job]["metrics"]
        result = f"{metrics[METRIC]:.5f}" if METRIC in metrics else results[job]["error"] or "no such metric"
        lines.append(" | ".join([f"| {job}", *(values[job].get(name, "") for name in names), f"{result} |"]))
    return "\n".join(lines) + "\n"
