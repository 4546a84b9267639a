"""Scores ours beside the published audio of other systems, on the clips of their page, and on held-out speakers.

    git clone --depth 1 https://github.com/luotianze666/WaveFM PAGE      # or another page: a folder a system
    python demos/experiments/published_audio/run.py results.csv --page PAGE --model speech-22k --calls 1 4
    python demos/experiments/published_audio/run.py test.csv --manifest data/open_speech/test.jsonl --model speech-22k

A page holds a folder for each system, all with the same file names; `Ground_Truth` holds the recordings. Every measure
is taken of what lies there, at 24 kHz; PESQ, DNSMOS and DistillMOS resample to 16 kHz. A row holds means over the clips
and halves of their 95 % bootstrap intervals; systems that the table has are skipped.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent))
from measures import MEASURES, intervals, measure

from audiodiff import audio
from audiodiff.data.manifest import read_manifest
from audiodiff.evaluation.baselines import griffin_lim_nnls, pseudo_inverse_true_phase
from audiodiff.mel import LogMel, MelSpec
from audiodiff.models.base import Model
from audiodiff.models.starts import CoarseToFine, GriffinLim, PureNoise, RealTimeGriffinLim

RATE = 24000
RECORDINGS = "Ground_Truth"
STARTS = {"quick": (4, 16, 48, 96), "full": (16, 64, 128, 256), "real-time": None}
NOISE_CALLS = 8
Clip = tuple[str, Tensor]
"""Name and waveform, [T], at `RATE`."""


def of_page(page: Path, system: str) -> list[Clip]:
    """Read the clips of one system."""
    return [(p.name, audio.read(p, RATE)[0][0]) for p in sorted((page / system).iterdir()) if p.suffix != ".md"]


def of_manifest(manifest: Path) -> list[Clip]:
    """Read whole recordings."""
    return [(r.path.name, audio.read(r.path, RATE)[0][0]) for r in read_manifest(manifest)]


def analysed(spec: MelSpec, waveform: Tensor) -> tuple[Tensor, Tensor]:
    """Resample a clip, [T] at `RATE`, to a mel's rate and whole hops: [1, 1, T'], and its mel, [1, M, F]."""
    at_rate = audio.resample(waveform[None], RATE, spec.sample_rate)
    at_rate = at_rate[:, : at_rate.shape[-1] // spec.hop_length * spec.hop_length][None]
    return at_rate, LogMel(spec)(at_rate)[..., : at_rate.shape[-1] // spec.hop_length]


def started(spec: MelSpec, waveform: Tensor, rounds: tuple[int, ...] | None) -> Tensor:
    """Resynthesise a clip by the start alone, without a network: [T] at `RATE`; the real-time one without rounds."""
    at_rate, mel = analysed(spec, waveform)
    noise = torch.randn(at_rate.shape, generator=torch.Generator().manual_seed(0))
    start = CoarseToFine(spec, 0.1, *rounds) if rounds else RealTimeGriffinLim(spec)
    return back(start.waveform(mel, noise), spec)


def true_phase(spec: MelSpec, waveform: Tensor) -> Tensor:
    """Give the magnitudes of a clip's mel the clip's own phases, the ceiling of a mel: [T] at `RATE`."""
    at_rate, mel = analysed(spec, waveform)
    return back(pseudo_inverse_true_phase(spec, mel, at_rate), spec)


def back(waveform: Tensor, spec: MelSpec) -> Tensor:
    """Resample what a system made, [1, 1, T'], to `RATE`: [T]."""
    return audio.resample(waveform[0], spec.sample_rate, RATE)[0]


def systems(options: argparse.Namespace) -> Iterator[tuple[str, object]]:
    """Name every system, and either the folder of its clips or a function that resynthesises one clip."""
    if options.page:
        yield from ((p.name, p.name) for p in sorted(options.page.iterdir()) if p.is_dir() and p.name[0] != ".")
    else:
        yield RECORDINGS, lambda waveform: waveform
    for preset in options.starts:
        spec = MelSpec.preset(preset)
        for name, rounds in STARTS.items():
            yield f"start {preset} {name}", lambda w, spec=spec, rounds=rounds: started(spec, w, rounds)
    if options.floors:
        spec = MelSpec.preset(options.floors)
        yield f"Griffin-Lim 32 {options.floors}", lambda w: back(griffin_lim_nnls(spec, analysed(spec, w)[1]), spec)
        yield (
            f"true phase {options.floors}",
            lambda w: back(pseudo_inverse_true_phase(spec, *analysed(spec, w)[::-1]), spec),
        )
    for model in options.model:
        vocoder = Model.load(model)
        for calls in options.calls:
            yield (
                f"{model} {calls} calls",
                lambda w, v=vocoder, n=calls: back(v.generate(analysed(v.mel, w)[1], steps=n), v.mel),
            )
        for n_iter in options.noise:
            yield from from_noise(model, NOISE_CALLS, n_iter)


def from_noise(model: str, calls: int, n_iter: int) -> Iterator[tuple[str, object]]:
    """Name sampling from pure noise with a projection onto the mel in each call, and as much projection alone."""
    vocoder = Model.load(model)
    vocoder.projection_iters = n_iter

    def sampled(waveform: Tensor) -> Tensor:
        return back(vocoder.generate(analysed(vocoder.mel, waveform)[1], steps=calls, start=PureNoise()), vocoder.mel)

    def projected(waveform: Tensor) -> Tensor:
        at_rate, mel = analysed(vocoder.mel, waveform)
        noise = torch.randn(at_rate.shape, generator=torch.Generator().manual_seed(0))
        return back(GriffinLim(vocoder.mel, n_iter=calls * n_iter).waveform(mel, noise), vocoder.mel)

    yield f"{model} from noise {calls} calls, {n_iter} iterations of projection in each", sampled
    yield f"no network, {calls * n_iter} iterations of projection from noise", projected


def main() -> int:
    """Score what the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="CSV, which is continued")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--page", type=Path, help="checkout of a page with a folder a system")
    source.add_argument("--manifest", type=Path, help="recordings of held-out speakers")
    parser.add_argument("--model", nargs="*", default=[], help="shipped names, files or run folders")
    parser.add_argument("--calls", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--starts", nargs="*", default=["vocos-24k-100"], help="mels whose start is scored alone")
    parser.add_argument(
        "--noise", type=int, nargs="*", default=[], metavar="N", help="also from noise, with N iterations in each call"
    )
    parser.add_argument("--floors", help="mel whose floor (Griffin-Lim) and ceiling (true phase) are scored")
    parser.add_argument("--without", nargs="*", default=[], choices=MEASURES, help="measures to leave out")
    options = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in MEASURES if name not in options.without]
    done = {row["system"] for row in csv.DictReader(options.table.open())} if options.table.exists() else set()
    references = dict(of_page(options.page, RECORDINGS) if options.page else of_manifest(options.manifest))
    for name, system in systems(options):
        if name in done:
            continue
        clips = dict(of_page(options.page, system)) if isinstance(system, str) else None
        rows = [
            measure(reference, clips[clip] if clips is not None else system(reference), RATE, names)
            for clip, reference in references.items()
        ]
        row = {"system": name, "clips": len(rows)}
        for measured, (mean, half) in intervals(rows, names).items():
            row |= {measured: round(mean, 4), f"{measured} ±": round(half, 4)}
        fresh = not options.table.exists()
        with options.table.open("a", newline="") as file:
            writer = csv.DictWriter(file, row, lineterminator="\n")
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
