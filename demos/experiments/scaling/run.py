"""Measures how training, loading and batch vocoding grow with processes on this machine.

    OMP_NUM_THREADS=1 python demos/experiments/scaling/run.py data/debian_speech/train.jsonl

Every process has one thread. Training is the quickstart's network on clips of 16384 samples, 8 a process, by DDP over
gloo for two; its rate is that of the steps after the first ten, as `metrics.jsonl` tells. Loading is of clips of one
second, without augmentation, from WAV and FLAC of the same recordings, after the first batch; a clip counts its float32
samples as bytes. Vocoding is `audiodiff resynth --workers N --steps 1`, model loading included.
Rounds alternate between the settings, so that what else the machine does meets all of them; the CSV has medians.
"""

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from audiodiff import audio
from audiodiff.data.crops import Crops, ResumableSampler, clip_loader
from audiodiff.data.folders import scan_folder
from audiodiff.data.manifest import Recording
from audiodiff.data.recordings import recordings_of
from audiodiff.utils import files as utils_files

RATE, BATCH = 16000, 16
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
Setting = tuple[str, str, int]  # what is measured, from which source, by how many processes


def called(module: str, *arguments: object) -> str:
    """Run a module and return what it told on standard error."""
    call = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(call, env=ENVIRONMENT, check=True, capture_output=True, text=True).stderr


def trained(processes: int, steps: int) -> float:
    """Train, and return clips a second."""
    with tempfile.TemporaryDirectory() as folder:
        given = ["experiment=quickstart", "sanity_check=false", "previews=0", "log_every=10", f"run_dir={folder}/run"]
        given += [f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps}", "trainer.accelerator=cpu"]
        given += [f"trainer.devices={processes}", *(["trainer=ddp"] if processes > 1 else [])]
        called("audiodiff.train", *given)
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return statistics.median(json.loads(line)["clips_per_second"] for line in lines[1:])


def loaded(data: Crops, workers: int, clips: int) -> float:
    """Read clips of a second, and return how many a second."""
    batches = iter(clip_loader(data, ResumableSampler(0, clips + BATCH), BATCH, workers))
    next(batches)  # the processes have started
    begun = time.perf_counter()
    return sum(len(batch) for batch in batches) / (time.perf_counter() - begun)


def vocoded(source: Path, workers: int) -> float:
    """Send a folder through its mels and back, and return files a second."""
    with tempfile.TemporaryDirectory() as folder:
        told = called("audiodiff", "resynth", source, Path(folder) / "out", "--steps", "1", "--workers", workers)
        found = re.search(r", ([\d.]+) files a second", told)
        if found is None:
            raise ValueError(f"no rate was told: {told}")
        return float(found[1])


def written(recordings: Sequence[Recording], folder: Path, suffix: str) -> list[Recording]:
    """Write recordings anew, in 16 bits at 16 kHz, all in one format."""
    import soundfile

    folder.mkdir()
    for number, recording in enumerate(recordings):
        samples, _ = audio.to_pcm(audio.read(recording.path, RATE)[0])
        soundfile.write(folder / f"{number}{suffix}", samples, RATE)
    return scan_folder(folder)


def settings(
    folder: Path, recordings: Sequence[Recording], steps: int, clips: int, files: int
) -> dict[Setting, Callable[[], float]]:
    """Prepare what is measured: a function for each setting, which returns a rate."""
    flac, wav = (written(recordings, folder / kind, f".{kind}") for kind in ("flac", "wav"))
    sources = {
        "wav": Crops(wav, RATE, RATE),
        "flac": Crops(flac, RATE, RATE),
    }
    written(recordings[:files], folder / "few", ".wav")
    found: dict[Setting, Callable[[], float]] = {}
    for n in (1, 2):
        found["train", "quickstart", n] = lambda n=n: trained(n, steps)
        found["vocode", "wav", n] = lambda n=n: vocoded(folder / "few", n)
    for name, data in sources.items():
        for n in (0, 1, 2):
            found["load", name, n] = lambda data=data, n=n: loaded(data, n, clips)
    return found


def tables(path: Path) -> str:
    """Return the guide's table, Markdown, of what the CSV holds."""
    with path.open(encoding="utf-8") as file:
        rates = {(r["measure"], r["source"], int(r["processes"])): float(r["per_second"]) for r in csv.DictReader(file)}
    lines = ["| a second | 0 | 1 | 2 processes |", "|---|---|---|---|"]
    for kind in dict.fromkeys(key[:2] for key in rates):
        shown = [f"{rates[*kind, n]:.3g}" if (*kind, n) in rates else "–" for n in (0, 1, 2)]
        lines.append(f"| {' '.join(kind)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure all settings in rounds, and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", help="folder or manifest")
    parser.add_argument(
        "--table",
        type=Path,
        default=Path(__file__).with_name("results.csv"),
        help="CSV (default: results.csv, beside this script)",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--clips", type=int, default=1600)
    parser.add_argument("--files", type=int, default=80)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = settings(Path(folder), recordings_of(args.recordings)[:300], args.steps, args.clips, args.files)
        rates: dict[Setting, list[float]] = {setting: [] for setting in own}
        for _, setting in tqdm([(r, s) for r in range(args.rounds) for s in own], disable=None):
            rates[setting].append(own[setting]())
    with utils_files.atomic_file(args.table) as file:
        lines = [["measure", "source", "processes", "per_second", "lowest", "highest", "mb_per_second", "rounds"]]
        for (measure, source, n), found in rates.items():
            middle = statistics.median(found)
            size = f"{middle * RATE * 4 / 1e6:.2f}" if measure == "load" else ""
            shown = [f"{value:.2f}" for value in (middle, min(found), max(found))]
            lines.append([measure, source, str(n), *shown, size, str(args.rounds)])
        file.write("".join(",".join(line) + "\n" for line in lines).encode())
    print(tables(args.table))


if __name__ == "__main__":
    main()
