"""What the jobs of a grid came to: each writes its result into its folder, and the table of all is drawn anew."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from audiodiff.utils import files

__all__ = ["tell"]

METRIC = "valid/loss"


def tell(folder: str | Path, overrides: Sequence[str], metrics: Mapping[str, float], error: str = "") -> Path:
    """Write result.json into a job's folder and summary.md beside it, best first; return the latter.

    Args:
        folder: Of the job; its neighbours are those of the other jobs.
        overrides: That made the job.
        metrics: As training returned them; empty if it failed.
        error: Why it failed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    own = {"overrides": list(overrides), "metrics": dict(metrics), "error": error}
    _write(folder / "result.json", json.dumps(own, indent=2) + "\n")
    found = {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.parent.glob("*/result.json"))}
    place = folder.parent / "summary.md"
    _write(place, _table(found))
    return place


def _table(found: Mapping[str, Mapping[str, object]]) -> str:
    """Draw the table; its columns are the overrides in which the jobs differ."""
    values = {job: dict(o.partition("=")[::2] for o in result["overrides"]) for job, result in found.items()}
    names = list(dict.fromkeys(name for given in values.values() for name in given))
    names = [name for name in names if len({given.get(name) for given in values.values()}) > 1]
    lines = [" | ".join(["| job", *names, f"{METRIC} |"]), "|---" * (len(names) + 2) + "|"]
    for job in sorted(found, key=lambda job: found[job]["metrics"].get(METRIC, float("inf"))):
        metrics = found[job]["metrics"]
        came_to = f"{metrics[METRIC]:.5f}" if METRIC in metrics else found[job]["error"] or "no such metric"
        lines.append(" | ".join([f"| {job}", *(values[job].get(name, "") for name in names), f"{came_to} |"]))
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    with files.atomic_file(path) as file:
        file.write(text.encode())
