"""Measure what decoding, packing, loading and vocoding cost a core, and reckon large corpora from it.

    OMP_NUM_THREADS=1 python demos/experiments/capacity/run.py demos/audio/speech.flac

A cost is the processor time of this process (user and system, one thread) for the same speech in several formats, as
the median of rounds that alternate between the measurements. The disk is read through a file from which the cache was
dropped. What is not measured here is assumed, and stands in `ASSUMED`; times are reckoned, not measured, and the last
column of a table names the bottleneck.
"""

import argparse
import csv
import functools
import io
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

RATE, CLIP, FILE = 16000, 1.0, 10.0  # Hz; seconds of a training clip, and of a file
FILES = 24
GPU_CLIPS, GPU_HOURS, STORAGE = 1000.0, 500.0, 2000.0
ASSUMED = {
    "clips a second that one GPU trains": GPU_CLIPS,
    "hours of sound that one GPU vocodes an hour": GPU_HOURS,
    "MB a second that storage gives all nodes together": STORAGE,
}
HOURS, FILES_TOTAL, GPUS, CORES = (1e4, 1e6), 1e6, (1, 8, 64), 1000

Points = dict[str, float]


def processor_seconds() -> float:
    """Return the processor time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def cost(work: Callable[[], float]) -> float:
    """Return processor seconds for one unit of work, which says how many units it did."""
    begun = processor_seconds()
    units = work()
    return (processor_seconds() - begun) / units


def corpus(source: Path, folder: Path) -> dict[str, list[Path]]:
    """Write speech as files of ten seconds in several formats."""
    import soundfile

    from audiodiff import audio

    speech = audio.read(source, RATE)[0].mean(0)
    speech = speech.repeat(1 + int(FILES * FILE * RATE) // len(speech))
    files: dict[str, list[Path]] = {}
    for kind in ("wav", "flac", "ogg", "mp3"):
        (folder / kind).mkdir()
        for n in range(FILES):
            path = folder / kind / f"{n:03d}.{kind}"
            soundfile.write(path, speech[int(n * FILE * RATE) :][: int(FILE * RATE)].numpy(), RATE)
            files.setdefault(kind, []).append(path)
    return files


def works(source: Path, folder: Path, model: str) -> dict[str, Callable[[], float]]:
    """Prepare what is measured: functions that do some units of work and return how many."""
    from audiodiff import audio
    from audiodiff.data import Crops, scan_folder
    from audiodiff.data.shards.corpus import Corpus
    from audiodiff.data.shards.streaming import ClipStream, StreamLoader
    from audiodiff.data.shards.writing import pack
    from audiodiff.models import Vocoder
    from audiodiff.pipelines.resynthesis import resynthesise

    files, vocoder = corpus(source, folder), Vocoder.load(model)
    recordings = {kind: scan_folder(folder / kind) for kind in files}
    pack(recordings["flac"], recordings["flac"][:1], folder / "packed")
    packed = Corpus(str(folder / "packed"), folder / "cache")
    clips, numbers = int(CLIP * RATE), iter(range(10**9))

    def decode(kind: str) -> float:
        for path in files[kind]:
            audio.read(path)
        return FILES * FILE / 3600

    def load(data: Crops) -> float:
        for _ in range(400):
            data[next(numbers)]
        return 400

    def stream() -> float:
        loader = StreamLoader(ClipStream(packed, lambda source: Crops(source, clips, RATE)), 8, 0, 50)
        for _ in zip(range(50), loader, strict=False):
            pass
        return 400

    def packing() -> float:
        with tempfile.TemporaryDirectory() as place:
            pack(recordings["wav"], recordings["wav"][:1], Path(place) / "out")
        return FILES * FILE / 3600

    def vocode() -> float:
        waveform, _ = audio.read(files["wav"][0], vocoder.sample_rate)
        resynthesise(vocoder, waveform, steps=1)
        return FILE / 3600

    def look() -> float:
        return float(len(scan_folder(folder / "flac")))

    measured: dict[str, Callable[[], float]] = {f"decode {kind}, s an hour": lambda k=kind: decode(k) for kind in files}
    for kind in ("wav", "flac", "mp3"):
        measured[f"load a clip from {kind}, s"] = functools.partial(load, Crops(recordings[kind], clips, RATE))
    measured["load a clip from shards, s"] = stream
    measured["pack, s an hour"] = packing
    measured["look at a file's header, s"] = look
    measured[f"vocode with {model}, one call, s an hour"] = vocode
    return measured


def disk(folder: Path, megabytes: int = 512) -> float:
    """Return the MB a second at which a file is read of which nothing is cached."""
    path = folder / "large"
    with open(path, "wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begun = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while file.read(1 << 22):
            pass
    return megabytes / (time.perf_counter() - begun)


def measure(source: Path, model: str, rounds: int) -> Points:
    """Return the points, each the median of some rounds."""
    with tempfile.TemporaryDirectory() as place:
        measured = works(source, Path(place), model)
        found: dict[str, list[float]] = {name: [] for name in measured}
        for work in measured.values():
            work()  # what is made once, is made
        for _ in range(rounds):
            for name, work in measured.items():
                found[name].append(cost(work))
        points = {name: statistics.median(values) for name, values in found.items()}
        sizes = {kind: sum(p.stat().st_size for p in Path(place, kind).iterdir()) for kind in ("wav", "flac")}
        points |= {f"{kind}, MB an hour": size / 1e6 * 3600 / (FILES * FILE) for kind, size in sizes.items()}
        return points | {"read from the disk, MB a second": disk(Path(place))}


def tables(path: Path) -> str:
    """Return tables in Markdown: what is measured, what is assumed, and what follows."""
    with path.open(encoding="utf-8") as file:
        points = {row["point"]: float(row["value"]) for row in csv.DictReader(file)}
    lines = ["| measured, of one core | |", "|---|---|"]
    lines += [f"| {name} | {value:.3g} |" for name, value in points.items()]
    lines += ["", "| assumed | |", "|---|---|", *(f"| {name} | {value:,.0f} |" for name, value in ASSUMED.items())]
    lines += ["", *_packing(points), "", *_training(points), "", *_vocoding(points)]
    return "\n".join(lines)


def _packing(points: Points) -> Iterator[str]:
    """Reckon packing: the slower of the cores and of what is read and written."""
    yield "| packing once, hours (reckoned) | 16 cores | 1,000 cores | bottleneck |"
    yield "|---|---|---|---|"
    size = points["wav, MB an hour"] + points["flac, MB an hour"]
    for hours in HOURS:
        work, transfer = hours * points["pack, s an hour"] / 3600, hours * size / STORAGE / 3600
        times = [max(work / cores, transfer) for cores in (16, CORES)]
        names = ["cores" if work / cores > transfer else "storage" for cores in (16, CORES)]
        yield f"| {hours:,.0f} h | {times[0]:.3g} | {times[1]:.3g} | {names[0]}; {names[1]} |"


def _training(points: Points) -> Iterator[str]:
    """Reckon a pass of training: the slower of the GPUs and the storage, and the loader processes that keep up."""
    per_clip = 1 / points["load a clip from shards, s"]
    read = points["flac, MB an hour"] * FILE / 3600  # a piece of ten seconds is fetched for each clip
    yield "| one pass of a clip a piece, hours (reckoned) | 10,000 h | 1,000,000 h | loaders | MB/s | bottleneck |"
    yield "|---|---|---|---|---|---|"
    for gpus in GPUS:
        wanted = gpus * GPU_CLIPS
        given = min(wanted, STORAGE / read)
        times = [hours * 3600 / FILE / given / 3600 for hours in HOURS]
        name = "GPUs" if given == wanted else "storage"
        row = f"{times[0]:.3g} | {times[1]:.3g} | {-(-given // per_clip):.0f} | {given * read:.0f} | {name}"
        yield f"| {gpus} GPUs | {row} |"


def _vocoding(points: Points) -> Iterator[str]:
    """Reckon a batch of a million files of ten seconds."""
    hours = FILES_TOTAL * FILE / 3600
    vocode = next(value for name, value in points.items() if name.startswith("vocode"))
    decode = points["decode flac, s an hour"] + points["look at a file's header, s"] * 3600 / FILE
    transfer = hours * 2 * points["wav, MB an hour"] / STORAGE / 3600
    yield "| a million files of ten seconds, hours (reckoned) | time | cores that decode | bottleneck |"
    yield "|---|---|---|---|"
    work = hours * vocode / 3600 / CORES
    yield f"| {CORES:,} cores | {max(work, transfer):.3g} | – | {'cores' if work > transfer else 'storage'} |"
    for gpus in GPUS:
        work = hours / (gpus * GPU_HOURS)
        cores = hours * decode / 3600 / max(work, transfer)
        name = "GPUs" if work > transfer else "storage"
        yield f"| {gpus} GPUs | {max(work, transfer):.3g} | {cores:.2g} | {name} |"


def main() -> None:
    """Measure, write the medians, and print the tables."""
    import torch

    from audiodiff.models.registry import DEFAULT_MODEL
    from audiodiff.utils.files import atomic_file

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("speech", type=Path)
    parser.add_argument("--table", type=Path, default=Path(__file__).with_name("results.csv"), metavar="CSV")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    text = io.StringIO()
    rows = [(name, f"{value:.6g}") for name, value in measure(args.speech, args.model, args.rounds).items()]
    csv.writer(text, lineterminator="\n").writerows([("point", "value"), *rows])
    with atomic_file(args.table) as file:
        file.write(text.getvalue().encode())
    print(tables(args.table))


if __name__ == "__main__":
    main()
