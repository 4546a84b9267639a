"""Times a batch against the number of workers, by processes and by a Ray cluster whose nodes are on this machine.

    OMP_NUM_THREADS=1 python demos/experiments/capacity/workers.py demos/audio/speech.flac --workers 1 2

Writes `workers.csv`: seconds that the cluster took to start, seconds of the command up to its first file (imports, the
connection, loading the model), files a second from there on, and seconds of the command in all. Needs the extra `ray`.
"""

import argparse
import csv
import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from audiodiff.utils.files import atomic_file

COLUMNS = ["engine", "workers", "cluster starts, s", "first file, s", "files a second", "in all, s"]


def timed(recordings: Path, out: Path, engine: list[str]) -> list[str]:
    """Resynthesise a folder; return seconds up to the first file, files a second behind it, and seconds in all."""
    command = [sys.executable, "-m", "audiodiff", "resynth", str(recordings), str(out), *engine]
    begin = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(out.glob("*.wav")):
            time.sleep(0.02)
        first = time.perf_counter()
        said = process.communicate()[1]
    end = time.perf_counter()
    count = len(list(out.glob("*.wav")))
    if process.returncode or count != len(list(recordings.iterdir())):
        raise RuntimeError(f"{' '.join(command)}: {count} files; {said[-500:]}")
    return [f"{first - begin:.1f}", f"{(count - 1) / (end - first):.2f}", f"{end - begin:.1f}"]


def on_cluster(recordings: Path, out: Path, nodes: int) -> list[str]:
    """Do the same on a cluster of so many nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    begin, cluster = time.perf_counter(), Cluster()
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, include_dashboard=False)
        started = time.perf_counter() - begin
        return [f"{started:.1f}", *timed(recordings, out, ["--ray", cluster.address])]
    finally:
        cluster.shutdown()


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("speech", type=Path, help="a recording; every job is a copy of it")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--table", type=Path, default=Path(__file__).with_name("workers.csv"), metavar="CSV")
    options = parser.parse_args()
    rows = [COLUMNS]
    with tempfile.TemporaryDirectory() as folder:
        recordings = Path(folder, "in")
        recordings.mkdir()
        for number in range(options.files):
            (recordings / f"{number}{options.speech.suffix}").write_bytes(options.speech.read_bytes())
        for n in options.workers:
            out = Path(folder, f"processes{n}")
            rows.append(["processes", str(n), "", *timed(recordings, out, ["--workers", str(n)])])
            print(*rows[-1], flush=True)
            rows.append(["Ray", str(n), *on_cluster(recordings, Path(folder, f"ray{n}"), n)])
            print(*rows[-1], flush=True)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with atomic_file(options.table) as file:
        file.write(text.getvalue().encode())


if __name__ == "__main__":
    main()
