"""The table of a benchmark: its rows as Markdown, notes on the run, and which systems nothing beats."""

from collections.abc import Sequence
from typing import Any

from audiodiff.evaluation import hardware
from audiodiff.evaluation.benchmark import QUALITY
from audiodiff.utils.extras import install_command

HIGHER = ("pesq_wb", "stoi", "dnsmos_p808")  # more is better
JUDGES = ("pesq_wb", "dnsmos_p808")  # nearness to the recording, and naturalness, which do not agree


def markdown(table: dict[str, Any]) -> str:
    """Format the table as Markdown: systems, missing peers, and the machine."""
    rows = table["rows"]
    measures = [name for name in QUALITY if any(name in row["quality"] for row in rows)]
    head = ["system", "calls", "in", "weights", *measures, "× real time", "samples/s", "GFLOP/s", "of peak", "front"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(_cells(row, measures, table['peak_gflops']))} |" for row in rows]
    lines += ["", *(f"- {line}" for line in _notes(table))]
    return "\n".join(lines)


def _cells(row: dict[str, Any], measures: Sequence[str], peaks: dict[str, float]) -> list[str]:
    work, speed = row["work"], hardware.Spread(*row["x_real_time"])
    million = "–" if row["weights"] is None else f"{row['weights'] / 1e6:.2f} M"
    return [
        row["name"] + ("" if row["trained"] else " (random weights)"),
        str(row["calls"]),
        row["precision"] if row["calls"] else "–",
        million,
        *(f"{row['quality'][m]:.3g}" if m in row["quality"] else "–" for m in measures),
        f"{speed.median:.3g} ({speed.lower:.3g}–{speed.upper:.3g})",
        f"{row['samples_per_second'][0]:.3g}",
        f"{work['gflops']:.3g}" if work else "–",
        f"{work['gflops'] / peaks[row['precision']]:.0%}" if work else "–",
        ", ".join(row["front"]),
    ]


def _notes(table: dict[str, Any]) -> list[str]:
    machine, load, sound = table["machine"], table["load_average"], table["first_sound"]
    peaks = ", ".join(f"{name} {peak:.0f}" for name, peak in table["peak_gflops"].items())
    notes = [
        "weights, GFLOP/s and their share of the machine's peak are those of the network alone (products and "
        "convolutions); front: by this measure nothing here is at least as fast and as good",
        f"{table['clips']} clips, {table['seconds']:.1f} s in all, list {table['clips_sha256']}; {table['repeats']} "
        "repetitions, median (quartiles)",
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads; Python {machine['python']}, "
        f"torch {machine['torch']}; peak of a matrix product: {peaks} GFLOP/s",
        f"load average before and after: {load['before']}, {load['after']}; seed {table['seed']}",
    ]
    if sound:
        notes.append(
            f"first sound of {sound['clip_seconds']:.3g} s, process start included (`audiodiff resynth`): "
            f"{sound['seconds'][0]:.2f} s ({sound['seconds'][1]:.2f}–{sound['seconds'][2]:.2f})"
        )
    if table["measures_missing"]:
        notes.append(f"not measured: {', '.join(table['measures_missing'])}: {install_command('eval')}")
    if any(not row["trained"] for row in table["rows"]):
        notes.append("random weights: the speed is that of the network as published, the sound means nothing")
    for row in table["rows"]:
        if row["on_seconds"] is not None:
            notes.append(
                f"{row['name']}: timed on the first {row['on_seconds']:g} s of the first clip alone, and not judged"
            )
    return notes + [f"{peer['name']}: {peer['why']}" for peer in table["not_there"]]


def fronts_of(rows: Sequence[dict[str, Any]]) -> dict[str, list[bool]]:
    """Mark the rows on the Pareto front of each judge of quality; without any, of the first installed measure."""
    known = [name for name in QUALITY if any(name in row["quality"] for row in rows)]
    fronts = {}
    for judge in [name for name in known if name in JUDGES] or known[:1]:
        qualities = [quality_of(row, judge) for row in rows]
        points = [None if q is None else (row["x_real_time"][0], q) for row, q in zip(rows, qualities, strict=True)]
        fronts[judge] = front(points)
    return fronts


def quality_of(row: dict[str, Any], measure: str) -> float | None:
    """Return a row's value of a measure, negated where less is better; None where it has none."""
    value = row["quality"].get(measure)
    return None if value is None else value if measure in HIGHER else -value


def front(points: Sequence[tuple[float, float] | None]) -> list[bool]:
    """Mark each (speed, quality) on the Pareto front: no other is at least as fast and as good, and better in one.

    >>> front([(1.0, 4.0), (2.0, 3.0), (1.5, 2.0), None])
    [True, True, False, False]
    """

    def beaten(point: tuple[float, float], by: tuple[float, float]) -> bool:
        return by != point and by[0] >= point[0] and by[1] >= point[1]

    known = [point for point in points if point is not None]
    return [point is not None and not any(beaten(point, other) for other in known) for point in points]
