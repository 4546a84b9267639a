"""Measure quality and speed of models beside what needs no network and, with --peers, beside other vocoders.

All take turns on the same clips, on the CPU, in one run; the whole way from mel to waveform is timed, after a warm-up.
A peer whose package is missing is named with the command that installs it. Where no weights can be had without the
network, a peer has random ones: its speed counts, its sound does not.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiodiff.cli import checks, parsing
from audiodiff.cli.jobs import refuse_existing

if TYPE_CHECKING:
    from audiodiff.evaluation.benchmark import Clip, System
    from audiodiff.models.vocoder import Vocoder

EXAMPLE = "audiodiff bench data/debian_speech/test.jsonl --clips 6 --threads 2 --peers --out bench/"
FIRST_SOUND_SECONDS = 1.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the clips, the models and how often each is timed."""
    parser.add_argument(
        "data",
        nargs="?",
        type=checks.recordings,
        metavar="DATA",
        help="manifest (.jsonl), folder or recording (default: one that ships)",
    )
    parser.add_argument("--models", default="speech-24k", metavar="NAME,NAME", help="vocoders (default: speech-24k)")
    parser.add_argument(
        "--calls", type=checks.counts, default="1,2,4", metavar="N,N", help="network calls (default: 1,2,4)"
    )
    parser.add_argument(
        "--precisions",
        type=checks.precisions,
        metavar="P,P",
        help="in which the models' networks multiply (default: float32, and bfloat16 where the processor does)",
    )
    parser.add_argument("--peers", action="store_true", help="other vocoders too, those that are installed")
    parser.add_argument(
        "--clips", type=checks.whole(1), default=6, metavar="N", help="recordings, evenly from DATA (default: 6)"
    )
    parser.add_argument(
        "--seconds", type=checks.number(1), default=10.0, metavar="S", help="taken of each at most (default: 10)"
    )
    parser.add_argument("--threads", type=checks.whole(1), default=1, metavar="N", help="of the CPU (default: 1)")
    parser.add_argument("--repeats", type=checks.whole(1), default=5, metavar="N", help="timed rounds (default: 5)")
    parser.add_argument("--out", metavar="DIR", help="also write bench.json, bench.md and bench.png there")
    parsing.add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Measure, print the table, write it."""
    _check_target(options)
    for name in options.models.split(","):
        checks.known_model(name, "Vocoder")
    import torch

    from audiodiff.evaluation import benchmark, benchmark_table, peers
    from audiodiff.models.vocoder import Vocoder
    from audiodiff.utils import devices

    vocoders = {name: Vocoder.load(name) for name in options.models.split(",")}
    clips, names = _clips(options)
    precisions = devices.inference_precisions(torch.device("cpu"), options.precisions)
    systems = [
        one
        for name, vocoder in vocoders.items()
        for one in benchmark.systems_of(name, vocoder, options.calls, precisions)
    ]
    systems += benchmark.floors_of(next(iter(vocoders.values())))
    with devices.cpu_threads(options.threads):
        others, absent = peers.available() if options.peers else ([], [])
        table = _table(options, vocoders, [*systems, *others], clips, names) | {"not_there": absent}
    shown = benchmark_table.markdown(table)
    if options.out:
        _write(Path(options.out), table, shown)
    print(json.dumps(table, indent=1) if options.json else shown)
    return 0


def _table(
    options: argparse.Namespace,
    vocoders: "dict[str, Vocoder]",
    systems: "list[System]",
    clips: "list[Clip]",
    names: str,
) -> dict[str, Any]:
    from audiodiff.evaluation import benchmark, benchmark_table, hardware

    before, kinds = hardware.load_average(), {system.precision: None for system in systems}
    peaks = {kind: hardware.peak_gflops(kind) for kind in kinds}
    rows = benchmark.measure(systems, clips, options.repeats)
    peaks = {kind: round(max(peak, hardware.peak_gflops(kind)), 1) for kind, peak in peaks.items()}
    fronts = benchmark_table.fronts_of(rows)
    for i, row in enumerate(rows):
        row["front"] = [judge for judge, ahead in fronts.items() if ahead[i]]
    return {
        "models": {name: vocoder.fingerprint() for name, vocoder in vocoders.items()},
        "clips": len(clips),
        "seconds": round(sum(c.waveform.shape[-1] / c.sample_rate for c in clips), 3),
        "clips_sha256": names,
        "repeats": options.repeats,
        "seed": 0,
        "judged_by": [*fronts],
        "measures_missing": benchmark.missing_measures(),
        "machine": hardware.describe(),
        "peak_gflops": peaks,
        "first_sound": _first_sound(next(iter(vocoders)), clips[0], options),
        "load_average": {"before": before, "after": hardware.load_average()},
        "rows": rows,
    }


def _first_sound(model: str, clip: "Clip", options: argparse.Namespace) -> dict[str, Any]:
    from audiodiff.evaluation import hardware

    second = clip.waveform[:, : int(FIRST_SOUND_SECONDS * clip.sample_rate)]
    taken = hardware.first_sound(model, second, clip.sample_rate, options.threads, options.repeats)
    return {
        "clip_seconds": round(second.shape[-1] / clip.sample_rate, 3),
        "seconds": [round(s, 3) for s in hardware.spread(taken)],
    }


def _clips(options: argparse.Namespace) -> "tuple[list[Clip], str]":
    """Read the clips, mixed down and cut, and name their list."""
    from audiodiff import audio
    from audiodiff.audio import io as audio_io
    from audiodiff.data.manifest import Recording
    from audiodiff.data.recordings import recordings_of
    from audiodiff.evaluation.benchmark import Clip
    from audiodiff.evaluation.vocoder_table import list_hash
    from audiodiff.utils.config import shipped_path

    source = Path(options.data) if options.data else shipped_path("demos/audio/speech.flac")
    if source.is_file() and source.suffix.lower() in audio.AUDIO_SUFFIXES:
        with audio.opened(source) as file:
            chosen = [Recording(source, file.n_samples, file.sample_rate)]
    else:
        chosen = recordings_of(source, min(options.seconds, 2.0), options.clips)
    clips = []
    for recording in chosen:
        waveform, rate = audio.read(recording.path, seconds=options.seconds)
        clips.append(Clip(audio_io.mono(waveform, recording.path), rate))
    return clips, list_hash(chosen)


def _check_target(options: argparse.Namespace) -> None:
    if options.out and Path(options.out).exists() and not Path(options.out).is_dir():
        raise ValueError(f"{options.out}: is a file; give a folder")
    refuse_existing(_files(options.out) if options.out else [], options.force)


def _files(folder: str | Path) -> list[Path]:
    return [Path(folder, f"bench.{suffix}") for suffix in ("json", "md", "png")]


def _write(folder: Path, table: dict[str, Any], shown: str) -> None:
    from audiodiff.evaluation.plots import pareto
    from audiodiff.utils.files import write_text

    folder.mkdir(parents=True, exist_ok=True)
    table_file, page, picture = _files(folder)
    write_text(table_file, json.dumps(table, indent=1) + "\n")
    write_text(page, shown + "\n")
    rows = [row for row in table["rows"] if any(judge in row["quality"] for judge in table["judged_by"])]
    names = [f"{row['name']}, {row['calls']} calls{', bf16' * (row['precision'] == 'bfloat16')}" for row in rows]
    panels = {
        judge: [(row["quality"].get(judge), judge in row["front"]) for row in rows] for judge in table["judged_by"]
    }
    pareto(names, [row["x_real_time"][0] for row in rows], panels, picture)
