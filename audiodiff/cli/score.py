"""Compare a recording with what was made of it.

Both are brought to the lower of the two sample rates, so that only what both can hold is compared; a line says so. The
measures are the mean over the channels. PESQ, STOI and DNSMOS need the extra `eval`, and so do --pitch and --words,
each of which takes longer than all others together.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audiodiff.cli import checks, messages, parsing
from audiodiff.cli.jobs import check_new_file

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLE = "audiodiff score speech.flac out.wav"
ASKED_FOR = {"periodicity_rmse": "pitch", "voicing_f1": "pitch", "wer": "words"}  # slow measures, and their options


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the two files and --json."""
    parser.add_argument("reference", type=checks.audio_file, metavar="REF", help="the recording")
    parser.add_argument("test", type=checks.audio_file, metavar="TEST", help="what was made of it")
    parser.add_argument("--pitch", action="store_true", help="also how the voicing differs")
    parser.add_argument("--words", action="store_true", help="also the share of words that a recogniser mishears")
    parsing.add_json_option(parser)
    parser.add_argument("--plot", metavar="OUT.png", help="also draw both, and what differs")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite a picture that exists")


def run(options: argparse.Namespace) -> int:
    """Read both, measures, and print a table or JSON."""
    check_new_file(options.plot, options.force, ".png")
    from audiodiff import audio
    from audiodiff.audio.io import mono
    from audiodiff.evaluation import metrics

    (reference, rate), (test, test_rate) = audio.read(options.reference), audio.read(options.test)
    lower = min(rate, test_rate)
    if rate != test_rate:
        messages.say(f"{options.reference} has {rate} Hz, {options.test} {test_rate} Hz; compared at {lower} Hz")
    if len(reference) != len(test):
        raise ValueError(
            f"the channels differ, {len(reference)} in {options.reference} and {len(test)} in {options.test}: "
            "mix one down first"
        )
    reference, test = audio.resample(reference, rate, lower), audio.resample(test, test_rate, lower)
    pair = ((options.reference, reference), (options.test, test))
    mixed = [(Path(path).name, mono(sound, path)[0].numpy()) for path, sound in pair] if options.plot else []
    names = [name for name in metrics.MEASURES if name not in ASKED_FOR or getattr(options, ASKED_FOR[name])]
    measures = _mean_over_channels(reference, test, lower, names)
    if options.plot:
        from audiodiff.evaluation.sound_plot import draw_sounds, frames_in_a_column, reduce_sound

        frames = frames_in_a_column(reference.shape[-1])
        draw_sounds([reduce_sound(name, [sound], lower, frames) for name, sound in mixed], options.plot)
    if options.json:
        files = {"reference": options.reference, "test": options.test, "sample_rate": lower}
        print(json.dumps(files | measures, indent=2))
    else:
        for name, value in measures.items():
            print(f"{name:<18}{'-' if value is None else f'{value:.3f}':>8}  {metrics.UNITS[name]}")
    return 0


def _mean_over_channels(
    reference: "Tensor", test: "Tensor", sample_rate: int, names: Sequence[str]
) -> dict[str, float | None]:
    """Average each measure over the channels in which it is defined; None where it is in none."""
    from audiodiff.evaluation import metrics

    scores = [metrics.score(r, t, sample_rate, names) for r, t in zip(reference, test, strict=True)]
    means: dict[str, float | None] = {}
    for name in names:
        values = [score[name] for score in scores if math.isfinite(score.get(name, math.nan))]
        means[name] = sum(values) / len(values) if values else None
    return means
