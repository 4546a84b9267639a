"""Search the times at which a model is called, for a number of calls, and store them with the model.

Half of the clips search, the other half judge. What gains more than two standard errors over even times is stored in
MODEL's .json, and used from then on whenever as many steps are asked for; else even times are. A shipped model is
copied first: give --out.
"""

import argparse
import json
from typing import TYPE_CHECKING, Any

from audiodiff.cli import checks, messages, parsing
from audiodiff.cli.jobs import check_new_file

if TYPE_CHECKING:
    from torch import Tensor

    from audiodiff.models.vocoder import Vocoder

EXAMPLE = "audiodiff tune-times runs/speech-16k data/debian_speech/valid.jsonl --calls 1,2,4"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the model, the recordings and how to search."""
    parser.add_argument("model", type=checks.vocoder, metavar="MODEL", help="shipped name, file or run folder")
    parser.add_argument(
        "data", type=checks.recordings, metavar="DATA", help="manifest (.jsonl) or folder of recordings"
    )
    parser.add_argument(
        "--calls",
        type=checks.counts,
        default="1,2,3,4,6,8",
        metavar="N,N",
        help="numbers of steps (default: 1,2,3,4,6,8)",
    )
    parser.add_argument("--measure", default="mr_stft", metavar="NAME", help="what is to be best (default: mr_stft)")
    parser.add_argument(
        "--clips", type=checks.whole(4), default=32, metavar="N", help="recordings taken from DATA (default: 32)"
    )
    parser.add_argument(
        "--seconds", type=checks.number(0, above=True), default=1.5, metavar="S", help="taken of each (default: 1.5)"
    )
    parser.add_argument(
        "--evaluations", type=checks.whole(1), default=30, metavar="N", help="grids tried per count (default: 30)"
    )
    parser.add_argument("--seed", type=checks.seed, default=0, metavar="N", help="of the noise (default: 0)")
    parsing.add_device_option(parser)
    parser.add_argument("--out", metavar="PATH", help="write a copy of the model there instead")
    parsing.add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Search for each number of calls, store the grids, and print what each grid scored."""
    _check_target(options)
    from tqdm import tqdm

    from audiodiff.models import checkpoint
    from audiodiff.models.vocoder import Vocoder
    from audiodiff.tuning import sampling_times
    from audiodiff.utils import devices

    vocoder = Vocoder.load(options.model, devices.resolve(options.device))
    clips = _clips(vocoder, options)
    searches = {}
    with tqdm(unit="grid", total=len(options.calls) * (options.evaluations + 9), disable=None) as bar:
        for steps in options.calls:
            bar.set_description(f"{steps} steps")
            searches[steps] = sampling_times.search_times(
                vocoder, clips, steps, options.measure, options.evaluations, options.seed, bar.update
            )
    target = checkpoint.save_timesteps(options.model, [search.times for search in searches.values()], options.out)
    if options.json:
        shown = {str(n): {"best": s.best, "times": s.times, options.measure: s.scores} for n, s in searches.items()}
        print(json.dumps({"model": str(target), "clips": len(clips), "calls": shown}, indent=2))
    else:
        print("\n".join(_lines(options.measure, searches)))
        messages.say(f"stored in {target}")
    return 0


def _check_target(options: argparse.Namespace) -> None:
    """Refuse before the search what cannot be stored after it."""
    from pathlib import Path

    from audiodiff.models import registry

    path = registry.locate(options.model)
    if path.suffix == ".ckpt":
        raise ValueError(f"{path}: times are stored beside .safetensors; give a run's folder that holds some")
    if options.out is None and not Path(options.model).exists():
        raise ValueError(f"{options.model}: shipped weights stay as they are; give --out PATH for a copy")
    check_new_file(options.out, options.force, ".safetensors")


def _lines(measure: str, searches: dict[int, Any]) -> list[str]:
    lines = []
    for steps, search in searches.items():
        scores = ", ".join(f"{name} {score:.4f}" for name, score in search.scores.items())
        times = ",".join(f"{t:.4g}" for t in search.times)
        lines.append(f"{steps} steps: {search.best}, times {times}\n    {measure}: {scores}")
    return lines


def _clips(vocoder: "Vocoder", options: argparse.Namespace) -> "Tensor":
    """Read the middle of recordings that are long enough, taken evenly from the list."""
    import torch

    from audiodiff import audio
    from audiodiff.audio import io as audio_io
    from audiodiff.data.recordings import recordings_of

    length = round(options.seconds * vocoder.sample_rate) // vocoder.hop_length * vocoder.hop_length
    if length < vocoder.mel.min_samples or options.clips < 4:
        raise ValueError(f"--seconds {options.seconds:g}, --clips {options.clips}: give longer clips, and at least 4")
    chosen = recordings_of(options.data, at_least=options.seconds, count=options.clips)
    clips = []
    for recording in chosen:
        with audio.opened(recording.path) as file:
            frames = length * file.sample_rate // vocoder.sample_rate + 2
            middle = audio_io.mono(file.read(max(0, (file.n_samples - frames) // 2), frames), recording.path)
        clip = audio.resample(middle, file.sample_rate, vocoder.sample_rate)[:, :length]
        if clip.shape[-1] < length:
            raise ValueError(f"{recording.path}: is shorter than its manifest says; list the recordings again")
        clips.append(clip)
    return torch.stack(clips)
