"""Scores runs on speakers that were held out: the start alone, and one call or more of each run's network.

    python demos/experiments/flagship/judge.py data/open_speech/valid.jsonl table.csv runs/a runs/b --calls 1 4
    python demos/experiments/flagship/judge.py data/open_speech/valid.jsonl beside.csv runs/a --like speech-24k

At most two clips a speaker, cut to five seconds. Waveforms of the start are kept beside the table, since every
contestant has the same. Without a run, the recordings and the start alone are scored, on the mel of `--base`.

With `--like` each run samples as that model does (starts, projection at the end, times) and is scored beside it, clip
by clip. `- ` before a measure means the difference from it; its interval is narrower than that of the mean, since the
clips are the same.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "published_audio"))
from measures import MEASURES, intervals, measure

from audiodiff import audio
from audiodiff.data.manifest import read_manifest
from audiodiff.models.base import Model
from audiodiff.models.starts import CoarseToFine, RealTimeGriffinLim, Variation
from audiodiff.models.vocoder import Vocoder

ROUNDS = (16, 64, 128, 256)
SECONDS = 5.0
SHORTEST = 2.0


def clips_of(manifest: Path, each: int, vocoder: Vocoder) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the name, the waveform, [1, 1, T], and the mel, [1, M, F], of the first recordings of each speaker."""
    chosen = defaultdict(list)
    for recording in read_manifest(manifest):
        if recording.n_samples >= SHORTEST * recording.sample_rate:
            chosen[(recording.about or {}).get("speaker")].append(recording)
    for speaker, recordings in sorted(chosen.items()):
        for number, recording in enumerate(recordings[:each]):
            waveform = audio.read(recording.path, vocoder.sample_rate)[0][:1, : int(SECONDS * vocoder.sample_rate)]
            frames = waveform.shape[-1] // vocoder.hop_length
            waveform = waveform[None, :, : frames * vocoder.hop_length]
            yield f"{speaker}-{number}".replace(":", "_"), waveform, vocoder.spectrogram(waveform)[..., :frames]


def start_of(vocoder: Vocoder, mel: Tensor, folder: Path, name: str, rounds: Sequence[int] = ROUNDS) -> Tensor:
    """Compute the start's waveform, [1, 1, T], or read it: of a model for streams its own, else that of `rounds`."""
    live = isinstance(vocoder.start, RealTimeGriffinLim)
    kind = "live-" if live else "" if tuple(rounds) == ROUNDS else "-".join(map(str, rounds)) + "-"
    path = folder / f"{vocoder.mel.fingerprint}-{kind}{name}.pt"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(1, 1, mel.shape[-1] * vocoder.hop_length, generator=generator)
        start = vocoder.start if live else CoarseToFine(vocoder.mel, 0.1, *rounds)
        torch.save(start.waveform(mel, noise).half(), path)
    return torch.load(path, weights_only=True).float()


def averaged(vocoder: Vocoder, run: str, decay: str) -> None:
    """Give a model another average of its run's checkpoint, by its decay, such as 0.9995."""
    others = torch.load(Path(run) / "last.ckpt", weights_only=True)["averaging"]["others"]
    if decay in others:  # otherwise it is the one that validation chose
        state = {name.removeprefix("model."): tensor for name, tensor in others[decay].items()}
        vocoder.load_state_dict(state, strict=False)


def sample_like(vocoder: Vocoder, other: Vocoder) -> None:
    """Give a model the sampling defaults of another one of the same mel."""
    for name in ("start", "one_step_start", "projection_iters", "final_iters", "times"):
        setattr(vocoder, name, getattr(other, name))


def scores(
    vocoder: Vocoder, calls: int, clip: tuple[str, Tensor, Tensor], options: argparse.Namespace
) -> dict[str, float]:
    """Score so many calls on a clip, 0 for the start alone and -1 for the recording."""
    name, waveform, mel = clip
    rounds = vocoder.start_for(calls).iterations if getattr(options, "like", None) else ROUNDS
    first = start_of(vocoder, mel, options.table.parent / "starts", name, rounds)
    if calls > 0:
        out = vocoder.generate(mel, steps=calls, start=Variation(first, vocoder.start.time))
    else:
        out = waveform if calls else first
    return measure(waveform[0, 0], out[0, 0], vocoder.sample_rate)


def summary(rows: Sequence[Mapping[str, float]], prefix: str = "") -> dict[str, float]:
    """Return the means of the measures over clips, and half of each one's interval."""
    found = intervals(rows, MEASURES)
    means = {f"{prefix}{name}": round(mean, 4) for name, (mean, _) in found.items()}
    return {**means, **{f"{prefix}{name} ±": round(half, 4) for name, (_, half) in found.items()}}


def scored(vocoder: Vocoder, calls: int, options: argparse.Namespace) -> dict[str, float]:
    """Score so many calls on all clips: means and half intervals."""
    clips = clips_of(options.manifest, options.each, vocoder)
    rows = [scores(vocoder, calls, clip, options) for clip in clips]
    return {"clips": len(rows), **summary(rows)}


def beside(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Score runs and the model of `--like`, clip by clip in turn; yield a row for each and each number of calls."""
    vocoders = {name: Model.load(name) for name in [options.like, *options.runs]}
    shipped = vocoders[options.like]
    for run in options.runs if options.ema[0] else []:
        averaged(vocoders[run], run, options.ema[0])
    rows = defaultdict(list)
    for clip in clips_of(options.manifest, options.each, shipped):
        for name, vocoder in vocoders.items():
            sample_like(vocoder, shipped)
            for calls in options.calls:
                rows[name, calls].append(scores(vocoder, calls, clip, options))
    for (name, calls), own in rows.items():
        pairs = zip(own, rows[options.like, calls], strict=True)
        differences = [{key: ours[key] - theirs[key] for key in MEASURES} for ours, theirs in pairs]
        facts = {"run": name, "calls": calls, "steps": vocoders[name].info.get("steps"), "clips": len(own)}
        yield facts | summary(own) | summary(differences, "- ")


def main() -> None:
    """Append a row for each run and number of calls."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("table", type=Path, help="CSV, which is continued")
    parser.add_argument("runs", nargs="*", help="folders of runs, or models")
    parser.add_argument("--calls", type=int, nargs="+", default=[1])
    parser.add_argument("--each", type=int, default=2, help="clips a speaker (2)")
    parser.add_argument("--ema", nargs="+", default=[""], help="decays of the averages to score (validation's choice)")
    parser.add_argument("--base", help="model whose mel the start alone is scored on")
    parser.add_argument("--like", help="model as which the runs sample, and from which their difference is scored")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.like:
        for row in beside(options):
            append(options.table, row)
        return
    for run in options.runs or [None]:
        for decay in options.ema:
            vocoder = Model.load(run or options.base)
            if decay:
                averaged(vocoder, run, decay)
            jobs = [(run, n) for n in options.calls] if run else [("recording", -1), ("start", 0)]
            for name, calls in jobs:
                facts = {"run": str(name), "calls": calls, "ema": decay, "steps": vocoder.info.get("steps")}
                append(options.table, facts | scored(vocoder, calls, options))


def append(table: Path, row: dict[str, object]) -> None:
    """Append a row to a CSV, with a header if it is new."""
    fresh = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    print(json.dumps(row, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
