"""Measures how time and memory grow with the length of a sound, the batch and the steps, and draws it.

    OMP_NUM_THREADS=1 python demos/experiments/growth/run.py --plot demos/docs/pages/pictures/growth.png

Every point is a process of its own, so that its peak of memory is its own; seconds are the median of the repeats after
one that warms up (sounds of over a minute are made once). The slope is that of the logarithms: 1 is a straight line.
"""

import argparse
import csv
import io
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

POINTS = {
    "length (s)": [1, 4, 16, 64, 256, 1024, 3600],
    "batch": [1, 4, 16, 64],
    "steps": [1, 4, 16, 64],
}


def measure(axis: str, value: int, model: str, repeats: int) -> dict[str, float]:
    """Make a sound and return seconds and MiB of peak memory; runs in a process of its own."""
    import torch

    from audiodiff.models.vocoder import Vocoder
    from audiodiff.utils import devices

    vocoder = Vocoder.load(model)
    seconds = value if axis == "length (s)" else 1 if axis == "batch" else 4
    rate = vocoder.sample_rate / vocoder.hop_length
    # Frames of speech would do no better: what is done does not depend on what is in the mel.
    noise = torch.randn(1, vocoder.mel.n_mels, round(seconds * rate), generator=torch.Generator().manual_seed(0))
    mel = (noise - 5.0).expand(value if axis == "batch" else 1, -1, -1)
    how = {"steps": value if axis == "steps" else 1}
    times = []
    for repeat in range(1 if seconds > 60 else repeats + 1):
        begun = time.perf_counter()
        vocoder.generate(mel, **how)
        if repeat or seconds > 60:
            times.append(time.perf_counter() - begun)
    return {"seconds": round(statistics.median(times), 4), "mib": round(devices.peak_memory_mib(vocoder.device) or 0)}


def slope(points: list[tuple[float, float]]) -> float:
    """Fit the power p of y = a x^p through points.

    >>> round(slope([(1, 3.0), (10, 30.0), (100, 300.0)]), 6)
    1.0
    """
    logs = [(math.log(x), math.log(y)) for x, y in points]
    mean_x, mean_y = (statistics.fmean(z) for z in zip(*logs, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in logs) / sum((x - mean_x) ** 2 for x, _ in logs)


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """Draw seconds and MiB against each axis, both logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 5.2), layout="constrained")
    for ax, column, label in zip(
        figure.subplots(2, 1, sharex=True), ("seconds", "mib"), ("seconds", "peak memory, MiB"), strict=True
    ):
        for axis in POINTS:
            own = [row for row in rows if row["axis"] == axis]
            xs, ys = ([float(row[name]) for row in own] for name in ("value", column))
            ax.loglog(xs, ys, "o-", label=axis)
        ax.set_ylabel(label)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("{x:g}" if column == "mib" else "")
        ax.grid(alpha=0.3, which="both")
    figure.axes[0].legend()
    figure.axes[1].set_xlabel("length in seconds, clips of 1 s in a batch, or steps on 4 s")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Write the CSV and the picture, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--table",
        type=Path,
        default=Path(__file__).with_name("results.csv"),
        help="CSV (default: results.csv, beside this script)",
    )
    parser.add_argument("--model", default="speech-16k")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--most", type=int, default=3600, help="the longest sound and largest count")
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(measure(args.point[0], int(args.point[1]), args.model, args.repeats)))
        return
    rows = []
    for axis, values in POINTS.items():
        for value in (v for v in values if v <= args.most):
            command = [sys.executable, __file__, "--model", args.model, "--point", axis, str(value)]
            done = subprocess.run(
                [*command, "--repeats", str(args.repeats)], capture_output=True, text=True, check=True
            )
            rows.append({"axis": axis, "value": value} | json.loads(done.stdout))
            print(rows[-1], file=sys.stderr, flush=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    args.table.write_text(text.getvalue())
    read = list(csv.DictReader(io.StringIO(text.getvalue())))
    if args.plot:
        draw(read, args.plot)
    for axis in POINTS:
        own = [row for row in read if row["axis"] == axis]
        print(f"{axis}: seconds grow by the power {slope([(float(r['value']), float(r['seconds'])) for r in own]):.2f}")


if __name__ == "__main__":
    main()
